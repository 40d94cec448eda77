//! Which definition a run goes on with, where the last one for its day was interrupted.

use super::orphans::judged;
use crate::pipeline::interval::LogicalDate;
use crate::pipeline::name::Name;
use crate::run::failure::Outcome;
use crate::run::record::{RunKind, RunRecord, Status};
use crate::steps::context::Services;

/// Of the last runs so many are looked through for the one of a day.
const RUNS: usize = 200;

/// The last run of a pipeline for a day, if it did not come to its end. One whose process died is
/// called interrupted. Marks are no runs of the day.
pub async fn unfinished(
    services: &Services,
    pipeline: &Name,
    date: LogicalDate,
) -> Outcome<Option<RunRecord>> {
    let is_of_day = |run: &RunRecord| {
        run.kind == RunKind::Pipeline && run.pipeline == *pipeline && run.date == date
    };
    let last = services.state.runs(RUNS).await?.into_iter().find(is_of_day);
    let last = judged(services, last.into_iter().collect()).await?.pop();
    Ok(last.filter(|run| match run.status {
        Status::Interrupted | Status::Cancelled | Status::Failed | Status::UpstreamFailed => true,
        Status::Running | Status::Succeeded | Status::Unchanged => false,
    }))
}

/// Whether a run that did not come to its end was interrupted from outside: its project may have
/// been changed since without anybody having thought of it. One that failed was not: its project is
/// mended before it is started again, and what was mended is what is to be run.
pub fn was_interrupted(run: &RunRecord) -> bool {
    match run.status {
        Status::Interrupted | Status::Cancelled => true,
        Status::Running
        | Status::Succeeded
        | Status::Unchanged
        | Status::Failed
        | Status::UpstreamFailed => false,
    }
}
