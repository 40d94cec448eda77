//! What the planner says of a statement, as a problem with a place.

use datafusion::common::diagnostic::Diagnostic;
use datafusion::common::{Column, SchemaError, Span};
use datafusion::error::DataFusionError;

use super::statement::position;
use super::words::{last_word, lowered, named_in, slice};
use crate::pipeline::nearest::nearest;
use crate::run::failure::{Problem, Rule};

/// Notes of the planner that are told at most.
const MOST_NOTES: usize = 4;
/// Columns that are listed at most where none is near.
const MOST_COLUMNS: usize = 12;

/// What the planner says where two expressions of one SELECT have the same name.
const SAME_NAMES: &str = "Projections require unique expression names";

/// What the planner stopped at.
pub(super) struct Fault {
    /// The problem.
    pub problem: Problem,
    /// The column that was probably meant, if one was.
    pub meant: Option<String>,
    /// The function whose arguments do not fit, if it is that.
    pub function: Option<String>,
}

/// A place in a text: line and column, from 1, and length in characters.
#[derive(Debug, Clone, Copy)]
struct Place {
    line: usize,
    column: usize,
    length: usize,
}

/// Makes a problem of what the planner says of the text of `file`.
pub(super) fn fault(error: &DataFusionError, file: &str, text: &str) -> Fault {
    if let DataFusionError::SchemaError(kind, _) = error.find_root() {
        let diagnostic = error.diagnostic();
        match kind.as_ref() {
            SchemaError::FieldNotFound { field, valid_fields } => {
                return unknown_column(field, valid_fields, diagnostic, file, text);
            }
            SchemaError::AmbiguousReference { field } => {
                return ambiguous_column(field, diagnostic, file, text);
            }
            SchemaError::DuplicateQualifiedField { name, .. }
            | SchemaError::DuplicateUnqualifiedField { name } => {
                return duplicate_column(name, file, text);
            }
        }
    }
    if let Some(name) = called_alike(error) {
        return duplicate_column(&name, file, text);
    }
    other(error, file, text)
}

/// The name that two expressions of one SELECT are given, if that is what the planner minds: it says
/// so in words alone, and names the second as `"<expression> AS <name>" at position <n>`.
fn called_alike(error: &DataFusionError) -> Option<String> {
    let DataFusionError::Plan(message) = error.find_root() else { return None };
    let (_, named) = message.strip_prefix(SAME_NAMES)?.rsplit_once(" AS ")?;
    Some(named.split_once("\" at position")?.0.trim_matches('"').to_owned())
}

impl Place {
    fn new(span: Span, text: &str) -> Self {
        let (line, column) = (position(span.start.line), position(span.start.column));
        let length = slice(text, span).lines().next().map_or(1, |line| line.chars().count());
        Self { line, column, length }
    }

    /// The last part of a name with dots.
    fn last_part(self, text: &str, span: Span) -> Self {
        let whole = slice(text, span);
        match whole.rsplit_once('.') {
            Some((before, last)) if !whole.contains(['\n', '"']) => Self {
                column: self.column + before.chars().count() + 1,
                length: last.chars().count(),
                ..self
            },
            _ => self,
        }
    }

    /// Where a diagnostic points, else the first word of a message that stands in the text.
    fn of(diagnostic: Option<&Diagnostic>, message: &str, text: &str) -> Self {
        if let Some(span) = diagnostic.and_then(|it| it.span) {
            return Self::new(span, text);
        }
        match named_in(message, text) {
            Some(at) => Self { line: at.line, column: at.column, length: at.name.chars().count() },
            None => Self { line: 1, column: 1, length: 1 },
        }
    }

    fn problem(self, rule: Rule, file: &str, message: String) -> Problem {
        Problem::new(rule, file, self.line, self.column, self.length, message)
    }
}

fn unknown_column(
    field: &Column,
    valid: &[Column],
    diagnostic: Option<&Diagnostic>,
    file: &str,
    text: &str,
) -> Fault {
    let mut place = Place::of(diagnostic, &format!("'{}'", field.name), text);
    let table = field.relation.as_ref().map(|table| table.table());
    let of_table = |column: &&Column| match (table, &column.relation) {
        (Some(table), Some(relation)) => relation.table() == table,
        (Some(_), None) => false,
        (None, _) => true,
    };
    let names: Vec<&str> = valid.iter().filter(of_table).map(|it| it.name.as_str()).collect();
    if let (Some(table), true) = (table, names.is_empty()) {
        // Not the column is unknown, but what stands before the dot.
        place.length = table.chars().count().min(place.length);
        let known = valid.iter().filter_map(|column| Some(column.relation.as_ref()?.table()));
        let hint = instead(table, &known.collect::<Vec<_>>());
        let message = format!("no table or alias `{table}` in reach");
        let problem = place.problem(Rule::UnknownTable, file, message).with_hint(hint);
        return Fault { problem, meant: None, function: None };
    }
    if let Some(span) = diagnostic.and_then(|it| it.span) {
        place = place.last_part(text, span);
    }
    let other_case =
        names.iter().find(|name| name.eq_ignore_ascii_case(&field.name) && **name != field.name);
    let hint = match other_case {
        Some(name) => Some(format!(
            "write `\"{name}\"` in double quotes: without them a name is in small letters"
        )),
        None => instead(&field.name, &names),
    };
    let message = match table {
        Some(table) => format!("unknown column `{}` of `{table}`", field.name),
        None => format!("unknown column `{}`", field.name),
    };
    let meant = nearest(&field.name, names.iter().copied()).map(str::to_owned);
    let problem = place.problem(Rule::UnknownColumn, file, message).with_hint(hint);
    Fault { problem, meant, function: None }
}

/// The name that was probably meant, or all that there are.
fn instead(name: &str, names: &[&str]) -> Option<String> {
    if let Some(near) = nearest(name, names.iter().copied()) {
        return Some(format!("did you mean `{near}`?"));
    }
    // Those that recctl adds to raw input can be had, but are seldom meant.
    let mut listed: Vec<&str> = Vec::new();
    for name in names.iter().filter(|name| !name.starts_with('_')) {
        if !listed.contains(name) {
            listed.push(name);
        }
    }
    let more = listed.len().saturating_sub(MOST_COLUMNS);
    listed.truncate(MOST_COLUMNS);
    let list = listed.join("`, `");
    match (listed.is_empty(), more) {
        (true, _) => None,
        (false, 0) => Some(format!("expected one of `{list}`")),
        (false, more) => Some(format!("expected one of `{list}` and {more} more")),
    }
}

fn ambiguous_column(
    field: &Column,
    diagnostic: Option<&Diagnostic>,
    file: &str,
    text: &str,
) -> Fault {
    // The planner points to what is ambiguous in a statement, and to nothing where it is the result.
    if diagnostic.is_none() {
        return duplicate_column(&field.name, file, text);
    }
    let place = Place::of(diagnostic, &format!("'{}'", field.name), text);
    let notes = diagnostic.iter().flat_map(|it| &it.notes);
    let columns: Vec<String> = notes
        .filter_map(|note| note.message.strip_prefix("possible column "))
        .map(|column| format!("`{column}`"))
        .collect();
    let hint = (columns.len() > 1).then(|| format!("say which: {}", columns.join(" or ")));
    let message = format!("ambiguous column `{}`: several tables have one", field.name);
    let problem = place.problem(Rule::AmbiguousColumn, file, message).with_hint(hint);
    Fault { problem, meant: None, function: None }
}

fn duplicate_column(name: &str, file: &str, text: &str) -> Fault {
    let at = last_word(name, text);
    let place = at.map_or(Place { line: 1, column: 1, length: 1 }, |at| Place {
        line: at.line,
        column: at.column,
        length: at.name.chars().count(),
    });
    let message = format!("two columns of one SELECT are called `{name}`");
    let problem = place
        .problem(Rule::DuplicateColumn, file, message)
        .with_hint("leave one out, or rename it with `AS`".to_owned());
    Fault { problem, meant: None, function: None }
}

fn other(error: &DataFusionError, file: &str, text: &str) -> Fault {
    let whole = error.find_root().strip_backtrace();
    let mut message = whole.lines().next().unwrap_or_default().to_owned();
    let prefixes =
        ["Error during planning: ", "Schema error: ", "type_coercion\n", "Internal error: "];
    for prefix in prefixes {
        message = message.replace(prefix, "");
    }
    let diagnostic = error.diagnostic();
    let mut hint = None;
    if let Some(diagnostic) = diagnostic {
        message.clone_from(&diagnostic.message);
        let notes = diagnostic.notes.iter().map(|note| match note.span {
            Some(span) => format!("`{}` {}", slice(text, span), note.message),
            None => note.message.clone(),
        });
        let helps = diagnostic.helps.iter().map(|help| help.message.clone());
        let told: Vec<String> = notes.chain(helps).take(MOST_NOTES).collect();
        hint = (!told.is_empty()).then(|| told.join("; "));
    }
    let place = Place::of(diagnostic, &message, text);
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
    let message = ticked(&lowered(&message));
    let hint = hint.map(|hint| ticked(lowered(&hint).trim_end_matches('.')));
    let rule = rule(error, &message);
    let (message, hint) = match message.strip_prefix("invalid function ") {
        Some(name) => {
            let near = hint.and_then(|it| Some(it.strip_prefix("possible function ")?.to_owned()));
            (format!("unknown function {name}"), near.map(|it| format!("did you mean {it}?")))
        }
        None => (message, hint),
    };
    let function = message
        .strip_prefix("function `")
        .and_then(|rest| Some(rest.split_once('`')?.0.to_owned()));
    let message = match &function {
        Some(name) if message.ends_with("failed to match any signature") => {
            format!("the arguments do not fit function `{name}`")
        }
        _ => message,
    };
    let problem = place.problem(rule, file, message).with_hint(hint);
    Fault { problem, meant: None, function }
}

/// Names in backticks instead of quotes, as in all messages.
fn ticked(text: &str) -> String {
    let mut ticked = String::with_capacity(text.len());
    let mut pieces = text.split('\'').peekable();
    let mut inside = false;
    while let Some(piece) = pieces.next() {
        ticked.push_str(piece);
        if pieces.peek().is_none() {
            break;
        }
        // An apostrophe within a word (it's) is none of a pair.
        let next = pieces.peek().and_then(|next| next.chars().next());
        let in_word = piece.ends_with(char::is_alphabetic) && next.is_some_and(char::is_alphabetic);
        match (inside, in_word) {
            (false, true) => ticked.push('\''),
            (_, _) => {
                ticked.push('`');
                inside = !inside;
            }
        }
    }
    ticked
}

/// The rule that a statement breaks. The planner tells kinds apart by its words alone.
fn rule(error: &DataFusionError, message: &str) -> Rule {
    match error.find_root() {
        DataFusionError::SQL(..) => Rule::SqlSyntax,
        DataFusionError::Plan(told) if told.starts_with(SAME_NAMES) => Rule::DuplicateColumn,
        _ if message.contains("is ambiguous") => Rule::AmbiguousColumn,
        _ if message.starts_with("table `") && message.ends_with("not found") => Rule::UnknownTable,
        _ if message.starts_with("invalid function") => Rule::UnknownFunction,
        _ if TYPES.iter().any(|words| message.contains(words)) => Rule::TypeMismatch,
        _ => Rule::InvalidQuery,
    }
}

/// What messages about types say.
const TYPES: [&str; 8] = [
    "coerc",
    "incompatible types",
    "annot infer common",
    "annot get result type",
    "type mismatch",
    "failed to match any signature",
    "expects",
    "cannot be used with",
];

#[cfg(test)]
mod tests {
    use super::ticked;

    #[test]
    fn names_are_in_backticks() {
        assert_eq!(ticked("function 'sum' of 'a'"), "function `sum` of `a`");
        assert_eq!(ticked("'c.x' must, because it's one"), "`c.x` must, because it's one");
        assert_eq!(ticked("no quote"), "no quote");
    }
}
