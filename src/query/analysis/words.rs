//! Finding words of a statement, and wording.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use super::statement::at;
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
    let dialect = GenericDialect {};
    let tokens = Tokenizer::new(&dialect, text).tokenize_with_location().ok()?;
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
    let dialect = GenericDialect {};
    let tokens = Tokenizer::new(&dialect, text).tokenize_with_location().ok()?;
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
