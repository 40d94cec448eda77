//! The warehouse: curated tables in SQL for the people who ask questions.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::catalog::{FileEntry, TableEntry};
use super::state::Lease;
use crate::pipeline::interval::LogicalDate;
use crate::pipeline::step::WarehouseLayout;
use crate::run::failure::Outcome;

/// A load of one or more tables that becomes visible as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadBatch {
    /// Identity of the load: the same token is loaded once only, however often it is asked for.
    pub token: String,
    /// The run, for the ledger.
    pub run: String,
    /// On whose behalf.
    pub lease: Lease,
    /// The tables.
    pub tables: Vec<TableLoad>,
}

/// What replaces a day, or all, of a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TableLoad {
    /// The table and its columns.
    pub table: TableEntry,
    /// The day that is replaced; `None` replaces all rows.
    pub date: Option<LogicalDate>,
    /// Parquet files with the rows.
    pub files: Vec<FileEntry>,
    /// Rows that the files hold.
    pub rows: u64,
    /// How they come into the warehouse.
    pub layout: WarehouseLayout,
}

/// How a load went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadOutcome {
    /// It was loaded now; this many rows.
    Loaded(u64),
    /// The ledger knows the token: nothing was done.
    AlreadyLoaded,
}

/// Holds curated tables.
#[async_trait]
pub trait Warehouse: Send + Sync {
    /// Replaces the days (or keys) of all tables of the batch and writes the ledger row, in one
    /// transaction. A table of the mode `External` is only made readable where it lies, if the
    /// warehouse can do so, and counts no rows.
    ///
    /// A table by day has a first-class column `dt`. Tables that do not exist are created; columns
    /// that the table lacks are added; a column whose type differs is a failure of kind `Usage`
    /// that names it. Idempotent by token. After an error nothing of the batch is visible.
    /// Errors: `Quality` if the rows loaded are not as many as said, `Input` if a file cannot be
    /// read, `Conflict` if a later holder of the lease has loaded or has set a fence
    /// ([`Warehouse::fence`]).
    async fn load(&self, batch: &LoadBatch) -> Outcome<LoadOutcome>;

    /// Those of some loads, by their tokens, that go on though whoever began them may be gone: what the
    /// warehouse calls them. Where a load ends with the process that began it there are none.
    ///
    /// Errors: `Denied` if listing is not allowed.
    async fn under_way(&self, _tokens: &[String]) -> Outcome<Vec<String>> {
        Ok(Vec::new())
    }

    /// Stops those of some loads that go on, and waits until they have ended: nothing of one that was
    /// stopped is visible, one that ended before stays. Loads that nobody began are no error.
    ///
    /// Errors: `Denied` if stopping is not allowed.
    async fn cancel(&self, _tokens: &[String]) -> Outcome<()> {
        Ok(())
    }

    /// Refuses from now on what earlier holders of the lease load. Setting it again changes nothing.
    ///
    /// Errors: `Conflict` if a later holder of the lease was here.
    async fn fence(&self, lease: &Lease) -> Outcome<()>;

    /// Rows of a table, of one day or all; `None` if there is no such table.
    async fn count(&self, table: &str, date: Option<LogicalDate>) -> Outcome<Option<u64>>;
}
