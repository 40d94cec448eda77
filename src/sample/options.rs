//! What a sample should look like, and the limits of that.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use chrono::{Datelike, Days, NaiveDate};

use super::error::SampleError;

/// Limits of [`SampleOptions::events`].
pub const EVENTS: RangeInclusive<u64> = 10_000..=100_000_000;
/// Limits of [`SampleOptions::days`].
pub const DAYS: RangeInclusive<u32> = 1..=366;
/// Limits of [`SampleOptions::users`].
pub const USERS: RangeInclusive<u32> = 50..=2_000_000;
/// Limits of [`SampleOptions::items`]. Below the lower limit a taste would have too few items to explore.
pub const ITEMS: RangeInclusive<u32> = 100..=20_000;
/// Limits of [`SampleOptions::threads`].
pub const THREADS: RangeInclusive<usize> = 1..=256;
/// Limits of the year of [`SampleOptions::last_day`], so that dates have four digits and follow 1970.
pub const YEARS: RangeInclusive<i32> = 1980..=2999;

/// States how large a sample is and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleOptions {
    /// Lines over all days, dirt included: 10,000 to 100,000,000. The files hold exactly this many lines.
    pub events: u64,
    /// Days, one folder each: 1 to 366.
    pub days: u32,
    /// The last of these days, in UTC; its year lies in 1980 to 2999.
    pub last_day: NaiveDate,
    /// The seed. Equal options (threads and output aside) give byte-identical files.
    pub seed: u64,
    /// Signed-in users, 50 to 2,000,000; by default [`default_users`].
    pub users: Option<u32>,
    /// Items on sale, 100 to 20,000; by default [`default_items`].
    pub items: Option<u32>,
    /// Threads that write files: 1 to 256. They change the speed, never the bytes.
    pub threads: usize,
    /// The folder under which `raw/` is created.
    pub output: PathBuf,
}

/// Returns the number of users a sample of `events` lines over `days` days has unless told otherwise.
///
/// Grows like `events^0.62`, so that users of longer samples are seen more often, but not so slowly that a day's users
/// would be busier than people are: 2,500 for 60,000 events, 31,000 for a day of a million, 60,000 for ten of them.
#[must_use]
pub fn default_users(events: u64, days: u32) -> u32 {
    let a_day = events as f64 / f64::from(days.max(1));
    limited(
        (2_500.0 * in_60k(events as f64).powf(0.62)).max(2_500.0 * in_60k(a_day).powf(0.9)),
        &USERS,
    )
}

/// Returns the number of items a sample of `events` lines over `days` days has unless told otherwise.
///
/// 600 items for 60,000 events, 5,700 for a day of a million, 8,000 for ten of them, 20,000 at most.
#[must_use]
pub fn default_items(events: u64, days: u32) -> u32 {
    let a_day = events as f64 / f64::from(days.max(1));
    limited(
        (600.0 * in_60k(events as f64).powf(0.506)).max(600.0 * in_60k(a_day).powf(0.8)),
        &ITEMS,
    )
}

fn in_60k(events: f64) -> f64 {
    events / 60_000.0
}

fn limited(count: f64, limits: &RangeInclusive<u32>) -> u32 {
    (count.round() as u32).clamp(*limits.start(), *limits.end())
}

/// The options once checked, with the defaults filled in.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub events: u64,
    pub days: u32,
    pub first_day: NaiveDate,
    pub last_day: NaiveDate,
    pub seed: u64,
    pub users: u32,
    pub items: u32,
}

impl Plan {
    /// Checks every limit; the first option outside its limits is the error.
    pub(super) fn new(options: &SampleOptions) -> Result<Self, SampleError> {
        within("events", options.events, &EVENTS)?;
        within("days", options.days, &DAYS)?;
        within("last_day (year)", options.last_day.year(), &YEARS)?;
        within("threads", options.threads, &THREADS)?;
        let users = options.users.unwrap_or_else(|| default_users(options.events, options.days));
        within("users", users, &USERS)?;
        let items = options.items.unwrap_or_else(|| default_items(options.events, options.days));
        within("items", items, &ITEMS)?;
        // The year's limits leave room for 366 days before, so the fallback is never taken.
        let first_day = options
            .last_day
            .checked_sub_days(Days::new(u64::from(options.days - 1)))
            .unwrap_or(options.last_day);
        Ok(Self {
            events: options.events,
            days: options.days,
            first_day,
            last_day: options.last_day,
            seed: options.seed,
            users,
            items,
        })
    }

    /// Returns the date `index` days after the first.
    pub(super) fn day(&self, index: u32) -> NaiveDate {
        self.first_day.checked_add_days(Days::new(u64::from(index))).unwrap_or(self.last_day)
    }
}

fn within<T: PartialOrd + Display>(
    option: &'static str,
    value: T,
    limits: &RangeInclusive<T>,
) -> Result<(), SampleError> {
    if limits.contains(&value) {
        return Ok(());
    }
    Err(SampleError::OutOfRange {
        option,
        value: value.to_string(),
        least: limits.start().to_string(),
        most: limits.end().to_string(),
    })
}
