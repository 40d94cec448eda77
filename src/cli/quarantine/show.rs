//! `recctl quarantine show`

use std::collections::BTreeMap;

use serde_json::json;

use super::super::Ended;
use super::super::stdout::width;
use super::hidden::Hiding;
use super::rows::{Filter, Quarantine, Row};
use crate::app::{App, Opening};
use crate::pipeline::interval::LogicalDate;
use crate::report::Table;
use crate::report::number::{count, counted};

/// Show refused rows: how many by rule, and each with its origin, the value and the row as it came
///
/// Values of columns tagged `pii`, and of columns made of them, are shown as `***`; a line that cannot
/// be read is hidden whole if its source has such a column. Who may see them says --unmasked.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The step that refused them [default: all]
    step: Option<String>,
    /// Only of this day
    #[arg(long, value_name = "YYYY-MM-DD")]
    date: Option<LogicalDate>,
    /// Only where this is part of the rule or the reason
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Rows to show at most
    #[arg(long, short = 'n', default_value_t = 20)]
    limit: usize,
    /// Show values of columns tagged `pii` too
    #[arg(long)]
    unmasked: bool,
    /// How to print
    #[arg(long, value_enum, default_value = "human")]
    format: Format,
}

/// How refused rows are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Aligned tables
    #[value(alias = "text")]
    Human,
    /// One JSON object
    Json,
    /// Comma-separated rows
    Csv,
}

pub(super) async fn run(args: Args, app: &App) -> Ended {
    let hiding = match args.unmasked {
        true => None,
        false => Some(Hiding::of(&app.project_checked(&BTreeMap::new()).await?)),
    };
    let target = app.target(Opening::Existing).await?;
    let quarantine = Quarantine::open(&target.services).await?;
    let filter = Filter { step: args.step, date: args.date, reason: args.reason };
    let mut counts = quarantine.counts(&filter).await?;
    let found = quarantine.rows(&filter, Some(args.limit)).await?;
    let mut hidden = false;
    let rows: Vec<Row> = match &hiding {
        None => found,
        Some(hiding) => {
            let each = found.iter().map(|row| {
                let (row, is_hidden) = hiding.hide(row);
                hidden |= is_hidden;
                row
            });
            each.collect()
        }
    };
    if let Some(hiding) = &hiding {
        counts.iter_mut().filter(|it| it.of_query).for_each(|it| hiding.hide_rule(&mut it.rule));
    }
    let total: u64 = counts.iter().map(|count| count.rows).sum();
    match args.format {
        Format::Json => {
            let value = json!({
                "version": 1,
                "rows_in_quarantine": total,
                "masked": hidden,
                "counts": counts.iter().map(|it| json!({
                    "step": it.step, "date": day(&it.day), "rule": it.rule, "rows": it.rows,
                })).collect::<Vec<_>>(),
                "rows": rows.iter().map(|row| json!({
                    "step": row.step,
                    "date": day(&row.day),
                    "source": row.source,
                    "file": row.file,
                    "line": row.line.parse::<u64>().unwrap_or(0),
                    "rule": row.rule,
                    "reason": row.reason,
                    "value": row.value,
                    "raw": row.raw,
                })).collect::<Vec<_>>(),
            });
            super::super::print(&serde_json::to_string_pretty(&value).unwrap_or_default());
        }
        Format::Csv => super::super::print(&csv(&rows)),
        Format::Human => {
            if total == 0 {
                super::super::print("no row is in quarantine");
                return Ok(0);
            }
            let mut table = Table::new(["step", "date", "rule", "rows"]).right(&[3]);
            for one in &counts {
                table.push([one.step.clone(), one.day.clone(), one.rule.clone(), count(one.rows)]);
            }
            let mut lines = table.fitted(width());
            let mut table = Table::new(["origin", "rule", "value", "row"]);
            for row in &rows {
                table.push([
                    row.origin(),
                    row.rule.clone(),
                    row.value.clone().unwrap_or_default(),
                    row.raw.clone(),
                ]);
            }
            lines.push(String::new());
            lines.extend(table.fitted(width()));
            if total > rows.len() as u64 {
                let all = counted(total, "row");
                lines.push(format!("… {} of {all}; --limit shows more", count(rows.len() as u64)));
            }
            if hidden {
                lines.push("*** is of columns tagged pii; --unmasked shows it".to_owned());
            }
            super::super::print(&lines.join("\n"));
        }
    }
    Ok(0)
}

/// The day as JSON has it: null for a table that is replaced whole.
fn day(day: &str) -> Option<&str> {
    (!day.is_empty()).then_some(day)
}

fn csv(rows: &[Row]) -> String {
    let mut text = "step,date,source,file,line,rule,reason,value,raw".to_owned();
    for row in rows {
        let value = row.value.as_deref().unwrap_or_default();
        let cells = [
            row.step.as_str(),
            &row.day,
            &row.source,
            &row.file,
            &row.line,
            &row.rule,
            &row.reason,
            value,
            &row.raw,
        ];
        text.push('\n');
        text.push_str(&cells.map(quoted).join(","));
    }
    text
}

/// A cell as RFC 4180 has it.
fn quoted(cell: &str) -> String {
    match cell.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell.to_owned(),
    }
}
