//! Ports that fail when they are told to, in front of the embedded target's.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use recctl::pipeline::interval::LogicalDate;
use recctl::pipeline::name::Name;
use recctl::ports::*;
use recctl::run::failure::{Failure, FailureKind, Outcome};
use recctl::run::record::{Decision, LedgerRow, RunId, RunRecord, StepRecord};
use recctl::steps::context::Services;
use tokio::sync::Notify;

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is refused for now; nothing happens.
    Busy,
    /// It takes place, but its answer gets lost.
    LostAnswer,
    /// It is refused for good; nothing happens.
    Denied,
}

pub const FAULTS: [Fault; 3] = [Fault::Busy, Fault::LostAnswer, Fault::Denied];

/// The call that a fault is meant for: the name of the operation and which of its calls, from 0.
pub type Call = (&'static str, usize);

/// Counts the calls of all ports and lets one of them fail.
#[derive(Debug, Default)]
pub struct Gate {
    calls: Mutex<BTreeMap<&'static str, usize>>,
    fault: Option<(Call, Fault)>,
    pause: Option<Pause>,
}

/// A call that waits.
#[derive(Debug)]
struct Pause {
    call: Call,
    reached: Notify,
    go_on: Notify,
}

impl Gate {
    pub fn open() -> Arc<Self> {
        Arc::default()
    }

    pub fn failing(call: Call, fault: Fault) -> Arc<Self> {
        Arc::new(Self { fault: Some((call, fault)), ..Self::default() })
    }

    /// Holds a call back before anything of it happens.
    pub fn pausing(call: Call) -> Arc<Self> {
        let pause = Pause { call, reached: Notify::new(), go_on: Notify::new() };
        Arc::new(Self { pause: Some(pause), ..Self::default() })
    }

    /// Waits until the call is held back.
    pub async fn reached(&self) {
        self.pause.as_ref().unwrap().reached.notified().await;
    }

    /// Lets the call go on.
    pub fn go_on(&self) {
        self.pause.as_ref().unwrap().go_on.notify_one();
    }

    /// Number of calls by operation.
    pub fn calls(&self) -> BTreeMap<&'static str, usize> {
        self.calls.lock().unwrap().clone()
    }

    async fn pass<T>(
        &self,
        name: &'static str,
        call: impl Future<Output = Outcome<T>>,
    ) -> Outcome<T> {
        let at = {
            let mut calls = self.calls.lock().unwrap();
            let count = calls.entry(name).or_default();
            *count += 1;
            *count - 1
        };
        if let Some(pause) = self.pause.as_ref().filter(|pause| pause.call == (name, at)) {
            pause.reached.notify_one();
            pause.go_on.notified().await;
        }
        let failure = |kind, text: &str| Err(Failure::new(kind, format!("{text} `{name}`")));
        match self.fault {
            Some((meant, fault)) if meant == (name, at) => match fault {
                Fault::Busy => failure(FailureKind::Transient, "too busy for"),
                Fault::LostAnswer => {
                    call.await?;
                    failure(FailureKind::Transient, "no answer to")
                }
                Fault::Denied => failure(FailureKind::Denied, "not allowed:"),
            },
            _ => call.await,
        }
    }
}

/// The services with a gate before every port.
pub fn gated(services: &Services, gate: &Arc<Gate>) -> Services {
    let behind = || Arc::clone(gate);
    Services {
        catalog: Arc::new(Faulty(Arc::clone(&services.catalog), behind())),
        warehouse: Arc::new(Faulty(Arc::clone(&services.warehouse), behind())),
        trainer: Arc::new(Faulty(Arc::clone(&services.trainer), behind())),
        registry: services.registry.as_ref().map(|registry| {
            Arc::new(Faulty(Arc::clone(registry), behind())) as Arc<dyn ModelRegistry>
        }),
        serving: Arc::new(Faulty(Arc::clone(&services.serving), behind())),
        state: Arc::new(Faulty(Arc::clone(&services.state), behind())),
        clock: Arc::clone(&services.clock),
        query: Arc::clone(&services.query),
        scratch: Path::new(&services.scratch).to_owned(),
    }
}

struct Faulty<P: ?Sized>(Arc<P>, Arc<Gate>);

#[async_trait]
impl Catalog for Faulty<dyn Catalog> {
    async fn tables(&self) -> Outcome<Vec<TableEntry>> {
        self.1.pass("catalog.tables", self.0.tables()).await
    }
    async fn table(&self, name: &str) -> Outcome<Option<TableEntry>> {
        self.1.pass("catalog.table", self.0.table(name)).await
    }
    async fn partitions(&self, table: &str) -> Outcome<Vec<PartitionEntry>> {
        self.1.pass("catalog.partitions", self.0.partitions(table)).await
    }
    async fn some(&self, table: &str, keys: &[String]) -> Outcome<Vec<PartitionEntry>> {
        self.1.pass("catalog.some", self.0.some(table, keys)).await
    }
    async fn take_back(&self, tables: &[TableEntry], flips: &[Flip], lease: &Lease) -> Outcome<()> {
        self.1.pass("catalog.take_back", self.0.take_back(tables, flips, lease)).await
    }
    async fn publish(
        &self,
        tables: &[TableEntry],
        partitions: &[PartitionEntry],
        lease: &Lease,
    ) -> Outcome<()> {
        self.1.pass("catalog.publish", self.0.publish(tables, partitions, lease)).await
    }
    async fn fence(&self, tables: &[String], lease: &Lease) -> Outcome<()> {
        self.1.pass("catalog.fence", self.0.fence(tables, lease)).await
    }
    async fn history(&self, table: &str, key: &str) -> Outcome<Vec<PartitionEntry>> {
        self.1.pass("catalog.history", self.0.history(table, key)).await
    }
    async fn earlier(&self, table: &str) -> Outcome<Vec<PartitionEntry>> {
        self.1.pass("catalog.earlier", self.0.earlier(table)).await
    }
    async fn forget(&self, table: &str, key: &str, all: &[String]) -> Outcome<Vec<String>> {
        self.1.pass("catalog.forget", self.0.forget(table, key, all)).await
    }
}

#[async_trait]
impl Warehouse for Faulty<dyn Warehouse> {
    async fn load(&self, batch: &LoadBatch) -> Outcome<LoadOutcome> {
        self.1.pass("warehouse.load", self.0.load(batch)).await
    }
    async fn fence(&self, lease: &Lease) -> Outcome<()> {
        self.1.pass("warehouse.fence", self.0.fence(lease)).await
    }
    async fn under_way(&self, tokens: &[String]) -> Outcome<Vec<String>> {
        self.1.pass("warehouse.under_way", self.0.under_way(tokens)).await
    }
    async fn cancel(&self, tokens: &[String]) -> Outcome<()> {
        self.1.pass("warehouse.cancel", self.0.cancel(tokens)).await
    }
    async fn count(&self, table: &str, date: Option<LogicalDate>) -> Outcome<Option<u64>> {
        self.1.pass("warehouse.count", self.0.count(table, date)).await
    }
}

#[async_trait]
impl Trainer for Faulty<dyn Trainer> {
    async fn submit(&self, job: &JobRequest) -> Outcome<()> {
        self.1.pass("trainer.submit", self.0.submit(job)).await
    }
    async fn status(&self, name: &str) -> Outcome<JobStatus> {
        self.1.pass("trainer.status", self.0.status(name)).await
    }
    async fn wait(&self, name: &str, wait: Duration) -> Outcome<JobStatus> {
        self.1.pass("trainer.wait", self.0.wait(name, wait)).await
    }
    async fn cancel(&self, name: &str) -> Outcome<()> {
        self.1.pass("trainer.cancel", self.0.cancel(name)).await
    }
    async fn under_way(&self, jobs: &[String], searches: &[String]) -> Outcome<Vec<JobUnderWay>> {
        self.1.pass("trainer.under_way", self.0.under_way(jobs, searches)).await
    }
    fn outlives_the_run(&self) -> bool {
        self.0.outlives_the_run()
    }
}

#[async_trait]
impl ModelRegistry for Faulty<dyn ModelRegistry> {
    async fn register(&self, model: &ModelEntry) -> Outcome<ModelVersion> {
        self.1.pass("registry.register", self.0.register(model)).await
    }
    async fn versions(&self, group: &str, limit: usize) -> Outcome<Vec<ModelVersion>> {
        self.1.pass("registry.versions", self.0.versions(group, limit)).await
    }
}

#[async_trait]
impl ServingStore for Faulty<dyn ServingStore> {
    async fn begin(
        &self,
        table: &str,
        generation: &str,
        model: &str,
        now: DateTime<Utc>,
    ) -> Outcome<u64> {
        self.1.pass("serving.begin", self.0.begin(table, generation, model, now)).await
    }
    async fn put(&self, table: &str, generation: &str, items: &[ServingItem]) -> Outcome<()> {
        self.1.pass("serving.put", self.0.put(table, generation, items)).await
    }
    async fn checkpoint(&self, table: &str, generation: &str, items: u64) -> Outcome<()> {
        self.1.pass("serving.checkpoint", self.0.checkpoint(table, generation, items)).await
    }
    async fn seal_and_flip(
        &self,
        table: &str,
        generation: &str,
        items: u64,
        lease: &Lease,
    ) -> Outcome<()> {
        let sealed = self.0.seal_and_flip(table, generation, items, lease);
        self.1.pass("serving.seal_and_flip", sealed).await
    }
    async fn flip(&self, table: &str, generation: &str, lease: &Lease) -> Outcome<()> {
        self.1.pass("serving.flip", self.0.flip(table, generation, lease)).await
    }
    async fn fence(&self, table: &str, lease: &Lease) -> Outcome<()> {
        self.1.pass("serving.fence", self.0.fence(table, lease)).await
    }
    async fn generations(&self, table: &str) -> Outcome<Vec<GenerationEntry>> {
        self.1.pass("serving.generations", self.0.generations(table)).await
    }
    async fn tables(&self) -> Outcome<Vec<String>> {
        self.1.pass("serving.tables", self.0.tables()).await
    }
    async fn get(&self, table: &str, key: &str) -> Outcome<Option<ServedList>> {
        self.1.pass("serving.get", self.0.get(table, key)).await
    }
    async fn discard(&self, table: &str, generation: &str) -> Outcome<bool> {
        self.1.pass("serving.discard", self.0.discard(table, generation)).await
    }
    async fn prune(&self, table: &str, keep: usize) -> Outcome<usize> {
        self.1.pass("serving.prune", self.0.prune(table, keep)).await
    }
}

#[async_trait]
impl StateStore for Faulty<dyn StateStore> {
    async fn put_run(&self, run: &RunRecord) -> Outcome<()> {
        self.1.pass("state.put_run", self.0.put_run(run)).await
    }
    async fn run(&self, id: &RunId) -> Outcome<Option<RunRecord>> {
        self.1.pass("state.run", self.0.run(id)).await
    }
    async fn runs(&self, limit: usize) -> Outcome<Vec<RunRecord>> {
        self.1.pass("state.runs", self.0.runs(limit)).await
    }
    async fn remove_run(&self, id: &RunId) -> Outcome<()> {
        self.1.pass("state.remove_run", self.0.remove_run(id)).await
    }
    async fn put_step(&self, step: &StepRecord) -> Outcome<()> {
        self.1.pass("state.put_step", self.0.put_step(step)).await
    }
    async fn steps(&self, run: &RunId) -> Outcome<Vec<StepRecord>> {
        self.1.pass("state.steps", self.0.steps(run)).await
    }
    async fn ledger(&self, pipeline: &Name) -> Outcome<Vec<LedgerRow>> {
        self.1.pass("state.ledger", self.0.ledger(pipeline)).await
    }
    async fn put_ledger(&self, rows: &[LedgerRow], lease: &Lease) -> Outcome<()> {
        self.1.pass("state.put_ledger", self.0.put_ledger(rows, lease)).await
    }
    async fn begin_publication(&self, one: &Publication, lease: &Lease) -> Outcome<()> {
        self.1.pass("state.begin_publication", self.0.begin_publication(one, lease)).await
    }
    async fn publications(&self) -> Outcome<Vec<Publication>> {
        self.1.pass("state.publications", self.0.publications()).await
    }
    async fn end_publication(&self, id: &str, rows: &[LedgerRow], lease: &Lease) -> Outcome<()> {
        self.1.pass("state.end_publication", self.0.end_publication(id, rows, lease)).await
    }
    async fn decision_before(
        &self,
        pipeline: &Name,
        step: &Name,
        date: LogicalDate,
    ) -> Outcome<Option<Decision>> {
        self.1.pass("state.decision_before", self.0.decision_before(pipeline, step, date)).await
    }
    async fn put_decision(
        &self,
        pipeline: &Name,
        step: &Name,
        decision: &Decision,
        lease: &Lease,
    ) -> Outcome<()> {
        self.1
            .pass("state.put_decision", self.0.put_decision(pipeline, step, decision, lease))
            .await
    }
    async fn acquire(
        &self,
        name: &str,
        holder: &str,
        time: Duration,
        now: DateTime<Utc>,
    ) -> Outcome<Lease> {
        self.1.pass("state.acquire", self.0.acquire(name, holder, time, now)).await
    }
    async fn holding(&self, name: &str, now: DateTime<Utc>) -> Outcome<Option<Holding>> {
        self.1.pass("state.holding", self.0.holding(name, now)).await
    }
    async fn renew(&self, lease: &Lease, time: Duration, now: DateTime<Utc>) -> Outcome<()> {
        self.1.pass("state.renew", self.0.renew(lease, time, now)).await
    }
    async fn release(&self, lease: &Lease) -> Outcome<()> {
        self.1.pass("state.release", self.0.release(lease)).await
    }
}
