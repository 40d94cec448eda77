//! What a selection leaves out and selected steps read all the same: it has to be there, and is taken
//! as it was published.

use std::collections::{BTreeMap, BTreeSet};

use super::Facts;
use super::demand::{Demand, own_partition, reads_of};
use crate::pipeline::graph::Pipeline;
use crate::pipeline::interval::{LogicalDate, Partition};
use crate::pipeline::name::Name;
use crate::pipeline::step::{Step, StepKind};
use crate::run::failure::{Failure, FailureKind, Outcome};

/// Errors: `NotFound` if a selected step uses, for its own day, what is neither selected nor there.
pub(super) fn refuse_absent(pipeline: &Pipeline, date: LogicalDate, facts: &Facts) -> Outcome<()> {
    for step in &pipeline.steps {
        for (table, partitions) in reads_of(pipeline, step, own_partition(step, date), date) {
            // Days before the own one may be missing, as they may be of raw input.
            if let Some(own) = partitions.last()
                && pipeline.is_unselected(&table)
                && !facts.is_there(&table, *own)
            {
                let day = own.date().map_or_else(String::new, |day| format!(" for {day}"));
                let what = format!("reads `{table}`, which is not selected and not published{day}");
                return Err(absent(step, &what));
            }
        }
        for need in step.reads_from() {
            let is_table = |kind: &StepKind| matches!(kind, StepKind::Sql(_));
            if pipeline.is_unselected(need)
                && pipeline.step(need.as_str()).is_some_and(|other| !is_table(&other.kind))
                && !facts.is_there(need, Partition::Day(date))
            {
                let what = format!("uses `{need}`, which is not selected and not there for {date}");
                return Err(absent(step, &what));
            }
        }
    }
    Ok(())
}

fn absent(step: &Step, what: &str) -> Failure {
    let name = &step.name;
    Failure::new(FailureKind::NotFound, format!("`{name}` {what}"))
        .with_hint(format!("select what it is made from too, with `+{name}`"))
}

/// What a person should know of what is read and not selected.
pub(super) fn notices(pipeline: &Pipeline, demand: &Demand, facts: &Facts) -> Vec<String> {
    let used: BTreeSet<&Name> = pipeline.steps.iter().flat_map(Step::reads_from).collect();
    let used: Vec<String> = used
        .into_iter()
        .filter(|name| pipeline.is_unselected(name))
        .map(|name| format!("`{name}`"))
        .collect();
    let mut notices = Vec::new();
    if !used.is_empty() {
        notices.push(format!("not selected, so taken as it was made last: {}", used.join(", ")));
    }
    let mut missing: BTreeMap<&Name, Vec<LogicalDate>> = BTreeMap::new();
    for (table, partition) in &demand.tables {
        if pipeline.is_unselected(table)
            && let Some(day) = partition.date()
            && !facts.is_there(table, *partition)
        {
            missing.entry(table).or_default().push(day);
        }
    }
    for (table, days) in missing {
        let told = match days.as_slice() {
            [day] => day.to_string(),
            [first, .., last] => format!("{} days in {first} … {last}", days.len()),
            [] => continue,
        };
        notices.push(format!(
            "`{table}` is not selected and not published for {told}: what reads it goes on without"
        ));
    }
    notices
}
