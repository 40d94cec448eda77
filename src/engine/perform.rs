//! Carries out one action: hands it to its step and writes the ledger.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::unit_of;
use crate::pipeline::graph::Pipeline;
use crate::pipeline::interval::{LogicalDate, Partition};
use crate::pipeline::name::Name;
use crate::pipeline::step::StepKind;
use crate::plan::demand::source_reads;
use crate::plan::{Action, ActionKind, Plan, Verdict};
use crate::ports::Lease;
use crate::run::event::EventSink;
use crate::run::failure::{Failure, FailureKind, Outcome};
use crate::run::record::{LedgerRow, RunId, StepReport};
use crate::steps::context::{Made, Services, StepContext};
use crate::steps::sql::SourceRead;
use crate::steps::{load, publish, score, select, sql, train, tune};

/// As which run work is done.
pub(super) struct Identity {
    pub(super) run: RunId,
    /// Under which the ledger is written.
    pub(super) lease: Lease,
    /// Whether work is done again although nothing changed.
    pub(super) forced: bool,
}

pub(super) struct Performer {
    services: Arc<Services>,
    pipeline: Arc<Pipeline>,
    date: LogicalDate,
    identity: Identity,
    made: Arc<Made>,
    events: Arc<dyn EventSink>,
    cancel: CancellationToken,
    /// The queries of each partition that this run does, with what they are made from.
    queries: BTreeMap<Partition, Vec<Action>>,
}

impl Performer {
    pub(super) fn new(
        services: Arc<Services>,
        pipeline: Arc<Pipeline>,
        plan: &Plan,
        identity: Identity,
        events: Arc<dyn EventSink>,
        cancel: CancellationToken,
    ) -> Self {
        let mut queries: BTreeMap<Partition, Vec<Action>> = BTreeMap::new();
        for action in plan.actions.iter().filter(|action| action.kind == ActionKind::Sql) {
            if action.runs() {
                queries.entry(action.partition).or_default().push(action.clone());
            }
        }
        let made = Arc::new(Made::default());
        let date = plan.date;
        Self { services, pipeline, date, identity, made, events, cancel, queries }
    }

    pub(super) fn made(&self) -> &Made {
        &self.made
    }

    /// Takes over what unchanged and unselected steps left, for those that come after them.
    pub(super) async fn recall(&self, plan: &Plan) -> Outcome<()> {
        let ledger = self.services.state.ledger(&self.pipeline.name).await?;
        let row_of = |step: &Name, partition: Partition| {
            ledger.iter().find(|row| row.step == *step && row.partition == partition)
        };
        for step in &self.pipeline.unselected {
            if let Some(row) = row_of(&step.name, Partition::Day(self.date)) {
                self.made.put_output(&step.name, row.output.clone());
            }
        }
        for action in &plan.actions {
            let found = row_of(&action.step, action.partition);
            if let (Verdict::Skip(_), Some(row)) = (&action.verdict, found)
                && action.kind != ActionKind::Sql
            {
                self.made.put_output(&action.step, row.output.clone());
            }
        }
        Ok(())
    }

    pub(super) async fn perform(&self, action: &Action) -> Outcome<StepReport> {
        let context = StepContext {
            services: Arc::clone(&self.services),
            pipeline: Arc::clone(&self.pipeline),
            date: self.date,
            run: self.identity.run.clone(),
            lease: self.identity.lease.clone(),
            unit: unit_of(action),
            fingerprint: action.fingerprint.digest(),
            forced: self.identity.forced,
            made: Arc::clone(&self.made),
            events: Arc::clone(&self.events),
            cancel: self.cancel.clone(),
        };
        if action.kind == ActionKind::Publish {
            return self.publish(&context, action).await;
        }
        let step = self.pipeline.step(action.step.as_str()).ok_or_else(|| {
            Failure::new(FailureKind::Internal, format!("no step `{}`", action.step))
        })?;
        let name = &step.name;
        let report = match &step.kind {
            StepKind::Sql(step) => {
                let sources = self.sources(action)?;
                // The ledger gets its row when the table is visible, not before.
                return sql::make(&context, name, step, action.partition, &action.reads, &sources)
                    .await;
            }
            StepKind::Train(step) => train::train(&context, name, step, &action.reads).await?,
            StepKind::Tune(step) => tune::tune(&context, name, step, &action.reads).await?,
            StepKind::Select(step) => select::select(&context, name, step, &action.reads).await?,
            StepKind::Score(step) => score::score(&context, name, step, &action.reads).await?,
            StepKind::Load(step) => load::load(&context, name, step).await?,
        };
        self.services.state.put_ledger(&[self.row(action)], &self.identity.lease).await?;
        Ok(report)
    }

    async fn publish(&self, context: &StepContext, action: &Action) -> Outcome<StepReport> {
        let empty = Vec::new();
        let queries = self.queries.get(&action.partition).unwrap_or(&empty);
        let tables: Vec<Name> = queries.iter().map(|query| query.step.clone()).collect();
        let report = publish::publish(context, action.partition, &tables).await?;
        let mut rows: Vec<LedgerRow> = queries.iter().map(|query| self.row(query)).collect();
        rows.push(self.row(action));
        self.services.state.put_ledger(&rows, &self.identity.lease).await?;
        Ok(report)
    }

    fn row(&self, action: &Action) -> LedgerRow {
        LedgerRow {
            pipeline: self.pipeline.name.clone(),
            step: action.step.clone(),
            partition: action.partition,
            fingerprint: action.fingerprint.clone(),
            run: self.identity.run.clone(),
            done: self.services.clock.now(),
            output: self.made.output(&action.step).unwrap_or_default(),
        }
    }

    fn sources(&self, action: &Action) -> Outcome<Vec<SourceRead>> {
        let Some(step) = self.pipeline.step(action.step.as_str()) else { return Ok(Vec::new()) };
        let mut sources: Vec<SourceRead> = Vec::new();
        for (name, partition) in source_reads(&self.pipeline, step, action.partition) {
            let source = self.pipeline.sources.get(&name).ok_or_else(|| {
                Failure::new(FailureKind::Internal, format!("no source `{name}`"))
            })?;
            match sources.iter_mut().find(|read| read.source.name == name) {
                Some(read) => read.partitions.push(partition),
                None => sources.push(SourceRead {
                    source: Arc::new(source.clone()),
                    partitions: vec![partition],
                }),
            }
        }
        Ok(sources)
    }

    /// Removes what nobody needs after the run.
    pub(super) async fn clean_up(&self) {
        let lake = self.services.query.lake();
        for folder in self.made.datasets() {
            if let Err(failure) = lake.remove_folder(&folder).await {
                tracing::warn!(%failure, "could not remove a training set");
            }
        }
        for file in self.made.left_over() {
            if let Err(failure) = lake.remove_file(&file).await {
                tracing::warn!(%failure, "could not remove a file that nobody will see");
            }
        }
        let scratch = self.services.scratch.join(self.identity.run.as_str());
        if let Err(error) = std::fs::remove_dir_all(&scratch)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "could not remove scratch files");
        }
    }
}
