//! JSON lines into cells.
//!
//! Every declared column is checked in every row, whichever columns a query asks for: whether a
//! row is malformed must not depend on who asks.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::cell::{Cell, parse_text};
use super::sure;
use super::types::{ColumnType, Field, Timezone};

/// Reads one line into `cells`, one per column. On an error, which says why the line is malformed,
/// the cells mean nothing.
pub fn parse_line<'a>(
    line: &'a [u8],
    columns: &[Field],
    timezone: Timezone,
    cells: &mut Vec<Cell<'a>>,
) -> Result<(), String> {
    cells.clear();
    cells.resize(columns.len(), Cell::Missing);
    let text = std::str::from_utf8(line).map_err(|error| {
        format!("not UTF-8: invalid byte at column {}", error.valid_up_to() + 1)
    })?;
    if sure::read(text, columns, timezone, cells).is_none() {
        cells.fill(Cell::Missing);
        read_any(text, columns, timezone, cells)?;
    }
    for (column, cell) in columns.iter().zip(cells.iter()) {
        match cell {
            Cell::Missing if !column.nullable => {
                return Err(format!("missing: column `{}` is not in the row", column.name));
            }
            Cell::Null if !column.nullable => {
                return Err(format!("missing: column `{}` is null", column.name));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Reads any JSON, or says why it is none.
fn read_any<'a>(
    text: &'a str,
    columns: &[Field],
    timezone: Timezone,
    cells: &mut Vec<Cell<'a>>,
) -> Result<(), String> {
    let mut wrong = None;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let row = Row { columns, timezone, cells, wrong: &mut wrong };
    row.deserialize(&mut deserializer)
        .and_then(|()| deserializer.end())
        .map_err(|error| describe(&error))?;
    wrong.map_or(Ok(()), Err)
}

fn describe(error: &serde_json::Error) -> String {
    use serde_json::error::Category;
    let column = error.column();
    match error.classify() {
        Category::Eof => format!("cut off: the line ends inside a value at column {column}"),
        Category::Data => "not an object: expected one JSON object a line".to_owned(),
        Category::Syntax | Category::Io => {
            let text = error.to_string();
            let what = text.split(" at line").next().unwrap_or(&text);
            format!("not JSON: {what} at column {column}")
        }
    }
}

struct Row<'r, 'a> {
    columns: &'r [Field],
    timezone: Timezone,
    cells: &'r mut Vec<Cell<'a>>,
    wrong: &'r mut Option<String>,
}

impl<'de> DeserializeSeed<'de> for Row<'_, 'de> {
    type Value = ();
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Row<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        // Writers keep the order of fields, so the column after the last one is the best guess.
        let mut guess = 0;
        while let Some(index) = map.next_key_seed(Key { columns: self.columns, guess })? {
            match index {
                Some(index) => {
                    guess = index + 1;
                    let column = &self.columns[index];
                    let value = Value { column, timezone: self.timezone };
                    match map.next_value_seed(value)? {
                        Ok(cell) => self.cells[index] = cell,
                        Err(found) => {
                            if self.wrong.is_none() {
                                *self.wrong = Some(format!(
                                    "wrong type: column `{}` expected {}, found {found}",
                                    column.name, column.kind
                                ));
                            }
                        }
                    }
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// Finds the column of a key without keeping the key.
struct Key<'r> {
    columns: &'r [Field],
    guess: usize,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Option<usize>;
    fn deserialize<D: serde::Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E>(self, key: &str) -> Result<Option<usize>, E> {
        if self.columns.get(self.guess).is_some_and(|column| column.name == key) {
            return Ok(Some(self.guess));
        }
        Ok(self.columns.iter().position(|column| column.name == key))
    }
}

/// Reads a value as the column's type; the inner error says what was found instead.
struct Value<'r> {
    column: &'r Field,
    timezone: Timezone,
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = Result<Cell<'de>, String>;
    fn deserialize<D: serde::Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<Self::Value, D::Error> {
        if self.column.kind == ColumnType::Json {
            let raw =
                <&serde_json::value::RawValue as serde::Deserialize>::deserialize(deserializer)?;
            return Ok(Ok(match raw.get() {
                "null" => Cell::Null,
                text => Cell::Text(Cow::Borrowed(text)),
            }));
        }
        deserializer.deserialize_any(self)
    }
}

impl Value<'_> {
    fn text<'de>(&self, text: Cow<'de, str>) -> Result<Cell<'de>, String> {
        match self.column.kind {
            ColumnType::String => Ok(Cell::Text(text)),
            ColumnType::Timestamp | ColumnType::Date => {
                match parse_text(Cow::Borrowed(text.as_ref()), self.column.kind, self.timezone) {
                    Some(Cell::Int(value)) => Ok(Cell::Int(value)),
                    _ => Err(shorten(&text)),
                }
            }
            // A number in quotes is not a number: a feed that begins to quote should be noticed.
            _ => Err(shorten(&text)),
        }
    }

    fn int<'de>(&self, value: i64) -> Result<Cell<'de>, String> {
        match self.column.kind {
            ColumnType::Int => Ok(Cell::Int(value)),
            #[expect(clippy::cast_precision_loss, reason = "JSON numbers are doubles by RFC 8259")]
            ColumnType::Double => Ok(Cell::Double(value as f64)),
            ColumnType::TimestampMs => {
                value.checked_mul(1_000).map(Cell::Int).ok_or_else(|| format!("number {value}"))
            }
            _ => Err(format!("number {value}")),
        }
    }
}

fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(40).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("string {short:?}")
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = Result<Cell<'de>, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.column.kind)
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(self.text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(self.text(Cow::Owned(text.to_owned())))
    }

    fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
        Ok(self.text(Cow::Owned(text)))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(match self.column.kind {
            ColumnType::Boolean => Ok(Cell::Boolean(value)),
            _ => Err(format!("boolean {value}")),
        })
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(self.int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(match i64::try_from(value) {
            Ok(value) => self.int(value),
            #[expect(clippy::cast_precision_loss, reason = "JSON numbers are doubles by RFC 8259")]
            Err(_) if self.column.kind == ColumnType::Double => Ok(Cell::Double(value as f64)),
            Err(_) => Err(format!("number {value}")),
        })
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(match self.column.kind {
            ColumnType::Double => Ok(Cell::Double(value)),
            _ => Err(format!("number {value}")),
        })
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Ok(Cell::Null))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Err("an object".to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Err("an array".to_owned()))
    }

    fn visit_bytes<E: serde::de::Error>(self, _: &[u8]) -> Result<Self::Value, E> {
        Err(E::custom("bytes in JSON"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> Vec<Field> {
        let column = |name: &str, kind, nullable| Field { name: name.to_owned(), kind, nullable };
        vec![
            column("id", ColumnType::String, false),
            column("ts", ColumnType::Timestamp, false),
            column("price", ColumnType::Double, true),
            column("n", ColumnType::Int, true),
            column("extra", ColumnType::Json, true),
        ]
    }

    fn read(line: &str) -> Result<Vec<String>, String> {
        let columns = columns();
        let mut cells = Vec::new();
        parse_line(line.as_bytes(), &columns, Timezone::UTC, &mut cells)?;
        Ok(cells.iter().map(|cell| format!("{cell:?}")).collect())
    }

    #[test]
    fn reads_declared_columns_in_any_order_and_ignores_others() {
        let cells = read(
            r#"{"x":{"y":[1,2]},"ts":"1970-01-01T00:00:01Z","price":3,"id":"a\u00e9","extra":{"b":1}}"#,
        );
        assert_eq!(
            cells.unwrap(),
            [r#"Text("aé")"#, "Int(1000000)", "Double(3.0)", "Missing", r#"Text("{\"b\":1}")"#]
        );
    }

    #[test]
    fn says_why_a_line_is_malformed() {
        let good = r#""id":"a","ts":"1970-01-01T00:00:01Z""#;
        for (line, reason) in [
            (
                r#"{"id":"a","ts":"19"#.to_owned(),
                "cut off: the line ends inside a value at column 18",
            ),
            ("<html>".to_owned(), "not JSON: expected value at column 1"),
            ("[1,2]".to_owned(), "not an object: expected one JSON object a line"),
            (format!("{{{good}}} trailing"), "not JSON: trailing characters at column 40"),
            (
                format!(r#"{{{good},"price":"n/a"}}"#),
                "wrong type: column `price` expected double, found string \"n/a\"",
            ),
            (
                format!(r#"{{{good},"n":1.5}}"#),
                "wrong type: column `n` expected int, found number 1.5",
            ),
            (
                r#"{"id":{"a":1},"ts":"1970-01-01T00:00:01Z"}"#.to_owned(),
                "wrong type: column `id` expected string, found an object",
            ),
            (
                r#"{"id":"a","ts":"yesterday"}"#.to_owned(),
                "wrong type: column `ts` expected timestamp, found string \"yesterday\"",
            ),
            (
                r#"{"ts":"1970-01-01T00:00:01Z"}"#.to_owned(),
                "missing: column `id` is not in the row",
            ),
            (
                r#"{"id":null,"ts":"1970-01-01T00:00:01Z"}"#.to_owned(),
                "missing: column `id` is null",
            ),
        ] {
            assert_eq!(read(&line), Err(reason.to_owned()), "{line}");
        }
        let mut cells = Vec::new();
        let binary = parse_line(b"{\"id\":\"\xff\"}", &columns(), Timezone::UTC, &mut cells);
        assert_eq!(binary, Err("not UTF-8: invalid byte at column 8".to_owned()));
    }

    /// What serde_json alone makes of a line.
    fn reference(line: &str, columns: &[Field]) -> Result<Vec<String>, String> {
        let mut cells = vec![Cell::Missing; columns.len()];
        read_any(line, columns, Timezone::UTC, &mut cells)?;
        Ok(cells.iter().map(|cell| format!("{cell:?}")).collect())
    }

    /// Numbers that look random and are the same each time (splitmix64).
    fn random(state: &mut u64) -> usize {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) as usize
    }

    #[test]
    fn the_short_way_reads_what_serde_json_reads() {
        const KEYS: [&str; 9] =
            ["id", "ts", "price", "n", "extra", "ok", "day", "other", "i\\u0064"];
        const VALUES: [&str; 32] = [
            "\"a\"",
            "\"\"",
            "\"caf\u{e9} 12345678\"",
            "\"a\\n\"",
            "\"a\tb\"",
            "\"\\u00e9\"",
            "\"2026-03-01T10:00:00Z\"",
            "\"2026-03-01T10:00:00.123456+02:00\"",
            "\"2026-02-30\"",
            "\"2026-02-28\"",
            "0",
            "-0",
            "12",
            "-7",
            "007",
            "1.5",
            "1.",
            ".5",
            "-",
            "1e3",
            "1E-3",
            "1e999",
            "123456789012345678901234567890",
            "9223372036854775807",
            "9223372036854775808",
            "0.1000000000000000055511151231257827",
            "null",
            "true",
            "false",
            "nul",
            "{\"b\":[1,{}]}",
            "[1,2]",
        ];
        const SPACES: [&str; 6] = ["", "", "", " ", "\t", "\r "];
        let mut columns = columns();
        for (name, kind) in [("ok", ColumnType::Boolean), ("day", ColumnType::Date)] {
            columns.push(Field { name: name.to_owned(), kind, nullable: true });
        }
        let (mut state, mut short) = (1, 0);
        for _ in 0..200_000 {
            let mut line = String::from("{");
            for field in 0..random(&mut state) % 6 {
                let mut space = || SPACES[random(&mut state) % SPACES.len()];
                let (one, two, three, four) = (space(), space(), space(), space());
                let key = KEYS[random(&mut state) % KEYS.len()];
                let value = VALUES[random(&mut state) % VALUES.len()];
                let comma = if field == 0 { "" } else { "," };
                line.push_str(&format!("{comma}{one}\"{key}\"{two}:{three}{value}{four}"));
            }
            line.push('}');
            // Now and then something is cut off, put in or taken out.
            let mut at = random(&mut state) % line.len();
            while !line.is_char_boundary(at) {
                at -= 1;
            }
            match random(&mut state) % 12 {
                0 => line.truncate(at),
                1 => line.insert_str(at, ["\"", "\\", "{", "}", ",", ":", "x"][at % 7]),
                2 => drop(line.remove(at)),
                _ => {}
            }
            let mut cells = vec![Cell::Missing; columns.len()];
            if sure::read(&line, &columns, Timezone::UTC, &mut cells).is_some() {
                short += 1;
                let read: Vec<String> = cells.iter().map(|cell| format!("{cell:?}")).collect();
                assert_eq!(Ok(read), reference(&line, &columns), "{line}");
            }
        }
        assert!(short > 5_000, "the short way read only {short} lines");
    }

    #[test]
    fn plain_lines_go_the_short_way() {
        let line = r#"{"id":"caf\u00e9-0123456789","ts":"2026-03-01T10:00:00.5Z","n":12,"price":9.99,"new":null}"#;
        let line = line.replace("\\u00e9", "\u{e9}");
        let mut cells = vec![Cell::Missing; 5];
        assert!(sure::read(&line, &columns(), Timezone::UTC, &mut cells).is_some());
    }
}
