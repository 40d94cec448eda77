//! Sources as meant.

use recctl_raw::log::whole_line;

use super::super::problems::Problems;
use super::super::project::{ColumnSpec, FormatSpec, SourceSpec};
use super::super::yaml::{Spanned, one_of};
use crate::pipeline::name::Name;
use crate::pipeline::schema::{Column, ColumnType};
use crate::pipeline::source::{Format, PathTemplate, Source, Timezone};
use crate::pipeline::step::{PROJECT_FILE, QUARANTINE_TABLE};
use crate::pipeline::variable::Variables;
use crate::run::failure::Rule;

/// The share of malformed rows above which a step fails, where the source does not say.
pub const DEFAULT_MAX_RATIO: f64 = 0.01;

pub(super) fn compile_source(
    name: Name,
    spec: &SourceSpec,
    variables: &Variables,
    problems: &mut Problems,
) -> Option<Source> {
    let before = problems.count();
    if name.as_str() == QUARANTINE_TABLE {
        let message = format!("`{QUARANTINE_TABLE}` is the table of malformed rows");
        problems.at(
            Rule::NameTaken,
            PROJECT_FILE,
            &spec.path,
            message,
            Some("rename the source".to_owned()),
        );
    }
    let mut path = spec.path.value.clone();
    for (variable, value) in variables {
        path = path.replace(&format!("{{{variable}}}"), &value.to_string());
    }
    let path = PathTemplate::new(path);
    if let Err(error) = &path {
        problems.at(Rule::InvalidValue, PROJECT_FILE, &spec.path, error.to_string(), None);
    }
    let words: Vec<&str> = ColumnType::ALL.iter().map(|(word, _)| *word).collect();
    let mut columns = Vec::new();
    for (column, written) in &spec.columns.0 {
        let (kind, tags) = parts(written, problems);
        let (word, nullable) = match kind.value.strip_suffix('?') {
            Some(word) => (word, true),
            None => (kind.value.as_str(), false),
        };
        if column.value.is_empty() || column.value.starts_with('_') {
            let message = format!("column `{}` may not begin with `_`", column.value);
            problems.at(Rule::InvalidName, PROJECT_FILE, column, message, None);
        }
        match word.parse() {
            Ok(kind) => columns.push(Column { name: column.value.clone(), kind, nullable, tags }),
            Err(()) => {
                let hint = one_of(word, &words);
                let message = format!("unknown type `{word}`");
                problems.at(Rule::UnknownValue, PROJECT_FILE, &kind, message, hint);
            }
        }
    }
    if spec.columns.0.is_empty() {
        problems.at(
            Rule::MissingField,
            PROJECT_FILE,
            &spec.path,
            format!("source `{name}` declares no columns"),
            None,
        );
    }
    let mut timezone = Timezone::UTC;
    if let Some(text) = &spec.timezone {
        match Timezone::parse(&text.value) {
            Some(parsed) => timezone = parsed,
            None => problems.at(
                Rule::InvalidValue,
                PROJECT_FILE,
                text,
                format!("unknown time zone `{}`", text.value),
                Some("expected `UTC` or an offset such as `+02:00`".to_owned()),
            ),
        }
    }
    let format = compile_format(spec, &columns, problems);
    let max_malformed_ratio = match &spec.malformed.max_ratio {
        None => DEFAULT_MAX_RATIO,
        Some(ratio) => {
            if !(0.0..=1.0).contains(&ratio.value) {
                problems.at(
                    Rule::InvalidValue,
                    PROJECT_FILE,
                    ratio,
                    "expected a share from 0 to 1",
                    None,
                );
            }
            ratio.value
        }
    };
    match path {
        Ok(path) if problems.count() == before => {
            Some(Source { name, path, format, columns, timezone, max_malformed_ratio })
        }
        _ => None,
    }
}

fn compile_format(spec: &SourceSpec, columns: &[Column], problems: &mut Problems) -> Format {
    if let Some(delimiter) = &spec.delimiter
        && spec.format != FormatSpec::Csv
    {
        let message = "only CSV has a delimiter";
        problems.at(Rule::MisplacedField, PROJECT_FILE, delimiter, message, None);
    }
    if let Some(pattern) = &spec.pattern
        && spec.format != FormatSpec::Log
    {
        let message = "only logs are read by a pattern";
        let hint = Some("with `format: log`, or leave it out".to_owned());
        problems.at(Rule::MisplacedField, PROJECT_FILE, pattern, message, hint);
    }
    match spec.format {
        FormatSpec::Json => Format::Json,
        FormatSpec::Csv => Format::Csv {
            delimiter: match spec.delimiter.as_ref().map(|text| (text, text.value.as_bytes())) {
                None => b',',
                Some((_, [byte])) if byte.is_ascii() && *byte != b'"' => *byte,
                Some((text, _)) => {
                    let message = "expected one ASCII character";
                    problems.at(Rule::InvalidValue, PROJECT_FILE, text, message, None);
                    b','
                }
            },
        },
        FormatSpec::Log => {
            let Some(pattern) = &spec.pattern else {
                let message = "a log has no pattern";
                let hint = "expected `pattern:`, a regular expression with a group `(?<column>…)` for each column";
                problems.at(
                    Rule::MissingField,
                    PROJECT_FILE,
                    &spec.path,
                    message,
                    Some(hint.to_owned()),
                );
                return Format::Log { pattern: String::new() };
            };
            check_pattern(pattern, spec, columns, problems);
            Format::Log { pattern: pattern.value.clone() }
        }
    }
}

fn check_pattern(
    pattern: &Spanned<String>,
    spec: &SourceSpec,
    columns: &[Column],
    problems: &mut Problems,
) {
    let regex = match whole_line(&pattern.value) {
        Ok(regex) => regex,
        Err(error) => {
            let message = format!("no regular expression: {}", last_line(&error.to_string()));
            problems.at(Rule::InvalidValue, PROJECT_FILE, pattern, message, None);
            return;
        }
    };
    let groups: Vec<&str> = regex.capture_names().flatten().collect();
    for column in columns {
        if !groups.contains(&column.name.as_str()) {
            let place = spec.columns.0.iter().find(|(name, _)| name.value == column.name);
            let message = format!("the pattern has no group `(?<{}>…)`", column.name);
            let hint = one_of(&column.name, &groups);
            match place {
                Some((name, _)) => {
                    problems.at(Rule::MissingField, PROJECT_FILE, name, message, hint)
                }
                None => problems.at(Rule::MissingField, PROJECT_FILE, pattern, message, hint),
            }
        }
    }
}

/// What is wrong with an expression comes after a drawing of it.
fn last_line(text: &str) -> &str {
    let last = text.lines().last().unwrap_or(text);
    last.strip_prefix("error: ").unwrap_or(last)
}

/// The type and the tags of a column, whichever way it is written.
fn parts(column: &Spanned<ColumnSpec>, problems: &mut Problems) -> (Spanned<String>, Vec<String>) {
    let long = match &column.value {
        ColumnSpec::Short(word) => {
            let kind = Spanned::new(word.clone(), column.referenced, column.defined);
            return (kind, Vec::new());
        }
        ColumnSpec::Long(long) => long,
    };
    for tag in &long.tags {
        if Name::new(tag.value.as_str()).is_err() {
            let message = format!("`{}` is not a tag", tag.value);
            let hint = "expected a word in small letters, such as `pii`";
            problems.at(Rule::InvalidName, PROJECT_FILE, tag, message, Some(hint.to_owned()));
        }
    }
    (long.kind.clone(), long.tags.iter().map(|tag| tag.value.clone()).collect())
}
