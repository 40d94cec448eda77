//! What a query and its checks refused, staged with its table.

use std::sync::Arc;

use super::super::context::{Staged, StepContext};
use crate::pipeline::interval::Partition;
use crate::pipeline::name::Name;
use crate::pipeline::step::{QUARANTINE_TABLE, SchemaChange};
use crate::ports::{FileEntry, PartitionEntry, TableEntry};
use crate::query::published::PublishedTable;
use crate::query::raw::tally::{FinishedQuarantine, quarantine_schema};
use crate::query::{catalog_schema, scan};
use crate::run::failure::{Failure, FailureKind, Outcome, io_failure};

/// Moves the quarantine's file into the lake. A step without refused rows stages an empty part, so
/// that what an earlier generation refused is no longer shown.
pub(super) async fn stage(
    context: &StepContext,
    name: &Name,
    partition: Partition,
    quarantine: FinishedQuarantine,
) -> Outcome<Staged> {
    let query = Arc::clone(&context.services.query);
    let table = TableEntry {
        name: QUARANTINE_TABLE.to_owned(),
        columns: catalog_schema::to_entries(&quarantine_schema()),
        by_day: false,
        schema_change: SchemaChange::default(),
    };
    let mut entry = PartitionEntry {
        table: QUARANTINE_TABLE.to_owned(),
        key: format!("{name}/{partition}"),
        date: None,
        generation: context.run.to_string(),
        rows: quarantine.rows,
        files: Vec::new(),
        content_hash: crate::query::content_hash::ContentHash::default().to_string(),
        fingerprint: context.fingerprint.clone(),
        published: context.services.clock.now(),
    };
    if let Some(file) = quarantine.file {
        let bytes =
            tokio::fs::read(&file).await.map_err(|error| io_failure("read", &file, &error))?;
        let path = format!(
            "tables/{QUARANTINE_TABLE}/{name}/{}/{}/part-0000.parquet",
            partition.folder(),
            context.run
        );
        entry.files.push(FileEntry {
            path: path.clone(),
            bytes: bytes.len() as u64,
            rows: quarantine.rows,
        });
        query.lake().put(&path, bytes).await?;
        let session = query.session()?;
        let staged = PublishedTable::new(quarantine_schema(), false, vec![entry.clone()]);
        let (rows, hash) = query.compute(scan::rows_and_hash(session, staged)).await?;
        if rows != quarantine.rows {
            return Err(Failure::new(
                FailureKind::Internal,
                format!(
                    "the quarantine of `{name}` holds {rows} rows, expected {}",
                    quarantine.rows
                ),
            ));
        }
        entry.content_hash = hash.to_string();
    }
    Ok(Staged { table, partition: entry, warehouse: None })
}
