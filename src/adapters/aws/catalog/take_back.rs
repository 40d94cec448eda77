//! Taking a publication back, where its process died before it could flip back by itself.

use std::collections::BTreeMap;

use aws_sdk_glue::types::Table;

use super::GlueCatalog;
use super::layout::{Partitioning, empty_folder};
use super::pointer::{self, Pointer};
use super::publish::empty_storage;
use super::table::{entry_of, input_of, set_fence};
use crate::pipeline::step::SchemaChange;
use crate::ports::{Catalog, Flip, Lease, PartitionEntry, TableEntry};
use crate::run::failure::Outcome;

impl GlueCatalog {
    /// Flips what shows the publication still to what was before it. The fence goes first, so that
    /// who was taken over changes nothing between the look and the flip.
    pub(super) async fn take_back_all(
        &self,
        tables: &[TableEntry],
        flips: &[Flip],
        lease: &Lease,
    ) -> Outcome<()> {
        let mut of_table: BTreeMap<&str, Vec<&Flip>> = BTreeMap::new();
        for flip in flips {
            of_table.entry(&flip.to.table).or_default().push(flip);
        }
        let names: Vec<String> = of_table.keys().map(|name| (*name).to_owned()).collect();
        self.fence_all(&names, lease).await?;
        let (mut shapes, mut former, mut new) = (Vec::new(), Vec::new(), BTreeMap::new());
        for (name, flips) in of_table {
            let keys: Vec<String> = flips.iter().map(|flip| flip.to.key.clone()).collect();
            let visible = self.some(name, &keys).await?;
            let before = (former.len(), new.len());
            for flip in flips {
                if !visible.iter().any(|now| now.is_same(&flip.to)) {
                    continue;
                }
                match &flip.from {
                    Some(from) => former.push(from.clone()),
                    None => new.entry(name).or_insert_with(Vec::new).push(&flip.to),
                }
            }
            if before != (former.len(), new.len()) {
                // What is narrower than the table as it is now was so before.
                let shape = tables.iter().find(|table| table.name == name).cloned();
                shapes.extend(
                    shape.map(|table| TableEntry { schema_change: SchemaChange::Allow, ..table }),
                );
            }
        }
        if !shapes.is_empty() {
            self.publish_all(&shapes, &former, lease).await?;
        }
        for (table, partitions) in new {
            self.hide(table, &partitions, lease).await?;
        }
        Ok(())
    }

    /// Makes partitions invisible that nothing was visible of before.
    async fn hide(
        &self,
        table: &str,
        partitions: &[&PartitionEntry],
        lease: &Lease,
    ) -> Outcome<()> {
        let Some(current) = self.glue.table(table).await? else { return Ok(()) };
        let Some(entry) = entry_of(&current)? else { return Ok(()) };
        let partitioning = Partitioning::of(&entry);
        if partitioning != Partitioning::Whole {
            let values = partitions.iter().map(|one| partitioning.values(one));
            let values = values.collect::<Outcome<Vec<_>>>()?;
            self.check_fence(table, lease).await?;
            return self.glue.delete_partitions(table, &values).await;
        }
        let nothing = format!("{}/", self.lake.url(&empty_folder(table, "all", "none")));
        let hidden = |now: &Table| {
            let key = partitioning.key(&[]);
            let shown = Pointer::read(table, &key, partitioning, now.parameters())?;
            let is_it = |one: &&&PartitionEntry| {
                shown.as_ref().is_some_and(|shown| {
                    shown.entry.generation == one.generation
                        && shown.entry.content_hash == one.content_hash
                })
            };
            if partitions.iter().find(is_it).is_none() {
                return Ok(None);
            }
            let mut input = input_of(now)?;
            let parameters = input.parameters.get_or_insert_default();
            set_fence(parameters, lease)?;
            pointer::remove(parameters);
            let storage = input.storage_descriptor.get_or_insert_with(empty_storage);
            storage.location = Some(nothing.clone());
            Ok(Some(input))
        };
        self.revise(table, Some(current), hidden).await.map(|_| ())
    }
}
