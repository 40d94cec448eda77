//! The short way for JSON lines: what is plainly right is read here, and all else is left to
//! serde_json, which knows the whole grammar and says what is wrong.
//!
//! It never refuses a line. Where it reads one, it reads what serde_json reads.

use std::borrow::Cow;

use super::cell::{Cell, parse_day, parse_instant};
use super::types::{ColumnType, Field, Timezone};

/// Reads a line into `cells`, one a field, all `Missing` before. `None` if it is not sure.
pub(super) fn read<'a>(
    line: &'a str,
    fields: &[Field],
    timezone: Timezone,
    cells: &mut [Cell<'a>],
) -> Option<()> {
    let mut text = Text { line, at: 0 };
    text.skip_space();
    text.expect(b'{')?;
    // Writers keep the order of fields, so the one after the last is the best guess.
    let mut guess = 0;
    loop {
        text.skip_space();
        text.expect(b'"')?;
        let index = text.key(fields, guess)?;
        text.skip_space();
        text.expect(b':')?;
        text.skip_space();
        match index {
            Some(index) => {
                guess = index + 1;
                cells[index] = text.value(fields[index].kind, timezone)?;
            }
            None => text.skip_value()?,
        }
        text.skip_space();
        match text.byte()? {
            b',' => {}
            b'}' => break,
            _ => return None,
        }
    }
    text.skip_space();
    (text.at == line.len()).then_some(())
}

struct Text<'a> {
    line: &'a str,
    at: usize,
}

impl<'a> Text<'a> {
    fn peek(&self) -> Option<u8> {
        self.line.as_bytes().get(self.at).copied()
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn expect(&mut self, wanted: u8) -> Option<()> {
        (self.byte()? == wanted).then_some(())
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.at += 1;
        }
    }

    fn word(&mut self, word: &str) -> Option<()> {
        self.line.as_bytes()[self.at..].starts_with(word.as_bytes()).then(|| self.at += word.len())
    }

    /// Reads a key behind its quote, and finds its field.
    fn key(&mut self, fields: &[Field], guess: usize) -> Option<Option<usize>> {
        if let Some(field) = fields.get(guess) {
            let (rest, name) = (&self.line.as_bytes()[self.at..], field.name.as_bytes());
            if rest.len() > name.len() && rest.starts_with(name) && rest[name.len()] == b'"' {
                self.at += name.len() + 1;
                return Some(Some(guess));
            }
        }
        let key = self.string()?;
        Some(fields.iter().position(|field| field.name == key))
    }

    /// Reads a string without escapes behind its quote.
    fn string(&mut self) -> Option<&'a str> {
        let bytes = self.line.as_bytes();
        let start = self.at;
        let mut at = start;
        // Eight bytes at a time: is one of them a quote, a backslash or a control character?
        while let Some(eight) = bytes.get(at..at + 8) {
            let word = u64::from_le_bytes(eight.try_into().ok()?);
            let found = has(word, b'"') | has(word, b'\\') | has_below_space(word);
            if found != 0 {
                at += found.trailing_zeros() as usize / 8;
                break;
            }
            at += 8;
        }
        loop {
            match *bytes.get(at)? {
                b'"' => break,
                b'\\' | 0..0x20 => return None,
                _ => at += 1,
            }
        }
        self.at = at + 1;
        self.line.get(start..at)
    }

    /// Reads a whole number or a number with a fraction or exponent, by JSON's grammar.
    fn number(&mut self) -> Option<(&'a str, bool)> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let mut is_whole = true;
        match self.byte()? {
            b'0' => {}
            b'1'..=b'9' => self.digits(),
            _ => return None,
        }
        if self.peek() == Some(b'.') {
            is_whole = false;
            self.at += 1;
            self.byte()?.is_ascii_digit().then_some(())?;
            self.digits();
        }
        if let Some(b'e' | b'E') = self.peek() {
            is_whole = false;
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.byte()?.is_ascii_digit().then_some(())?;
            self.digits();
        }
        Some((&self.line[start..self.at], is_whole))
    }

    fn digits(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }

    fn value(&mut self, kind: ColumnType, timezone: Timezone) -> Option<Cell<'a>> {
        let first = self.peek()?;
        if kind == ColumnType::Json {
            return None;
        }
        match first {
            b'"' => {
                self.at += 1;
                let text = self.string()?;
                match kind {
                    ColumnType::String => Some(Cell::Text(Cow::Borrowed(text))),
                    ColumnType::Timestamp => {
                        parse_instant(text.as_bytes(), timezone).map(Cell::Int)
                    }
                    ColumnType::Date => parse_day(text.as_bytes()).map(Cell::Int),
                    _ => None,
                }
            }
            b'n' => self.word("null").map(|()| Cell::Null),
            b't' if kind == ColumnType::Boolean => self.word("true").map(|()| Cell::Boolean(true)),
            b'f' if kind == ColumnType::Boolean => {
                self.word("false").map(|()| Cell::Boolean(false))
            }
            b'-' | b'0'..=b'9' => {
                let (text, is_whole) = self.number()?;
                match kind {
                    // A zero with a sign is not whole to serde_json.
                    ColumnType::Int | ColumnType::TimestampMs if is_whole && text != "-0" => {
                        let value: i64 = text.parse().ok()?;
                        let by = if kind == ColumnType::Int { 1 } else { 1_000 };
                        value.checked_mul(by).map(Cell::Int)
                    }
                    ColumnType::Double => {
                        let value: f64 = text.parse().ok()?;
                        value.is_finite().then_some(Cell::Double(value))
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }

    fn skip_value(&mut self) -> Option<()> {
        match self.peek()? {
            b'"' => {
                self.at += 1;
                self.string().map(|_| ())
            }
            b'n' => self.word("null"),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'-' | b'0'..=b'9' => self.number().map(|_| ()),
            _ => None,
        }
    }
}

const ONES: u64 = u64::from_le_bytes([1; 8]);
const HIGHS: u64 = u64::from_le_bytes([0x80; 8]);

/// The high bit of the first byte that is `byte`; bytes behind it may be told wrongly.
/// <https://graphics.stanford.edu/~seander/bithacks.html#ValueInWord>
fn has(word: u64, byte: u8) -> u64 {
    let zero_where = word ^ (ONES * u64::from(byte));
    zero_where.wrapping_sub(ONES) & !zero_where & HIGHS
}

/// The high bit of the first byte below 0x20, likewise.
fn has_below_space(word: u64) -> u64 {
    word.wrapping_sub(ONES * 0x20) & !word & HIGHS
}
