//! `publish`: makes the staged tables of a partition visible together.

use super::context::{Staged, StepContext};
use crate::pipeline::interval::Partition;
use crate::pipeline::name::Name;
use crate::pipeline::step::QUARANTINE_TABLE;
use crate::ports::{LoadBatch, LoadOutcome, TableLoad};
use crate::run::failure::Outcome;
use crate::run::record::StepReport;

/// Flips the catalog's pointers of all tables of the partition that this run staged, then loads
/// those that the warehouse gets, in one transaction.
///
/// If the warehouse fails after the catalog was flipped, the ledger does not say that the partition
/// is done, and the next run makes and loads it again.
pub async fn publish(
    context: &StepContext,
    partition: Partition,
    tables: &[Name],
) -> Outcome<StepReport> {
    let mut staged: Vec<Staged> = Vec::new();
    for table in tables {
        staged.extend(context.made.staged(table.as_str(), &partition.key()));
        staged.extend(context.made.staged(QUARANTINE_TABLE, &format!("{table}/{partition}")));
    }
    let mut entries = Vec::new();
    let mut partitions = Vec::new();
    for one in &staged {
        if !entries.contains(&one.table) {
            entries.push(one.table.clone());
        }
        partitions.push(one.partition.clone());
    }
    context.services.catalog.publish(&entries, &partitions).await?;
    for partition in &partitions {
        context.made.published(&partition.table, &partition.key);
    }
    let loads: Vec<TableLoad> = staged
        .iter()
        .filter_map(|one| {
            Some(TableLoad {
                table: one.table.clone(),
                date: one.partition.date,
                files: one.partition.files.clone(),
                rows: one.partition.rows,
                layout: one.warehouse.clone()?,
            })
        })
        .collect();
    let rows: u64 = partitions.iter().filter(|p| p.table != QUARANTINE_TABLE).map(|p| p.rows).sum();
    let mut report = StepReport { rows_in: rows, rows_out: rows, ..StepReport::default() };
    if !loads.is_empty() {
        let count = loads.len();
        let batch = LoadBatch {
            token: format!("{}/{partition}", context.run),
            run: context.run.to_string(),
            tables: loads,
        };
        let loaded = match context.services.warehouse.load(&batch).await? {
            LoadOutcome::Loaded(rows) => rows,
            LoadOutcome::AlreadyLoaded => 0,
        };
        report.note = Some(match (loaded, count) {
            (0, _) => "the warehouse has it already".to_owned(),
            (_, 1) => "one table into the warehouse too".to_owned(),
            (_, count) => format!("{count} of the tables into the warehouse too"),
        });
    }
    Ok(report)
}
