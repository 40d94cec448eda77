//! Words of a DQDL text.

use super::Fault;

/// A word and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// Where it begins, in bytes.
    pub start: usize,
    /// Where it ends, in bytes.
    pub end: usize,
}

/// What a word is.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// A name or keyword.
    Word(String),
    /// A text in double quotes, without them.
    Text(String),
    /// A number.
    Number(f64),
    /// One of `[ ] ( ) , = != > >= < <= + -`.
    Sign(&'static str),
}

/// Longer signs stand before those that they begin with.
const SIGNS: [&str; 13] = ["!=", ">=", "<=", "[", "]", "(", ")", ",", "=", ">", "<", "+", "-"];

/// Splits a text into words. `#` begins a comment. Errors: a character that begins no word, a text
/// without an end.
pub fn tokens(text: &str) -> Result<Vec<Token>, Fault> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(next) = text.get(at..).and_then(|rest| rest.chars().next()) {
        let rest = &text[at..];
        let start = at;
        if next.is_whitespace() {
            at += next.len_utf8();
        } else if next == '#' {
            at += rest.find('\n').unwrap_or(rest.len());
        } else if next == '"' {
            let (value, length) = quoted(rest).ok_or_else(|| {
                Fault::new(start, text.len(), "the text has no end", "close it with `\"`")
            })?;
            at += length;
            found.push(Token { kind: Kind::Text(value), start, end: at });
        } else if next.is_ascii_digit() {
            let is_part = |c: char| c.is_ascii_digit() || c == '.';
            at += rest.find(|c: char| !is_part(c)).unwrap_or(rest.len());
            let number = text[start..at].parse().map_err(|_| {
                Fault::new(start, at, format!("`{}` is no number", &text[start..at]), "")
            })?;
            found.push(Token { kind: Kind::Number(number), start, end: at });
        } else if next.is_alphabetic() || next == '_' {
            let is_part = |c: char| c.is_alphanumeric() || c == '_';
            at += rest.find(|c: char| !is_part(c)).unwrap_or(rest.len());
            found.push(Token { kind: Kind::Word(text[start..at].to_owned()), start, end: at });
        } else if let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
            at += sign.len();
            found.push(Token { kind: Kind::Sign(sign), start, end: at });
        } else {
            let end = at + next.len_utf8();
            return Err(Fault::new(start, end, format!("unexpected `{next}`"), ""));
        }
    }
    Ok(found)
}

/// The text at the beginning, without its quotes, and how many bytes it takes. Only a quote is
/// escaped by a backslash: others belong to regular expressions.
fn quoted(text: &str) -> Option<(String, usize)> {
    let mut value = String::new();
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, at + 1)),
            '\\' if characters.peek().is_some_and(|(_, next)| *next == '"') => {
                characters.next();
                value.push('"');
            }
            other => value.push(other),
        }
    }
    None
}
