//! `publish`: makes the staged tables of a partition visible together.

use std::collections::BTreeMap;

use super::TableRead;
use super::context::{Staged, StepContext};
use super::publication::{self, Draft};
use crate::pipeline::interval::Partition;
use crate::pipeline::name::Name;
use crate::pipeline::step::{QUARANTINE_TABLE, StepKind};
use crate::ports::{Load, TableLoad};
use crate::run::failure::{Failure, FailureKind, Outcome};
use crate::run::record::{LedgerRow, StepReport};

/// Flips the catalog's pointers of all tables of the partition that this run staged, then loads
/// those that the warehouse gets, in one transaction, and writes the ledger's rows.
///
/// `adopted` are tables that a run which died has flipped: they are loaded only. A load's token is
/// made of the generation, so that a load which took place is found.
pub async fn publish(
    context: &StepContext,
    partition: Partition,
    tables: &[Name],
    adopted: &[Name],
    rows: Vec<LedgerRow>,
) -> Outcome<StepReport> {
    let mut staged: Vec<Staged> = Vec::new();
    for table in tables {
        staged.extend(context.made.staged(table.as_str(), &partition.key()));
        staged.extend(context.made.staged(QUARANTINE_TABLE, &format!("{table}/{partition}")));
    }
    let mut draft = Draft { part: format!("publish/{partition}"), rows, ..Draft::default() };
    for one in &staged {
        if !draft.tables.contains(&one.table) {
            draft.tables.push(one.table.clone());
        }
        draft.partitions.push(one.partition.clone());
    }
    for table in adopted {
        staged.push(visible(context, table, partition).await?);
    }
    let mut batches: BTreeMap<&str, Vec<TableLoad>> = BTreeMap::new();
    for one in &staged {
        if let Some(layout) = one.warehouse.clone() {
            batches.entry(&one.partition.generation).or_default().push(TableLoad {
                table: one.table.clone(),
                date: one.partition.date,
                files: one.partition.files.clone(),
                rows: one.partition.rows,
                layout,
            });
        }
    }
    let of_tables = staged.iter().filter(|one| one.partition.table != QUARANTINE_TABLE);
    let of_tables: u64 = of_tables.map(|one| one.partition.rows).sum();
    let count: usize = batches.values().map(Vec::len).sum();
    draft.loads = batches
        .into_iter()
        .map(|(generation, tables)| Load {
            token: load_token(generation, partition),
            run: generation.to_owned(),
            tables,
        })
        .collect();
    let loaded = publication::publish(context, draft).await?;
    let note = match (loaded, count) {
        (_, 0) => None,
        (0, _) => Some("the warehouse has it already".to_owned()),
        (_, 1) => Some("one table into the warehouse too".to_owned()),
        (_, count) => Some(format!("{count} of the tables into the warehouse too")),
    };
    Ok(StepReport { rows_in: of_tables, rows_out: of_tables, note, ..StepReport::default() })
}

/// The token by which the warehouse knows what a run made of a partition.
pub fn load_token(generation: &str, partition: Partition) -> String {
    format!("{generation}/{partition}")
}

/// A table's partition as readers see it.
async fn visible(context: &StepContext, table: &Name, partition: Partition) -> Outcome<Staged> {
    let read = TableRead { table: table.clone(), partitions: vec![partition] };
    let (entry, partitions) = context.entries(&read).await?;
    let step = context.pipeline.step(table.as_str()).map(|step| &step.kind);
    let warehouse = match step {
        Some(StepKind::Sql(sql)) => sql.warehouse.clone(),
        _ => None,
    };
    match partitions.into_iter().next() {
        Some(partition) => Ok(Staged { table: entry, partition, warehouse }),
        None => {
            let text = format!("`{table}` {partition} is gone");
            Err(Failure::new(FailureKind::Conflict, text))
        }
    }
}
