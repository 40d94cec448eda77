//! What will be done, and why nothing will.

use std::collections::BTreeSet;

use crate::pipeline::interval::LogicalDate;
use crate::report::number::counted;
use crate::report::paint::Paint;
use crate::report::table::Table;
use crate::report::words::span;
use crate::run::event::PlannedUnit;

/// Reasons of one step that get a line each; more are told in one line, lest the list flood.
const REASONS_TOLD: usize = 3;

/// Units of one step for one reason.
struct Group<'a> {
    step: &'a str,
    action: &'static str,
    days: BTreeSet<LogicalDate>,
    reason: &'a str,
}

/// Lists what will be done, days together:
/// `clean_events  sql  28 days 2026-02-02 … 2026-03-01  (missing)`.
pub fn plan_lines(to_do: &[PlannedUnit], unchanged: usize, paint: Paint) -> Vec<String> {
    let groups = grouped(to_do);
    let none: [&str; 0] = [];
    let mut table = Table::new(none).indent(2);
    let mut at = 0;
    while let Some(first) = groups.get(at) {
        let same = |it: &&Group<'_>| it.step == first.step && it.action == first.action;
        let reasons: Vec<&Group<'_>> = groups[at..].iter().take_while(same).collect();
        at += reasons.len();
        let line = |days: &BTreeSet<LogicalDate>, reason: String| {
            let days: Vec<LogicalDate> = days.iter().copied().collect();
            let reason = paint.dim(format_args!("({reason})"));
            [paint.bold(first.step), paint.dim(first.action), span(&days), reason]
        };
        if reasons.len() > REASONS_TOLD {
            let days = reasons.iter().flat_map(|it| it.days.iter().copied()).collect();
            let others = counted(reasons.len() as u64 - 1, "other reason");
            table.push_painted(line(&days, format!("{}, and {others}", first.reason)));
        } else {
            for group in reasons {
                table.push_painted(line(&group.days, group.reason.to_owned()));
            }
        }
    }
    let mut lines = table.lines();
    if unchanged > 0 && !to_do.is_empty() {
        let text = format!("{} unchanged", counted(unchanged as u64, "unit"));
        lines.push(format!("  {}", paint.dim(text)));
    }
    lines
}

/// Why nothing is to do: `nothing to do: 9 steps unchanged (63 units)` and the steps by reason.
pub fn nothing_to_do(unchanged: &[PlannedUnit], paint: Paint) -> Vec<String> {
    if unchanged.is_empty() {
        return Vec::new();
    }
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut steps = BTreeSet::new();
    for PlannedUnit { unit, reason } in unchanged {
        let step = unit.step.as_str();
        steps.insert(step);
        match reasons.iter_mut().find(|(known, _)| known == reason) {
            Some((_, of)) if of.contains(&step) => {}
            Some((_, of)) => of.push(step),
            None => reasons.push((reason, vec![step])),
        }
    }
    let number = counted(steps.len() as u64, "step");
    if let [(only, _)] = reasons.as_slice() {
        return vec![format!("{}: {number}, {only}", paint.bold("nothing to do"))];
    }
    let mut lines = vec![format!("{}: {number} unchanged", paint.bold("nothing to do"))];
    let more = reasons.len().saturating_sub(2 * REASONS_TOLD);
    for (reason, of) in reasons.iter().take(2 * REASONS_TOLD) {
        lines.push(format!("  {} {}", of.join(", "), paint.dim(format_args!("({reason})"))));
    }
    if more > 0 {
        lines.push(format!("  {}", paint.dim(format_args!("and {more} more reasons"))));
    }
    lines
}

/// Groups units by step, action and reason, in the order of the plan.
fn grouped(to_do: &[PlannedUnit]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for PlannedUnit { unit, reason } in to_do {
        let step = unit.step.as_str();
        let same = |it: &Group<'_>| it.step == step && it.action == unit.action;
        // A new reason goes behind the other reasons of its step.
        let behind = groups.iter().rposition(same).map_or(groups.len(), |last| last + 1);
        let known = groups.iter_mut().find(|it| same(it) && it.reason == reason);
        match known {
            Some(group) => group.days.extend(unit.partition.date()),
            None => groups.insert(
                behind,
                Group {
                    step,
                    action: unit.action,
                    days: unit.partition.date().into_iter().collect(),
                    reason,
                },
            ),
        }
    }
    groups
}
