//! Logical dates, data intervals and the partitions that they make.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Days, NaiveDate, NaiveTime, Utc};
use serde::{Deserialize, Serialize};

use super::step::PARTITION_COLUMN;

/// The day that the data is about, never today.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogicalDate(NaiveDate);

/// Says why a text is not a date.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a date (expected YYYY-MM-DD, for example 2026-03-01)")]
pub struct InvalidDate(pub String);

impl LogicalDate {
    /// Wraps a calendar day.
    pub fn new(day: NaiveDate) -> Self {
        Self(day)
    }

    /// The calendar day.
    pub fn day(self) -> NaiveDate {
        self.0
    }

    /// The day `days` before this one; the calendar's first day where there is none.
    pub fn minus(self, days: u32) -> Self {
        Self(self.0.checked_sub_days(Days::new(days.into())).unwrap_or(NaiveDate::MIN))
    }

    /// The day `days` after this one; the calendar's last day where there is none.
    pub fn plus(self, days: u32) -> Self {
        Self(self.0.checked_add_days(Days::new(days.into())).unwrap_or(NaiveDate::MAX))
    }

    /// The `days` days that end with this one, oldest first.
    pub fn window(self, days: u32) -> impl DoubleEndedIterator<Item = LogicalDate> {
        (0..days).rev().map(move |back| self.minus(back))
    }

    /// Days since 1970-01-01, as Arrow and Parquet keep dates. Every day of the calendar fits.
    pub fn days_since_epoch(self) -> i32 {
        let days = self.0.signed_duration_since(NaiveDate::default()).num_days();
        i32::try_from(days).unwrap_or(i32::MAX)
    }

    /// The half-open interval of the day, midnight to midnight in UTC.
    pub fn interval(self) -> DataInterval {
        DataInterval {
            start: self.0.and_time(NaiveTime::MIN).and_utc(),
            end: self.plus(1).0.and_time(NaiveTime::MIN).and_utc(),
        }
    }
}

impl fmt::Display for LogicalDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.format("%Y-%m-%d").to_string())
    }
}

impl FromStr for LogicalDate {
    type Err = InvalidDate;
    fn from_str(text: &str) -> Result<Self, InvalidDate> {
        // chrono alone would take `2026-3-1`, which sorts and joins differently everywhere else.
        if text.len() != 10 {
            return Err(InvalidDate(text.to_owned()));
        }
        NaiveDate::parse_from_str(text, "%Y-%m-%d")
            .map(Self)
            .map_err(|_| InvalidDate(text.to_owned()))
    }
}

/// A half-open span of time: `start` is in it, `end` is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataInterval {
    /// First instant.
    pub start: DateTime<Utc>,
    /// First instant after.
    pub end: DateTime<Utc>,
}

/// One part of a table that is written and published as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Partition {
    /// The table has no partitions: it is replaced whole.
    Whole,
    /// One day of a table partitioned by `dt`.
    Day(LogicalDate),
}

impl Partition {
    /// The key in catalogs and ledgers: `2026-03-01`, or `all` for an unpartitioned table.
    pub fn key(self) -> String {
        match self {
            Self::Whole => "all".to_owned(),
            Self::Day(date) => date.to_string(),
        }
    }

    /// The name of its folder, as Hive has it: `dt=2026-03-01`, or `all`.
    pub fn folder(self) -> String {
        match self {
            Self::Whole => "all".to_owned(),
            Self::Day(date) => format!("{PARTITION_COLUMN}={date}"),
        }
    }

    /// The day, if the partition is one.
    pub fn date(self) -> Option<LogicalDate> {
        match self {
            Self::Whole => None,
            Self::Day(date) => Some(date),
        }
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.key())
    }
}

impl TryFrom<String> for Partition {
    type Error = InvalidDate;
    fn try_from(text: String) -> Result<Self, InvalidDate> {
        if text == "all" { Ok(Self::Whole) } else { text.parse().map(Self::Day) }
    }
}

impl From<Partition> for String {
    fn from(partition: Partition) -> Self {
        partition.key()
    }
}

/// Parses a number of days: `28d`, `2w` or `28`.
pub fn parse_days(text: &str) -> Option<u32> {
    let (digits, factor) = match text.strip_suffix('d') {
        Some(rest) => (rest, 1),
        None => match text.strip_suffix('w') {
            Some(rest) => (rest, 7),
            None => (text, 1),
        },
    };
    digits.parse::<u32>().ok()?.checked_mul(factor).filter(|days| (1..=3_660).contains(days))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_strict() {
        assert_eq!("2024-02-29".parse::<LogicalDate>().unwrap().to_string(), "2024-02-29");
        for bad in ["2023-02-29", "2026-3-1", "20260301", "yesterday", "", "2026-13-01"] {
            assert!(bad.parse::<LogicalDate>().is_err(), "{bad}");
        }
    }

    #[test]
    fn windows_end_with_the_day_and_cross_months() {
        let date: LogicalDate = "2024-03-01".parse().unwrap();
        let days: Vec<String> = date.window(3).map(|d| d.to_string()).collect();
        assert_eq!(days, ["2024-02-28", "2024-02-29", "2024-03-01"]);
        assert_eq!((date.interval().end - date.interval().start).num_hours(), 24);
    }

    #[test]
    fn day_counts() {
        assert_eq!(parse_days("28d"), Some(28));
        assert_eq!(parse_days("2w"), Some(14));
        assert_eq!(parse_days("7"), Some(7));
        for bad in ["0d", "-1d", "3x", "", "d", "99999999999d"] {
            assert_eq!(parse_days(bad), None, "{bad}");
        }
    }
}
