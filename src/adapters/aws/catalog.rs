//! The catalog in Glue: tables that Athena and Redshift Spectrum read, and in their parameters what
//! recctl has to know of them.
//!
//! # Where things are
//!
//! * A table is an external table over Parquet files. `recctl.table` in its parameters holds the
//!   columns with Arrow's types; a table without it is not recctl's: it is not listed and never
//!   touched.
//! * A table by day has the partition key `dt`, the quarantine `step` and `day`; any other has no
//!   partitions. The location of a partition (or of the table) is the folder of its visible
//!   generation, and `recctl.…` parameters beside it hold the rest of its entry and the names of up
//!   to a hundred generations that were visible before. So one update flips all of it, and a reader
//!   of partitions gets everything with the list of them, unless a partition has so many files that
//!   their list stays in its manifest.
//! * Each generation that was ever published has a manifest in the lake,
//!   `_recctl/catalog/<database>/<table>/<key>/<generation>-<digest>.json`, written before the flip.
//!   History is read from these. They lie apart from the data, whose folders belong to the jobs that
//!   write them.
//!
//! # What is atomic
//!
//! Everything is checked before the first change. After that Glue changes one table, or up to a
//! hundred partitions of one, with a call, and a call is not a transaction: readers that plan a query
//! in this short time may see some partitions new and others old. Each partition is always one whole
//! generation. If a call fails, what was flipped before is flipped back. Added columns, wider types
//! and new tables without rows stay then: nobody's query fails over them, and another publication may
//! stand on them by now. A process that dies in between, or a future that is dropped, leaves some
//! partitions new; the next publication of the same makes the rest visible. What that is, the state
//! store knows: the engine writes it down before the first flip.
//!
//! A table's definition changes by compare-and-set on its version, so nobody's change is lost. Glue
//! has no such thing for partitions: two processes must not publish one partition at a time, which
//! the lease of a run sees to. Within a process, publications wait for each other.
//!
//! # Fences
//!
//! `recctl.fences` in a table's parameters names the last leases that published to it, each with the
//! fence of its last holder. A publication writes its own by compare-and-set before the first flip,
//! and a holder that was taken over is refused there. A run that takes a lease over from somebody who
//! did not give it back sets the fence on all tables before it does anything else. Since partitions
//! flip without a version, the fence is read again right before each call that flips some, and after
//! the last: who finds a later one then flips back. What is left is a call that was on its way while
//! the process was paused and that arrives after the later holder flipped the same partition. Such a
//! partition does not have the fingerprint that the ledger says, and the next run makes it again.

mod api;
mod layout;
mod manifest;
mod pointer;
mod publish;
mod table;
mod take_back;

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_glue::types::Table;
use tokio::sync::Mutex;

use super::AwsSession;
use crate::pipeline::target::S3Location;
use crate::ports::{Catalog, Flip, Lease, PartitionEntry, TableEntry};
use crate::run::failure::{Failure, FailureKind, Outcome};

use self::api::Glue;
use self::layout::Partitioning;
use self::manifest::Manifests;
use self::pointer::Pointer;

/// Keeps the catalog in a database of Glue. Clones share one queue of publications.
#[derive(Debug, Clone)]
pub struct GlueCatalog {
    glue: Glue,
    manifests: Manifests,
    lake: S3Location,
    publishing: Arc<Mutex<()>>,
}

impl GlueCatalog {
    /// A catalog in the target's database, which is made when the first table is. No request is
    /// sent.
    ///
    /// Errors: as of [`lake_store`](super::lake_store).
    pub fn new(session: &AwsSession) -> Outcome<Self> {
        Ok(Self {
            glue: Glue::new(session),
            manifests: Manifests::new(session)?,
            lake: session.target().lake.clone(),
            publishing: Arc::default(),
        })
    }

    /// Those of a table's partitions that recctl made visible, in no order.
    async fn pointers(&self, table: &Table, entry: &TableEntry) -> Outcome<Vec<Pointer>> {
        let (name, partitioning) = (table.name(), Partitioning::of(entry));
        if partitioning == Partitioning::Whole {
            let key = partitioning.key(&[]);
            let pointer = Pointer::read(name, &key, partitioning, table.parameters())?;
            return Ok(pointer.into_iter().collect());
        }
        let mut pointers = Vec::new();
        for partition in self.glue.partitions(name).await? {
            let key = partitioning.key(partition.values());
            pointers.extend(Pointer::read(name, &key, partitioning, partition.parameters())?);
        }
        Ok(pointers)
    }

    /// What pointers show, by key: the files of some are in their manifests only.
    async fn shown(&self, table: &str, pointers: Vec<Pointer>) -> Outcome<Vec<PartitionEntry>> {
        let (long, short): (Vec<_>, Vec<_>) =
            pointers.into_iter().partition(|pointer| pointer.files_elsewhere);
        let mut partitions: Vec<_> = short.into_iter().map(|pointer| pointer.entry).collect();
        let expected = long.len();
        let paths = long.into_iter().map(|pointer| (pointer.manifest, pointer.entry.published));
        let read = self.manifests.read_all(paths.collect()).await?;
        if read.len() != expected {
            let message =
                format!("{} of the manifests of table `{table}` are gone", expected - read.len());
            return Err(Failure::new(FailureKind::Input, message).with_hint(
                "restore the objects below `_recctl/catalog/` of the lake, or publish again",
            ));
        }
        partitions.extend(read);
        partitions.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(partitions)
    }
}

#[async_trait]
impl Catalog for GlueCatalog {
    async fn tables(&self) -> Outcome<Vec<TableEntry>> {
        let mut tables = Vec::new();
        for table in self.glue.tables().await? {
            tables.extend(table::entry_of(&table)?);
        }
        tables.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(tables)
    }

    async fn table(&self, name: &str) -> Outcome<Option<TableEntry>> {
        match self.glue.table(name).await? {
            Some(table) => table::entry_of(&table),
            None => Ok(None),
        }
    }

    async fn partitions(&self, table: &str) -> Outcome<Vec<PartitionEntry>> {
        let Some(table) = self.glue.table(table).await? else { return Ok(Vec::new()) };
        let Some(entry) = table::entry_of(&table)? else { return Ok(Vec::new()) };
        let pointers = self.pointers(&table, &entry).await?;
        self.shown(&entry.name, pointers).await
    }

    async fn some(&self, table: &str, keys: &[String]) -> Outcome<Vec<PartitionEntry>> {
        let Some(table) = self.glue.table(table).await? else { return Ok(Vec::new()) };
        let Some(entry) = table::entry_of(&table)? else { return Ok(Vec::new()) };
        let partitioning = Partitioning::of(&entry);
        let pointers = if partitioning == Partitioning::Whole {
            self.pointers(&table, &entry).await?
        } else {
            let values: Vec<_> = keys.iter().filter_map(|key| partitioning.split(key)).collect();
            let found = self.glue.some_partitions(&entry.name, &values).await?;
            let mut pointers = Vec::with_capacity(found.len());
            for (values, partition) in found {
                let key = partitioning.key(&values);
                let parameters = partition.parameters();
                pointers.extend(Pointer::read(&entry.name, &key, partitioning, parameters)?);
            }
            pointers
        };
        let wanted = pointers.into_iter().filter(|pointer| keys.contains(&pointer.entry.key));
        self.shown(&entry.name, wanted.collect()).await
    }

    async fn publish(
        &self,
        tables: &[TableEntry],
        partitions: &[PartitionEntry],
        lease: &Lease,
    ) -> Outcome<()> {
        self.publish_all(tables, partitions, lease).await
    }

    async fn take_back(&self, tables: &[TableEntry], flips: &[Flip], lease: &Lease) -> Outcome<()> {
        self.take_back_all(tables, flips, lease).await
    }

    async fn fence(&self, tables: &[String], lease: &Lease) -> Outcome<()> {
        self.fence_all(tables, lease).await
    }

    async fn history(&self, table: &str, key: &str) -> Outcome<Vec<PartitionEntry>> {
        let Some(table) = self.glue.table(table).await? else { return Ok(Vec::new()) };
        let Some(entry) = table::entry_of(&table)? else { return Ok(Vec::new()) };
        let partitioning = Partitioning::of(&entry);
        let Some(values) = partitioning.split(key) else { return Ok(Vec::new()) };
        let parameters = if partitioning == Partitioning::Whole {
            table.parameters
        } else {
            let mut found =
                self.glue.some_partitions(&entry.name, std::slice::from_ref(&values)).await?;
            found.remove(&values).and_then(|partition| partition.parameters)
        };
        let pointer = Pointer::read(&entry.name, key, partitioning, parameters.as_ref())?;
        let earlier = pointer.map(|pointer| pointer.history).unwrap_or_default();
        let paths = earlier.into_iter().map(|one| (one.manifest, one.published));
        self.manifests.read_all(paths.collect()).await
    }

    async fn earlier(&self, table: &str) -> Outcome<Vec<PartitionEntry>> {
        let Some(table) = self.glue.table(table).await? else { return Ok(Vec::new()) };
        let Some(entry) = table::entry_of(&table)? else { return Ok(Vec::new()) };
        let mut pointers = self.pointers(&table, &entry).await?;
        pointers.sort_by(|a, b| a.entry.key.cmp(&b.entry.key));
        let earlier = pointers.into_iter().flat_map(|pointer| pointer.history);
        self.manifests.read_all(earlier.map(|one| (one.manifest, one.published)).collect()).await
    }

    /// The names of generations stay in the parameters, a hundred of them at most; without their
    /// manifests they are passed over. Changing the parameters would be a flip.
    async fn forget(&self, table: &str, key: &str, generations: &[String]) -> Outcome<Vec<String>> {
        let visible = self.partitions(table).await?;
        let visible = visible.iter().find(|one| one.key == key).map(|one| &one.generation);
        let gone: Vec<String> =
            generations.iter().filter(|one| Some(*one) != visible).cloned().collect();
        self.manifests.remove(&self.glue.database, table, key, &gone).await?;
        Ok(gone)
    }
}
