//! What changed since a revision or a run, for people and for programs.

use serde_json::{Value, json};

use super::number::counted;
use super::paint::Paint;
use super::table::Table;
use super::words::span;
use crate::pipeline::interval::{LogicalDate, Partition};
use crate::pipeline::name::Name;
use crate::plan::changes::{Change, ColumnChange, ColumnDifference, Comparison, StepChange};

/// The version of the JSON.
const VERSION: u32 = 1;

/// Lines for people.
pub fn lines(pipeline: &Name, comparison: &Comparison, paint: Paint) -> Vec<String> {
    let mut lines = vec![format!(
        "{} against {}: {}",
        paint.bold(pipeline),
        comparison.against,
        summary(comparison)
    )];
    lines.extend(comparison.notices.iter().map(|notice| format!("! {notice}")));
    if comparison.changes.is_empty() {
        return lines;
    }
    let mut table = Table::new(["", "step", "kind", "change", "made again", "why"]).paint(paint);
    for change in &comparison.changes {
        table.push_painted([
            mark(change.change, paint),
            paint.bold(&change.step),
            paint.dim(change.kind),
            coloured(change.change, paint),
            again(&change.again),
            paint.dim(why(change)),
        ]);
    }
    lines.push(String::new());
    lines.extend(table.lines());
    for change in comparison.changes.iter().filter(|change| !change.columns.is_empty()) {
        lines.push(String::new());
        lines.push(format!("columns of {}", paint.bold(&change.step)));
        let none: [&str; 0] = [];
        let mut table = Table::new(none).indent(2);
        for column in &change.columns {
            table.push_painted(column_cells(column, paint));
        }
        lines.extend(table.lines());
    }
    if !comparison.remade.is_empty() {
        let names: Vec<&str> = comparison.remade.iter().map(Name::as_str).collect();
        lines.push(String::new());
        lines.push(format!(
            "made again by a run all the same, because a table that they read is: {}",
            names.join(", ")
        ));
    }
    lines
}

/// The same for programs.
pub fn object(pipeline: &Name, comparison: &Comparison) -> Value {
    json!({
        "version": VERSION,
        "pipeline": pipeline,
        "against": comparison.against,
        "steps": comparison.steps,
        "changes": comparison.changes,
        "remade": comparison.remade,
        "notices": comparison.notices,
    })
}

fn summary(comparison: &Comparison) -> String {
    let count = |wanted: &[Change]| {
        comparison.changes.iter().filter(|one| wanted.contains(&one.change)).count()
    };
    let parts = [
        (count(&[Change::Breaking, Change::NonBreaking]), "changed"),
        (count(&[Change::Added]), "added"),
        (count(&[Change::Removed]), "removed"),
        (count(&[Change::Affected]), "affected"),
    ];
    let told: Vec<String> = parts
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, word)| format!("{number} {word}"))
        .collect();
    let steps = counted(comparison.steps as u64, "step");
    match told.as_slice() {
        [] => format!("no step of {steps} means something else"),
        told => format!("of {steps} {}", told.join(", ")),
    }
}

fn mark(change: Change, paint: Paint) -> String {
    match change {
        Change::Added => paint.green("+"),
        Change::Removed => paint.red("-"),
        Change::Breaking => paint.yellow("!"),
        Change::NonBreaking => paint.cyan("~"),
        Change::Affected => paint.dim("·"),
        Change::Metadata => String::new(),
    }
}

fn coloured(change: Change, paint: Paint) -> String {
    let words = change.words();
    match change {
        Change::Breaking | Change::Removed => paint.yellow(words),
        Change::Added | Change::NonBreaking | Change::Affected | Change::Metadata => {
            words.to_owned()
        }
    }
}

fn why(change: &StepChange) -> String {
    let mut parts = change.reasons.clone();
    if !change.through.is_empty() {
        let names: Vec<String> = change.through.iter().map(|name| format!("`{name}`")).collect();
        parts.push(format!("made from {}", names.join(", ")));
    }
    parts.join("; ")
}

fn again(partitions: &[Partition]) -> String {
    let days: Vec<LogicalDate> = partitions.iter().filter_map(|part| part.date()).collect();
    match partitions {
        [] => "nothing".to_owned(),
        _ if days.is_empty() => "all of it".to_owned(),
        _ => span(&days),
    }
}

fn column_cells(column: &ColumnChange, paint: Paint) -> [String; 3] {
    let text = |kind: &Option<String>| kind.clone().unwrap_or_default();
    let name = column.column.clone();
    match column.change {
        ColumnDifference::Added => {
            [paint.green(format!("+ {name}")), text(&column.is), "added".to_owned()]
        }
        ColumnDifference::Removed => [
            paint.red(format!("- {name}")),
            text(&column.was),
            "removed, which breaks what reads it".to_owned(),
        ],
        ColumnDifference::Retyped => [
            paint.yellow(format!("~ {name}")),
            format!("{} → {}", text(&column.was), text(&column.is)),
            "has another type".to_owned(),
        ],
        ColumnDifference::Moved => {
            [format!("  {name}"), text(&column.is), "stands in another place".to_owned()]
        }
    }
}
