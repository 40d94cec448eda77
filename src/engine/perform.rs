//! Carries out one action: hands it to its step and writes the ledger.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use super::unit_of;
use crate::pipeline::graph::Pipeline;
use crate::pipeline::interval::{LogicalDate, Partition};
use crate::pipeline::name::Name;
use crate::pipeline::step::{Step, StepKind};
use crate::plan::demand::source_reads;
use crate::plan::{Action, ActionKind, Plan, Verdict};
use crate::ports::{Lease, PartitionEntry};
use crate::run::event::EventSink;
use crate::run::failure::{Failure, FailureKind, Outcome};
use crate::run::record::{Input, LedgerRow, RunId, StepReport};
use crate::steps::context::{Made, Services, StepContext};
use crate::steps::sql::SourceRead;
use crate::steps::{load, publication, publish, score, select, sql, train, tune};

/// As which run work is done.
pub(super) struct Identity {
    pub(super) run: RunId,
    /// Under which the ledger is written.
    pub(super) lease: Lease,
    /// Whether work is done again although nothing changed.
    pub(super) forced: bool,
    /// Whether lists may take the place of a newer day's.
    pub(super) serve: bool,
}

pub(super) struct Performer {
    services: Arc<Services>,
    pipeline: Arc<Pipeline>,
    date: LogicalDate,
    identity: Identity,
    made: Arc<Made>,
    events: Arc<dyn EventSink>,
    cancel: CancellationToken,
    /// The queries of each partition that this run does or whose results it adopts.
    queries: BTreeMap<Partition, Vec<Action>>,
    /// What the parts of tables, and steps of the day, that results are made from are.
    origins: Mutex<BTreeMap<(Name, Partition), Origin>>,
}

/// Where something that is read is from.
#[derive(Clone)]
struct Origin {
    /// The run that made it.
    generation: String,
    /// The digest of what it was made from.
    fingerprint: String,
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
            if action.runs() || action.adopts() {
                queries.entry(action.partition).or_default().push(action.clone());
            }
        }
        let origin = |action: &Action| Origin {
            generation: match &action.verdict {
                Verdict::Run(_) => identity.run.to_string(),
                Verdict::Skip(run) | Verdict::Adopt(run) => run.to_string(),
            },
            fingerprint: action.fingerprint.digest(),
        };
        let of = |action: &Action| ((action.step.clone(), action.partition), origin(action));
        let origins = Mutex::new(plan.actions.iter().map(of).collect());
        let made = Arc::new(Made::default());
        let date = plan.date;
        Self { services, pipeline, date, identity, made, events, cancel, queries, origins }
    }

    pub(super) fn made(&self) -> &Made {
        &self.made
    }

    /// Takes over what unchanged and unselected steps left, for those that come after them.
    pub(super) async fn recall(&self, plan: &Plan) -> Outcome<()> {
        let ledger = self.services.state.ledger(&self.pipeline.name).await?;
        let row_of = |step: &Name, partition: Partition| {
            let found = ledger.iter().find(|row| row.step == *step && row.partition == partition);
            found.filter(|row| row.is_done())
        };
        let mut origins = self.origins.lock().unwrap_or_else(PoisonError::into_inner);
        for row in ledger.iter().filter(|row| row.is_done()) {
            origins.entry((row.step.clone(), row.partition)).or_insert_with(|| Origin {
                generation: row.run.to_string(),
                fingerprint: row.visible_digest(),
            });
        }
        drop(origins);
        for row in &ledger {
            // What a query keeps; other steps keep what their kind needs.
            let is_sql = |step: &Step| matches!(step.kind, StepKind::Sql(_));
            if self.pipeline.step(row.step.as_str()).is_some_and(is_sql)
                && let Ok(kept) = serde_json::from_value(row.output.clone())
            {
                self.made.recall_figures(&row.step, row.partition, kept);
            }
        }
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
            serve: self.identity.serve,
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
            StepKind::Score(step) => {
                let (report, mut draft) = score::score(&context, name, step, &action.reads).await?;
                draft.rows.push(self.row(action));
                publication::publish(&context, draft).await?;
                return Ok(report);
            }
            StepKind::Load(step) => load::load(&context, name, step).await?,
        };
        self.services.state.put_ledger(&[self.row(action)], &self.identity.lease).await?;
        Ok(report)
    }

    async fn publish(&self, context: &StepContext, action: &Action) -> Outcome<StepReport> {
        let empty = Vec::new();
        let queries = self.queries.get(&action.partition).unwrap_or(&empty);
        let named = |adopted: bool| {
            let some = queries.iter().filter(move |query| query.adopts() == adopted);
            some.map(|query| query.step.clone()).collect::<Vec<Name>>()
        };
        let (tables, adopted) = (named(false), named(true));
        let mut rows: Vec<LedgerRow> = queries.iter().map(|query| self.row(query)).collect();
        rows.push(self.row(action));
        publish::publish(context, action.partition, &tables, &adopted, rows).await
    }

    fn row(&self, action: &Action) -> LedgerRow {
        let output = match action.kind {
            ActionKind::Sql => {
                let kept = self.made.kept_figures(&action.step, action.partition);
                kept.and_then(|kept| serde_json::to_value(kept).ok())
            }
            _ => self.made.output(&action.step).ok(),
        };
        LedgerRow {
            pipeline: self.pipeline.name.clone(),
            step: action.step.clone(),
            partition: action.partition,
            fingerprint: action.fingerprint.clone(),
            run: match &action.verdict {
                Verdict::Adopt(run) => run.clone(),
                Verdict::Run(_) | Verdict::Skip(_) => self.identity.run.clone(),
            },
            done: self.services.clock.now(),
            output: output.unwrap_or_default(),
            inputs: self.inputs(action),
            mark: None,
            rollback: None,
        }
    }

    /// What an action's result is made from, for people.
    fn inputs(&self, action: &Action) -> Vec<Input> {
        let origins = self.origins.lock().unwrap_or_else(PoisonError::into_inner);
        let files = action.files.iter().map(|read| Input::Files {
            source: read.source.clone(),
            partition: read.partition,
            files: read.files,
            bytes: read.bytes,
        });
        let parts = action.reads.iter().flat_map(|read| {
            read.partitions.iter().map(|partition| (read.table.clone(), *partition))
        });
        let tables = parts.filter_map(|key| {
            let Origin { generation, fingerprint } = origins.get(&key)?.clone();
            let (table, partition) = key;
            Some(Input::Table { table, partition, generation, fingerprint })
        });
        let step = self.pipeline.step(action.step.as_str());
        let needs = step.map(Step::needs).unwrap_or_default();
        let steps = needs
            .into_iter()
            .filter(|need| action.reads.iter().all(|read| read.table != **need))
            .filter_map(|need| {
                let key = (need.clone(), Partition::Day(self.date));
                let Origin { generation, fingerprint } = origins.get(&key)?.clone();
                Some(Input::Step { step: key.0, generation, fingerprint })
            });
        files.chain(tables).chain(steps).collect()
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

    /// Whether readers may see a partition that this run staged: a publication may take place
    /// although its answer gets lost. What nobody can tell stays.
    async fn may_be_visible(&self, staged: &PartitionEntry) -> bool {
        match self.services.catalog.partitions(&staged.table).await {
            Ok(visible) => {
                visible.iter().any(|it| it.key == staged.key && it.generation == staged.generation)
            }
            Err(failure) => {
                tracing::warn!(%failure, table = staged.table, "unpublished files are left");
                true
            }
        }
    }

    /// Removes what nobody needs after the run.
    pub(super) async fn clean_up(&self) {
        let lake = self.services.query.lake();
        for folder in self.made.datasets() {
            if let Err(failure) = lake.remove_folder(&folder).await {
                tracing::warn!(%failure, "could not remove a training set");
            }
        }
        for partition in self.made.left_over() {
            if self.may_be_visible(&partition).await {
                continue;
            }
            for file in &partition.files {
                if let Err(failure) = lake.remove_file(&file.path).await {
                    tracing::warn!(%failure, "could not remove a file that nobody will see");
                }
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
