//! CSV (RFC 4180) records into cells.
//!
//! Records are split here rather than by a library, because a stray quote must cost one row and
//! not all that follow it: a quoted field that is not closed within [`MAX_RECORD_LINES`] lines
//! makes its first line malformed, and reading goes on with the line after it.

use std::borrow::Cow;

use super::cell::{Cell, parse_text};
use super::types::{ColumnType, Field, Timezone};

/// The number of lines that a record may span by line breaks in quotes.
pub const MAX_RECORD_LINES: usize = 64;

/// Where each declared column stands in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    positions: Vec<usize>,
    width: usize,
}

impl Layout {
    /// Reads the header line. Errors: a declared column that the header lacks.
    pub fn from_header(line: &[u8], delimiter: u8, columns: &[Field]) -> Result<Self, String> {
        // Spreadsheet programs put a byte-order mark in front.
        let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        let fields = split(line, delimiter)?;
        let names: Vec<&str> = fields.iter().map(|field| field.trim()).collect();
        let position = |column: &Field| {
            names.iter().position(|name| *name == column.name).ok_or_else(|| {
                format!(
                    "the header has no column `{}`; it has `{}`",
                    column.name,
                    names.join("`, `")
                )
            })
        };
        let positions = columns.iter().map(position).collect::<Result<_, _>>()?;
        Ok(Self { positions, width: fields.len() })
    }

    /// Reads one record into cells, one per column. An error says why it is malformed.
    pub fn parse_record<'a>(
        &self,
        record: &'a [u8],
        delimiter: u8,
        columns: &[Field],
        timezone: Timezone,
    ) -> Result<Vec<Cell<'a>>, String> {
        let mut fields = split(record, delimiter)?;
        if fields.len() != self.width {
            let (found, width) = (fields.len(), self.width);
            return Err(format!("wrong width: expected {width} fields, found {found}"));
        }
        let mut cells = Vec::with_capacity(columns.len());
        for (column, position) in columns.iter().zip(&self.positions) {
            let field = std::mem::take(&mut fields[*position]);
            // An empty field is a missing value, as the file has no other way to say so.
            if field.is_empty() {
                if !column.nullable {
                    return Err(format!("missing: column `{}` is empty", column.name));
                }
                cells.push(Cell::Null);
                continue;
            }
            let trimmed = match column.kind {
                ColumnType::String | ColumnType::Json => field,
                _ => trim(field),
            };
            let cell = parse_text(trimmed.clone(), column.kind, timezone).ok_or_else(|| {
                let shown: String = trimmed.chars().take(40).collect();
                format!(
                    "wrong type: column `{}` expected {}, found {shown:?}",
                    column.name, column.kind
                )
            })?;
            cells.push(cell);
        }
        Ok(cells)
    }
}

fn trim(text: Cow<'_, str>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
        Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
    }
}

/// Whether `record` ends inside a quoted field, so that the next line belongs to it.
///
/// A quote opens a field only at the field's start; anywhere else it is a character as any other.
pub fn is_open(record: &[u8], delimiter: u8) -> bool {
    if memchr::memchr(b'"', record).is_none() {
        return false;
    }
    let mut quoted = false;
    let mut at_start = true;
    let mut bytes = record.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if quoted {
            if byte == b'"' {
                if bytes.peek() == Some(&b'"') {
                    bytes.next();
                } else {
                    quoted = false;
                }
            }
        } else if byte == delimiter {
            at_start = true;
        } else {
            quoted = at_start && byte == b'"';
            at_start = false;
        }
    }
    quoted
}

/// The fields of a record. An error says why it is malformed.
pub fn split(record: &[u8], delimiter: u8) -> Result<Vec<Cow<'_, str>>, String> {
    let text = std::str::from_utf8(record).map_err(|error| {
        format!("not UTF-8: invalid byte at column {}", error.valid_up_to() + 1)
    })?;
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let (field, after) = unquote(quoted)?;
            fields.push(field);
            rest = after;
            match rest.as_bytes().first() {
                None => return Ok(fields),
                Some(byte) if *byte == delimiter => rest = &rest[1..],
                Some(_) => {
                    let column = text.len() - rest.len() + 1;
                    return Err(format!(
                        "bad quotes: text after a closing quote at column {column}"
                    ));
                }
            }
        } else {
            match memchr::memchr(delimiter, rest.as_bytes()) {
                Some(end) => {
                    fields.push(Cow::Borrowed(&rest[..end]));
                    rest = &rest[end + 1..];
                }
                None => {
                    fields.push(Cow::Borrowed(rest));
                    return Ok(fields);
                }
            }
        }
    }
}

/// Reads up to the closing quote; returns the field and what follows the quote.
fn unquote(text: &str) -> Result<(Cow<'_, str>, &str), String> {
    let mut owned: Option<String> = None;
    let mut rest = text;
    loop {
        let Some(quote) = memchr::memchr(b'"', rest.as_bytes()) else {
            return Err("bad quotes: a quoted field is never closed".to_owned());
        };
        let (piece, after) = (&rest[..quote], &rest[quote + 1..]);
        if let Some(more) = after.strip_prefix('"') {
            let owned = owned.get_or_insert_default();
            owned.push_str(piece);
            owned.push('"');
            rest = more;
        } else {
            let field = match owned {
                Some(mut owned) => {
                    owned.push_str(piece);
                    Cow::Owned(owned)
                }
                None => Cow::Borrowed(piece),
            };
            return Ok((field, after));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> Vec<Field> {
        let column = |name: &str, kind, nullable| Field { name: name.to_owned(), kind, nullable };
        vec![column("name", ColumnType::String, false), column("price", ColumnType::Double, true)]
    }

    fn read(header: &str, record: &str) -> Result<Vec<String>, String> {
        let columns = columns();
        let layout = Layout::from_header(header.as_bytes(), b',', &columns)?;
        let cells = layout.parse_record(record.as_bytes(), b',', &columns, Timezone::UTC)?;
        Ok(cells.iter().map(|cell| format!("{cell:?}")).collect())
    }

    #[test]
    fn reads_by_the_header_with_quotes() {
        assert_eq!(
            read("id,price,name", r#"1, 2.5 ,"a ""b"", c""#).unwrap(),
            [r#"Text("a \"b\", c")"#, "Double(2.5)"]
        );
        assert_eq!(read("name,price", "a,").unwrap()[1], "Null");
    }

    #[test]
    fn says_why_a_record_is_malformed() {
        for (record, reason) in [
            ("a", "wrong width: expected 2 fields, found 1"),
            ("a,1,2", "wrong width: expected 2 fields, found 3"),
            (",1", "missing: column `name` is empty"),
            ("a,x1", "wrong type: column `price` expected double, found \"x1\""),
            ("\"a\"b,1", "bad quotes: text after a closing quote at column 4"),
            ("\"a,1", "bad quotes: a quoted field is never closed"),
        ] {
            assert_eq!(read("name,price", record), Err(reason.to_owned()), "{record}");
        }
        let missing = read("name,cost", "a,1").unwrap_err();
        assert_eq!(missing, "the header has no column `price`; it has `name`, `cost`");
    }

    #[test]
    fn knows_open_records() {
        assert!(is_open(b"a,\"b", b','));
        assert!(!is_open(b"a,\"b\"", b','));
        assert!(!is_open(b"a,5\" pipe", b','));
        assert!(is_open(b"\"a \"\" b", b','));
    }
}
