//! What was written, counted while it was written.

use chrono::NaiveDate;
use serde::Serialize;

/// Tells what a sample consists of. Every count is taken from the lines as written, none is an estimate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SampleSummary {
    /// Version of this format.
    pub version: u32,
    /// First day with a folder.
    pub first_day: NaiveDate,
    /// Last day with a folder.
    pub last_day: NaiveDate,
    /// Lines of `users.json.gz`.
    pub users: u32,
    /// Cookies without an account that may occur besides the users' own.
    pub anonymous_visitors: u32,
    /// Rows of `products.csv`, the header aside.
    pub items: u32,
    /// The days together.
    pub total: SampleCounts,
    /// Each day, in order.
    pub days: Vec<SampleDay>,
}

/// Counts one day's folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SampleDay {
    /// The day of the folder.
    pub day: NaiveDate,
    /// Its counts.
    #[serde(flatten)]
    pub counts: SampleCounts,
}

/// Counts lines by category. The categories are disjoint and complete:
///
/// `lines = clean + duplicates + bots + outside_day + malformed.total()` and
/// `events = lines - malformed.total()`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct SampleCounts {
    /// Lines, each ended by one line feed; none is blank.
    pub lines: u64,
    /// Well-formed events: a JSON object with every field of its documented type.
    pub events: u64,
    /// Events a correct cleaning keeps: by people, `ts` within the folder's UTC day, the first of their copies.
    pub clean: u64,
    /// Further copies, byte for byte, of a clean event of the same day's folder. Equal to the lines with a
    /// well-formed event less the distinct `event_id`s, as no other event shares its id.
    pub duplicates: u64,
    /// Events whose user agent holds `bot`, `crawler` or `spider`; `ts` within the day, never copied.
    pub bots: u64,
    /// Events by people whose `ts` lies before or after the folder's UTC day; never copied.
    pub outside_day: u64,
    /// Lines that are no event; extra lines whose `event_id`, where there is one, occurs nowhere else.
    pub malformed: MalformedCounts,
    /// Files.
    pub files: u64,
    /// Bytes before compression, line feeds included.
    pub bytes_raw: u64,
    /// Bytes of the files.
    pub bytes_compressed: u64,
}

/// Counts malformed lines by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct MalformedCounts {
    /// An event cut off before its end: never valid JSON.
    pub truncated: u64,
    /// A log line, HTML or binary (invalid UTF-8): never valid JSON.
    pub not_json: u64,
    /// A valid JSON object with one wrong field: `price` as text, `item_id` as an object, a `ts` that is no time,
    /// or no `event_id`.
    pub wrong_types: u64,
}

impl MalformedCounts {
    /// Returns the malformed lines of every kind.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.truncated + self.not_json + self.wrong_types
    }
}

impl SampleCounts {
    /// Adds another's counts to these.
    pub(super) fn add(&mut self, other: &Self) {
        self.lines += other.lines;
        self.events += other.events;
        self.clean += other.clean;
        self.duplicates += other.duplicates;
        self.bots += other.bots;
        self.outside_day += other.outside_day;
        self.malformed.truncated += other.malformed.truncated;
        self.malformed.not_json += other.malformed.not_json;
        self.malformed.wrong_types += other.malformed.wrong_types;
        self.files += other.files;
        self.bytes_raw += other.bytes_raw;
        self.bytes_compressed += other.bytes_compressed;
    }
}
