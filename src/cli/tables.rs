//! `recctl tables`

use super::Ended;
use crate::app::{App, Opening};
use crate::pipeline::step::PARTITION_COLUMN;
use crate::query::content_hash::ContentHash;
use crate::report::Table;
use crate::report::number::{bytes, count};
use crate::run::failure::{Failure, FailureKind};

/// List the catalog's tables, or the partitions of one, each with the hash of its rows
///
/// The hash does not depend on the order of rows nor on how they are spread over files: equal
/// hashes mean equal rows.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  recctl tables
  recctl tables interactions")]
pub struct Args {
    /// A table, to list its columns and partitions
    table: Option<String>,
}

pub(super) async fn run(args: Args, app: &App) -> Ended {
    let target = app.target(Opening::Existing).await?;
    let catalog = &target.services.catalog;
    let Some(name) = args.table else {
        let mut table =
            Table::new(["table", "partitions", "from", "to", "rows", "bytes", "content hash"])
                .right(&[1, 4, 5]);
        for entry in catalog.tables().await? {
            let partitions = catalog.partitions(&entry.name).await?;
            let mut hash = ContentHash::default();
            for partition in &partitions {
                hash.merge(&ContentHash::parse(&partition.content_hash).unwrap_or_default());
            }
            let day = |date: Option<&Option<crate::pipeline::interval::LogicalDate>>| {
                date.copied().flatten().map_or_else(String::new, |date| date.to_string())
            };
            let dates: Vec<_> = partitions.iter().map(|partition| partition.date).collect();
            table.push([
                entry.name,
                count(partitions.len() as u64),
                day(dates.iter().min()),
                day(dates.iter().max()),
                count(partitions.iter().map(|p| p.rows).sum()),
                bytes(partitions.iter().flat_map(|p| &p.files).map(|file| file.bytes).sum()),
                hash.to_string(),
            ]);
        }
        super::print(&table.lines().join("\n"));
        return Ok(0);
    };
    let Some(entry) = catalog.table(&name).await? else {
        let names: Vec<String> = catalog.tables().await?.into_iter().map(|t| t.name).collect();
        return Err(Failure::new(FailureKind::NotFound, format!("no table `{name}`"))
            .with_hint(format!("there is: {}", names.join(", "))));
    };
    let mut columns = Table::new(["column", "type"]);
    for column in &entry.columns {
        columns.push([column.name.clone(), column.kind.clone()]);
    }
    if entry.by_day {
        columns.push([PARTITION_COLUMN.to_owned(), "Date32 (partition)".to_owned()]);
    }
    let mut table =
        Table::new(["partition", "rows", "files", "bytes", "generation", "content hash"])
            .right(&[1, 2, 3]);
    for partition in catalog.partitions(&name).await? {
        table.push([
            partition.key,
            count(partition.rows),
            partition.files.len().to_string(),
            bytes(partition.files.iter().map(|file| file.bytes).sum()),
            partition.generation,
            partition.content_hash,
        ]);
    }
    super::print(&format!("{}\n\n{}", columns.lines().join("\n"), table.lines().join("\n")));
    Ok(0)
}
