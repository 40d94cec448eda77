//! Runs that died: what is under way in the state while nobody holds its lease.

use std::collections::BTreeSet;

use crate::pipeline::graph::Pipeline;
use crate::pipeline::interval::LogicalDate;
use crate::pipeline::name::Name;
use crate::pipeline::step::StepKind;
use crate::run::failure::Outcome;
use crate::run::record::{RunRecord, Status};
use crate::steps::context::Services;
use crate::steps::{job_head, search_head};

/// Of the last runs so many are looked through.
const RUNS: usize = 100;

/// The name of the lease of a pipeline and day.
pub fn lease_name(pipeline: &Name, date: LogicalDate) -> String {
    format!("{pipeline}/{date}")
}

/// Whether somebody carries out a run that did not end yet.
pub async fn is_under_way(services: &Services, run: &RunRecord) -> Outcome<bool> {
    let name = lease_name(&run.pipeline, run.date);
    let held = services.state.holding(&name, services.clock.now()).await?;
    // A run that was taken over is dead too: its lease is another's.
    Ok(held.is_some_and(|held| run.holder.as_ref().is_none_or(|own| *own == held.holder)))
}

/// The runs with those that died called so. Changes nothing.
pub async fn judged(services: &Services, mut runs: Vec<RunRecord>) -> Outcome<Vec<RunRecord>> {
    for run in &mut runs {
        if run.status == Status::Running && !is_under_way(services, run).await? {
            // Between the two looks it may have ended and given its lease back.
            match services.state.run(&run.id).await? {
                Some(again) if again.status != Status::Running => *run = again,
                Some(_) | None => run.status = Status::Interrupted,
            }
        }
    }
    Ok(runs)
}

/// Writes down of each run of a pipeline that died that it did, and returns them, newest first.
pub(super) async fn bury(services: &Services, pipeline: &Name) -> Outcome<Vec<RunRecord>> {
    let last = services.state.runs(RUNS).await?;
    let open = last
        .into_iter()
        .filter(|run| run.pipeline == *pipeline && run.status == Status::Running)
        .collect();
    let mut dead = judged(services, open).await?;
    dead.retain(|run| run.status == Status::Interrupted);
    for run in &mut dead {
        // When it died nobody knows: its last step is the last sign of it.
        let steps = services.state.steps(&run.id).await?;
        run.finished = steps.iter().filter_map(|step| step.finished).max();
        services.state.put_run(run).await?;
    }
    Ok(dead)
}

/// What dead runs left, in sentences for people: which day goes on here, which by a command, and
/// generations that were begun.
pub(super) async fn left_by(
    services: &Services,
    pipeline: &Pipeline,
    date: LogicalDate,
    dead: &[RunRecord],
) -> Vec<String> {
    let mut left: Vec<String> = dead
        .iter()
        .map(|run| {
            let (id, day) = (&run.id, run.date);
            match day == date {
                true => format!("run {id} died: what it finished counts, the rest is done now"),
                false => format!(
                    "run {id} for {day} died; `recctl run {} --date {day}` goes on with it",
                    pipeline.name
                ),
            }
        })
        .collect();
    if dead.is_empty() {
        return left;
    }
    left.extend(jobs_of(services, pipeline, dead).await);
    // What the warehouse was loading is settled with the publication that it is of; the same work finds
    // a load of adopted tables, which need none, by its token.
    for step in pipeline.all_steps() {
        let StepKind::Load(load) = &step.kind else { continue };
        let table = load.table.as_str();
        // Only told: what cannot be asked now stops nothing.
        let known = services.serving.generations(table).await.unwrap_or_default();
        left.extend(known.iter().filter(|it| !it.sealed).map(|it| {
            format!(
                "generation {} of `{table}` was begun and not finished: a load of the same lists goes on with it",
                it.generation
            )
        }));
    }
    left
}

/// Jobs that go on under the names that dead runs gave them.
async fn jobs_of(services: &Services, pipeline: &Pipeline, dead: &[RunRecord]) -> Vec<String> {
    if !services.trainer.outlives_the_run() {
        return Vec::new();
    }
    let (mut jobs, mut searches) = (BTreeSet::new(), BTreeSet::new());
    for run in dead {
        for step in pipeline.all_steps() {
            match &step.kind {
                StepKind::Sql(_) | StepKind::Load(_) => {}
                StepKind::Train(_) | StepKind::Select(_) | StepKind::Score(_) => {
                    jobs.insert(job_head(&step.name, run.date, ""));
                }
                StepKind::Tune(_) => {
                    jobs.insert(job_head(&step.name, run.date, ""));
                    searches.insert(search_head(&step.name, run.date));
                }
            }
        }
    }
    let (jobs, searches): (Vec<_>, Vec<_>) =
        (jobs.into_iter().collect(), searches.into_iter().collect());
    match services.trainer.under_way(&jobs, &searches).await {
        Ok(found) => found
            .into_iter()
            .map(|job| {
                let (name, stop) = (job.name, job.stop);
                format!("job `{name}` goes on: the same work finds it, and `{stop}` stops it")
            })
            .collect(),
        // Only told: what cannot be listed stops nothing.
        Err(failure) => {
            tracing::warn!(%failure, "cannot tell which jobs of runs that died go on");
            Vec::new()
        }
    }
}
