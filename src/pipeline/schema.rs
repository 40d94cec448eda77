//! The types that a source's columns can have.

use std::fmt;
use std::str::FromStr;

/// The type of a column as a source declares it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ColumnType {
    /// UTF-8 text.
    String,
    /// 64-bit signed integer.
    Int,
    /// 64-bit floating point; finite.
    Double,
    /// `true` or `false`.
    Boolean,
    /// An instant, kept as microseconds in UTC. Read from ISO 8601 text; a text without an offset
    /// is in the source's time zone.
    Timestamp,
    /// An instant given as milliseconds since 1970-01-01 UTC.
    TimestampMs,
    /// A calendar day, `YYYY-MM-DD`.
    Date,
    /// Any JSON value, kept as its text.
    Json,
}

impl ColumnType {
    /// All types with the word that names each in `pipelines.yaml`.
    pub const ALL: [(&'static str, ColumnType); 8] = [
        ("string", Self::String),
        ("int", Self::Int),
        ("double", Self::Double),
        ("boolean", Self::Boolean),
        ("timestamp", Self::Timestamp),
        ("timestamp_ms", Self::TimestampMs),
        ("date", Self::Date),
        ("json", Self::Json),
    ];
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = Self::ALL.iter().find(|(_, kind)| kind == self).map_or("", |(word, _)| word);
        f.pad(word)
    }
}

impl FromStr for ColumnType {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.iter().find(|(word, _)| *word == text).map(|(_, kind)| *kind).ok_or(())
    }
}

/// A column that a source declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Name in the file and in SQL.
    pub name: String,
    /// Type.
    pub kind: ColumnType,
    /// Whether a row may lack it (`string?`).
    pub nullable: bool,
    /// What is to be known of its values; [`PII`] for what tells who somebody is.
    pub tags: Vec<String>,
}

/// The tag of a column whose values tell who somebody is.
pub const PII: &str = "pii";
