//! For other programs.

use serde_json::{Value, json};

use super::tally;
use crate::run::failure::Problem;
use crate::validate::{Coverage, Report};

/// Grows when a member goes or changes its meaning; that one is added is no reason.
const VERSION: u32 = 1;

/// One JSON object: `version`, `valid`, `errors`, `warnings`, `problems`, `coverage`.
pub fn json(report: &Report) -> String {
    let (errors, warnings) = tally(&report.problems);
    let Coverage { statements, typed, unchecked } = &report.coverage;
    let unchecked: Vec<Value> =
        unchecked.iter().map(|it| json!({"what": it.what, "why": it.why})).collect();
    let whole = json!({
        "version": VERSION,
        "valid": errors == 0,
        "errors": errors,
        "warnings": warnings,
        "problems": report.problems.iter().map(problem).collect::<Vec<_>>(),
        "coverage": {"statements": statements, "typed": typed, "unchecked": unchecked},
    });
    serde_json::to_string_pretty(&whole).unwrap_or_default()
}

fn problem(it: &Problem) -> Value {
    json!({
        "file": it.file,
        "line": it.line,
        "column": it.column,
        "length": it.length,
        "severity": it.severity,
        "rule": it.rule,
        "message": it.message,
        "hint": it.hint,
    })
}
