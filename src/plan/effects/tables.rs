//! Queries and publications: files of tables, the catalog, the warehouse.

use super::{
    Amount, Content, Effect, Files, Listing, LoadMode, PartitionChange, Record, TableChange,
    WarehouseTable, Writer,
};
use crate::pipeline::interval::Partition;
use crate::pipeline::step::{QUARANTINE_TABLE, StepKind, WarehouseLayout, WarehouseMode};
use crate::plan::{Action, ActionKind, OpenFact};

/// A partition that is published: table, key, and whether the table has partitions at all.
pub(super) struct Published {
    pub table: String,
    pub key: String,
    pub has_partitions: bool,
}

impl Listing<'_> {
    /// A query writes the files of its partition, and what it refuses.
    pub(super) fn query(&mut self, index: usize, action: &Action) -> Vec<Effect> {
        let step = &action.step;
        let folder = action.partition.folder();
        let guess = &self.guess[index];
        let mut effects = vec![Effect::Files(Files {
            content: Content::Table,
            folder: format!("tables/{step}/{folder}/*/"),
            files: Amount::AtMost(self.grounds.threads as u64),
            bytes: Amount::about(guess.bytes_out),
            by: Writer::Run,
        })];
        if self.has_quarantine(action) {
            effects.push(Effect::Files(Files {
                content: Content::Quarantine,
                folder: format!("tables/{QUARANTINE_TABLE}/{step}/{folder}/*/"),
                files: Amount::AtMost(1),
                bytes: Amount::Unknown,
                by: Writer::Run,
            }));
        }
        effects
    }

    /// A publication flips what the run's queries staged for a partition, and loads the warehouse
    /// with it and with what a run that died has flipped.
    pub(super) fn publication(&mut self, action: &Action) -> Vec<Effect> {
        let partition = action.partition;
        let of_partition = |it: &&Action| it.kind == ActionKind::Sql && it.partition == partition;
        let queries: Vec<&Action> = self.plan.actions.iter().filter(of_partition).collect();
        let mut published = Vec::new();
        let mut loads = Vec::new();
        for query in queries.into_iter().filter(|query| query.runs() || query.adopts()) {
            if let Some(StepKind::Sql(sql)) = self.kind_of(query)
                && let Some(layout) = &sql.warehouse
            {
                loads.push((query.step.to_string(), layout.clone()));
            }
            if query.adopts() {
                continue;
            }
            published.push(Published {
                table: query.step.to_string(),
                key: partition.key(),
                has_partitions: partition != Partition::Whole,
            });
            if self.has_quarantine(query) {
                published.push(Published {
                    table: QUARANTINE_TABLE.to_owned(),
                    key: format!("{}/{partition}", query.step),
                    has_partitions: true,
                });
            }
        }
        let mut effects = self.publish(&published);
        effects.extend(self.warehouse(&loads));
        effects
    }

    /// A publication that was left open is finished, or taken back, under a lease of its own.
    pub(super) fn settlement(&mut self, open: &OpenFact) -> Vec<Effect> {
        let record = |record, writes| Effect::State { record, writes };
        let flips: Vec<Published> = open
            .flips
            .iter()
            .map(|(table, key, has_partitions)| Published {
                table: table.clone(),
                key: key.clone(),
                has_partitions: *has_partitions,
            })
            .collect();
        let mut effects = vec![record(Record::Lease, Amount::Exactly(2))];
        effects.extend(self.flips(&flips));
        effects.extend(self.warehouse(&open.loads));
        effects.push(record(Record::Ledger, Amount::ONE));
        effects
    }

    /// Makes partitions visible: what the state and the catalog note down first, then tables, then partitions.
    pub(super) fn publish(&mut self, published: &[Published]) -> Vec<Effect> {
        let mut effects = Vec::new();
        if published.is_empty() {
            return effects;
        }
        effects.push(Effect::State { record: Record::Publication, writes: Amount::ONE });
        effects.extend(self.flips(published));
        effects
    }

    /// The flips of a publication that is written down.
    fn flips(&mut self, published: &[Published]) -> Vec<Effect> {
        let mut effects = Vec::new();
        if published.is_empty() {
            return effects;
        }
        if let Some(aws) = self.aws() {
            let database = aws.catalog.database.clone();
            for one in published {
                effects.push(Effect::Files(Files {
                    content: Content::Manifest,
                    folder: format!("_recctl/catalog/{database}/{}/{}/", one.table, one.key),
                    files: Amount::ONE,
                    bytes: Amount::Unknown,
                    by: Writer::Run,
                }));
            }
            if !self.there.database {
                // Where nothing of recctl's is in it, nobody knows whether it is there.
                let number = if self.there_is_known { Amount::AtMost(1) } else { Amount::ONE };
                effects.push(Effect::DatabaseMade { database, number });
                self.there.database = true;
            }
        }
        let mut tables: Vec<&str> = Vec::new();
        for one in published {
            if !tables.contains(&one.table.as_str()) {
                tables.push(&one.table);
            }
        }
        for name in tables {
            let of_table: Vec<&Published> =
                published.iter().filter(|one| one.table == name).collect();
            effects.extend(self.flip(name, &of_table));
        }
        effects
    }

    /// One table's part of a publication.
    fn flip(&mut self, name: &str, published: &[&Published]) -> Vec<Effect> {
        let mut effects = Vec::new();
        if !self.there.tables.contains_key(name) {
            effects.push(Effect::Table { table: name.to_owned(), change: TableChange::Made });
        }
        let visible = self.there.tables.entry(name.to_owned()).or_default();
        let (mut added, mut flipped) = (Vec::new(), Vec::new());
        for one in published {
            if !one.has_partitions {
                visible.insert(one.key.clone());
                effects
                    .push(Effect::Table { table: name.to_owned(), change: TableChange::Flipped });
            } else if visible.insert(one.key.clone()) {
                added.push(one.key.clone());
            } else {
                flipped.push(one.key.clone());
            }
        }
        for (keys, change) in [(added, PartitionChange::Added), (flipped, PartitionChange::Flipped)]
        {
            if !keys.is_empty() {
                effects.push(Effect::Partitions { table: name.to_owned(), keys, change });
            }
        }
        effects
    }

    /// The load of a publication's tables.
    fn warehouse(&self, loads: &[(String, WarehouseLayout)]) -> Vec<Effect> {
        if loads.is_empty() {
            return Vec::new();
        }
        let redshift = self.aws().and_then(|aws| aws.warehouse.as_ref());
        let is_redshift = self.aws().is_some();
        let mut effects = Vec::new();
        let mut tables = Vec::new();
        // The lock and the fence before, the ledger's row after.
        let mut statements = 3;
        for (table, layout) in loads {
            let mode = match &layout.mode {
                WarehouseMode::Merge { .. } => LoadMode::Merge,
                WarehouseMode::External if is_redshift => LoadMode::External,
                WarehouseMode::External | WarehouseMode::Replace => LoadMode::Replace,
            };
            if mode != LoadMode::External && is_redshift {
                effects.push(Effect::Files(Files {
                    content: Content::LoadList,
                    folder: "manifests/*/".to_owned(),
                    files: Amount::AtMost(1),
                    bytes: Amount::Unknown,
                    by: Writer::Run,
                }));
                // Stage, copy, delete, insert.
                statements += 4;
            }
            tables.push(WarehouseTable {
                table: match redshift {
                    Some(redshift) if mode == LoadMode::External => {
                        format!("{}.{table}", redshift.external_schema)
                    }
                    Some(redshift) => format!("{}.{table}", redshift.schema),
                    None => table.clone(),
                },
                mode,
            });
        }
        let statements = if is_redshift { Amount::About(statements + 1) } else { Amount::Unknown };
        effects.push(Effect::Load { tables, statements });
        effects
    }
}
