//! Makes visible again what was visible before, by hand: of tables and of what is served. Each is
//! done under leases and on record, as a run of its own kind.

mod served;
mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

pub use self::served::{ServedRollback, flip_served};
pub use self::tables::{Flipped, Generation, TableRollback, TablesBack, generations_of, roll_back};
use super::lease::Held;
use super::orphans::lease_name;
use crate::pipeline::interval::LogicalDate;
use crate::pipeline::name::Name;
use crate::run::failure::{Failure, FailureKind, Outcome};
use crate::run::record::{RunId, RunKind, RunRecord, Status};
use crate::steps::context::Services;

/// The lease that whoever removes generations takes, and whoever makes old ones visible again.
pub(super) const GENERATIONS: &str = "generations";

/// Takes the leases of these days of a pipeline, and the one that keeps `recctl gc` away. The first
/// is that of `date`.
async fn leases(
    services: &Arc<Services>,
    pipeline: &Name,
    date: LogicalDate,
    days: &BTreeSet<LogicalDate>,
    holder: &str,
) -> Outcome<Vec<Held>> {
    let mut names = vec![lease_name(pipeline, date)];
    names.extend(days.iter().filter(|day| **day != date).map(|day| lease_name(pipeline, *day)));
    names.push(GENERATIONS.to_owned());
    let mut held: Vec<Held> = Vec::with_capacity(names.len());
    for name in names {
        match Held::acquire(services, &name, holder, CancellationToken::new()).await {
            Ok(lease) => held.push(lease),
            Err(failure) => {
                release(held).await;
                return Err(failure);
            }
        }
    }
    Ok(held)
}

async fn release(held: Vec<Held>) {
    for lease in held {
        lease.release().await;
    }
}

/// The record of something that was done by hand, as it begins.
fn record(
    services: &Services,
    pipeline: &Name,
    date: LogicalDate,
    holder: &str,
    note: String,
) -> RunRecord {
    let now = services.clock.now();
    RunRecord {
        id: RunId::new(pipeline, date, now, rand::random()),
        pipeline: pipeline.clone(),
        date,
        status: Status::Running,
        started: now,
        finished: None,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        failure: None,
        definition: None,
        planned: BTreeMap::new(),
        kind: RunKind::Rollback,
        holder: Some(holder.to_owned()),
        note: Some(note),
    }
}

/// Writes down how it ended.
async fn end<T>(services: &Services, mut record: RunRecord, outcome: Outcome<T>) -> Outcome<T> {
    record.finished = Some(services.clock.now());
    record.status = if outcome.is_ok() { Status::Succeeded } else { Status::Failed };
    record.failure = outcome.as_ref().err().cloned();
    services.state.put_run(&record).await?;
    outcome
}

fn no_run(run: &RunId, table: &str) -> Failure {
    let text = format!("`{table}` has no generation of run `{run}`, and nobody knows that run");
    Failure::new(FailureKind::NotFound, text)
        .with_hint(format!("`recctl rollback {table} --list` shows what there is"))
}
