//! Finding words of a statement, and wording.

use datafusion::common::Span;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::statement::{at, position, tokens};
use crate::pipeline::query::Mention;

/// The text with a small letter at its beginning.
pub(super) fn lowered(text: &str) -> String {
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => first.to_lowercase().chain(characters).collect(),
        None => String::new(),
    }
}

/// Finds where a word stands last in a statement: what a query makes is said at its end.
pub(super) fn last_word(word: &str, text: &str) -> Option<Mention> {
    let tokens = tokens(text).ok()?;
    let found = tokens.iter().rev().find(|token| match &token.token {
        Token::Word(known) => known.value.eq_ignore_ascii_case(word),
        _ => false,
    });
    found.map(|token| at(word, token))
}

/// Finds the first word of a message that is also a word of the statement: one in quotes, else any
/// that is no keyword.
pub(super) fn named_in(message: &str, text: &str) -> Option<Mention> {
    use datafusion::sql::sqlparser::keywords::Keyword;
    let tokens = tokens(text).ok()?;
    let find = |word: &str, keywords: bool| {
        let found = tokens.iter().find(|token| match &token.token {
            Token::Word(known) => {
                known.value.eq_ignore_ascii_case(word)
                    && (keywords || known.keyword == Keyword::NoKeyword)
            }
            _ => false,
        });
        found.map(|token| at(word, token))
    };
    let quoted = message.split(['\'', '`', '"']).skip(1).step_by(2);
    let mut plain =
        message.split(['\'', '`', '"', ' ', '(', ')', ',', '.']).filter(|word| word.len() > 2);
    quoted
        .flat_map(|words| words.split('.').rev())
        .find_map(|word| find(word, true))
        .or_else(|| plain.find_map(|word| find(word, false)))
}

/// The piece of a text that a span is about.
pub(super) fn slice(text: &str, span: Span) -> String {
    let (first, last) = (position(span.start.line), position(span.end.line));
    let (from, to) = (position(span.start.column) - 1, position(span.end.column) - 1);
    let mut pieces: Vec<String> = Vec::new();
    for (number, line) in text.lines().enumerate().take(last).skip(first - 1) {
        let start = if number + 1 == first { from } else { 0 };
        let end = if number + 1 == last { to } else { usize::MAX };
        pieces.push(line.chars().take(end).skip(start).collect());
    }
    pieces.join("\n")
}
