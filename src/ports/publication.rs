//! A publication that was begun: all that is needed to finish it, or to take it back.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::catalog::{PartitionEntry, TableEntry};
use super::state::Lease;
use super::warehouse::{LoadBatch, TableLoad};
use crate::pipeline::name::Name;
use crate::pipeline::step::SchemaChange;
use crate::run::record::{LedgerRow, RunId};

/// What becomes visible together: written down before the first flip, forgotten with the ledger's
/// rows. Where the process dies in between, whoever starts next can finish it without making anything
/// again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Publication {
    /// What it is called: the run and a word for its part, `<run>/publish/2026-03-01`. A second
    /// attempt at the same has the same.
    pub id: String,
    /// The pipeline whose ledger gets the rows.
    pub pipeline: Name,
    /// The run.
    pub run: RunId,
    /// The lease that the run held.
    pub lease: String,
    /// Its fence then: a holder with a smaller one has no say in it.
    pub fence: u64,
    /// When it was begun.
    pub begun: DateTime<Utc>,
    /// The tables.
    pub tables: Vec<TableShape>,
    /// Their partitions.
    pub flips: Vec<Flip>,
    /// What the warehouse is loaded with afterwards.
    pub loads: Vec<Load>,
    /// What the ledger says of it once all of it is done.
    pub rows: Vec<LedgerRow>,
}

/// A table of a publication.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TableShape {
    /// As it is to be.
    pub table: TableEntry,
    /// What happens where that does not fit what is there: the entry does not keep it.
    pub schema_change: SchemaChange,
    /// As it was; `None` if there was no such table.
    pub before: Option<TableEntry>,
}

/// A partition of a publication.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Flip {
    /// What becomes visible.
    pub to: PartitionEntry,
    /// What was visible; `None` if nothing was.
    pub from: Option<PartitionEntry>,
}

/// A load of the warehouse: a [`LoadBatch`] without the lease, which is that of whoever carries it
/// out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// Its token.
    pub token: String,
    /// The run that made the rows.
    pub run: String,
    /// The tables.
    pub tables: Vec<TableLoad>,
}

impl Load {
    /// The load on behalf of a lease.
    pub fn batch(&self, lease: &Lease) -> LoadBatch {
        LoadBatch {
            token: self.token.clone(),
            run: self.run.clone(),
            lease: lease.clone(),
            tables: self.tables.clone(),
        }
    }
}

impl PartitionEntry {
    /// Whether it is the same generation with the same rows, whenever it became visible.
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.table, &self.key) == (&other.table, &other.key)
            && self.generation == other.generation
            && self.content_hash == other.content_hash
    }
}

impl Publication {
    /// The tables as they are to be.
    pub fn shapes(&self) -> Vec<TableEntry> {
        let shape = |shape: &TableShape| TableEntry {
            schema_change: shape.schema_change,
            ..shape.table.clone()
        };
        self.tables.iter().map(shape).collect()
    }

    /// The tables as they were, those that were there.
    pub fn former_shapes(&self) -> Vec<TableEntry> {
        self.tables.iter().filter_map(|shape| shape.before.clone()).collect()
    }

    /// What becomes visible, at that time.
    pub fn entries(&self, published: DateTime<Utc>) -> Vec<PartitionEntry> {
        let entry = |flip: &Flip| PartitionEntry { published, ..flip.to.clone() };
        self.flips.iter().map(entry).collect()
    }

    /// The part of the run that it is: what comes after the run in its name.
    pub fn part(&self) -> &str {
        let part = self.id.strip_prefix(self.run.as_str()).unwrap_or(&self.id);
        part.trim_start_matches('/')
    }
}
