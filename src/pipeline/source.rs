//! Raw input: where it lies and what its rows look like.

pub use recctl_raw::Timezone;

use super::interval::{LogicalDate, Partition};
use super::name::Name;
use super::schema::Column;

/// Raw input that SQL can name as a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// The name in SQL.
    pub name: Name,
    /// Where its files lie.
    pub path: PathTemplate,
    /// How its files are written.
    pub format: Format,
    /// The columns that are read; other fields of the input are ignored.
    pub columns: Vec<Column>,
    /// The zone of timestamps that carry no offset.
    pub timezone: Timezone,
    /// The share of malformed rows, 0 to 1, above which the step fails.
    pub max_malformed_ratio: f64,
}

/// How a source's files are written. Compression follows from the file's name (`.gz`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// Comma-separated values with a header line (RFC 4180).
    Csv {
        /// The byte between fields.
        delimiter: u8,
    },
    /// One entry a line.
    Log {
        /// The regular expression of a line, with a named group for each column.
        pattern: String,
    },
}

/// A path with the date's parts as placeholders: `raw/clickstream/{yyyy}/{MM}/{dd}/`.
///
/// A path that ends in `/` names a folder, whose files are all read; any other names one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathTemplate {
    text: String,
    dated: bool,
}

/// Says what is wrong with a path template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPath {
    /// A placeholder that nobody knows.
    #[error("unknown placeholder `{{{0}}}` (expected `{{yyyy}}`, `{{MM}}` or `{{dd}}`)")]
    Placeholder(String),
    /// Some of the three parts of a date, but not all.
    #[error("a dated path needs `{{yyyy}}`, `{{MM}}` and `{{dd}}`; `{0}` is missing")]
    Incomplete(&'static str),
    /// An opened brace that is never closed.
    #[error("`{{` is never closed")]
    Unclosed,
    /// Nothing at all.
    #[error("the path is empty")]
    Empty,
}

const PLACEHOLDERS: [&str; 3] = ["{yyyy}", "{MM}", "{dd}"];

impl PathTemplate {
    /// Checks the placeholders of `text`.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidPath> {
        let text = text.into();
        if text.is_empty() {
            return Err(InvalidPath::Empty);
        }
        let mut rest = text.as_str();
        while let Some(open) = rest.find('{') {
            let close = rest[open..].find('}').ok_or(InvalidPath::Unclosed)? + open;
            if !PLACEHOLDERS.contains(&&rest[open..=close]) {
                return Err(InvalidPath::Placeholder(rest[open + 1..close].to_owned()));
            }
            rest = &rest[close + 1..];
        }
        let missing: Vec<&str> =
            PLACEHOLDERS.into_iter().filter(|placeholder| !text.contains(placeholder)).collect();
        match missing.as_slice() {
            [] => Ok(Self { text, dated: true }),
            missing if missing.len() == PLACEHOLDERS.len() => Ok(Self { text, dated: false }),
            missing => Err(InvalidPath::Incomplete(missing[0])),
        }
    }

    /// Whether there is one path a day.
    pub fn is_dated(&self) -> bool {
        self.dated
    }

    /// The template as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The path of one day.
    pub fn on(&self, date: LogicalDate) -> String {
        let day = date.day();
        self.text
            .replace("{yyyy}", &day.format("%Y").to_string())
            .replace("{MM}", &day.format("%m").to_string())
            .replace("{dd}", &day.format("%d").to_string())
    }

    /// The path of a partition; an undated template is the same for all.
    pub fn of(&self, partition: Partition) -> String {
        partition.date().map_or_else(|| self.text.clone(), |date| self.on(date))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_in_the_date() {
        let template = PathTemplate::new("raw/{yyyy}/{MM}/{dd}/").unwrap();
        assert!(template.is_dated());
        assert_eq!(template.on("2026-03-01".parse().unwrap()), "raw/2026/03/01/");
        assert!(!PathTemplate::new("raw/users.json").unwrap().is_dated());
    }

    #[test]
    fn names_what_is_wrong() {
        assert_eq!(
            PathTemplate::new("raw/{year}/"),
            Err(InvalidPath::Placeholder("year".to_owned()))
        );
        assert_eq!(PathTemplate::new("raw/{yyyy}/{MM}/"), Err(InvalidPath::Incomplete("{dd}")));
        assert_eq!(PathTemplate::new("raw/{yyyy"), Err(InvalidPath::Unclosed));
    }
}
