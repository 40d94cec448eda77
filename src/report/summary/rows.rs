//! The fate of every row that came in from a source.

use std::collections::{BTreeMap, BTreeSet};

use super::command;
use crate::pipeline::interval::LogicalDate;
use crate::report::number::{count, counted};
use crate::report::paint::Paint;
use crate::report::table::{Table, clean};
use crate::run::event::FinishedUnit;
use crate::run::record::{RowCounts, RowsOf};

/// Reasons that are told; the rest is in the quarantine and in the tables.
const REASONS_TOLD: usize = 3;

/// The way to the rows that were kept aside.
const LOOK: &str = "recctl quarantine show";

/// Rows of one step in one span of days.
#[derive(Default)]
struct Fates<'a> {
    counts: RowCounts,
    reasons: BTreeMap<&'a str, u64>,
    days: BTreeSet<LogicalDate>,
}

impl<'a> Fates<'a> {
    fn add(&mut self, unit: &'a FinishedUnit, counts: &RowCounts) {
        self.counts.add(counts);
        self.days.extend(unit.unit.partition.date());
        for (reason, rows) in &unit.report.reasons {
            *self.reasons.entry(reason).or_default() += rows;
        }
    }
}

/// The accounts of the steps that read a source, and of those that left rows out: for `date`, and for all days when there are
/// more; then the reasons and the way to the quarantine.
pub fn row_lines(units: &[FinishedUnit], date: Option<LogicalDate>, paint: Paint) -> Vec<String> {
    let mut steps: Vec<(&str, Fates<'_>, Fates<'_>)> = Vec::new();
    for unit in units {
        let Some(counts) = &unit.report.counts else {
            continue;
        };
        // Of a table that keeps every row that its query returns there is nothing to tell.
        if counts.of == RowsOf::Query && counts.kept == counts.read {
            continue;
        }
        let step = unit.unit.step.as_str();
        let at = steps.iter().position(|(name, ..)| *name == step).unwrap_or_else(|| {
            steps.push((step, Fates::default(), Fates::default()));
            steps.len() - 1
        });
        let (_, own, all) = &mut steps[at];
        all.add(unit, counts);
        if unit.unit.partition.date() == date {
            own.add(unit, counts);
        }
    }
    let mut lines = Vec::new();
    for (step, own, all) in &steps {
        lines.push(paint.bold(format_args!("rows of {step}")));
        let mut table = Table::new([""; 0]).right(&[2, 4, 6, 8, 10]).indent(2).gap(1);
        let has_own = own.counts != RowCounts::default();
        if let (Some(date), true) = (date, has_own) {
            table.push_painted(account(&date.to_string(), &own.counts, paint));
        }
        if !has_own || all.days.len() > own.days.len() {
            let days = counted(all.days.len() as u64, "day");
            let span = if all.days.is_empty() { "in all" } else { &days };
            table.push_painted(account(span, &all.counts, paint));
        }
        lines.extend(table.lines());
        if !all.reasons.is_empty() {
            lines.push(format!("  {}", paint.dim(reasons(all))));
        }
    }
    let quarantined: u64 = steps.iter().map(|(_, _, all)| all.counts.quarantined).sum();
    if quarantined > 0 {
        let rows = counted(quarantined, "row");
        lines.push(format!("  {} in quarantine:", paint.yellow(rows)));
        lines.push(command(LOOK, paint));
    }
    lines
}

/// `rows read 41,240 = kept 40,112 + quarantined 41 + filtered 262 + duplicates 825  ✓`.
fn account(span: &str, counts: &RowCounts, paint: Paint) -> Vec<String> {
    let rows = if counts.of == RowsOf::Raw { "rows read" } else { "rows made" };
    let mut cells = vec![format!("{span} "), rows.to_owned()];
    for (rows, word) in [
        (counts.read, "= kept"),
        (counts.kept, "+ quarantined"),
        (counts.quarantined, "+ filtered"),
        (counts.filtered, "+ duplicates"),
    ] {
        cells.extend([count(rows), word.to_owned()]);
    }
    cells.push(count(counts.duplicates));
    cells.push(if counts.conserved() {
        paint.green(" ✓")
    } else {
        let told = counts.kept + counts.quarantined + counts.filtered + counts.duplicates;
        paint.red(format_args!(" ✗ off by {}", count(counts.read.abs_diff(told))))
    });
    cells
}

/// The most frequent reasons: `bot 200, no user 62, and 3 more`.
fn reasons(fates: &Fates<'_>) -> String {
    let mut reasons: Vec<(&str, u64)> = fates.reasons.iter().map(|(k, v)| (*k, *v)).collect();
    reasons.sort_by_key(|(_, rows)| std::cmp::Reverse(*rows));
    let told = reasons.iter().take(REASONS_TOLD);
    let mut parts: Vec<String> =
        told.map(|(reason, rows)| format!("{} {}", clean(reason), count(*rows))).collect();
    if reasons.len() > REASONS_TOLD {
        let more = reasons.len() - REASONS_TOLD;
        parts.push(format!("and {}", counted(more as u64, "other reason")));
    }
    parts.join(", ")
}
