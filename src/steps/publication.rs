//! What becomes visible together: written down first, then flipped, loaded into the warehouse, and put
//! into the ledger. Each part can be done again without harm, so that whoever finds it begun goes on.

use std::collections::BTreeMap;

use super::context::{Services, StepContext};
use crate::ports::{
    Flip, Lease, Load, LoadOutcome, PartitionEntry, Publication, TableEntry, TableLoad, TableShape,
};
use crate::run::failure::{Failure, FailureKind, Outcome};
use crate::run::record::LedgerRow;

/// Rows of the ledger that are written at once: DynamoDB takes a hundred items in a transaction.
const ROWS_AT_ONCE: usize = 90;

/// What is to become visible.
#[derive(Debug, Clone, Default)]
pub struct Draft {
    /// A word for the part of the run that it is.
    pub part: String,
    /// The tables.
    pub tables: Vec<TableEntry>,
    /// Their partitions.
    pub partitions: Vec<PartitionEntry>,
    /// What the warehouse is loaded with afterwards.
    pub loads: Vec<Load>,
    /// What the ledger says once all of it is done.
    pub rows: Vec<LedgerRow>,
}

/// Makes a draft visible and returns the rows that the warehouse got now.
///
/// What is refused for good is taken back, so that nothing of it is visible. What fails for a reason
/// that may pass stays written down, and whoever starts next finishes it.
pub async fn publish(context: &StepContext, draft: Draft) -> Outcome<u64> {
    let (services, lease) = (context.services.as_ref(), &context.lease);
    if draft.partitions.is_empty() {
        let loaded = load(services, &draft.loads, lease).await?;
        let rows = all_but_the_last(services, &draft.rows, lease).await?;
        services.state.put_ledger(rows, lease).await?;
        return Ok(loaded);
    }
    let id = format!("{}/{}", context.run, draft.part);
    // What was there before the first attempt of this run is what can be gone back to.
    let (tables, flips) = match context.made.begun(&id) {
        Some(begun) => (begun.tables, begun.flips),
        None => {
            let shapes = shapes(services, draft.tables).await?;
            (shapes, flips(services, draft.partitions).await?)
        }
    };
    let publication = Publication {
        id,
        pipeline: context.pipeline.name.clone(),
        run: context.run.clone(),
        lease: lease.name.clone(),
        fence: lease.fence,
        begun: services.clock.now(),
        tables,
        flips,
        loads: draft.loads,
        rows: draft.rows,
    };
    // From here on the files are not this run's to remove, even if nobody says that it was written.
    context.made.begin(publication.clone());
    if let Err(failure) = services.state.begin_publication(&publication, lease).await {
        if !failure.kind.may_pass() {
            context.made.taken_back(&publication);
        }
        return Err(failure);
    }
    match finish(services, &publication, lease).await {
        Ok(loaded) => Ok(loaded),
        Err(Unfinished { failure, loads }) if is_refused(failure.kind) => {
            match undo(services, &publication, loads, lease).await {
                Ok(()) => {
                    context.made.taken_back(&publication);
                    Err(failure)
                }
                Err(also) => {
                    tracing::warn!(failure = %also, "what was refused could not be taken back");
                    Err(failure)
                }
            }
        }
        Err(unfinished) => Err(unfinished.failure),
    }
}

/// Whether the same would be refused again: something has to be changed first.
fn is_refused(kind: FailureKind) -> bool {
    match kind {
        FailureKind::Usage | FailureKind::Input | FailureKind::Quality => true,
        FailureKind::Step
        | FailureKind::NotFound
        | FailureKind::Denied
        | FailureKind::Held
        | FailureKind::Conflict
        | FailureKind::Transient
        | FailureKind::Exhausted
        | FailureKind::Cancelled
        | FailureKind::Exceeded
        | FailureKind::Internal => false,
    }
}

/// The tables next to how they are now.
pub async fn shapes(services: &Services, tables: Vec<TableEntry>) -> Outcome<Vec<TableShape>> {
    let mut shapes = Vec::with_capacity(tables.len());
    for table in tables {
        let before = services.catalog.table(&table.name).await?;
        shapes.push(TableShape { schema_change: table.schema_change, before, table });
    }
    Ok(shapes)
}

/// The partitions next to what they show now.
async fn flips(services: &Services, partitions: Vec<PartitionEntry>) -> Outcome<Vec<Flip>> {
    let visible = visible(services, &partitions).await?;
    let flip = |to: PartitionEntry| {
        let from = visible.iter().find(|now| (&now.table, &now.key) == (&to.table, &to.key));
        Flip { from: from.cloned(), to }
    };
    Ok(partitions.into_iter().map(flip).collect())
}

/// What some partitions show now.
pub async fn visible<'a>(
    services: &Services,
    partitions: impl IntoIterator<Item = &'a PartitionEntry>,
) -> Outcome<Vec<PartitionEntry>> {
    let mut keys: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for one in partitions {
        keys.entry(&one.table).or_default().push(one.key.clone());
    }
    let mut visible = Vec::new();
    for (table, keys) in keys {
        visible.extend(services.catalog.some(table, &keys).await?);
    }
    Ok(visible)
}

/// A publication that came to no end.
#[derive(Debug)]
pub struct Unfinished {
    /// Why.
    pub failure: Failure,
    /// So many of its loads took place, or may have.
    pub loads: usize,
}

impl From<Unfinished> for Failure {
    fn from(unfinished: Unfinished) -> Self {
        unfinished.failure
    }
}

/// Makes a publication visible that is written down, as far as it is not, loads the warehouse, and
/// ends it in the ledger. Returns the rows that the warehouse got now.
pub async fn finish(
    services: &Services,
    publication: &Publication,
    lease: &Lease,
) -> Result<u64, Unfinished> {
    let entries = publication.entries(services.clock.now());
    let published = services.catalog.publish(&publication.shapes(), &entries, lease).await;
    published.map_err(|failure| Unfinished { failure, loads: 0 })?;
    let loaded = load(services, &publication.loads, lease).await?;
    let ended = end(services, publication, &publication.rows, lease).await;
    ended.map_err(|failure| Unfinished { failure, loads: publication.loads.len() })?;
    Ok(loaded)
}

/// Brings the warehouse back to what was there before the first so many loads of a publication.
pub async fn unload(
    services: &Services,
    publication: &Publication,
    loads: usize,
    lease: &Lease,
) -> Outcome<()> {
    for load in publication.loads.iter().take(loads) {
        if let Some(former) = former(publication, load) {
            services.warehouse.load(&former.batch(lease)).await?;
        }
    }
    Ok(())
}

/// The load of what was there before a load. What the publication does not flip stays.
fn former(publication: &Publication, load: &Load) -> Option<Load> {
    let former = |load: &TableLoad| {
        let is_of = |flip: &&Flip| flip.to.table == load.table.name && flip.to.date == load.date;
        let from = publication.flips.iter().find(is_of)?.from.as_ref();
        let shape = publication.tables.iter().find(|it| it.table.name == load.table.name)?;
        Some(TableLoad {
            table: shape.before.clone().unwrap_or_else(|| shape.table.clone()),
            files: from.map(|from| from.files.clone()).unwrap_or_default(),
            rows: from.map_or(0, |from| from.rows),
            ..load.clone()
        })
    };
    let tables: Vec<TableLoad> = load.tables.iter().filter_map(former).collect();
    let token = format!("{}/back", load.token);
    (!tables.is_empty()).then(|| Load { token, run: load.run.clone(), tables })
}

/// Takes a publication back and ends it: what the warehouse has of it by so many loads, then what
/// readers of the catalog see.
pub async fn undo(
    services: &Services,
    publication: &Publication,
    loads: usize,
    lease: &Lease,
) -> Outcome<()> {
    unload(services, publication, loads, lease).await?;
    take_back(services, publication, lease).await
}

/// Takes back what readers of the catalog see of a publication and ends it.
pub async fn take_back(
    services: &Services,
    publication: &Publication,
    lease: &Lease,
) -> Outcome<()> {
    let former = publication.former_shapes();
    services.catalog.take_back(&former, &publication.flips, lease).await?;
    // A generation that never was is no part of history; one that a rollback wanted is.
    for Flip { to, .. } in &publication.flips {
        if to.generation == publication.run.as_str() {
            let generation = std::slice::from_ref(&to.generation);
            services.catalog.forget(&to.table, &to.key, generation).await?;
        }
    }
    services.state.end_publication(&publication.id, &[], lease).await
}

/// Writes the ledger's rows and forgets the publication with the last of them.
async fn end(
    services: &Services,
    publication: &Publication,
    rows: &[LedgerRow],
    lease: &Lease,
) -> Outcome<()> {
    let done = services.clock.now();
    let rows: Vec<LedgerRow> = rows.iter().map(|row| LedgerRow { done, ..row.clone() }).collect();
    let last = all_but_the_last(services, &rows, lease).await?;
    services.state.end_publication(&publication.id, last, lease).await
}

/// Writes rows of the ledger, as many at once as may be, and returns those that are left to be
/// written with whatever ends the work.
async fn all_but_the_last<'r>(
    services: &Services,
    rows: &'r [LedgerRow],
    lease: &Lease,
) -> Outcome<&'r [LedgerRow]> {
    let (first, last) = rows.split_at(rows.len().saturating_sub(1) / ROWS_AT_ONCE * ROWS_AT_ONCE);
    for rows in first.chunks(ROWS_AT_ONCE) {
        services.state.put_ledger(rows, lease).await?;
    }
    Ok(last)
}

/// Loads the warehouse; the same token is loaded once.
async fn load(services: &Services, loads: &[Load], lease: &Lease) -> Result<u64, Unfinished> {
    let mut loaded = 0;
    for (at, load) in loads.iter().enumerate() {
        loaded += match services.warehouse.load(&load.batch(lease)).await {
            Ok(LoadOutcome::Loaded(rows)) => rows,
            Ok(LoadOutcome::AlreadyLoaded) => 0,
            Err(failure) => {
                // Of one whose answer is missing nobody knows.
                let loads = at + usize::from(failure.kind.may_pass());
                return Err(Unfinished { failure, loads });
            }
        };
    }
    Ok(loaded)
}
