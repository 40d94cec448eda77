//! SARIF 2.1.0, which code scanning services read.
//!
//! <https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html>

use serde_json::{Value, json};

use super::{path, text};
use crate::run::failure::{Problem, Rule};
use crate::validate::Report;

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// One log with one run. What was not checked is in its notifications.
pub fn sarif(report: &Report, prefix: &str) -> String {
    let results: Vec<Value> = report.problems.iter().map(|it| result(it, prefix)).collect();
    let notifications: Vec<Value> = report
        .coverage
        .unchecked
        .iter()
        .map(|it| {
            let message = format!("not checked: {}: {}", it.what, it.why);
            json!({"level": "note", "message": {"text": message}})
        })
        .collect();
    let log = json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "recctl",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": Rule::ALL.iter().map(|rule| described(*rule)).collect::<Vec<_>>(),
            }},
            // Columns are counted in characters, as in all that recctl says.
            "columnKind": "unicodeCodePoints",
            "invocations": [{
                "executionSuccessful": true,
                "toolExecutionNotifications": notifications,
            }],
            "results": results,
        }],
    });
    serde_json::to_string_pretty(&log).unwrap_or_default()
}

fn described(rule: Rule) -> Value {
    let help = match rule.help() {
        "" => rule.describe().to_owned(),
        help => format!("{}. {help}", rule.describe()),
    };
    json!({
        "id": rule.id(),
        "shortDescription": {"text": rule.describe()},
        "help": {"text": help},
        "defaultConfiguration": {"level": rule.severity().word()},
    })
}

fn result(problem: &Problem, prefix: &str) -> Value {
    let mut result = json!({
        "ruleId": problem.rule.id(),
        "level": problem.severity.word(),
        "message": {"text": text(problem)},
        "locations": [{"physicalLocation": {
            "artifactLocation": {"uri": uri(&path(prefix, problem)), "uriBaseId": "%SRCROOT%"},
            "region": {
                "startLine": problem.line,
                "startColumn": problem.column,
                "endColumn": problem.column + problem.length,
            },
        }}],
    });
    let index = Rule::ALL.iter().position(|rule| *rule == problem.rule);
    if let (Some(index), Some(result)) = (index, result.as_object_mut()) {
        result.insert("ruleIndex".to_owned(), index.into());
    }
    result
}

/// A path as a relative URI reference.
fn uri(path: &str) -> String {
    let mut uri = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                uri.push(char::from(byte));
            }
            other => uri.push_str(&format!("%{other:02X}")),
        }
    }
    uri
}
