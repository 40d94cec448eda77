//! The catalog: which files a table consists of now.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::publication::Flip;
use super::state::Lease;
use crate::pipeline::interval::LogicalDate;
use crate::pipeline::step::SchemaChange;
use crate::run::failure::Outcome;

/// A table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableEntry {
    /// Name.
    pub name: String,
    /// Columns in the order of the files; the partition column is not among them.
    pub columns: Vec<ColumnEntry>,
    /// Whether each partition is a day, in the column `dt` that is not in the files.
    pub by_day: bool,
    /// What happens where `columns` do not fit the table that is there. Belongs to a publication:
    /// what a catalog gives back says `Stop`.
    #[serde(skip)]
    pub schema_change: SchemaChange,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnEntry {
    /// Name.
    pub name: String,
    /// Arrow type as its display text, for example `Utf8` or `Timestamp(µs, "UTC")`.
    pub kind: String,
    /// Whether it may hold NULL.
    pub nullable: bool,
}

/// The visible generation of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionEntry {
    /// Table.
    pub table: String,
    /// Key within the table: a day, `all`, or for the quarantine `<step>/<day or all>`.
    pub key: String,
    /// The day, for tables by day.
    pub date: Option<LogicalDate>,
    /// The run that wrote it.
    pub generation: String,
    /// Its files.
    pub files: Vec<FileEntry>,
    /// Rows in all files.
    pub rows: u64,
    /// Order-independent hash of the rows, 32 hexadecimal digits.
    pub content_hash: String,
    /// Digest of the fingerprint that it was made from.
    pub fingerprint: String,
    /// When it became visible; set by the adapter's caller.
    pub published: DateTime<Utc>,
}

/// A data file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Path relative to the lake.
    pub path: String,
    /// Size in bytes.
    pub bytes: u64,
    /// Rows.
    pub rows: u64,
}

/// Knows tables and the visible generation of each of their partitions.
#[async_trait]
pub trait Catalog: Send + Sync {
    /// All tables, by name.
    async fn tables(&self) -> Outcome<Vec<TableEntry>>;

    /// One table; `None` if there is none.
    async fn table(&self, name: &str) -> Outcome<Option<TableEntry>>;

    /// The visible partitions of a table, by key; empty if there is no such table.
    async fn partitions(&self, table: &str) -> Outcome<Vec<PartitionEntry>>;

    /// Those of some partitions of a table that are visible, by key.
    async fn some(&self, table: &str, keys: &[String]) -> Outcome<Vec<PartitionEntry>>;

    /// Makes generations visible, all or none, and creates or replaces the tables' entries.
    ///
    /// Readers see the old state or the new one, whole. Publishing what is visible already changes
    /// nothing. Errors: `Usage` if a partition's table is not among `tables`, or if a column that
    /// the visible table has is gone or has a type that does not hold its values, unless the
    /// entry's `schema_change` allows it; `Conflict` if a later holder of the lease has published or
    /// has set a fence ([`Catalog::fence`]). Then nothing at all is published.
    async fn publish(
        &self,
        tables: &[TableEntry],
        partitions: &[PartitionEntry],
        lease: &Lease,
    ) -> Outcome<()>;

    /// Takes a publication back, as whole as [`Catalog::publish`] makes it: where what became visible
    /// still is, what was before it is visible again, or nothing if nothing was. Partitions that
    /// show something else stay as they are, so that taking it back again changes nothing. `tables`
    /// are the entries that their tables get again; those that are not among them stay, without rows
    /// where nothing was before.
    ///
    /// Errors: `Conflict` if a later holder of the lease has published or has set a fence. Then
    /// nothing is taken back.
    async fn take_back(&self, tables: &[TableEntry], flips: &[Flip], lease: &Lease) -> Outcome<()>;

    /// Refuses from now on what earlier holders of the lease publish to these tables. Setting it
    /// again changes nothing.
    ///
    /// Errors: `Conflict` if a later holder of the lease was here.
    async fn fence(&self, tables: &[String], lease: &Lease) -> Outcome<()>;

    /// Generations of a partition that were visible before, newest first, without the visible one.
    async fn history(&self, table: &str, key: &str) -> Outcome<Vec<PartitionEntry>>;

    /// The same of all partitions of a table, by key.
    async fn earlier(&self, table: &str) -> Outcome<Vec<PartitionEntry>>;

    /// Forgets generations of a partition that are not visible; returns those that are not known any
    /// more. Their files are the caller's to remove. One that is visible stays as it is.
    async fn forget(&self, table: &str, key: &str, generations: &[String]) -> Outcome<Vec<String>>;
}
