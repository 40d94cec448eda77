//! From Arrow columns to SQLite values.

use std::fmt::Write as _;
use std::sync::Arc;

use chrono::{Days, NaiveDate};
use datafusion::arrow::array::builder::StringBuilder;
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Float64Array, Int64Array,
    LargeBinaryArray, LargeStringArray, StringArray, StringViewArray, TimestampMicrosecondArray,
};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Field, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType,
};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::json::writer::{EncoderOptions, make_encoder};
use rusqlite::Statement;
use rusqlite::types::Null;

/// The type of a warehouse column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SqlType {
    Integer,
    Real,
    Boolean,
    Text,
    Date,
    Timestamp,
    Decimal,
    Json,
    Blob,
}

impl SqlType {
    /// The type that holds an Arrow type.
    pub(super) fn of(arrow: &DataType) -> Self {
        match arrow {
            DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::UInt8
            | DataType::UInt16
            | DataType::UInt32
            | DataType::UInt64 => Self::Integer,
            DataType::Float16 | DataType::Float32 | DataType::Float64 => Self::Real,
            DataType::Boolean => Self::Boolean,
            DataType::Null
            | DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Utf8View
            | DataType::Time32(_)
            | DataType::Time64(_)
            | DataType::Duration(_)
            | DataType::Interval(_) => Self::Text,
            DataType::Date32 | DataType::Date64 => Self::Date,
            DataType::Timestamp(..) => Self::Timestamp,
            DataType::Decimal32(..)
            | DataType::Decimal64(..)
            | DataType::Decimal128(..)
            | DataType::Decimal256(..) => Self::Decimal,
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => Self::Blob,
            DataType::Dictionary(_, values) => Self::of(values),
            DataType::RunEndEncoded(_, values) => Self::of(values.data_type()),
            DataType::List(_)
            | DataType::ListView(_)
            | DataType::FixedSizeList(..)
            | DataType::LargeList(_)
            | DataType::LargeListView(_)
            | DataType::Struct(_)
            | DataType::Union(..)
            | DataType::Map(..) => Self::Json,
        }
    }

    /// The type that holds an Arrow type given as its display text.
    pub(super) fn parse(text: &str) -> Option<Self> {
        // Arrow does not parse all that it displays; what a nested type consists of does not matter.
        let nested = ["List", "LargeList", "FixedSizeList", "Struct", "Map", "Union"];
        let head = text.split(['(', '<']).next().unwrap_or_default();
        if nested.contains(&head.trim()) || head.ends_with("ListView") {
            return Some(Self::Json);
        }
        text.parse().ok().map(|arrow| Self::of(&arrow))
    }

    /// The type as in `CREATE TABLE`. The words with `TEXT` in them give the column text affinity,
    /// without which SQLite would turn `"1.10"` into the number 1.1.
    pub(super) fn declared(self) -> &'static str {
        match self {
            Self::Integer => "INTEGER",
            Self::Real => "REAL",
            Self::Boolean => "BOOLEAN",
            Self::Text => "TEXT",
            Self::Date => "DATE",
            Self::Timestamp => "TIMESTAMP",
            Self::Decimal => "DECIMAL_TEXT",
            Self::Json => "JSON_TEXT",
            Self::Blob => "BLOB",
        }
    }
}

/// The values of one column of a batch, in a form that is bound without an allocation per cell.
pub(super) enum Cells {
    Null,
    Integer(Int64Array),
    Real(Float64Array),
    Boolean(BooleanArray),
    Text(StringArray),
    LargeText(LargeStringArray),
    TextView(StringViewArray),
    Blob(LargeBinaryArray),
}

impl Cells {
    /// Converts a column, whole. Fails for a value that its SQLite type cannot hold.
    pub(super) fn new(array: &ArrayRef, field: &Field, kind: SqlType) -> Result<Self, ArrowError> {
        let array = match array.data_type() {
            DataType::Dictionary(_, values) => cast(array, values)?,
            DataType::RunEndEncoded(_, values) => cast(array, values.data_type())?,
            _ => Arc::clone(array),
        };
        Ok(match (kind, array.data_type()) {
            (_, DataType::Null) => Self::Null,
            (SqlType::Integer, _) => {
                Self::Integer(cast(&array, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
            }
            (SqlType::Real, _) => {
                Self::Real(cast(&array, &DataType::Float64)?.as_primitive::<Float64Type>().clone())
            }
            (SqlType::Boolean, _) => Self::Boolean(array.as_boolean().clone()),
            (SqlType::Text, DataType::LargeUtf8) => {
                Self::LargeText(array.as_string::<i64>().clone())
            }
            (SqlType::Text, DataType::Utf8View) => Self::TextView(array.as_string_view().clone()),
            (SqlType::Text | SqlType::Decimal, _) => {
                Self::Text(cast(&array, &DataType::Utf8)?.as_string::<i32>().clone())
            }
            (SqlType::Date, _) => {
                Self::Text(dates(cast(&array, &DataType::Date32)?.as_primitive::<Date32Type>())?)
            }
            (SqlType::Timestamp, from) => {
                let zone = match from {
                    DataType::Timestamp(_, zone) => zone.clone(),
                    _ => None,
                };
                // The zone is kept: without it the cast would turn UTC into local time.
                let to = DataType::Timestamp(TimeUnit::Microsecond, zone.clone());
                let micros = cast(&array, &to)?;
                Self::Text(instants(
                    micros.as_primitive::<TimestampMicrosecondType>(),
                    zone.is_some(),
                )?)
            }
            (SqlType::Json, _) => Self::Text(json(&array, field)?),
            (SqlType::Blob, _) => {
                Self::Blob(cast(&array, &DataType::LargeBinary)?.as_binary::<i64>().clone())
            }
        })
    }

    /// Binds the value of a row.
    pub(super) fn bind(
        &self,
        statement: &mut Statement<'_>,
        index: usize,
        row: usize,
    ) -> rusqlite::Result<()> {
        let null = match self {
            Self::Null => true,
            Self::Integer(array) => array.is_null(row),
            Self::Real(array) => array.is_null(row),
            Self::Boolean(array) => array.is_null(row),
            Self::Text(array) => array.is_null(row),
            Self::LargeText(array) => array.is_null(row),
            Self::TextView(array) => array.is_null(row),
            Self::Blob(array) => array.is_null(row),
        };
        if null {
            return statement.raw_bind_parameter(index, Null);
        }
        match self {
            Self::Null => statement.raw_bind_parameter(index, Null),
            Self::Integer(array) => statement.raw_bind_parameter(index, array.value(row)),
            Self::Real(array) => statement.raw_bind_parameter(index, array.value(row)),
            Self::Boolean(array) => statement.raw_bind_parameter(index, array.value(row)),
            Self::Text(array) => statement.raw_bind_parameter(index, array.value(row)),
            Self::LargeText(array) => statement.raw_bind_parameter(index, array.value(row)),
            Self::TextView(array) => statement.raw_bind_parameter(index, array.value(row)),
            Self::Blob(array) => statement.raw_bind_parameter(index, array.value(row)),
        }
    }
}

/// Casts, failing where a value does not fit: the default would make it NULL without a word.
fn cast(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    if array.data_type() == to {
        return Ok(Arc::clone(array));
    }
    cast_with_options(array, to, &CastOptions { safe: false, ..CastOptions::default() })
}

fn dates(days: &Date32Array) -> Result<StringArray, ArrowError> {
    let mut out = StringBuilder::with_capacity(days.len(), days.len() * 10);
    let mut day = DayText::default();
    for value in days {
        match value {
            None => out.append_null(),
            Some(value) => out.append_value(day.of(value.into())?),
        }
    }
    Ok(out.finish())
}

fn instants(micros: &TimestampMicrosecondArray, zoned: bool) -> Result<StringArray, ArrowError> {
    const DAY: i64 = 86_400_000_000;
    let mut out = StringBuilder::with_capacity(micros.len(), micros.len() * 27);
    let mut day = DayText::default();
    let mut text = String::with_capacity(27);
    for value in micros {
        let Some(value) = value else {
            out.append_null();
            continue;
        };
        let time = value.rem_euclid(DAY);
        text.clear();
        text.push_str(day.of(value.div_euclid(DAY))?);
        text.push(' ');
        let (seconds, fraction) = (time / 1_000_000, time % 1_000_000);
        push_digits(&mut text, seconds / 3_600, 2);
        text.push(':');
        push_digits(&mut text, seconds / 60 % 60, 2);
        text.push(':');
        push_digits(&mut text, seconds % 60, 2);
        text.push('.');
        push_digits(&mut text, fraction, 6);
        if zoned {
            text.push('Z');
        }
        out.append_value(&text);
    }
    Ok(out.finish())
}

/// Writes a number with leading zeros. The formatting machinery of `write!` would take most of the
/// time of a load with two timestamp columns.
fn push_digits(text: &mut String, number: i64, digits: u32) {
    for position in (0..digits).rev() {
        let digit = number / 10_i64.pow(position) % 10;
        text.push(char::from(b'0' + u8::try_from(digit).unwrap_or(0)));
    }
}

/// The text of a day. Events of a partition share theirs, so the last one is remembered.
#[derive(Default)]
struct DayText {
    day: Option<i64>,
    text: String,
}

impl DayText {
    fn of(&mut self, day: i64) -> Result<&str, ArrowError> {
        if self.day != Some(day) {
            let epoch = NaiveDate::default();
            let date = if day < 0 {
                epoch.checked_sub_days(Days::new(day.unsigned_abs()))
            } else {
                epoch.checked_add_days(Days::new(day.unsigned_abs()))
            };
            let date = date.ok_or_else(|| {
                ArrowError::ComputeError(format!("day {day} is outside of the calendar"))
            })?;
            self.text.clear();
            // Writing to a string does not fail.
            let _ = write!(self.text, "{date}");
            self.day = Some(day);
        }
        Ok(&self.text)
    }
}

fn json(array: &ArrayRef, field: &Field) -> Result<StringArray, ArrowError> {
    let field = Arc::new(field.clone().with_data_type(array.data_type().clone()));
    let options = EncoderOptions::default().with_explicit_nulls(true);
    let mut encoder = make_encoder(&field, array.as_ref(), &options)?;
    let mut out = StringBuilder::new();
    let mut bytes = Vec::new();
    for row in 0..array.len() {
        if encoder.is_null(row) {
            out.append_null();
            continue;
        }
        bytes.clear();
        encoder.encode(row, &mut bytes);
        let text = std::str::from_utf8(&bytes)
            .map_err(|error| ArrowError::JsonError(format!("not UTF-8: {error}")))?;
        out.append_value(text);
    }
    Ok(out.finish())
}
