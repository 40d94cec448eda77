//! How two tables differ, for people and for programs.

use serde_json::{Value, json};

use super::number::{count, counted, metric};
use super::paint::Paint;
use super::table::Table;
use crate::query::diff::{ColumnComparison, Content, Difference, Figures, SIDES};

/// The version of the JSON.
const VERSION: u32 = 1;
/// Characters of a value that are shown.
const WIDTH: usize = 20;

/// What is compared.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Table.
    pub table: &'a str,
    /// The sides as people call them.
    pub sides: &'a [String],
}

/// Lines for people, at most about 100 columns wide.
pub fn lines(subject: &Subject<'_>, difference: &Difference, paint: Paint) -> Vec<String> {
    let mut lines = vec![paint.bold(subject.table)];
    let none: [&str; 0] = [];
    let mut sides = Table::new(none).indent(2).right(&[2]);
    for ((side, shown), rows) in SIDES.iter().zip(subject.sides).zip(difference.rows) {
        sides.push_painted([paint.bold(side), shown.clone(), counted(rows, "row")]);
    }
    lines.extend(sides.lines());
    lines.push(String::new());
    if difference.is_none() {
        lines.push(paint.green("nothing differs"));
    }
    lines.extend(schema(difference, paint));
    lines.extend(rows(difference, paint));
    lines.push(String::new());
    lines.extend(columns(&difference.columns, paint));
    lines
}

/// The same for programs.
pub fn object(subject: &Subject<'_>, difference: &Difference) -> Value {
    json!({
        "version": VERSION,
        "table": subject.table,
        "sides": subject.sides,
        "differs": !difference.is_none(),
        "rows": difference.rows,
        "schema": difference.schema,
        "content": difference.content,
        "columns": difference.columns,
    })
}

fn schema(difference: &Difference, paint: Paint) -> Vec<String> {
    let each = difference.schema.iter().map(|column| {
        let name = paint.bold(&column.column);
        match &column.types {
            [Some(left), Some(right)] => format!("column {name} is {left} in a, {right} in b"),
            [Some(kind), None] => format!("column {name} {kind} is only in a"),
            [None, Some(kind)] => format!("column {name} {kind} is only in b"),
            [None, None] => format!("column {name}"),
        }
    });
    each.collect()
}

fn rows(difference: &Difference, paint: Paint) -> Vec<String> {
    match &difference.content {
        Content::Whole { common, only } => vec![format!(
            "whole rows: {} in both, {} only in a, {} only in b",
            count(*common),
            count(only[0]),
            count(only[1])
        )],
        Content::Keyed { key, matched, differing, only, examples, unique } => {
            let mut lines = vec![format!(
                "rows by {}: {} in both, of which {} differ; {} only in a, {} only in b",
                key.join(", "),
                count(*matched),
                count(*differing),
                count(only[0]),
                count(only[1])
            )];
            if !unique {
                let text = "a key stands on several rows of a side: pairs of rows were counted";
                lines.push(paint.yellow(text));
            }
            for (side, (examples, only)) in SIDES.iter().zip(examples.iter().zip(only)) {
                lines.extend(examples.iter().map(|key| format!("  only in {side}  {key}")));
                let rest = only.saturating_sub(examples.len() as u64);
                if rest > 0 && !examples.is_empty() {
                    lines.push(paint.dim(format!("  only in {side}  and {} more", count(rest))));
                }
            }
            lines
        }
    }
}

/// Two lines a column, one for each side.
fn columns(columns: &[ColumnComparison], paint: Paint) -> Vec<String> {
    let heads = ["column", "differ", "", "NULL", "distinct", "min", "max", "mean"];
    let mut table = Table::new(heads).right(&[1, 3, 4, 7]).paint(paint);
    for column in columns {
        for (at, figures) in column.figures.iter().enumerate() {
            let first = at == 0;
            let differing = match column.differing {
                Some(0) | None => String::new(),
                Some(rows) => paint.yellow(count(rows)),
            };
            let changed = first || *figures != column.figures[0];
            let cells = cells(figures);
            let mut line = vec![
                if first { paint.bold(&column.column) } else { String::new() },
                if first { differing } else { String::new() },
                paint.dim(SIDES[at]),
            ];
            // The second side is shown dim where it is as the first.
            line.extend(cells.map(|cell| if changed { cell } else { paint.dim(cell) }));
            table.push_painted(line);
        }
    }
    table.lines()
}

fn cells(figures: &Figures) -> [String; 5] {
    let value = |value: &Option<String>| {
        let text = super::table::clean(value.as_deref().unwrap_or_default());
        match text.chars().count() > WIDTH {
            true => format!("{}…", text.chars().take(WIDTH - 1).collect::<String>()),
            false => text,
        }
    };
    [
        count(figures.nulls),
        format!("≈{}", count(figures.distinct)),
        value(&figures.min),
        value(&figures.max),
        figures.mean.map_or_else(String::new, metric),
    ]
}
