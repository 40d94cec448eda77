//! State: runs, the ledger, decisions and the lease.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, SecondsFormat, Utc};

use super::publication::Publication;
use crate::pipeline::interval::LogicalDate;
use crate::pipeline::name::Name;
use crate::run::failure::{Failure, FailureKind, Outcome};
use crate::run::record::{Decision, LedgerRow, RunId, RunRecord, StepRecord};

/// The right to run a pipeline. What later runs rely on is only written under one that is still
/// held: a holder that was taken over while it slept cannot spoil the work of the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// What is leased.
    pub name: String,
    /// Who holds it.
    pub holder: String,
    /// Grows with every acquisition, so that a holder that was taken over can be told by it. The
    /// first is the time in seconds since 1970: a state that was lost does not bring small ones back.
    pub fence: u64,
    /// Whether the holder before did not give it back: it may only be paused, and come back.
    pub seized: bool,
}

impl Lease {
    /// The failure of a holder that lost its lease to another, or gave it back.
    pub fn lost_to(&self, holder: Option<&str>) -> Failure {
        let text = match holder {
            Some(other) => format!("`{}` was taken over by `{other}`", self.name),
            None => format!("`{}` is not leased any more", self.name),
        };
        Failure::new(FailureKind::Conflict, text)
    }

    /// The failure of a holder that comes after a later one: nothing of it becomes visible any more.
    pub fn fenced_off(&self) -> Failure {
        let text = format!(
            "`{}` was taken over by another process: nothing of this one becomes visible any more",
            self.name
        );
        Failure::new(FailureKind::Conflict, text)
            .with_hint("`recctl runs` shows the one that goes on")
    }
}

/// Who holds a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// Who: `<host>/<process>/…`.
    pub holder: String,
    /// Since when; not known of leases that an older recctl took.
    pub since: Option<DateTime<Utc>>,
    /// Until when, unless it is renewed.
    pub until: DateTime<Utc>,
}

impl Holding {
    /// The failure of somebody who wants the lease `name`.
    pub fn refused(&self, name: &str) -> Failure {
        let time = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Secs, true);
        let since = self.since.map_or_else(String::new, |it| format!(" since {}", time(it)));
        let text = format!(
            "`{name}` is held by {}{since}; its lease lasts until {}",
            self.who(),
            time(self.until)
        );
        Failure::new(FailureKind::Held, text)
            .with_hint("wait for it to end, or for its lease to run out")
    }

    /// The holder in words.
    pub fn who(&self) -> String {
        let mut parts = self.holder.split('/');
        match (parts.next(), parts.next()) {
            (Some(host), Some(process)) => format!("process {process} on host `{host}`"),
            _ => format!("`{}`", self.holder),
        }
    }
}

/// Remembers what was done.
#[async_trait]
pub trait StateStore: Send + Sync {
    /// Writes a run, replacing what was known under its id.
    async fn put_run(&self, run: &RunRecord) -> Outcome<()>;

    /// A run by id; `None` if nobody knows it.
    async fn run(&self, id: &RunId) -> Outcome<Option<RunRecord>>;

    /// The last runs, newest first by start.
    async fn runs(&self, limit: usize) -> Outcome<Vec<RunRecord>>;

    /// Removes a run and its steps. One that nobody knows is no error.
    async fn remove_run(&self, id: &RunId) -> Outcome<()>;

    /// Writes a step's record, replacing the one of the same run, step, action and partition.
    async fn put_step(&self, step: &StepRecord) -> Outcome<()>;

    /// The records of a run's steps, by start.
    async fn steps(&self, run: &RunId) -> Outcome<Vec<StepRecord>>;

    /// The whole ledger of a pipeline.
    async fn ledger(&self, pipeline: &Name) -> Outcome<Vec<LedgerRow>>;

    /// Writes rows of the ledger, all or none, each replacing the one of the same pipeline, step
    /// and partition.
    ///
    /// Errors: `Conflict` if the lease was taken over or given back, whatever its time; `Exhausted`
    /// if they are more than the store writes at once.
    async fn put_ledger(&self, rows: &[LedgerRow], lease: &Lease) -> Outcome<()>;

    /// Writes down a publication before anything of it is visible, replacing the one of the same id.
    ///
    /// Errors: `Conflict` if the lease was taken over or given back, whatever its time; `Exhausted`
    /// if it is more than the store writes at once.
    async fn begin_publication(&self, publication: &Publication, lease: &Lease) -> Outcome<()>;

    /// The publications of all pipelines that were begun and have not ended, oldest first.
    async fn publications(&self) -> Outcome<Vec<Publication>>;

    /// Forgets a publication and writes rows of the ledger, all or none. One that nobody knows is no
    /// error: its rows are written.
    ///
    /// Errors: as of [`StateStore::put_ledger`].
    async fn end_publication(&self, id: &str, rows: &[LedgerRow], lease: &Lease) -> Outcome<()>;

    /// The last decision of a selecting step before a date; `None` if there is none.
    async fn decision_before(
        &self,
        pipeline: &Name,
        step: &Name,
        date: LogicalDate,
    ) -> Outcome<Option<Decision>>;

    /// Writes a decision, replacing the one of the same pipeline, step and date.
    ///
    /// Errors: `Conflict` if the lease was taken over or given back, whatever its time.
    async fn put_decision(
        &self,
        pipeline: &Name,
        step: &Name,
        decision: &Decision,
        lease: &Lease,
    ) -> Outcome<()>;

    /// Takes the lease if nobody holds it, or its holder's time is up or its process is known to
    /// be dead. Taking it again as the same holder renews it, as does trying again where an answer got
    /// lost; from whom it was taken first is not known then, so it counts as seized.
    ///
    /// Errors: `Held`, naming the holder, since when and until when.
    async fn acquire(
        &self,
        name: &str,
        holder: &str,
        time: Duration,
        now: DateTime<Utc>,
    ) -> Outcome<Lease>;

    /// Who holds a lease; `None` if it is free: given back, its time is up, or its holder's process
    /// is known to be dead.
    async fn holding(&self, name: &str, now: DateTime<Utc>) -> Outcome<Option<Holding>>;

    /// Prolongs a lease. Errors: `Conflict` if it was taken over.
    async fn renew(&self, lease: &Lease, time: Duration, now: DateTime<Utc>) -> Outcome<()>;

    /// Gives a lease back; one that was taken over is left alone.
    async fn release(&self, lease: &Lease) -> Outcome<()>;
}
