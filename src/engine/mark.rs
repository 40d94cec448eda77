//! Sets part of the ledger because a person says so, on record.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::facts::gather;
use super::lease::Held;
use super::orphans::lease_name;
use super::settle::settle;
use crate::pipeline::fingerprint::Fingerprint;
use crate::pipeline::graph::Pipeline;
use crate::pipeline::interval::{LogicalDate, Partition};
use crate::pipeline::name::Name;
use crate::pipeline::step::StepKind;
use crate::plan::demand::own_partition;
use crate::plan::ledger::fingerprints_now;
use crate::plan::{Facts, PUBLISH};
use crate::run::event::EventSink;
use crate::run::failure::{Failure, FailureKind, Outcome};
use crate::run::record::{
    LedgerRow, Mark, MarkedAs, RunId, RunKind, RunRecord, Status, StepRecord, StepReport,
};
use crate::steps::context::Services;

/// Days that are set at once: each takes its lease.
pub const MOST_DAYS: usize = 366;
/// Parts that a refusal names.
const MOST_NAMED: usize = 5;

/// What is set.
#[derive(Debug, Clone)]
pub struct Marking {
    /// The run under which it is on record.
    pub run: RunId,
    /// Steps of the pipeline.
    pub steps: Vec<Name>,
    /// Days, oldest first; at most [`MOST_DAYS`].
    pub dates: Vec<LogicalDate>,
    /// What they are set to.
    pub set: MarkedAs,
    /// Who does, as `user@machine`.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Who holds the leases.
    pub holder: String,
}

/// A step and a part of its table.
type Key = (Name, Partition);

/// Sets the steps for the days and returns how many parts were set. Nothing is made or removed, but
/// what runs left half done is settled first.
///
/// Each day is set under its lease, all of which are taken first. Errors: `Held` if a run holds
/// one of the days; `NotFound` for work that is to count as done and of which nothing is there.
/// Before the first row is written all of it was judged; a failure after that leaves whole days set.
pub async fn mark(
    services: &Arc<Services>,
    pipeline: &Pipeline,
    marking: &Marking,
    events: &dyn EventSink,
) -> Outcome<usize> {
    settle(services, Some(&pipeline.name), &marking.holder, events).await?;
    let mut held = Vec::with_capacity(marking.dates.len());
    let done = under_leases(services, pipeline, marking, &mut held).await;
    for one in held {
        one.release().await;
    }
    done
}

async fn under_leases(
    services: &Arc<Services>,
    pipeline: &Pipeline,
    marking: &Marking,
    held: &mut Vec<Held>,
) -> Outcome<usize> {
    let Marking { dates, holder, .. } = marking;
    let Some(last) = dates.last().copied() else { return Ok(0) };
    for date in dates {
        let name = lease_name(&pipeline.name, *date);
        held.push(Held::acquire(services, &name, holder, CancellationToken::new()).await?);
    }
    let mut facts = gather(services, pipeline, dates, false).await?;
    let days = keys(pipeline, marking, last);
    let generations = match marking.set {
        MarkedAs::Done => what_is_there(services, pipeline, &days, &facts).await?,
        MarkedAs::Missing => BTreeMap::new(),
    };
    let now = services.clock.now();
    let row = |key: &Key, facts: &Facts| {
        let known = facts.ledger.get(key).or_else(|| facts.unmade.get(key)).cloned();
        let mark = Mark {
            set: marking.set,
            by: marking.by.clone(),
            at: now,
            reason: marking.reason.clone(),
            generation: generations.get(key).cloned().flatten(),
        };
        LedgerRow {
            pipeline: pipeline.name.clone(),
            step: key.0.clone(),
            partition: key.1,
            fingerprint: known.as_ref().map(|row| row.fingerprint.clone()).unwrap_or_default(),
            run: marking.run.clone(),
            done: now,
            output: known.as_ref().map(|row| row.output.clone()).unwrap_or_default(),
            inputs: known.map(|row| row.inputs).unwrap_or_default(),
            mark: Some(mark),
            rollback: None,
        }
    };
    let mut rows: BTreeMap<LogicalDate, Vec<LedgerRow>> = BTreeMap::new();
    for (date, keys) in &days {
        rows.insert(*date, keys.iter().map(|key| row(key, &facts)).collect());
    }
    if marking.set == MarkedAs::Done {
        // What is made from something that counts as done is judged by that.
        for row in rows.values().flatten() {
            let key = (row.step.clone(), row.partition);
            facts.lost.remove(&key);
            facts.unmade.remove(&key);
            facts.visible.remove(&key);
            facts
                .ledger
                .insert(key, LedgerRow { fingerprint: Fingerprint::default(), ..row.clone() });
        }
        for (date, rows) in &mut rows {
            let wanted = fingerprints_now(pipeline, *date, &facts)?;
            for row in rows.iter_mut() {
                let key = (row.step.clone(), row.partition);
                row.fingerprint = wanted.get(&key).cloned().unwrap_or_default();
                row.inputs = Vec::new();
                facts.ledger.insert(key, row.clone());
            }
            let published = publications(pipeline, rows, &facts, &wanted, &marking.run);
            rows.extend(published);
        }
    }
    let mut record = record(services, pipeline, marking, last, held);
    services.state.put_run(&record).await?;
    let mut count = 0;
    for (date, rows) in &rows {
        let name = lease_name(&pipeline.name, *date);
        let Some(lease) = held.iter().map(Held::lease).find(|lease| lease.name == name) else {
            continue;
        };
        services.state.put_ledger(rows, lease).await?;
        for row in rows.iter().filter(|row| row.step.as_str() != PUBLISH) {
            count += 1;
            services.state.put_step(&step_record(row, &record)).await?;
        }
    }
    record.status = Status::Succeeded;
    record.finished = Some(services.clock.now());
    services.state.put_run(&record).await?;
    Ok(count)
}

/// What is set of each day; a table without days with the last of them.
fn keys(
    pipeline: &Pipeline,
    marking: &Marking,
    last: LogicalDate,
) -> BTreeMap<LogicalDate, BTreeSet<Key>> {
    let mut days: BTreeMap<LogicalDate, BTreeSet<Key>> = BTreeMap::new();
    for name in &marking.steps {
        let Some(step) = pipeline.step(name.as_str()) else { continue };
        for date in &marking.dates {
            let partition = own_partition(step, *date);
            if partition != Partition::Whole || *date == last {
                days.entry(*date).or_default().insert((name.clone(), partition));
            }
        }
    }
    days
}

/// The visible generation of each table's part. Errors: `NotFound` for what is not there.
async fn what_is_there(
    services: &Services,
    pipeline: &Pipeline,
    days: &BTreeMap<LogicalDate, BTreeSet<Key>>,
    facts: &Facts,
) -> Outcome<BTreeMap<Key, Option<String>>> {
    let mut visible = BTreeMap::new();
    for (name, _) in days.values().flatten() {
        if !visible.contains_key(name) {
            visible.insert(name.clone(), services.catalog.partitions(name.as_str()).await?);
        }
    }
    let mut there = BTreeMap::new();
    let mut absent = Vec::new();
    for key in days.values().flatten() {
        let (name, partition) = key;
        let Some(step) = pipeline.step(name.as_str()) else { continue };
        let entry = visible.get(name).into_iter().flatten().find(|it| it.key == partition.key());
        // Later steps need what a step left beside its table.
        let is_known = facts.ledger.contains_key(key) && !facts.lost.contains(key)
            || facts.unmade.get(key).is_some_and(|row| !row.output.is_null());
        let found = match (&step.kind, entry) {
            (StepKind::Sql(_), Some(entry)) => Some(Some(entry.generation.clone())),
            (StepKind::Sql(_) | StepKind::Score(_), None) => None,
            _ => is_known.then_some(None),
        };
        match found {
            Some(generation) => drop(there.insert(key.clone(), generation)),
            None => absent.push(format!("`{name}` {partition}")),
        }
    }
    if absent.is_empty() {
        return Ok(there);
    }
    let more = absent.len().saturating_sub(MOST_NAMED);
    absent.truncate(MOST_NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let text = format!("nothing is there of {}{more}: it cannot count as done", absent.join(", "));
    Err(Failure::new(FailureKind::NotFound, text).with_hint(
        "leave these out, or make them with `recctl run`; only tables that are in the catalog, and models and lists that a run made, can be set as done",
    ))
}

/// The publications that tables which count as done need, where there are none.
fn publications(
    pipeline: &Pipeline,
    rows: &[LedgerRow],
    facts: &Facts,
    wanted: &BTreeMap<Key, Fingerprint>,
    run: &RunId,
) -> Vec<LedgerRow> {
    let Ok(publish) = Name::new(PUBLISH) else { return Vec::new() };
    let is_table = |row: &&LedgerRow| {
        let step = pipeline.step(row.step.as_str());
        step.is_some_and(|step| matches!(step.kind, StepKind::Sql(_)))
    };
    let partitions: BTreeSet<Partition> =
        rows.iter().filter(is_table).map(|row| row.partition).collect();
    let missing = partitions
        .into_iter()
        .filter(|partition| !facts.ledger.contains_key(&(publish.clone(), *partition)));
    let row = |partition: Partition| {
        let template = rows.iter().find(|row| row.partition == partition)?;
        let fingerprint = wanted.get(&(publish.clone(), partition)).cloned().unwrap_or_default();
        Some(LedgerRow {
            step: publish.clone(),
            partition,
            fingerprint,
            run: run.clone(),
            output: serde_json::Value::Null,
            mark: None,
            ..template.clone()
        })
    };
    missing.filter_map(row).collect()
}

fn record(
    services: &Services,
    pipeline: &Pipeline,
    marking: &Marking,
    last: LogicalDate,
    held: &[Held],
) -> RunRecord {
    let Marking { steps, dates, set, by, reason, .. } = marking;
    let steps: Vec<String> = steps.iter().map(|step| format!("`{step}`")).collect();
    let days = match dates.as_slice() {
        [only] => only.to_string(),
        [first, .., last] => format!("{first} … {last}"),
        [] => String::new(),
    };
    let word = set.word();
    RunRecord {
        id: marking.run.clone(),
        pipeline: pipeline.name.clone(),
        date: last,
        status: Status::Running,
        started: services.clock.now(),
        finished: None,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        failure: None,
        definition: None,
        planned: BTreeMap::new(),
        kind: RunKind::Mark,
        holder: held.last().map(|held| held.lease().holder.clone()),
        note: Some(format!("{} set as {word} for {days} by {by}: {reason}", steps.join(", "))),
    }
}

fn step_record(row: &LedgerRow, run: &RunRecord) -> StepRecord {
    StepRecord {
        run: run.id.clone(),
        step: row.step.clone(),
        action: RunKind::Mark.word().to_owned(),
        partition: row.partition,
        status: Status::Succeeded,
        started: row.done,
        finished: Some(row.done),
        report: StepReport {
            note: row.mark.as_ref().map(|mark| format!("set as {}", mark.set.word())),
            ..StepReport::default()
        },
        failure: None,
        earlier: Vec::new(),
    }
}
