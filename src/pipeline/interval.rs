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

/// Days from a first to a last, both of which belong to it; there is at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DateRange {
    first: LogicalDate,
    last: LogicalDate,
}

/// Says that a range would end before it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{first} comes after {last}")]
pub struct ReversedRange {
    /// The day that was to be the first.
    pub first: LogicalDate,
    /// The day that was to be the last.
    pub last: LogicalDate,
}

impl DateRange {
    /// The days from `first` to `last`.
    pub fn new(first: LogicalDate, last: LogicalDate) -> Result<Self, ReversedRange> {
        if first <= last { Ok(Self { first, last }) } else { Err(ReversedRange { first, last }) }
    }

    /// The first day.
    pub fn first(self) -> LogicalDate {
        self.first
    }

    /// The last day.
    pub fn last(self) -> LogicalDate {
        self.last
    }

    /// The number of days.
    #[expect(clippy::len_without_is_empty, reason = "a range has at least one day")]
    pub fn len(self) -> u32 {
        let days = self.last.0.signed_duration_since(self.first.0).num_days();
        u32::try_from(days).map_or(u32::MAX, |days| days.saturating_add(1))
    }

    /// The days, oldest first.
    pub fn days(self) -> impl DoubleEndedIterator<Item = LogicalDate> {
        (0..self.len()).map(move |offset| self.first.plus(offset))
    }

    /// Whether a day belongs to it.
    pub fn contains(self, day: LogicalDate) -> bool {
        (self.first..=self.last).contains(&day)
    }
}

impl fmt::Display for DateRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last } = self;
        if first == last { first.fmt(f) } else { write!(f, "{first} … {last}") }
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

    /// Days by chance, the same ones each time, over a thousand years: leap years, and those of
    /// centuries that are none, are among them.
    fn some_days(number: usize) -> Vec<(LogicalDate, u32)> {
        use rand::{RngExt, SeedableRng};
        let mut random = rand::rngs::StdRng::seed_from_u64(7);
        let first: LogicalDate = "1600-01-01".parse().unwrap();
        let draw = |_| (first.plus(random.random_range(0..365_000)), random.random_range(0..5_000));
        (0..number).map(draw).collect()
    }

    #[test]
    fn days_there_and_back() {
        for (day, count) in some_days(5_000) {
            assert_eq!(day.plus(count).minus(count), day);
            assert_eq!(day.to_string().parse(), Ok(day));
            let later = day.plus(count);
            assert_eq!(later.days_since_epoch() - day.days_since_epoch(), count as i32);
            assert_eq!(day.cmp(&later), 0.cmp(&count), "{day} {later}");
        }
    }

    #[test]
    fn intervals_follow_each_other_without_a_gap() {
        for (day, _) in some_days(5_000) {
            let (own, next) = (day.interval(), day.plus(1).interval());
            assert_eq!(own.end, next.start);
            assert_eq!((own.end - own.start).num_seconds(), 86_400);
            assert_eq!(own.start.date_naive(), day.day());
        }
    }

    #[test]
    fn a_window_is_the_range_that_ends_with_the_day() {
        for (day, count) in some_days(300) {
            let window: Vec<LogicalDate> = day.window(count + 1).collect();
            let range = DateRange::new(day.minus(count), day).unwrap();
            assert_eq!(window, range.days().collect::<Vec<_>>());
            assert_eq!(range.len() as usize, window.len());
            assert!(window.windows(2).all(|pair| pair[0].plus(1) == pair[1]));
            let newest_first: Vec<LogicalDate> = range.days().rev().collect();
            assert!(newest_first.iter().eq(window.iter().rev()));
            assert!(range.contains(day) && range.contains(range.first()));
            assert!(!range.contains(day.plus(1)) && !range.contains(range.first().minus(1)));
            let same = DateRange::new(day, range.first());
            assert_eq!(same.is_ok(), count == 0, "both orders are one only for a day alone");
        }
    }

    #[test]
    fn a_month_has_its_days() {
        use chrono::Datelike;
        let mut year = some_days(400).into_iter().map(|(day, _)| day.day().year());
        for year in year.by_ref() {
            let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let day = |month: i32| -> LogicalDate {
                let (year, month) = (year + (month - 1) / 12, (month - 1) % 12 + 1);
                format!("{year:04}-{month:02}-01").parse().unwrap()
            };
            for month in 1..=12 {
                let range = DateRange::new(day(month), day(month + 1).minus(1)).unwrap();
                let expected = match month {
                    2 if is_leap => 29,
                    2 => 28,
                    4 | 6 | 9 | 11 => 30,
                    _ => 31,
                };
                assert_eq!(range.len(), expected, "{range}");
            }
        }
    }

    #[test]
    fn the_calendar_has_ends() {
        let last = LogicalDate::new(NaiveDate::MAX);
        assert_eq!(last.plus(3), last);
        assert_eq!(DateRange::new(last, last).unwrap().days().count(), 1);
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
