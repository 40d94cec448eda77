//! Workflow commands, which GitHub shows beside the lines of a pull request.
//!
//! <https://docs.github.com/en/actions/reference/workflow-commands-for-github-actions>

use super::{path, text};
use crate::run::failure::Problem;
use crate::validate::Report;

/// One line for each problem, and a notice of what was not checked.
pub fn github(report: &Report, prefix: &str) -> String {
    let mut lines: Vec<String> =
        report.problems.iter().map(|problem| annotation(problem, prefix)).collect();
    for it in &report.coverage.unchecked {
        let message = data(&format!("{}: {}", it.what, it.why));
        lines.push(format!("::notice title=not checked::{message}"));
    }
    lines.join("\n")
}

fn annotation(problem: &Problem, prefix: &str) -> String {
    let Problem { line, column, length, severity, rule, .. } = problem;
    let (command, file) = (severity.word(), property(&path(prefix, problem)));
    let (end, title) = (column + length, property(rule.id()));
    let message = data(&text(problem));
    format!(
        "::{command} file={file},line={line},col={column},endColumn={end},title={title}::{message}"
    )
}

/// Escapes a message.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// Escapes a property's value.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
