//! One generation of a served table: what is known of its load, and what is done to it as a whole.

use std::collections::HashMap;

use super::failure::{not_begun, sealed};
use super::meta::{
    About, Meta, Metas, Pointer, State, fence_key, generation_key, n, pointer_key, s,
};
use super::request::{Change, Done};
use super::table::ServedTable;
use super::tally::Tally;
use super::{DynamoDbServingStore, ENTRY_OUTLIVES_SECONDS, locked};
use crate::pipeline::target::Removal;
use crate::ports::{Lease, ServingItem};
use crate::run::failure::{Failure, FailureKind, Outcome};

impl DynamoDbServingStore {
    /// What this handle knows of a load, if it began it and it is still of that version.
    pub(super) fn with_load<T>(
        &self,
        table: &ServedTable,
        meta: &Meta,
        act: impl FnOnce(&mut Tally) -> T,
    ) -> Option<T> {
        let mut loads = locked(&self.loads);
        let load = loads.get_mut(&(table.table.clone(), meta.about.generation.clone()));
        let (version, tally) = load?;
        (*version == meta.about.version).then(|| act(tally))
    }

    /// The entry of a generation that items may be put into.
    pub(super) async fn open_entry(&self, table: &ServedTable, generation: &str) -> Outcome<Meta> {
        let item = table.item(generation_key(generation)).await?;
        let Some(item) = item else { return Err(not_begun(&table.table, generation)) };
        let meta = Metas::read(&table.name, vec![item])?.generations.pop();
        let meta = meta.filter(|meta| meta.state != State::Removed);
        let meta = meta.ok_or_else(|| not_begun(&table.table, generation))?;
        if meta.state == State::Sealed {
            return Err(sealed(&table.table, generation));
        }
        // It was removed and begun again by others: this handle's load is of the one before.
        let loads = locked(&self.loads);
        match loads.get(&(table.table.clone(), generation.to_owned())) {
            Some((version, _)) if *version != meta.about.version => {
                Err(not_begun(&table.table, generation))
            }
            _ => Ok(meta),
        }
    }

    /// Makes the pointer name a generation in the same transaction as what is done to its entry, and
    /// as the look whether a later holder of the lease was here.
    pub(super) async fn point(
        &self,
        table: &ServedTable,
        metas: &Metas,
        about: &About,
        entry: Change,
        lease: &Lease,
    ) -> Outcome<Done> {
        let seen = metas.pointer.as_ref().map(|pointer| pointer.revision);
        let pointer = Pointer { about: about.clone(), revision: seen.unwrap_or(0) + 1 };
        let unchanged = match seen {
            Some(revision) => {
                Change::of(pointer_key(), "#revision = :seen").value("seen", n(revision))
            }
            None => Change::of(pointer_key(), "attribute_not_exists(#pk)"),
        };
        let items = [
            entry.into_transaction(&table.name)?,
            unchanged.put_in_transaction(&table.name, pointer.write())?,
            fence_of(lease).into_transaction(&table.name)?,
        ];
        table.transact(&items).await
    }

    /// How many lists a generation holds: known, or else counted.
    pub(super) async fn held(&self, table: &ServedTable, meta: &Meta, wanted: u64) -> Outcome<u64> {
        if meta.loader == self.loader
            && let Some(known) = self.with_load(table, meta, |tally| tally.count()).flatten()
        {
            return Ok(known);
        }
        let held = table.count(&meta.about.version, false).await?;
        if held == wanted { Ok(held) } else { table.count(&meta.about.version, true).await }
    }

    /// Reads some items back. Errors: `Quality` if one is not what was put.
    pub(super) async fn compare_sample(&self, table: &ServedTable, meta: &Meta) -> Outcome<()> {
        let sample = self.with_load(table, meta, |tally| tally.sample()).unwrap_or_default();
        let keys: Vec<&str> = sample.iter().map(|item| item.key.as_str()).collect();
        let found = table.lists(&keys, &meta.about.version).await?;
        let found: HashMap<&str, &ServingItem> =
            found.iter().map(|item| (item.key.as_str(), item)).collect();
        for item in &sample {
            let fault = match found.get(item.key.as_str()) {
                Some(found) if *found == item => continue,
                Some(_) => "is not what was put",
                None => "is missing",
            };
            let message = format!(
                "the item `{}` in generation `{}` of `{}` {fault}",
                item.key, meta.about.generation, table.table
            );
            return Err(Failure::new(FailureKind::Quality, message)
                .with_hint("another process may have written to it: load it anew"));
        }
        Ok(())
    }

    /// Marks a generation as removed, so that nobody can make it visible. Says whether it did.
    pub(super) async fn remove(&self, table: &ServedTable, meta: &Meta) -> Outcome<bool> {
        let version = &meta.about.version;
        let invisible = Change::of(pointer_key(), "#version <> :version");
        let entry = Change::of(
            generation_key(&meta.about.generation),
            "#version = :version AND #state <> :removed",
        )
        .value("version", s(version))
        .value("removed", s(State::Removed.word()));
        let entry = match (self.options.removal, meta.about.items_expire) {
            (Removal::Expire, Some(expire)) => entry
                .update("SET #state = :removed, #expires = :expires")
                .value("expires", n(expire.saturating_add(ENTRY_OUTLIVES_SECONDS))),
            // Deleted even where others expire, if it was loaded before that was asked for.
            (Removal::Expire, None) | (Removal::Delete, _) => entry.update("SET #state = :removed"),
        };
        let items = [
            invisible.value("version", s(version)).into_transaction(&table.name)?,
            entry.into_transaction(&table.name)?,
        ];
        Ok(table.transact(&items).await? == Done::Yes)
    }

    /// Deletes the items of generations that are marked as removed, then their entries.
    pub(super) async fn finish_removal(&self, table: &ServedTable, all: &[&Meta]) -> Outcome<()> {
        let versions: Vec<String> = all.iter().map(|meta| meta.about.version.clone()).collect();
        table.delete_versions(&versions).await?;
        for meta in all {
            let entry = generation_key(&meta.about.generation);
            let change = Change::of(entry, "#state = :removed AND #version = :version")
                .value("removed", s(State::Removed.word()))
                .value("version", s(&meta.about.version));
            table.delete_if(change).await?;
        }
        Ok(())
    }
}

/// Remembers a lease's fence, unless there is a greater one.
pub(super) fn fence_of(lease: &Lease) -> Change {
    Change::of(fence_key(&lease.name), "attribute_not_exists(#fence) OR #fence <= :fence")
        .update("SET #fence = :fence")
        .value("fence", n(lease.fence))
}
