//! Typed values of one raw row, and the Arrow builders that they go to.
//!
//! A row is first read into cells and appended only when all of them are right, so that a row that
//! breaks in its middle leaves nothing behind in the builders.

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::builder::{
    BooleanBuilder, Date32Builder, Float64Builder, Int64Builder, StringBuilder,
    TimestampMicrosecondBuilder,
};
use arrow_schema::{DataType, TimeUnit};

use super::types::{ColumnType, Field, Timezone};

/// A value of a raw row.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell<'a> {
    /// The row has no such field.
    Missing,
    /// The field is null.
    Null,
    /// Text, or JSON as text.
    Text(Cow<'a, str>),
    /// A whole number; microseconds since 1970 for instants, days since 1970 for dates.
    Int(i64),
    /// A finite number.
    Double(f64),
    /// `true` or `false`.
    Boolean(bool),
}

/// The Arrow type of a column.
pub fn arrow_type(kind: ColumnType) -> DataType {
    match kind {
        ColumnType::String | ColumnType::Json => DataType::Utf8,
        ColumnType::Int => DataType::Int64,
        ColumnType::Double => DataType::Float64,
        ColumnType::Boolean => DataType::Boolean,
        ColumnType::Timestamp | ColumnType::TimestampMs => {
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
        }
        ColumnType::Date => DataType::Date32,
    }
}

/// Collects the cells of one column.
pub enum CellBuilder {
    /// Text.
    Text(StringBuilder),
    /// Whole numbers.
    Int(Int64Builder),
    /// Numbers.
    Double(Float64Builder),
    /// Booleans.
    Boolean(BooleanBuilder),
    /// Instants.
    Instant(TimestampMicrosecondBuilder),
    /// Days.
    Day(Date32Builder),
}

impl CellBuilder {
    /// A builder for a column of that type with room for `rows` rows, which have `bytes` bytes of
    /// text if they have any.
    pub fn new(kind: ColumnType, rows: usize, bytes: usize) -> Self {
        match kind {
            ColumnType::String | ColumnType::Json => {
                Self::Text(StringBuilder::with_capacity(rows, bytes))
            }
            ColumnType::Int => Self::Int(Int64Builder::with_capacity(rows)),
            ColumnType::Double => Self::Double(Float64Builder::with_capacity(rows)),
            ColumnType::Boolean => Self::Boolean(BooleanBuilder::with_capacity(rows)),
            ColumnType::Timestamp | ColumnType::TimestampMs => Self::Instant(
                TimestampMicrosecondBuilder::with_capacity(rows)
                    .with_data_type(arrow_type(ColumnType::Timestamp)),
            ),
            ColumnType::Date => Self::Day(Date32Builder::with_capacity(rows)),
        }
    }

    /// Appends a cell; one of another type than the column's counts as null, which the parser
    /// never lets happen.
    pub fn append(&mut self, cell: &Cell<'_>) {
        match (self, cell) {
            (Self::Text(builder), Cell::Text(text)) => builder.append_value(text),
            (Self::Int(builder), Cell::Int(value)) => builder.append_value(*value),
            (Self::Double(builder), Cell::Double(value)) => builder.append_value(*value),
            (Self::Boolean(builder), Cell::Boolean(value)) => builder.append_value(*value),
            (Self::Instant(builder), Cell::Int(value)) => builder.append_value(*value),
            (Self::Day(builder), Cell::Int(value)) => {
                builder.append_option(i32::try_from(*value).ok());
            }
            (Self::Text(builder), _) => builder.append_null(),
            (Self::Int(builder), _) => builder.append_null(),
            (Self::Double(builder), _) => builder.append_null(),
            (Self::Boolean(builder), _) => builder.append_null(),
            (Self::Instant(builder), _) => builder.append_null(),
            (Self::Day(builder), _) => builder.append_null(),
        }
    }

    /// Bytes of text so far.
    pub fn text_bytes(&self) -> usize {
        match self {
            Self::Text(builder) => builder.values_slice().len(),
            _ => 0,
        }
    }

    /// The column so far; the builder starts anew.
    pub fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Text(builder) => Arc::new(builder.finish()),
            Self::Int(builder) => Arc::new(builder.finish()),
            Self::Double(builder) => Arc::new(builder.finish()),
            Self::Boolean(builder) => Arc::new(builder.finish()),
            Self::Instant(builder) => Arc::new(builder.finish()),
            Self::Day(builder) => Arc::new(builder.finish()),
        }
    }
}

/// Reads text as a cell of a column, as files give it that have nothing but text. An error says why it
/// is none.
pub fn text_cell<'a>(
    text: Cow<'a, str>,
    column: &Field,
    timezone: Timezone,
) -> Result<Cell<'a>, String> {
    // Empty text is a missing value, as the file has no other way to say so.
    if text.is_empty() {
        return match column.nullable {
            true => Ok(Cell::Null),
            false => Err(format!("missing: column `{}` is empty", column.name)),
        };
    }
    let text = match column.kind {
        ColumnType::String | ColumnType::Json => text,
        _ => trim(text),
    };
    parse_text(text.clone(), column.kind, timezone).ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        format!("wrong type: column `{}` expected {}, found {shown:?}", column.name, column.kind)
    })
}

fn trim(text: Cow<'_, str>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
        Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
    }
}

/// Reads text as a value of a column's type, as CSV and JSON strings give it.
pub fn parse_text<'a>(
    text: Cow<'a, str>,
    kind: ColumnType,
    timezone: Timezone,
) -> Option<Cell<'a>> {
    match kind {
        ColumnType::String | ColumnType::Json => Some(Cell::Text(text)),
        ColumnType::Int => text.parse().ok().map(Cell::Int),
        ColumnType::Double => {
            text.parse().ok().filter(|value: &f64| value.is_finite()).map(Cell::Double)
        }
        ColumnType::Boolean => match text.as_ref() {
            "true" | "True" | "TRUE" | "1" => Some(Cell::Boolean(true)),
            "false" | "False" | "FALSE" | "0" => Some(Cell::Boolean(false)),
            _ => None,
        },
        ColumnType::Timestamp => parse_instant(text.as_bytes(), timezone).map(Cell::Int),
        ColumnType::TimestampMs => {
            text.parse::<i64>().ok().and_then(|ms| ms.checked_mul(1_000)).map(Cell::Int)
        }
        ColumnType::Date => parse_day(text.as_bytes()).map(Cell::Int),
    }
}

const MICROS_PER_SECOND: i64 = 1_000_000;

/// Reads an ISO 8601 instant, `YYYY-MM-DD[T ]hh:mm:ss[.f{1,9}][Z|±hh[:]mm]`, as microseconds
/// since 1970-01-01 UTC. Digits after the sixth are cut off.
pub fn parse_instant(text: &[u8], timezone: Timezone) -> Option<i64> {
    let day = parse_day(text.get(..10)?)?;
    if !matches!(text.get(10)?, b'T' | b't' | b' ') {
        return None;
    }
    let (hour, minute, second) =
        (two_digits(text, 11)?, two_digits(text, 14)?, two_digits(text, 17)?);
    let separated = text.get(13) == Some(&b':') && text.get(16) == Some(&b':');
    if !separated || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut rest = text.get(19..)?;
    let mut micros = 0;
    if let Some(fraction) = rest.strip_prefix(b".") {
        let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 || digits > 9 {
            return None;
        }
        let given = fraction[..digits].iter().map(|digit| i64::from(digit - b'0'));
        for digit in given.chain(std::iter::repeat(0)).take(6) {
            micros = micros * 10 + digit;
        }
        rest = &fraction[digits..];
    }
    let offset = match rest {
        [] => i64::from(timezone.offset_seconds),
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), offset @ ..] => {
            let minutes_at = match offset.len() {
                4 => 2,
                5 if offset[2] == b':' => 3,
                _ => return None,
            };
            let (hours, minutes) = (two_digits(offset, 0)?, two_digits(offset, minutes_at)?);
            if hours > 18 || minutes > 59 {
                return None;
            }
            let seconds = hours * 3_600 + minutes * 60;
            if *sign == b'-' { -seconds } else { seconds }
        }
        _ => return None,
    };
    let seconds = day * 86_400 + hour * 3_600 + minute * 60 + second - offset;
    Some(seconds * MICROS_PER_SECOND + micros)
}

/// Reads `YYYY-MM-DD` as days since 1970-01-01.
pub fn parse_day(text: &[u8]) -> Option<i64> {
    if text.len() != 10 || text[4] != b'-' || text[7] != b'-' {
        return None;
    }
    let year = two_digits(text, 0)? * 100 + two_digits(text, 2)?;
    let (month, day) = (two_digits(text, 5)?, two_digits(text, 8)?);
    let is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(is_leap),
        _ => return None,
    };
    (1..=days).contains(&day).then(|| days_since_epoch(year, month, day))
}

/// Days from 1970-01-01 to a day of the proleptic Gregorian calendar.
/// <https://howardhinnant.github.io/date_algorithms.html#days_from_civil>
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March, so that the leap day is their last.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn two_digits(text: &[u8], at: usize) -> Option<i64> {
    let (tens, ones) = (*text.get(at)?, *text.get(at + 1)?);
    (tens.is_ascii_digit() && ones.is_ascii_digit())
        .then(|| i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instant(text: &str) -> Option<i64> {
        parse_instant(text.as_bytes(), Timezone::UTC)
    }

    #[test]
    fn instants_agree_with_chrono() {
        for text in [
            "2026-03-01T00:00:00Z",
            "2026-03-01T23:59:59.123Z",
            "1969-12-31T23:59:59.999999Z",
            "2024-02-29T12:30:00+02:00",
            "2024-02-29T12:30:00.5-05:30",
        ] {
            let expected = chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros();
            assert_eq!(instant(text), Some(expected), "{text}");
        }
        assert_eq!(instant("2024-02-29 12:30:00"), instant("2024-02-29T12:30:00Z"));
        assert_eq!(instant("2024-02-29T12:30:00+0200"), instant("2024-02-29T10:30:00Z"));
        let berlin = Timezone::parse("+01:00").unwrap();
        assert_eq!(parse_instant(b"2024-02-29 12:30:00", berlin), instant("2024-02-29T11:30:00Z"));
    }

    #[test]
    fn days_agree_with_chrono() {
        let first = chrono::NaiveDate::from_ymd_opt(1, 1, 1).unwrap();
        for day in first.iter_days().take(1_200_000).step_by(7) {
            let since = day.signed_duration_since(chrono::NaiveDate::default()).num_days();
            assert_eq!(parse_day(day.to_string().as_bytes()), Some(since), "{day}");
        }
        for text in
            ["2023-02-29", "1900-02-29", "2024-04-31", "2024-13-01", "2024-00-01", "2024-01-00"]
        {
            assert_eq!(parse_day(text.as_bytes()), None, "{text}");
        }
        assert!(parse_day(b"2000-02-29").is_some());
    }

    #[test]
    fn refuses_what_is_no_instant() {
        for text in [
            "",
            "yesterday",
            "2026-02-30T00:00:00Z",
            "2026-03-01",
            "2026-03-01T24:00:00Z",
            "2026-03-01T00:00:00.Z",
            "2026-03-01T00:00:00+2",
            "2026-03-01T00:00",
            "2026-03-01T0a:00:00Z",
            "2026-03-01T00:00:00Zx",
        ] {
            assert_eq!(instant(text), None, "{text}");
        }
    }
}
