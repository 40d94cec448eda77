//! Publishing: check everything, write what nobody reads yet, then flip, and flip back on failure.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use aws_sdk_glue::types::{Partition, PartitionInput, StorageDescriptor, Table, TableInput};
use futures::{StreamExt, TryStreamExt};

use super::GlueCatalog;
use super::api::{ALREADY_EXISTS, CHANGED_AT_ONCE, Values};
use super::layout::{Partitioning, folder};
use super::manifest::{AT_ONCE, Draft};
use super::pointer::{Pointer, manifest_of};
use super::table::{
    Definition, check_fence, entry_of, input_of, own_entry_of, restored, set_fence,
};
use crate::ports::schema_change::{self, ColumnChange};
use crate::ports::{Lease, PartitionEntry, TableEntry};
use crate::run::failure::{Failure, FailureKind, Outcome};

/// A table's definition is read and merged again this often when somebody else changes it meanwhile.
const REVISIONS: u32 = 10;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A generation to be made visible.
#[derive(Debug, Clone)]
struct Flip {
    entry: PartitionEntry,
    values: Values,
    folder: String,
    location: String,
    draft: Draft,
}

/// What becomes of one table.
#[derive(Debug)]
struct Plan {
    definition: Definition,
    /// The table that was there when everything was checked.
    current: Option<Table>,
    /// Those that are not visible already, with the partition that is there.
    flips: Vec<(Flip, Option<Partition>)>,
    /// On whose behalf.
    lease: Lease,
}

/// What has to be undone when a later flip fails.
enum Tried {
    /// Partitions of a table: values, path of the new manifest, what was there before.
    Partitions { table: String, flips: Vec<(Values, String, Option<Partition>)> },
    /// A table's own pointer or columns.
    Table { before: Box<Table>, left: Box<TableInput> },
}

/// A table that was changed, or not.
pub(super) struct Revised {
    before: Table,
    left: Option<TableInput>,
}

impl Plan {
    fn name(&self) -> &str {
        &self.definition.entry.name
    }

    fn is_whole_flip(&self) -> bool {
        self.definition.partitioning == Partitioning::Whole && !self.flips.is_empty()
    }

    /// Whether the table that was there has just these columns.
    fn is_defined(&self) -> Outcome<bool> {
        let Some(current) = &self.current else { return Ok(false) };
        let columns = &self.definition.entry.columns;
        Ok(schema_change::changes(&own_entry_of(current)?.columns, columns).is_empty())
    }

    /// The table with what is published of it, checked against what is there by now.
    fn defined(&self, now: &Table) -> Outcome<TableInput> {
        let old = own_entry_of(now)?;
        schema_change::check(&old, &self.definition.entry)?;
        let mut input = self.definition.merge(now, &old)?;
        set_fence(input.parameters.get_or_insert_default(), &self.lease)?;
        Ok(input)
    }
}

impl Flip {
    /// Whether this is what a partition or table with these parameters shows.
    fn is_visible(&self, manifest: Option<&str>, storage: Option<&StorageDescriptor>) -> bool {
        manifest == Some(self.draft.path.as_str())
            && storage.and_then(StorageDescriptor::location) == Some(self.location.as_str())
    }

    fn is_in(&self, partition: &Partition) -> bool {
        self.is_visible(manifest_of(partition.parameters()), partition.storage_descriptor())
    }

    /// The partition with this generation in place of `old`'s, whose other parameters stay.
    fn input(
        &self,
        partitioning: Partitioning,
        table: &StorageDescriptor,
        old: Option<&Partition>,
    ) -> Outcome<PartitionInput> {
        let parameters = old.and_then(|old| old.parameters.clone());
        let visible =
            Pointer::read(&self.entry.table, &self.entry.key, partitioning, parameters.as_ref())?;
        let mut parameters = parameters.unwrap_or_default();
        Pointer::new(&self.entry, &self.draft.path, visible.as_ref()).write(&mut parameters)?;
        let mut storage = match old.and_then(|old| old.storage_descriptor.clone()) {
            Some(mut storage) => {
                storage.columns.clone_from(&table.columns);
                storage
            }
            None => table.clone(),
        };
        storage.location = Some(self.location.clone());
        Ok(PartitionInput::builder()
            .set_values(Some(self.values.clone()))
            .storage_descriptor(storage)
            .set_parameters(Some(parameters))
            .build())
    }
}

impl GlueCatalog {
    pub(super) async fn publish_all(
        &self,
        tables: &[TableEntry],
        partitions: &[PartitionEntry],
        lease: &Lease,
    ) -> Outcome<()> {
        check_request(tables, partitions)?;
        let _only_writer = self.publishing.lock().await;
        let mut plans = Vec::with_capacity(tables.len());
        for table in tables {
            let plan = self.plan(table, partitions, lease).await?;
            // All of it is visible already, under this definition.
            let is_done = plan.flips.is_empty()
                && partitions.iter().any(|it| it.table == table.name)
                && plan.is_defined()?;
            if !is_done {
                plans.push(plan);
            }
        }
        self.prepare(&plans).await?;
        let mut tried = Vec::new();
        let outcome = self.make_visible(&plans, &mut tried).await;
        match outcome {
            Ok(()) => Ok(()),
            Err(failure) => Err(self.flip_back(tried, failure).await),
        }
    }

    /// Sets the fence on those of the tables that there are and that are recctl's.
    pub(super) async fn fence_all(&self, tables: &[String], lease: &Lease) -> Outcome<()> {
        for name in tables {
            let Some(current) = self.glue.table(name).await? else { continue };
            if entry_of(&current)?.is_none() {
                continue;
            }
            let fenced = |now: &Table| {
                let mut input = input_of(now)?;
                set_fence(input.parameters.get_or_insert_default(), lease)?;
                Ok(Some(input))
            };
            self.revise(name, Some(current), fenced).await?;
        }
        Ok(())
    }

    /// Errors: `Conflict` if a later holder of the lease set its fence on the table.
    pub(super) async fn check_fence(&self, table: &str, lease: &Lease) -> Outcome<()> {
        let now = self.glue.table(table).await?;
        check_fence(now.as_ref().and_then(Table::parameters), lease)
    }

    /// Checks one table and its partitions, without a change to anything.
    async fn plan(
        &self,
        table: &TableEntry,
        partitions: &[PartitionEntry],
        lease: &Lease,
    ) -> Outcome<Plan> {
        let definition = Definition::of(table)?;
        let current = self.glue.table(&table.name).await?;
        let mut plan = Plan { definition, current, flips: Vec::new(), lease: lease.clone() };
        if let Some(current) = &plan.current {
            plan.defined(current)?;
        }
        let mut flips = Vec::new();
        for entry in partitions.iter().filter(|entry| entry.table == table.name) {
            let folder = folder(entry)?;
            flips.push(Flip {
                values: plan.definition.partitioning.values(entry)?,
                location: format!("{}/", self.lake.url(&folder)),
                draft: Draft::of(&self.glue.database, entry)?,
                entry: entry.clone(),
                folder,
            });
        }
        match (&plan.current, plan.definition.partitioning) {
            (None, _) => plan.flips = flips.into_iter().map(|flip| (flip, None)).collect(),
            (Some(current), Partitioning::Whole) => {
                let manifest = manifest_of(current.parameters());
                let storage = current.storage_descriptor();
                flips.retain(|flip| !flip.is_visible(manifest, storage));
                plan.flips = flips.into_iter().map(|flip| (flip, None)).collect();
            }
            (Some(_), Partitioning::Day | Partitioning::StepAndDay) => {
                let values: Vec<Values> = flips.iter().map(|flip| flip.values.clone()).collect();
                let mut there = self.glue.some_partitions(&table.name, &values).await?;
                for flip in flips {
                    let partition = there.remove(&flip.values);
                    match partition {
                        Some(partition) if flip.is_in(&partition) => {}
                        Some(partition) => {
                            check_own(&flip, &partition)?;
                            plan.flips.push((flip, Some(partition)));
                        }
                        None => plan.flips.push((flip, None)),
                    }
                }
            }
        }
        Ok(plan)
    }

    /// Checks that the folders hold nothing else, and writes the manifests.
    async fn prepare(&self, plans: &[Plan]) -> Outcome<()> {
        let (mut checks, mut writes) = (Vec::new(), Vec::new());
        for plan in plans {
            for (flip, _) in &plan.flips {
                checks.push(self.check_folder(flip));
                writes.push(self.manifests.write(&flip.draft));
            }
        }
        let checks = futures::stream::iter(checks).buffer_unordered(AT_ONCE);
        checks.try_collect::<()>().await?;
        let writes = futures::stream::iter(writes).buffer_unordered(AT_ONCE);
        writes.try_collect::<()>().await
    }

    async fn check_folder(&self, flip: &Flip) -> Outcome<()> {
        let entry = &flip.entry;
        let Some(path) = self.manifests.stranger(&flip.folder, &entry.files).await? else {
            return Ok(());
        };
        let message = format!(
            "`{path}` lies among the files of partition `{}` of table `{}` and is not one of them: \
             Athena and Redshift would read it",
            entry.key, entry.table
        );
        Err(Failure::new(FailureKind::Conflict, message)
            .with_hint("remove it, or run again for a folder of its own"))
    }

    async fn make_visible(&self, plans: &[Plan], tried: &mut Vec<Tried>) -> Outcome<()> {
        let mut storages = Vec::with_capacity(plans.len());
        for plan in plans {
            storages.push(self.define(plan, tried).await?);
        }
        for (plan, storage) in plans.iter().zip(&storages) {
            if plan.is_whole_flip() {
                self.flip_table(plan, tried).await?;
            } else {
                self.flip_partitions(plan, storage, tried).await?;
            }
        }
        for plan in plans.iter().filter(|plan| !plan.is_whole_flip() && !plan.flips.is_empty()) {
            self.check_fence(plan.name(), &plan.lease).await?;
        }
        Ok(())
    }

    /// Creates or changes a table so that it holds what is published; returns its storage. A table
    /// without partitions that is there gets its columns later, together with its files.
    async fn define(&self, plan: &Plan, tried: &mut Vec<Tried>) -> Outcome<StorageDescriptor> {
        if plan.current.is_none() {
            let mut input = plan.definition.create(&self.lake)?;
            set_fence(input.parameters.get_or_insert_default(), &plan.lease)?;
            if self.glue.create_table(&input).await? {
                return Ok(input.storage_descriptor.unwrap_or_else(empty_storage));
            }
        }
        if plan.is_whole_flip() {
            return Ok(empty_storage());
        }
        let revised = self
            .revise(plan.name(), plan.current.clone(), |now| plan.defined(now).map(Some))
            .await?;
        let Some(left) = revised.left else {
            return Ok(revised.before.storage_descriptor.unwrap_or_else(empty_storage));
        };
        let storage = left.storage_descriptor.clone().unwrap_or_else(empty_storage);
        let old = own_entry_of(&revised.before)?;
        // What readers of the old table can live with stays even if a flip fails: another
        // publication may stand on it by then.
        let changes = schema_change::changes(&old.columns, &plan.definition.entry.columns);
        if changes.iter().any(ColumnChange::is_breaking) {
            tried.push(Tried::Table { before: Box::new(revised.before), left: Box::new(left) });
        }
        Ok(storage)
    }

    /// Flips a table without partitions: location, columns and parameters in one update.
    async fn flip_table(&self, plan: &Plan, tried: &mut Vec<Tried>) -> Outcome<()> {
        for (flip, _) in &plan.flips {
            let flipped = |now: &Table| {
                let mut input = plan.defined(now)?;
                if flip.is_visible(manifest_of(now.parameters()), now.storage_descriptor()) {
                    return Ok(Some(input));
                }
                let entry = &flip.entry;
                let parameters = input.parameters.get_or_insert_default();
                let visible = Pointer::read(
                    &entry.table,
                    &entry.key,
                    Partitioning::Whole,
                    Some(&*parameters),
                )?;
                Pointer::new(entry, &flip.draft.path, visible.as_ref()).write(parameters)?;
                let storage = input.storage_descriptor.get_or_insert_with(empty_storage);
                storage.location = Some(flip.location.clone());
                Ok(Some(input))
            };
            let revised = self.revise(plan.name(), plan.current.clone(), flipped).await?;
            if let Some(left) = revised.left {
                tried.push(Tried::Table { before: Box::new(revised.before), left: Box::new(left) });
            }
        }
        Ok(())
    }

    async fn flip_partitions(
        &self,
        plan: &Plan,
        storage: &StorageDescriptor,
        tried: &mut Vec<Tried>,
    ) -> Outcome<()> {
        let (table, partitioning) = (plan.name(), plan.definition.partitioning);
        let (known, new): (Vec<_>, Vec<_>) =
            plan.flips.iter().cloned().partition(|(_, there)| there.is_some());
        let mut known = known;
        for chunk in new.chunks(CHANGED_AT_ONCE) {
            let inputs: Outcome<Vec<_>> =
                chunk.iter().map(|(flip, _)| flip.input(partitioning, storage, None)).collect();
            let inputs = inputs?;
            self.check_fence(table, &plan.lease).await?;
            // Before the call: if its answer gets lost, nobody knows what became of it.
            tried.push(Tried::of(table, chunk));
            let refused = self.glue.create_partitions(table, inputs).await?;
            if let Some(other) = refused.iter().find(|one| one.code != ALREADY_EXISTS) {
                return Err(other.failure(table));
            }
            // Another publication made it meanwhile, or a repeated request of this one.
            let values: Vec<Values> = refused.iter().map(|one| one.values.clone()).collect();
            let mut there = self.glue.some_partitions(table, &values).await?;
            for one in &refused {
                let flip = chunk.iter().find(|(flip, _)| flip.values == one.values);
                match (flip, there.remove(&one.values)) {
                    (Some((flip, _)), Some(partition)) if flip.is_in(&partition) => {}
                    (Some((flip, _)), Some(partition)) => {
                        check_own(flip, &partition)?;
                        known.push((flip.clone(), Some(partition)));
                    }
                    _ => return Err(one.failure(table)),
                }
            }
        }
        for chunk in known.chunks(CHANGED_AT_ONCE) {
            let inputs: Outcome<Vec<_>> = chunk
                .iter()
                .map(|(flip, there)| flip.input(partitioning, storage, there.as_ref()))
                .collect();
            let inputs = inputs?;
            self.check_fence(table, &plan.lease).await?;
            tried.push(Tried::of(table, chunk));
            let refused = self.glue.update_partitions(table, inputs).await?;
            if let Some(first) = refused.first() {
                return Err(first.failure(table));
            }
        }
        Ok(())
    }

    /// Changes a table's definition by compare-and-set: `change` makes the new one of the one that
    /// is there, again whenever somebody else was faster. Nothing is sent where nothing changes.
    pub(super) async fn revise(
        &self,
        name: &str,
        mut known: Option<Table>,
        change: impl Fn(&Table) -> Outcome<Option<TableInput>> + Sync,
    ) -> Outcome<Revised> {
        for attempt in 0..REVISIONS {
            let now = match known.take() {
                Some(table) => table,
                None => self.glue.table(name).await?.ok_or_else(|| {
                    let message = format!("table `{name}` was deleted while it was published");
                    Failure::new(FailureKind::Conflict, message)
                })?,
            };
            let Some(input) = change(&now)? else {
                return Ok(Revised { before: now, left: None });
            };
            if input == input_of(&now)? {
                return Ok(Revised { before: now, left: None });
            }
            if self.glue.update_table(&input, now.version_id()).await? {
                return Ok(Revised { before: now, left: Some(input) });
            }
            tokio::time::sleep(pause(attempt)).await;
        }
        let message = format!("table `{name}` is being changed by somebody else all the time");
        Err(Failure::new(FailureKind::Transient, message))
    }

    /// Makes visible again what was so before a publication that failed, as far as that goes, and
    /// adds to the failure what came of it.
    async fn flip_back(&self, tried: Vec<Tried>, mut failure: Failure) -> Failure {
        let (mut back, mut stuck) = (0, None);
        for one in tried.into_iter().rev() {
            match self.undo(one).await {
                Ok(partitions) => back += partitions,
                Err(also) => {
                    stuck.get_or_insert(also);
                }
            }
        }
        match back {
            0 => {}
            1 => failure.message.push_str("; one partition was visible and was flipped back"),
            _ => failure
                .message
                .push_str(&format!("; {back} partitions were visible and were flipped back")),
        }
        let Some(stuck) = stuck else { return failure };
        failure
            .message
            .push_str(&format!("; some of the publication stays visible: {}", stuck.message));
        failure.with_hint("run again: the whole publication is made visible")
    }

    /// Undoes one change where it is still what is visible; returns how many partitions that were.
    async fn undo(&self, tried: Tried) -> Outcome<usize> {
        match tried {
            Tried::Table { before, left } => {
                let change = |now: &Table| restored(now, &left, &before);
                let revised = self.revise(before.name(), None, change).await?;
                Ok(usize::from(revised.left.is_some()))
            }
            Tried::Partitions { table, flips } => {
                let values: Vec<Values> = flips.iter().map(|(values, ..)| values.clone()).collect();
                let there = self.glue.some_partitions(&table, &values).await?;
                let (mut old, mut new) = (Vec::new(), Vec::new());
                for (values, manifest, before) in flips {
                    let now = there.get(&values).and_then(|now| manifest_of(now.parameters()));
                    match before {
                        _ if now != Some(manifest.as_str()) => {}
                        Some(before) => old.push(
                            PartitionInput::builder()
                                .set_values(before.values)
                                .set_last_access_time(before.last_access_time)
                                .set_storage_descriptor(before.storage_descriptor)
                                .set_parameters(before.parameters)
                                .set_last_analyzed_time(before.last_analyzed_time)
                                .build(),
                        ),
                        None => new.push(values),
                    }
                }
                let count = old.len() + new.len();
                for chunk in old.chunks(CHANGED_AT_ONCE) {
                    let refused = self.glue.update_partitions(&table, chunk.to_vec()).await?;
                    if let Some(first) = refused.first() {
                        return Err(first.failure(&table));
                    }
                }
                self.glue.delete_partitions(&table, &new).await?;
                Ok(count)
            }
        }
    }
}

impl Tried {
    fn of(table: &str, chunk: &[(Flip, Option<Partition>)]) -> Self {
        let flips = chunk
            .iter()
            .map(|(flip, there)| (flip.values.clone(), flip.draft.path.clone(), there.clone()))
            .collect();
        Self::Partitions { table: table.to_owned(), flips }
    }
}

fn check_request(tables: &[TableEntry], partitions: &[PartitionEntry]) -> Outcome<()> {
    for (index, one) in partitions.iter().enumerate() {
        if tables.iter().all(|table| table.name != one.table) {
            return Err(Failure::new(
                FailureKind::Usage,
                format!("the table `{}` of a partition is not among those published", one.table),
            ));
        }
        if partitions[..index].iter().any(|other| other.table == one.table && other.key == one.key)
        {
            return Err(Failure::new(
                FailureKind::Internal,
                format!("partition `{}` of table `{}` is published twice", one.key, one.table),
            ));
        }
    }
    Ok(())
}

/// Refuses to replace a partition that somebody else added to a table of recctl's.
fn check_own(flip: &Flip, there: &Partition) -> Outcome<()> {
    if manifest_of(there.parameters()).is_some() {
        return Ok(());
    }
    let message = format!(
        "partition `{}` of table `{}` in Glue was not made by recctl",
        flip.entry.key, flip.entry.table
    );
    Err(Failure::new(FailureKind::Conflict, message)
        .with_hint("delete that partition in Glue if it is not needed, then run again"))
}

pub(super) fn empty_storage() -> StorageDescriptor {
    StorageDescriptor::builder().build()
}

/// Longer after each attempt, and never the same for two that wait: between half and all of it.
fn pause(attempt: u32) -> Duration {
    let full = FIRST_PAUSE.saturating_mul(1 << attempt.min(10)).min(LONGEST_PAUSE);
    // Hashers are seeded with chance, and nothing more is needed of it here.
    let chance = RandomState::new().build_hasher().finish() % 1_000;
    full / 2 + full.mul_f64(chance as f64 / 2_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_differ() {
        let all: Vec<Duration> = (0..40).map(pause).collect();
        assert!(all[0] >= FIRST_PAUSE / 2 && all[0] <= FIRST_PAUSE, "{all:?}");
        assert!(all[20..].iter().all(|one| *one >= LONGEST_PAUSE / 2 && *one <= LONGEST_PAUSE));
        assert!(all[20..].windows(2).any(|pair| pair[0] != pair[1]));
    }
}
