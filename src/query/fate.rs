//! What becomes of each row that a query read, as the query says in `_fate`.

use datafusion::arrow::array::{Array, Date32Array, RecordBatch, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;

use crate::pipeline::interval::LogicalDate;
use crate::pipeline::step::FATE_COLUMN;
use crate::run::failure::{Failure, FailureKind, Outcome};

/// The fate of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate<'a> {
    /// It is in the table.
    Kept,
    /// It is a copy of another.
    Duplicate,
    /// It is left out, and why.
    Filtered(&'a str),
    /// It is kept aside, and why.
    Quarantined(&'a str),
}

/// The word of a fate that a query does not say.
pub const KEPT: &str = "kept";

impl<'a> Fate<'a> {
    /// Reads what a query says; NULL is `kept`. Errors: `Usage` for any other word.
    pub fn of(text: Option<&'a str>) -> Outcome<Self> {
        let text = text.unwrap_or(KEPT);
        match text.split_once(':').map_or((text, ""), |(word, why)| (word, why.trim())) {
            (KEPT, "") => Ok(Self::Kept),
            ("duplicate", _) => Ok(Self::Duplicate),
            ("filtered", why) if !why.is_empty() => Ok(Self::Filtered(why)),
            ("quarantined", why) if !why.is_empty() => Ok(Self::Quarantined(why)),
            _ => {
                let failure = Failure::new(
                    FailureKind::Usage,
                    format!("unknown fate `{text}` in column `{FATE_COLUMN}`"),
                );
                Err(failure.with_hint(
                    "expected `kept`, `duplicate`, `filtered: <why>` or `quarantined: <why>`",
                ))
            }
        }
    }
}

/// The column of fates as text.
pub fn fates(batch: &RecordBatch, column: usize) -> Outcome<StringArray> {
    let fates = cast(batch.column(column), &DataType::Utf8).map_err(|error| {
        Failure::new(FailureKind::Internal, format!("cannot read `{FATE_COLUMN}`: {error}"))
    })?;
    match fates.as_any().downcast_ref::<StringArray>() {
        Some(fates) => Ok(fates.clone()),
        None => Err(Failure::new(FailureKind::Usage, format!("`{FATE_COLUMN}` is not text"))),
    }
}

/// The fate of a row in a column of them.
pub fn fate_at(fates: &StringArray, row: usize) -> Outcome<Fate<'_>> {
    Fate::of((!fates.is_null(row)).then(|| fates.value(row)))
}

/// Errors: `Quality` if a row's `dt` is not the partition's day.
pub fn check_day(batch: &RecordBatch, column: usize, date: LogicalDate) -> Outcome<()> {
    let days = cast(batch.column(column), &DataType::Date32).ok();
    let days = days.as_ref().and_then(|days| days.as_any().downcast_ref::<Date32Array>());
    let Some(days) = days else {
        return Err(Failure::new(FailureKind::Usage, "column `dt` is not a date"));
    };
    let wrong = (0..days.len())
        .find(|row| days.is_null(*row) || days.value(*row) != date.days_since_epoch());
    let Some(row) = wrong else { return Ok(()) };
    let found = match days.is_null(row) {
        true => "NULL".to_owned(),
        false => days.value_as_date(row).map_or_else(String::new, |day| day.to_string()),
    };
    let failure = Failure::new(
        FailureKind::Quality,
        format!("column `dt` holds {found} where every row must hold {date}"),
    );
    Err(failure.with_hint("select `$logical_date AS dt`, or filter to the interval"))
}
