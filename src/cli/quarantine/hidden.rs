//! What is not shown of refused rows: values of columns that tell who somebody is.

use std::collections::BTreeSet;

use super::rows::Row;
use crate::lineage::{Dataset, Graph, graph};
use crate::pipeline::schema::PII;
use crate::pipeline::step::QUARANTINE_TABLE;
use crate::validate::Report;

/// What stands in the place of a value.
const HIDDEN: &str = "***";

/// Hides values by the tags of a project's lineage.
pub(super) struct Hiding {
    graph: Graph,
    pipelines: Vec<String>,
    /// Whether what queries give for a reason may hold such a value.
    reasons: bool,
}

/// The columns of what a row is of.
struct Columns {
    tagged: BTreeSet<String>,
    plain: BTreeSet<String>,
}

impl Hiding {
    pub fn of(report: &Report) -> Self {
        let graph = graph(&report.project, &report.analyses);
        let pipelines = report.project.pipelines.keys().map(ToString::to_string).collect();
        let quarantine = graph.dataset(QUARANTINE_TABLE).and_then(|at| graph.datasets.get(at));
        let reason = quarantine.and_then(|it| it.columns.iter().find(|it| it.name == "reason"));
        let reasons = reason.is_some_and(|column| is_tagged(&column.tags));
        Self { graph, pipelines, reasons }
    }

    /// The row with such values hidden, and whether any were.
    ///
    /// Of a line of a source that has tagged columns only what is declared without the tag is shown:
    /// a field that nobody declared may be anything, and a line that cannot be read is hidden whole.
    pub fn hide(&self, row: &Row) -> (Row, bool) {
        let columns = self.columns(row);
        let Some(columns) = columns else {
            // A source or table that the project no longer has may have held anything.
            let raw = hidden_whole(&row.raw);
            let value = row.value.as_ref().map(|_| HIDDEN.to_owned());
            let reason = without_found(&row.reason);
            return (Row { raw, value, reason, ..row.clone() }, true);
        };
        let of_query = row.source.is_empty() && row.value.is_none();
        if columns.tagged.is_empty() && !(of_query && self.reasons) {
            return (row.clone(), false);
        }
        let names_one = columns
            .tagged
            .iter()
            .any(|column| is_word_of(column, &row.rule) || is_word_of(column, &row.reason));
        let mut shown = row.clone();
        if names_one {
            shown.value = row.value.as_ref().map(|_| HIDDEN.to_owned());
            shown.reason = without_found(&row.reason);
        }
        if of_query && self.reasons {
            shown.reason = HIDDEN.to_owned();
            shown.rule = HIDDEN.to_owned();
        }
        if !columns.tagged.is_empty() {
            shown.raw = without_values(&row.raw, &columns);
        }
        let is_hidden = shown != *row;
        (shown, is_hidden)
    }

    /// Hides what a query gives for a reason, if that may hold such a value.
    pub fn hide_rule(&self, rule: &mut String) {
        if self.reasons {
            HIDDEN.clone_into(rule);
        }
    }

    fn columns(&self, row: &Row) -> Option<Columns> {
        let datasets: Vec<&Dataset> = match row.source.as_str() {
            "" => {
                let of = self.pipelines.iter().filter_map(|it| self.graph.of_table(it, &row.step));
                of.collect()
            }
            source => self
                .graph
                .dataset(source)
                .and_then(|at| self.graph.datasets.get(at))
                .into_iter()
                .collect(),
        };
        if datasets.is_empty() {
            return None;
        }
        let all = datasets.iter().flat_map(|dataset| &dataset.columns);
        let (tagged, plain): (Vec<_>, Vec<_>) = all.partition(|column| is_tagged(&column.tags));
        let tagged: BTreeSet<String> = tagged.into_iter().map(|it| it.name.clone()).collect();
        let plain = plain.into_iter().map(|it| it.name.clone());
        let plain = plain.filter(|name| !tagged.contains(name)).collect();
        Some(Columns { tagged, plain })
    }
}

fn is_tagged(tags: &[String]) -> bool {
    tags.iter().any(|tag| tag == PII)
}

/// Whether a column's name stands in a text as a word of its own.
fn is_word_of(column: &str, text: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(column).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + column.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

/// A reason without the value that was found.
fn without_found(reason: &str) -> String {
    match reason.split_once("found ") {
        Some((before, _)) => format!("{before}found {HIDDEN}"),
        None => reason.to_owned(),
    }
}

fn without_values(raw: &str, columns: &Columns) -> String {
    let parsed: Result<serde_json::Map<String, serde_json::Value>, _> = serde_json::from_str(raw);
    let Ok(mut fields) = parsed else { return hidden_whole(raw) };
    for (name, value) in &mut fields {
        if !columns.plain.contains(name) {
            *value = serde_json::Value::String(HIDDEN.to_owned());
        }
    }
    serde_json::Value::Object(fields).to_string()
}

fn hidden_whole(raw: &str) -> String {
    format!("{HIDDEN} ({} bytes)", raw.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> Columns {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Columns { tagged: set(&["mail"]), plain: set(&["id", "price"]) }
    }

    #[test]
    fn only_what_is_declared_without_the_tag_is_shown() {
        let raw = r#"{"id":"1","mail":"a@b.c","extra":"a@b.c","price":"x"}"#;
        assert_eq!(
            without_values(raw, &columns()),
            r#"{"extra":"***","id":"1","mail":"***","price":"x"}"#
        );
        assert_eq!(without_values("1,a@b.c", &columns()), "*** (7 bytes)");
        assert_eq!(without_values(r#"["a@b.c"]"#, &columns()), "*** (9 bytes)");
        assert_eq!(without_values(r#"{"mail":"a@b.c""#, &columns()), "*** (15 bytes)");
    }

    #[test]
    fn columns_are_found_as_words() {
        assert!(is_word_of("mail", "range(mail)") && is_word_of("mail", "column `mail` expected"));
        assert!(!is_word_of("mail", "range(email)") && !is_word_of("mail", "mail_id is NULL"));
    }

    #[test]
    fn what_was_found_is_left_out() {
        let reason = "wrong type: column `mail` expected int, found string \"a@b.c\"";
        assert_eq!(without_found(reason), "wrong type: column `mail` expected int, found ***");
    }
}
