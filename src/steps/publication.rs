//! What becomes visible together: written down first, then flipped, loaded into the warehouse, and put
//! into the ledger. Each part can be done again without harm, so that whoever finds it begun goes on.

use std::collections::BTreeMap;

use super::context::{Services, StepContext};
use crate::ports::{
    Flip, Lease, Load, LoadOutcome, PartitionEntry, Publication, TableEntry, TableShape,
};
use crate::run::failure::{FailureKind, Outcome};
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
        services.state.put_ledger(&draft.rows, lease).await?;
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
        Err(failure) if is_refused(failure.kind) => {
            match take_back(services, &publication, lease).await {
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
        Err(failure) => Err(failure),
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

/// Makes a publication visible that is written down, as far as it is not, loads the warehouse, and
/// ends it in the ledger. Returns the rows that the warehouse got now.
pub async fn finish(services: &Services, publication: &Publication, lease: &Lease) -> Outcome<u64> {
    let entries = publication.entries(services.clock.now());
    services.catalog.publish(&publication.shapes(), &entries, lease).await?;
    let loaded = load(services, &publication.loads, lease).await?;
    end(services, publication, &publication.rows, lease).await?;
    Ok(loaded)
}

/// Takes back what is visible of a publication and ends it. The warehouse is the caller's.
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
    let last = rows.len().saturating_sub(1) / ROWS_AT_ONCE * ROWS_AT_ONCE;
    for rows in rows[..last].chunks(ROWS_AT_ONCE) {
        services.state.put_ledger(rows, lease).await?;
    }
    services.state.end_publication(&publication.id, &rows[last..], lease).await
}

/// Loads the warehouse; the same token is loaded once.
async fn load(services: &Services, loads: &[Load], lease: &Lease) -> Outcome<u64> {
    let mut loaded = 0;
    for load in loads {
        loaded += match services.warehouse.load(&load.batch(lease)).await? {
            LoadOutcome::Loaded(rows) => rows,
            LoadOutcome::AlreadyLoaded => 0,
        };
    }
    Ok(loaded)
}
