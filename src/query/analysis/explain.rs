//! What the planner says of a statement, as a problem with a place.

use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;

use super::statement::position;
use super::words::{lowered, named_in};
use crate::run::failure::{Problem, Rule};

/// Notes of the planner that are told at most.
const MOST_NOTES: usize = 4;

/// Makes a problem of what the planner says of the text of `file`.
pub(super) fn problem(error: &DataFusionError, file: &str, text: &str) -> Problem {
    let whole = error.find_root().strip_backtrace();
    let mut message = whole.lines().next().unwrap_or_default().to_owned();
    let prefixes =
        ["Error during planning: ", "Schema error: ", "type_coercion\n", "Internal error: "];
    for prefix in prefixes {
        message = message.replace(prefix, "");
    }
    let (mut line, mut column, mut length) = (1, 1, 1);
    let mut hint = None;
    let mut placed = false;
    if let Some(diagnostic) = error.diagnostic() {
        message.clone_from(&diagnostic.message);
        if let Some(span) = diagnostic.span {
            (line, column) = (position(span.start.line), position(span.start.column));
            if span.end.line == span.start.line {
                length = position(span.end.column.saturating_sub(span.start.column));
            }
            placed = true;
        }
        let notes = diagnostic.notes.iter().map(|note| note.message.as_str());
        let helps = diagnostic.helps.iter().map(|help| help.message.as_str());
        let told: Vec<&str> = notes.chain(helps).take(MOST_NOTES).collect();
        hint = (!told.is_empty()).then(|| told.join("; "));
    }
    if !placed && let Some(mention) = named_in(&message, text) {
        (line, column, length) = (mention.line, mention.column, mention.name.chars().count());
    }
    if hint.is_none()
        && let Some((first, rest)) = message.clone().split_once(" Did you mean ")
    {
        hint = Some(format!("did you mean {}", rest.trim()));
        message = first.trim_end_matches('.').to_owned();
    }
    // Of a function that fits none of its kinds, every kind is told; the first shows what is meant.
    if let Some((first, kinds)) = message.clone().split_once(", errors: ") {
        hint = kinds
            .split(".,")
            .next()
            .and_then(|kind| kind.split(",Function").next())
            .map(str::to_owned);
        message = first.to_owned();
    }
    let (message, hint) = (lowered(&message), hint.map(|hint| lowered(&hint)));
    let hint = hint.map(|hint: String| {
        hint.trim_end_matches('.').replace("Possible column", "possible columns:")
    });
    Problem::new(rule(error, &message), file, line, column, length, message).with_hint(hint)
}

/// The rule that a statement breaks. The planner tells kinds apart by its words alone.
fn rule(error: &DataFusionError, message: &str) -> Rule {
    match error.find_root() {
        DataFusionError::SchemaError(kind, _) => match kind.as_ref() {
            SchemaError::FieldNotFound { .. } => Rule::UnknownColumn,
            SchemaError::AmbiguousReference { .. } => Rule::AmbiguousColumn,
            SchemaError::DuplicateQualifiedField { .. }
            | SchemaError::DuplicateUnqualifiedField { .. } => Rule::InvalidQuery,
        },
        DataFusionError::SQL(..) => Rule::SqlSyntax,
        _ if message.contains("is ambiguous") => Rule::AmbiguousColumn,
        _ if message.starts_with("column '") && message.contains("' not found") => {
            Rule::UnknownColumn
        }
        _ if message.starts_with("invalid function") => Rule::UnknownFunction,
        _ if TYPES.iter().any(|words| message.contains(words)) => Rule::TypeMismatch,
        _ => Rule::InvalidQuery,
    }
}

/// What messages about types say.
const TYPES: [&str; 8] = [
    "coerc",
    "cannot be used with",
    "annot infer common",
    "annot get result type",
    "type mismatch",
    "expects",
    "does not support",
    "function '",
];
