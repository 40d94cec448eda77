//! Which steps are stale, changed or failed, for selections that ask. Reads only.

use std::collections::{BTreeMap, BTreeSet};

use super::gather;
use crate::pipeline::graph::Pipeline;
use crate::pipeline::interval::LogicalDate;
use crate::pipeline::name::Name;
use crate::pipeline::selection::{State, States};
use crate::plan::{PUBLISH, plan};
use crate::run::failure::Outcome;
use crate::run::record::{RunKind, RunRecord, Status, StepRecord};
use crate::steps::context::Services;

/// Of the last runs so many are looked through for the one that counts.
const RUNS: usize = 500;

/// The steps of a pipeline in the states that are asked for, for a date. A state since a revision
/// is left to the caller, who knows revisions.
pub async fn states(
    services: &Services,
    pipeline: &Pipeline,
    date: LogicalDate,
    asks: &BTreeSet<State>,
) -> Outcome<States> {
    let mut states = States::new();
    if asks.contains(&State::Stale) || asks.contains(&State::Changed(None)) {
        let facts = gather(services, pipeline, &[date], false).await?;
        let plan = plan(pipeline, date, &facts)?;
        states.insert(State::Stale, plan.stale());
        states.insert(State::Changed(None), plan.changed(pipeline, &facts));
    }
    if asks.contains(&State::Failed) {
        let runs = services.state.runs(RUNS).await?;
        let is_of_day = |run: &RunRecord| {
            run.kind == RunKind::Pipeline && run.pipeline == pipeline.name && run.date == date
        };
        let last = runs.into_iter().find(is_of_day);
        let failed = match last {
            Some(run) => failed(&run, &services.state.steps(&run.id).await?),
            None => BTreeSet::new(),
        };
        states.insert(State::Failed, failed);
    }
    Ok(states)
}

/// The days of a pipeline whose last run did not end well, among the last runs of all.
pub async fn unfinished(services: &Services, pipeline: &Name) -> Outcome<BTreeSet<LogicalDate>> {
    let mut last: BTreeMap<LogicalDate, Status> = BTreeMap::new();
    let runs = services.state.runs(RUNS).await?;
    let is_of_it = |run: &RunRecord| run.kind == RunKind::Pipeline && run.pipeline == *pipeline;
    for run in runs.into_iter().filter(|run| is_of_it(run)) {
        last.entry(run.date).or_insert(run.status);
    }
    let unfinished = |status: &Status| match status {
        Status::Succeeded | Status::Unchanged => false,
        Status::Running
        | Status::Failed
        | Status::UpstreamFailed
        | Status::Cancelled
        | Status::Interrupted => true,
    };
    Ok(last.into_iter().filter(|(_, status)| unfinished(status)).map(|(date, _)| date).collect())
}

/// The steps that a run had to do and did not finish.
fn failed(run: &RunRecord, records: &[StepRecord]) -> BTreeSet<Name> {
    let is_done = |record: &StepRecord| match record.status {
        Status::Succeeded | Status::Unchanged => true,
        Status::Running
        | Status::Failed
        | Status::UpstreamFailed
        | Status::Cancelled
        | Status::Interrupted => false,
    };
    // A table that was made and did not become visible is as good as not made.
    let hidden: BTreeSet<_> = records
        .iter()
        .filter(|record| record.action == PUBLISH && !is_done(record))
        .map(|record| record.partition)
        .collect();
    let mut done: BTreeMap<&Name, u64> = BTreeMap::new();
    let mut failed: BTreeSet<&Name> = BTreeSet::new();
    for record in records {
        let visible = record.action != "sql" || !hidden.contains(&record.partition);
        if is_done(record) && visible {
            *done.entry(&record.step).or_default() += 1;
        } else {
            failed.insert(&record.step);
        }
    }
    let short = |step: &Name, units: u64| done.get(step).copied().unwrap_or_default() < units;
    failed.extend(run.planned.iter().filter(|(step, n)| short(step, **n)).map(|(step, _)| step));
    failed.into_iter().filter(|step| step.as_str() != PUBLISH).cloned().collect()
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::*;
    use crate::pipeline::interval::Partition;
    use crate::run::record::{RunId, RunKind, StepReport};

    fn run(planned: &[(&str, u64)]) -> RunRecord {
        RunRecord {
            id: RunId::from_text("r"),
            pipeline: Name::new("daily").unwrap(),
            date: "2026-03-02".parse().unwrap(),
            status: Status::Failed,
            started: DateTime::<Utc>::UNIX_EPOCH,
            finished: None,
            version: String::new(),
            failure: None,
            definition: None,
            planned: planned.iter().map(|(s, n)| (Name::new(*s).unwrap(), *n)).collect(),
            kind: RunKind::Pipeline,
            holder: None,
            note: None,
        }
    }

    fn record(step: &str, action: &str, day: &str, status: Status) -> StepRecord {
        StepRecord {
            run: RunId::from_text("r"),
            step: Name::new(step).unwrap(),
            action: action.to_owned(),
            partition: Partition::try_from(day.to_owned()).unwrap(),
            status,
            started: DateTime::<Utc>::UNIX_EPOCH,
            finished: None,
            report: StepReport::default(),
            failure: None,
            earlier: Vec::new(),
        }
    }

    fn names(steps: BTreeSet<Name>) -> Vec<String> {
        steps.into_iter().map(|step| step.to_string()).collect()
    }

    #[test]
    fn what_failed_and_what_was_not_reached() {
        let run = run(&[("a", 2), ("b", 2), ("als", 1), ("serve", 1), ("publish", 2)]);
        let records = [
            record("a", "sql", "2026-03-01", Status::Succeeded),
            record("a", "sql", "2026-03-02", Status::Succeeded),
            record("b", "sql", "2026-03-01", Status::Succeeded),
            record("publish", "publish", "2026-03-01", Status::Succeeded),
            record("als", "tune", "2026-03-02", Status::Failed),
        ];
        // One of the days of `b` was not reached, and `serve` not at all.
        assert_eq!(names(failed(&run, &records)), ["als", "b", "serve"]);
    }

    #[test]
    fn what_did_not_become_visible_is_not_done() {
        let run = run(&[("a", 2), ("publish", 2)]);
        let mut records = vec![
            record("a", "sql", "2026-03-01", Status::Succeeded),
            record("a", "sql", "2026-03-02", Status::Succeeded),
            record("publish", "publish", "2026-03-01", Status::Succeeded),
            record("publish", "publish", "2026-03-02", Status::Failed),
        ];
        assert_eq!(names(failed(&run, &records)), ["a"]);
        records[3].status = Status::Succeeded;
        assert_eq!(names(failed(&run, &records)), Vec::<String>::new());
    }
}
