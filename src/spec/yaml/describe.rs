//! The reader's errors as problems.

use serde_saphyr::Error;

use super::one_of;
use super::tree::Sought;
use crate::run::failure::{Problem, Rule};

/// An error of the reader, as a problem, and what it is about.
pub(super) struct Fault {
    pub problem: Problem,
    /// How to find the entry that it is about; `None` for errors of syntax, after which nothing
    /// can be known.
    pub sought: Option<Sought>,
    /// The field that is missing.
    pub missing: Option<&'static str>,
    /// The field that is not known, and those that are.
    pub unknown: Option<(String, Vec<&'static str>)>,
}

pub(super) fn describe(file: &str, text: &str, error: &Error) -> Fault {
    let (line, column) = place(error);
    let mut length = 1;
    let (mut missing, mut unknown) = (None, None);
    let mut sought = Sought::Value;
    let wrong = |message: String| (Rule::WrongType, message, None);
    let (rule, message, hint) = match error.without_snippet() {
        Error::SerdeUnknownField { field, expected, .. } => {
            length = field.chars().count();
            sought = Sought::Key;
            unknown = Some((field.clone(), expected.clone()));
            (Rule::UnknownField, format!("unknown field `{field}`"), one_of(field, expected))
        }
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            length = variant.chars().count();
            (Rule::UnknownValue, format!("unknown value `{variant}`"), one_of(variant, expected))
        }
        Error::SerdeMissingField { field, .. } => {
            sought = Sought::MappingWithKey;
            missing = Some(*field);
            (Rule::MissingField, format!("missing field `{field}`"), None)
        }
        Error::SerdeInvalidType { unexpected, expected, .. }
        | Error::SerdeInvalidValue { unexpected, expected, .. } => {
            wrong(format!("expected {}, found {}", kind_of(expected), found_of(unexpected)))
        }
        Error::InvalidScalar { ty, .. } => {
            let found = scalar_at(text, line, column);
            length = found.chars().count();
            wrong(format!("expected {}, found `{found}`", kind_of(ty)))
        }
        Error::Unexpected { expected, .. } => {
            let found = scalar_at(text, line, column);
            let plain = !found.is_empty() && !found.starts_with(['{', '[', '-', '|', '>']);
            let plain = plain && !found.contains(": ") && !found.ends_with(':');
            let hint = match *expected {
                "sequence start" if plain => Some(format!("write `[{found}]`")),
                _ => None,
            };
            length = if plain { found.chars().count() } else { 1 };
            (Rule::WrongType, format!("expected {}", kind_of(expected)), hint)
        }
        Error::DuplicateMappingKey { key, .. } => {
            sought = Sought::Key;
            length = key.as_ref().map_or(1, |key| key.chars().count());
            let key = key.as_ref().map_or("a key".to_owned(), |key| format!("`{key}`"));
            (Rule::DuplicateKey, format!("{key} is given twice"), None)
        }
        Error::Message { msg, .. } => (Rule::InvalidValue, msg.clone(), None),
        Error::NullIntoString { .. } => wrong("expected a text, found nothing".to_owned()),
        Error::ExternallyTaggedEnumExpectedScalarOrMapping { .. }
        | Error::UnexpectedValueForUnitEnumVariant { .. }
        | Error::ExpectedStringKeyForExternallyTaggedEnum { .. } => {
            wrong("expected a word, or a mapping with one key".to_owned())
        }
        Error::ExpectedMappingEndAfterEnumVariantValue { .. } => {
            wrong("expected a mapping with one key only".to_owned())
        }
        Error::SerdeVariantId { msg, .. } => wrong(msg.clone()),
        Error::SerdeInvalidLength { len, expected, .. } => {
            wrong(format!("expected {expected}, found {len}"))
        }
        other => return syntax(file, text, line, column, other),
    };
    let problem = Problem::new(rule, file, line, column, length, message).with_hint(hint);
    Fault { problem, sought: Some(sought), missing, unknown }
}

/// Line and column of an error, from 1.
fn place(error: &Error) -> (usize, usize) {
    let number = |value: u64| usize::try_from(value).unwrap_or(1).max(1);
    error.location().map_or((1, 1), |at| (number(at.line()), number(at.column())))
}

fn syntax(file: &str, text: &str, line: usize, column: usize, error: &Error) -> Fault {
    let problem = |line: usize, column: usize, message: &str, hint: &str| {
        let problem = Problem::new(Rule::YamlSyntax, file, line, column, 1, message);
        let problem = problem.with_hint(hint.to_owned());
        Fault { problem, sought: None, missing: None, unknown: None }
    };
    // What the parser says last of such a place is often far from where it went wrong.
    if let Some(tab) = text.lines().skip(line - 1).position(has_tab) {
        let message = "the line is indented with a tab";
        return problem(line + tab, 1, message, "YAML is indented with spaces");
    }
    let told = error.to_string();
    let what = told.lines().next().unwrap_or_default();
    let what = what.rsplit_once(" at line ").map_or(what, |(what, _)| what);
    problem(line, column, what, "is a bracket, a brace or a quote before it left open?")
}

/// A word for a type of YAML or Rust that somebody who writes YAML knows.
fn kind_of(expected: &str) -> &str {
    match expected {
        "u16" | "u32" | "u64" | "usize" | "i64" => "a whole number",
        "f64" | "floating point" => "a number",
        "bool" | "boolean" | "a boolean" => "`true` or `false`",
        "string" | "a string" | "string scalar" => "a text",
        "sequence start" | "a sequence" => "a list",
        "mapping start" | "a map" => "a mapping",
        other if other.starts_with("struct ") => "a mapping",
        other => other,
    }
}

/// What was found, in the same words.
fn found_of(unexpected: &str) -> &str {
    match unexpected {
        "sequence" => "a list",
        "map" => "a mapping",
        "unit value" | "Option value" => "nothing",
        other => other,
    }
}

/// The plain value that begins at a place.
fn scalar_at(text: &str, line: usize, column: usize) -> String {
    let line = text.lines().nth(line - 1).unwrap_or_default();
    let value: String = line.chars().skip(column - 1).collect();
    let end = value.find([',', ']', '}', '#']).unwrap_or(value.len());
    value[..end].trim().to_owned()
}

fn has_tab(line: &str) -> bool {
    line.chars().take_while(|c| c.is_whitespace()).any(|c| c == '\t')
}
