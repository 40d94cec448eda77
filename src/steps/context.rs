//! What a step is given: services, the run, and what other steps of the run have made.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::datatypes::SchemaRef;
use tokio_util::sync::CancellationToken;

use super::TableRead;
use crate::pipeline::graph::Pipeline;
use crate::pipeline::interval::{LogicalDate, Partition};
use crate::pipeline::name::Name;
use crate::pipeline::step::{QUARANTINE_TABLE, WarehouseLayout};
use crate::ports::{
    Catalog, Clock, Lease, ModelRegistry, PartitionEntry, Publication, ServingStore, StateStore,
    TableEntry, Trainer, Warehouse,
};
use crate::query::catalog_schema;
use crate::query::published::PublishedTable;
use crate::query::session::QueryEngine;
use crate::run::event::{EventSink, Progress, RunEvent, Unit};
use crate::run::failure::{Failure, FailureKind, Outcome};
use crate::run::record::{KeptFigures, RunId};

/// Runs whose figures are kept of a table that is replaced whole.
const FIGURES_KEPT: usize = 60;

/// The world outside, and the query engine.
pub struct Services {
    /// Catalog.
    pub catalog: Arc<dyn Catalog>,
    /// Warehouse.
    pub warehouse: Arc<dyn Warehouse>,
    /// Trainer.
    pub trainer: Arc<dyn Trainer>,
    /// Model registry; `None` where the target has none.
    pub registry: Option<Arc<dyn ModelRegistry>>,
    /// Serving store.
    pub serving: Arc<dyn ServingStore>,
    /// State.
    pub state: Arc<dyn StateStore>,
    /// Clock.
    pub clock: Arc<dyn Clock>,
    /// Query engine, with the lake.
    pub query: Arc<QueryEngine>,
    /// A folder of this machine for files that nobody needs after the run.
    pub scratch: PathBuf,
}

/// A table's partition that is written and not yet visible.
#[derive(Debug, Clone)]
pub struct Staged {
    /// The table.
    pub table: TableEntry,
    /// The partition.
    pub partition: PartitionEntry,
    /// How it comes into the warehouse, if it does.
    pub warehouse: Option<WarehouseLayout>,
}

/// What the steps of a run have made so far.
#[derive(Debug, Default)]
pub struct Made {
    staged: Mutex<BTreeMap<(String, String), Staged>>,
    begun: Mutex<BTreeMap<String, Publication>>,
    outputs: Mutex<BTreeMap<Name, serde_json::Value>>,
    datasets: Mutex<BTreeSet<String>>,
    figures: Mutex<BTreeMap<(Name, Partition), KeptFigures>>,
    quarantined: tokio::sync::OnceCell<BTreeSet<String>>,
    cutting: tokio::sync::Mutex<()>,
}

impl Made {
    /// Keeps a staged partition.
    pub fn stage(&self, staged: Staged) {
        let key = (staged.partition.table.clone(), staged.partition.key.clone());
        self.staged.lock().unwrap_or_else(PoisonError::into_inner).insert(key, staged);
    }

    /// Keeps a publication that is written down: whatever becomes of this run, its partitions become
    /// visible.
    pub fn begin(&self, publication: Publication) {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.insert(publication.id.clone(), publication);
    }

    /// A publication of this run that is written down.
    pub fn begun(&self, id: &str) -> Option<Publication> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// Forgets a publication of which nothing will be visible after all.
    pub fn taken_back(&self, publication: &Publication) {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).remove(&publication.id);
    }

    /// Partitions that were staged and, as far as this run knows, never become visible.
    pub fn left_over(&self) -> Vec<PartitionEntry> {
        let staged = self.staged.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        let flips = begun.values().flat_map(|publication| &publication.flips);
        let begun: BTreeSet<(&str, &str)> =
            flips.map(|flip| (flip.to.table.as_str(), flip.to.key.as_str())).collect();
        let left = staged
            .iter()
            .filter(|((table, key), _)| !begun.contains(&(table.as_str(), key.as_str())));
        left.map(|(_, staged)| staged.partition.clone()).collect()
    }

    /// A staged partition.
    pub fn staged(&self, table: &str, key: &str) -> Option<Staged> {
        let staged = self.staged.lock().unwrap_or_else(PoisonError::into_inner);
        staged.get(&(table.to_owned(), key.to_owned())).cloned()
    }

    /// Waits until nobody else cuts a training set. Two steps that want the same one would write
    /// over each other's files, whose rows are spread differently each time.
    pub async fn cutting(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.cutting.lock().await
    }

    /// Keeps the folder of a training set, to be removed when the run is over.
    pub fn used_dataset(&self, folder: &str) {
        self.datasets.lock().unwrap_or_else(PoisonError::into_inner).insert(folder.to_owned());
    }

    /// Folders of training sets that the run used.
    pub fn datasets(&self) -> Vec<String> {
        let datasets = self.datasets.lock().unwrap_or_else(PoisonError::into_inner);
        datasets.iter().cloned().collect()
    }

    /// Keeps what later steps need of a step of the logical date.
    pub fn put_output(&self, step: &Name, output: serde_json::Value) {
        self.outputs.lock().unwrap_or_else(PoisonError::into_inner).insert(step.clone(), output);
    }

    /// Takes over the figures that an earlier run kept of a table.
    pub fn recall_figures(&self, step: &Name, partition: Partition, kept: KeptFigures) {
        let mut figures = self.figures.lock().unwrap_or_else(PoisonError::into_inner);
        figures.insert((step.clone(), partition), kept);
    }

    /// Keeps the figures of a table that was made for a date.
    pub fn keep_figures(
        &self,
        step: &Name,
        partition: Partition,
        date: LogicalDate,
        of: BTreeMap<String, f64>,
    ) {
        let mut figures = self.figures.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = &mut figures.entry((step.clone(), partition)).or_default().figures;
        if partition != Partition::Whole {
            kept.clear();
        }
        kept.insert(date, of);
        while kept.len() > FIGURES_KEPT {
            kept.pop_first();
        }
    }

    /// What the ledger keeps of a table's figures.
    pub fn kept_figures(&self, step: &Name, partition: Partition) -> Option<KeptFigures> {
        let figures = self.figures.lock().unwrap_or_else(PoisonError::into_inner);
        figures.get(&(step.clone(), partition)).cloned()
    }

    /// The figures of a table for the dates before one, the newest first.
    pub fn figures_before(
        &self,
        step: &Name,
        partition: Partition,
        date: LogicalDate,
    ) -> Vec<BTreeMap<String, f64>> {
        let figures = self.figures.lock().unwrap_or_else(PoisonError::into_inner);
        let is_of = |of: &Partition| (*of == Partition::Whole) == (partition == Partition::Whole);
        let of_step = figures.iter().filter(|((name, of), _)| name == step && is_of(of));
        let before: BTreeMap<LogicalDate, &BTreeMap<String, f64>> = of_step
            .flat_map(|(_, kept)| &kept.figures)
            .filter(|(day, _)| **day < date)
            .map(|(day, figures)| (*day, figures))
            .collect();
        before.into_values().rev().cloned().collect()
    }

    /// The keys of the quarantine that are visible; the catalog is asked once a run.
    pub async fn quarantined(&self, catalog: &dyn Catalog) -> Outcome<&BTreeSet<String>> {
        let ask = || async {
            let visible = catalog.partitions(QUARANTINE_TABLE).await?;
            Ok(visible.into_iter().map(|partition| partition.key).collect())
        };
        self.quarantined.get_or_try_init(ask).await
    }

    /// What a step left for later ones. Errors: `Internal` if it left nothing or something else.
    pub fn output<T: serde::de::DeserializeOwned>(&self, step: &Name) -> Outcome<T> {
        let outputs = self.outputs.lock().unwrap_or_else(PoisonError::into_inner);
        let value = outputs.get(step).cloned().unwrap_or_default();
        serde_json::from_value(value).map_err(|error| {
            Failure::new(
                FailureKind::Internal,
                format!("step `{step}` left no usable output: {error}"),
            )
        })
    }
}

/// What one execution of a step is given.
#[derive(Clone)]
pub struct StepContext {
    /// Services.
    pub services: Arc<Services>,
    /// Pipeline.
    pub pipeline: Arc<Pipeline>,
    /// The day that the data is about.
    pub date: LogicalDate,
    /// The run.
    pub run: RunId,
    /// The run's right to do this.
    pub lease: Lease,
    /// What is being done.
    pub unit: Unit,
    /// Digest of what the result is made from.
    pub fingerprint: String,
    /// Whether the work is done again although nothing changed.
    pub forced: bool,
    /// Whether lists may take the place of a newer day's.
    pub serve: bool,
    /// What the run has made so far.
    pub made: Arc<Made>,
    /// Receives events.
    pub events: Arc<dyn EventSink>,
    /// Asks to stop.
    pub cancel: CancellationToken,
}

impl StepContext {
    /// Says how far the step is.
    pub fn progress(&self, progress: Progress) {
        self.events.emit(RunEvent::StepProgressed { unit: self.unit.clone(), progress });
    }

    /// The entries of the partitions that are read of a table: what this run staged, else what is
    /// visible. Errors: `NotFound` if one is neither.
    pub async fn entries(&self, read: &TableRead) -> Outcome<(TableEntry, Vec<PartitionEntry>)> {
        let table = read.table.as_str();
        let visible = self.services.catalog.partitions(table).await?;
        let mut entry = self.services.catalog.table(table).await?;
        let mut entries = Vec::with_capacity(read.partitions.len());
        for partition in &read.partitions {
            let key = partition.key();
            if let Some(staged) = self.made.staged(table, &key) {
                entry = Some(staged.table);
                entries.push(staged.partition);
            } else if let Some(found) = visible.iter().find(|visible| visible.key == key) {
                entries.push(found.clone());
            } else {
                return Err(missing(table, *partition));
            }
        }
        match entry {
            Some(entry) => Ok((entry, entries)),
            None => Err(missing(table, Partition::Whole)),
        }
    }

    /// A table of the partitions that are read.
    pub async fn table(&self, read: &TableRead) -> Outcome<PublishedTable> {
        let (table, entries) = self.entries(read).await?;
        let schema: SchemaRef = catalog_schema::from_entries(&table.columns)?;
        Ok(PublishedTable::new(schema, table.by_day, entries))
    }

    /// A folder for this run's files that nobody needs after it.
    pub fn scratch(&self) -> PathBuf {
        self.services.scratch.join(self.run.as_str())
    }
}

fn missing(table: &str, partition: Partition) -> Failure {
    Failure::new(FailureKind::NotFound, format!("table `{table}` has no partition `{partition}`"))
        .with_hint(
            "run the pipeline for that day, or with --force if its files were removed by hand",
        )
}
