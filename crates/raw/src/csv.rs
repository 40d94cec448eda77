//! CSV (RFC 4180) records into cells.
//!
//! Records are split here rather than by a library, because a stray quote must cost one row and
//! not all that follow it: a quoted field that is not closed within [`MAX_RECORD_LINES`] lines
//! makes its first line malformed, and reading goes on with the line after it.

use std::borrow::Cow;

use super::cell::{Cell, text_cell};
use super::types::{Field, Timezone};

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
            cells.push(text_cell(field, column, timezone)?);
        }
        Ok(cells)
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
    use crate::ColumnType;

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

    /// Numbers that look random and are the same each time (splitmix64).
    fn random(state: &mut u64, below: usize) -> usize {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % below as u64) as usize
    }

    fn text(state: &mut u64, longest: usize) -> String {
        let alphabet = ['"', '"', ',', ';', '\n', 'a', 'é', ' ', '\''];
        let length = random(state, longest + 1);
        (0..length).map(|_| alphabet[random(state, alphabet.len())]).collect()
    }

    /// The first record of a text, as the crate `csv` reads it.
    fn reference(text: &str, delimiter: u8) -> Vec<String> {
        let mut reader = ::csv::ReaderBuilder::new()
            .has_headers(false)
            .delimiter(delimiter)
            .terminator(::csv::Terminator::Any(b'\n'))
            .from_reader(text.as_bytes());
        let record = reader.records().next().unwrap().unwrap();
        record.iter().map(str::to_owned).collect()
    }

    #[test]
    fn what_another_writes_is_read() {
        let mut state = 1;
        for round in 0..20_000 {
            let delimiter = [b',', b';'][round % 2];
            let fields: Vec<String> =
                (0..1 + random(&mut state, 4)).map(|_| text(&mut state, 6)).collect();
            let mut writer =
                ::csv::WriterBuilder::new().delimiter(delimiter).from_writer(Vec::new());
            writer.write_record(&fields).unwrap();
            let written = writer.into_inner().unwrap();
            let record = written.strip_suffix(b"\n").unwrap();
            assert!(!is_open(record, delimiter), "{fields:?}");
            assert_eq!(split(record, delimiter).unwrap(), fields);
        }
    }

    #[test]
    fn what_is_read_is_what_another_reads() {
        let (mut state, mut read, mut refused) = (2, 0, 0);
        for _ in 0..40_000 {
            let record = text(&mut state, 12);
            // A line break outside of quotes ends a record before it comes here.
            let line = record.split_inclusive('\n').scan(String::new(), |so_far, line| {
                so_far.push_str(line);
                Some(so_far.clone())
            });
            let Some(record) = line
                .map(|line| line.trim_end_matches('\n').to_owned())
                .find(|line| !is_open(line.as_bytes(), b','))
            else {
                continue;
            };
            if record.is_empty() {
                continue;
            }
            match split(record.as_bytes(), b',') {
                Ok(fields) => {
                    assert_eq!(fields, reference(&record, b','), "{record:?}");
                    read += 1;
                }
                // The reference takes text after a closing quote for a part of the field.
                Err(reason) => {
                    assert!(reason.starts_with("bad quotes: text after"), "{record:?}: {reason}");
                    refused += 1;
                }
            }
        }
        assert!(read > 10_000 && refused > 500, "{read} read, {refused} refused");
    }

    #[test]
    fn knows_open_records() {
        assert!(is_open(b"a,\"b", b','));
        assert!(!is_open(b"a,\"b\"", b','));
        assert!(!is_open(b"a,5\" pipe", b','));
        assert!(is_open(b"\"a \"\" b", b','));
    }
}
