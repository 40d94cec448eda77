//! Gathers how each step of a pipeline stands for a range of days. Reads only.

use std::collections::BTreeMap;

use super::facts::gather;
use super::orphans::is_under_way;
use crate::pipeline::graph::Pipeline;
use crate::pipeline::interval::{LogicalDate, Partition};
use crate::pipeline::name::Name;
use crate::plan::demand::Demand;
use crate::plan::ledger::{AttemptFact, Ledger, ledger};
use crate::plan::{Facts, PUBLISH};
use crate::run::failure::Outcome;
use crate::run::record::{RunKind, RunRecord, Status, StepRecord};
use crate::steps::context::Services;

/// Of the last runs so many are looked through for attempts that came to nothing.
const RUNS: usize = 500;
/// Of runs that came to nothing so many are looked at, newest first.
const ATTEMPTS: usize = 60;

/// What is known of a range of days.
pub struct Known {
    /// How each step stands for each day.
    pub ledger: Ledger,
    /// What plans for these days rest on.
    pub facts: Facts,
}

/// How each step stands for each of these days, oldest first: made, missing, failed, and why.
///
/// The whole pipeline is judged, whatever is selected of it. Errors: as the target's services say.
pub async fn of(
    services: &Services,
    pipeline: &Pipeline,
    dates: &[LogicalDate],
) -> Outcome<Ledger> {
    Ok(known(services, pipeline, dates).await?.ledger)
}

/// The same with the facts that it was judged by.
pub async fn known(
    services: &Services,
    pipeline: &Pipeline,
    dates: &[LogicalDate],
) -> Outcome<Known> {
    let pipeline = pipeline.clone().whole();
    let facts = gather(services, &pipeline, dates, false).await?;
    let attempts = attempts(services, &pipeline, dates).await?;
    let ledger = ledger(&pipeline, dates, &facts, &attempts)?;
    Ok(Known { ledger, facts })
}

/// The last attempt at each partition by a run that did not succeed.
async fn attempts(
    services: &Services,
    pipeline: &Pipeline,
    dates: &[LogicalDate],
) -> Outcome<BTreeMap<(Name, Partition), AttemptFact>> {
    let Some(first) = dates.iter().min() else { return Ok(BTreeMap::new()) };
    let came_to_nothing = |run: &&RunRecord| {
        run.kind == RunKind::Pipeline
            && run.pipeline == pipeline.name
            && run.date >= *first
            && !matches!(run.status, Status::Succeeded | Status::Unchanged)
    };
    let mut attempts = BTreeMap::new();
    let runs = services.state.runs(RUNS).await?;
    for run in runs.iter().filter(came_to_nothing).take(ATTEMPTS) {
        let steps = services.state.steps(&run.id).await?;
        let mut found = ended(run, &steps);
        if run.status == Status::Running {
            let status = match is_under_way(services, run).await? {
                true => Status::Running,
                false => Status::Interrupted,
            };
            for key in begun(pipeline, run, &steps) {
                let fact =
                    AttemptFact { run: run.id.clone(), at: run.started, status, failure: None };
                found.entry(key).or_insert(fact);
            }
        }
        // Runs come newest first, and the last attempt counts.
        for (key, fact) in found {
            attempts.entry(key).or_insert(fact);
        }
    }
    Ok(attempts)
}

/// What became of the units of a run that ended. A table that was made and did not become visible
/// is as good as not made: what became of its publication counts.
fn ended(run: &RunRecord, steps: &[StepRecord]) -> BTreeMap<(Name, Partition), AttemptFact> {
    let publication = |partition: Partition| {
        steps.iter().find(|step| step.action == PUBLISH && step.partition == partition)
    };
    let mut found = BTreeMap::new();
    for step in steps.iter().filter(|step| step.action != PUBLISH) {
        let counts = match (step.action.as_str(), step.status, publication(step.partition)) {
            ("sql", Status::Succeeded, Some(publication)) => publication,
            _ => step,
        };
        let fact = AttemptFact {
            run: run.id.clone(),
            at: counts.finished.unwrap_or(counts.started),
            status: counts.status,
            failure: counts.failure.clone(),
        };
        found.insert((step.step.clone(), step.partition), fact);
    }
    found
}

/// What a run that has not ended is about to make, as far as its record tells: all of its own day,
/// and of the days before it the steps of which it has several.
fn begun(pipeline: &Pipeline, run: &RunRecord, steps: &[StepRecord]) -> Vec<(Name, Partition)> {
    let demanded = Demand::of(pipeline, run.date).tables;
    let own_day = run.planned.keys().map(|step| (step.clone(), Partition::Day(run.date)));
    let of_several = demanded
        .into_iter()
        .filter(|(step, _)| run.planned.get(step).is_some_and(|units| *units > 0));
    let is_done = |key: &(Name, Partition)| {
        steps.iter().any(|step| (&step.step, step.partition) == (&key.0, key.1))
    };
    let (last_units, rest): (Vec<_>, Vec<_>) =
        own_day.chain(of_several).partition(|(step, _)| run.planned.get(step) == Some(&1));
    // One unit is that of the run's own day, or of the whole table.
    let last_units = last_units.into_iter().filter(|(_, partition)| {
        *partition == Partition::Whole || *partition == Partition::Day(run.date)
    });
    last_units.chain(rest).filter(|key| key.0.as_str() != PUBLISH && !is_done(key)).collect()
}
