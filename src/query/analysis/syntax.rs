//! What keeps a text from being a query, in words for whoever wrote it.

use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::statement::position;
use super::words::lowered;
use crate::pipeline::nearest::nearest;
use crate::pipeline::query::{QueryFault, QueryProblem};

/// Words that a query is made of; a slip in one of them is what most syntax errors are.
const KEYWORDS: [&str; 34] = [
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP",
    "ORDER",
    "HAVING",
    "LIMIT",
    "WITH",
    "JOIN",
    "LEFT",
    "RIGHT",
    "INNER",
    "OUTER",
    "CROSS",
    "UNION",
    "DISTINCT",
    "BETWEEN",
    "PARTITION",
    "OVER",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "END",
    "AND",
    "NOT",
    "NULL",
    "CAST",
    "INTERVAL",
    "EXISTS",
    "USING",
    "QUALIFY",
    "VALUES",
    "FILTER",
];

/// A fault of syntax at a place.
pub(super) fn fault(line: usize, column: usize, message: String) -> QueryProblem {
    QueryProblem { fault: QueryFault::Syntax, line, column, length: 1, message, hint: None }
}

/// What the parser stopped at. It keeps the place only as the end of its text.
pub(super) fn describe(
    error: &DataFusionError,
    text: &str,
    tokens: &[TokenWithSpan],
) -> QueryProblem {
    let whole = error.find_root().strip_backtrace();
    let message = whole
        .trim_start_matches("SQL error: ")
        .trim_start_matches("ParserError(\"")
        .trim_end_matches("\")")
        .replace("sql parser error: ", "");
    let (what, place) = match message.rsplit_once(" at Line: ") {
        Some((what, place)) => (what, Some(place)),
        None => (message.as_str(), None),
    };
    let place = place.map(|place| {
        let (line, column) = place.split_once(", Column: ").unwrap_or((place, "1"));
        let number = |text: &str| text.trim().parse().unwrap_or(1);
        (number(line), number(column))
    });
    let found = place.and_then(|(line, column)| {
        let stands = |token: &TokenWithSpan| {
            (position(token.span.start.line), position(token.span.start.column)) == (line, column)
        };
        tokens.iter().position(stands)
    });
    // The end of the text is where the parser stood.
    let (line, column) = place.unwrap_or_else(|| end_of(text));
    if let DataFusionError::SQL(error, _) = error.find_root()
        && let ParserError::RecursionLimitExceeded = **error
    {
        // The parser does not say where; the first line is as good as any.
        let message = "parentheses or queries stand in each other too deep".to_owned();
        let hint = "make the inner ones CTEs: `WITH name AS (…) SELECT …`".to_owned();
        return QueryProblem { hint: Some(hint), ..fault(1, 1, message) };
    }
    let mut problem = fault(line, column, worded(what));
    if let Some(index) = found {
        problem.length = tokens[index]
            .token
            .to_string()
            .lines()
            .next()
            .map_or(1, |line| line.chars().count().max(1));
        if let Some((meant, hint)) = hint(tokens, index) {
            let at = &tokens[meant];
            (problem.line, problem.column) =
                (position(at.span.start.line), position(at.span.start.column));
            problem.length = at.token.to_string().chars().count().max(1);
            if meant != index {
                problem.message = format!("unexpected `{}`", at.token);
            }
            problem.hint = Some(hint);
        }
    }
    if problem.hint.is_none()
        && let Some(open) = open_parenthesis(tokens, found.unwrap_or(tokens.len()))
    {
        let (line, column) = (open.span.start.line, open.span.start.column);
        problem.hint = Some(format!("the parenthesis at {line}:{column} is still open"));
    }
    problem
}

/// The parser's words, with backticks and without its terms.
fn worded(what: &str) -> String {
    let Some((expected, found)) =
        what.strip_prefix("Expected: ").and_then(|rest| rest.rsplit_once(", found: "))
    else {
        return lowered(what);
    };
    let expected = match expected {
        "end of statement" => {
            return match found {
                "EOF" => "the statement ends too early".to_owned(),
                found => format!("unexpected `{found}`"),
            };
        }
        "an SQL statement" => "`SELECT` or `WITH`".to_owned(),
        ")" | "(" | "," => format!("`{expected}`"),
        other => other.to_owned(),
    };
    match found {
        "EOF" => format!("expected {expected}, but the statement ends"),
        found => format!("expected {expected}, found `{found}`"),
    }
}

/// What was probably done wrong where the parser found a token that it did not expect, and which
/// token it was done at.
fn hint(tokens: &[TokenWithSpan], index: usize) -> Option<(usize, String)> {
    let meant = |index: usize| {
        let Token::Word(word) = &tokens[index].token else { return None };
        let upper = word.value.to_uppercase();
        if word.quote_style.is_some() || KEYWORDS.contains(&upper.as_str()) {
            return None;
        }
        let near = nearest_keyword(&upper)?;
        Some((index, format!("did you mean `{near}` instead of `{}`?", word.value)))
    };
    let is_word = |index: &usize| !matches!(tokens[*index].token, Token::Whitespace(_));
    let before = (0..index).rev().find(is_word);
    if let Some(hint) = meant(index) {
        return Some(hint);
    }
    let comma = |index: usize| tokens[index].token == Token::Comma;
    if before.is_some_and(comma) || comma(index) {
        return Some((index, "is there a comma too many?".to_owned()));
    }
    before.and_then(meant)
}

/// A keyword that a word is a slip of.
fn nearest_keyword(word: &str) -> Option<&'static str> {
    // Names are often near to a keyword (`orders`): only words of about the same length are slips.
    let near = KEYWORDS.iter().filter(|known| known.len().abs_diff(word.len()) <= 1);
    let lower: Vec<String> = near.clone().map(|known| known.to_lowercase()).collect();
    let found = nearest(word, lower.iter().map(String::as_str))?;
    let sorted = |text: &str| {
        let mut letters: Vec<char> = text.chars().collect();
        letters.sort_unstable();
        letters
    };
    let found = KEYWORDS.iter().find(|known| known.eq_ignore_ascii_case(found))?;
    let (mine, its) = (sorted(word), sorted(found));
    let missing = its.iter().filter(|letter| !mine.contains(letter)).count();
    (missing <= 1 && word.len() > 2).then_some(*found)
}

/// The innermost parenthesis that is open before a token.
fn open_parenthesis(tokens: &[TokenWithSpan], before: usize) -> Option<&TokenWithSpan> {
    let mut open = Vec::new();
    for token in &tokens[..before] {
        match token.token {
            Token::LParen => open.push(token),
            Token::RParen => {
                open.pop();
            }
            _ => {}
        }
    }
    open.pop()
}

/// Behind the last character of a text.
fn end_of(text: &str) -> (usize, usize) {
    let text = text.trim_end();
    let last = text.rsplit('\n').next().unwrap_or_default();
    (text.matches('\n').count() + 1, last.chars().count().max(1))
}
