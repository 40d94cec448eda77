//! Reads rulesets of the Data Quality Definition Language, which AWS Glue has, as checks.
//!
//! What rules mean is as its reference says, <https://docs.aws.amazon.com/glue/latest/dg/dqdl.html>,
//! with two exceptions: `now()` and the age of `DataFreshness` are told from the end of the day that
//! the data is about, so that a day that is made again is judged alike; and `ReferentialIntegrity`
//! takes a row with a NULL for one that refers to nothing, as SQL does.

mod condition;
mod lexer;
mod parser;
mod rules;
#[cfg(test)]
mod tests;

use self::lexer::{Token, tokens};
use self::parser::Parser;
use crate::pipeline::check::CheckRule;

/// A rule as a check.
#[derive(Debug, Clone, PartialEq)]
pub struct Ruled {
    /// What it means.
    pub rule: CheckRule,
    /// The rule as written, on one line.
    pub text: String,
    /// Where it begins, in bytes.
    pub start: usize,
    /// Where it ends, in bytes.
    pub end: usize,
    /// The share of rows that may break it, where that is not none.
    pub share: Option<f64>,
}

/// What is wrong with a ruleset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where it begins, in bytes.
    pub start: usize,
    /// Where it ends, in bytes.
    pub end: usize,
    /// What is wrong.
    pub message: String,
    /// What to do about it; may be empty.
    pub hint: String,
}

impl Fault {
    fn new(start: usize, end: usize, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { start, end: end.max(start + 1), message: message.into(), hint: hint.into() }
    }
}

/// The words by which an expression knows instants; they are filled in when a table is judged.
pub use crate::pipeline::check::{COLUMNS, INTERVAL_END};

/// Reads a ruleset: what its rules mean, and what is wrong with the others. After a fault of the
/// syntax nothing more is read.
pub fn read(text: &str) -> (Vec<Ruled>, Vec<Fault>) {
    match tokens(text) {
        Ok(tokens) => Parser::new(text, &tokens).ruleset(),
        Err(fault) => (Vec::new(), vec![fault]),
    }
}

/// Line and column, from 1, of a byte.
pub fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |start| start.chars().count()) + 1;
    (line, column)
}
