//! Lines of a log into cells, by a pattern with a named group for each column.

use std::borrow::Cow;

use regex::{CaptureLocations, Regex};

use super::cell::{Cell, text_cell};
use super::types::{Field, Timezone};

/// What access logs write where there is no value.
const NOTHING: &str = "-";

/// The directives of the W3C Extended Log File Format (WD-logfile-960323), which are about the lines
/// that follow and no entries themselves.
const DIRECTIVES: [&[u8]; 7] =
    [b"Version", b"Fields", b"Software", b"Start-Date", b"End-Date", b"Date", b"Remark"];

/// How the lines of a log are read.
#[derive(Debug, Clone)]
pub struct Pattern {
    regex: Regex,
    locations: CaptureLocations,
    /// The group of each column.
    groups: Vec<usize>,
}

impl Pattern {
    /// A pattern of whole lines. Errors: it is no regular expression, or has no group for a column.
    pub fn new(pattern: &str, columns: &[Field]) -> Result<Self, String> {
        let regex = whole_line(pattern).map_err(|error| error.to_string())?;
        let group = |column: &Field| {
            let mut names = regex.capture_names();
            let found = names.position(|name| name == Some(&*column.name));
            found.ok_or_else(|| format!("no group `(?<{}>…)`", column.name))
        };
        let groups = columns.iter().map(group).collect::<Result<_, _>>()?;
        let locations = regex.capture_locations();
        Ok(Self { regex, locations, groups })
    }

    /// Reads one line into cells, one per column. An error says why it is malformed.
    ///
    /// A group that is empty, a dash, or takes no part in the match is a missing value.
    pub fn parse_line<'a>(
        &mut self,
        line: &'a [u8],
        columns: &[Field],
        timezone: Timezone,
        cells: &mut Vec<Cell<'a>>,
    ) -> Result<(), String> {
        let text = std::str::from_utf8(line).map_err(|error| {
            format!("not UTF-8: invalid byte at column {}", error.valid_up_to() + 1)
        })?;
        if self.regex.captures_read(&mut self.locations, text).is_none() {
            return Err("no match: the line is not as the pattern says".to_owned());
        }
        for (column, group) in columns.iter().zip(&self.groups) {
            let value = self.locations.get(*group).map_or("", |(from, to)| &text[from..to]);
            let value = if value == NOTHING { "" } else { value };
            cells.push(text_cell(Cow::Borrowed(value), column, timezone)?);
        }
        Ok(())
    }
}

/// The expression that a pattern stands for: it has to match lines as a whole.
pub fn whole_line(pattern: &str) -> Result<Regex, regex::Error> {
    Regex::new(&format!("^(?:{pattern})$"))
}

/// Whether a line is a directive of the W3C Extended Log File Format.
pub fn is_directive(line: &[u8]) -> bool {
    let Some(directive) = line.strip_prefix(b"#") else { return false };
    DIRECTIVES
        .iter()
        .any(|name| directive.strip_prefix(*name).is_some_and(|rest| rest.starts_with(b":")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ColumnType;

    fn columns() -> Vec<Field> {
        let column = |name: &str, kind, nullable| Field { name: name.to_owned(), kind, nullable };
        vec![
            column("status", ColumnType::Int, false),
            column("client", ColumnType::String, false),
            column("user", ColumnType::String, true),
            column("at", ColumnType::Timestamp, false),
        ]
    }

    fn read(line: &[u8]) -> Result<Vec<String>, String> {
        let pattern =
            r#"(?<client>\S+) (?<user>\S*) \[(?<at>[^\]]+)\] "[^"]*" (?<status>.*?)( .*)?"#;
        let mut cells = Vec::new();
        let mut pattern = Pattern::new(pattern, &columns()).unwrap();
        pattern.parse_line(line, &columns(), Timezone::UTC, &mut cells)?;
        Ok(cells.iter().map(|cell| format!("{cell:?}")).collect())
    }

    #[test]
    fn groups_are_columns() {
        let line = br#"10.0.0.7 ann [1970-01-01T00:00:01Z] "GET /cart HTTP/1.1" 200 rest"#;
        let expected = ["Int(200)", r#"Text("10.0.0.7")"#, r#"Text("ann")"#, "Int(1000000)"];
        assert_eq!(read(line).unwrap(), expected);
        for missing in ["", "-"] {
            let line = format!(r#"10.0.0.7 {missing} [1970-01-01T00:00:01Z] "" 404"#);
            assert_eq!(read(line.as_bytes()).unwrap()[2], "Null");
        }
    }

    #[test]
    fn says_why_a_line_is_malformed() {
        for (line, reason) in [
            (&br#"nonsense"#[..], "no match: the line is not as the pattern says"),
            (
                br#"10.0.0.7 - [now] "" 200"#,
                "wrong type: column `at` expected timestamp, found \"now\"",
            ),
            (br#"- - [1970-01-01T00:00:01Z] "" 200"#, "missing: column `client` is empty"),
            (
                br#"10.0.0.7 - [1970-01-01T00:00:01Z] "" 2x0"#,
                "wrong type: column `status` expected int, found \"2x0\"",
            ),
            (b"a\xff", "not UTF-8: invalid byte at column 2"),
        ] {
            assert_eq!(read(line), Err(reason.to_owned()));
        }
    }

    #[test]
    fn says_why_a_pattern_cannot_be_used() {
        assert!(Pattern::new("(", &columns()).unwrap_err().contains("unclosed group"));
        let lacking = Pattern::new("(?<status>.)", &columns()).unwrap_err();
        assert_eq!(lacking, "no group `(?<client>…)`");
    }

    #[test]
    fn directives_are_no_entries() {
        assert!(is_directive(b"#Fields: date time cs-uri-stem"));
        assert!(!is_directive(b"#Fieldsome"));
        assert!(!is_directive(b"# a line of somebody's"));
    }
}
