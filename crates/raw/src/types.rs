//! The types that columns of raw files can have.

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

/// A column of a raw file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Name in the file.
    pub name: String,
    /// Type.
    pub kind: ColumnType,
    /// Whether a row may lack it.
    pub nullable: bool,
}

/// The zone of timestamps without an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timezone {
    /// Seconds east of UTC.
    pub offset_seconds: i32,
}

impl Timezone {
    /// Coordinated universal time.
    pub const UTC: Timezone = Timezone { offset_seconds: 0 };

    /// Reads `UTC` or a fixed offset such as `+02:00`.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "UTC" || text == "Z" {
            return Some(Self::UTC);
        }
        let sign = match text.as_bytes().first()? {
            b'+' => 1,
            b'-' => -1,
            _ => return None,
        };
        let (hours, minutes) = text.get(1..)?.split_once(':')?;
        let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
        ((0..=14).contains(&hours) && (0..60).contains(&minutes))
            .then_some(Self { offset_seconds: sign * (hours * 3_600 + minutes * 60) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_offsets() {
        assert_eq!(Timezone::parse("+05:30").unwrap().offset_seconds, 19_800);
        assert_eq!(Timezone::parse("-01:00").unwrap().offset_seconds, -3_600);
        assert_eq!(Timezone::parse("UTC"), Some(Timezone::UTC));
        assert!(Timezone::parse("Europe/London").is_none());
        assert!(Timezone::parse("+25:00").is_none());
    }
}
