//! A table as Glue holds it: what recctl says of it, merged into what is there.

use aws_sdk_glue::types::{Column, SerDeInfo, StorageDescriptor, Table, TableInput};
use serde::{Deserialize, Serialize};

use super::api::incomplete;
use super::layout::{Partitioning, table_folder};
use super::pointer::{PREFIX, Parameters};
use crate::pipeline::step::SchemaChange;
use crate::pipeline::target::S3Location;
use crate::ports::limits::hive;
use crate::ports::{ColumnEntry, Lease, TableEntry};
use crate::run::failure::{Failure, FailureKind, Outcome};

/// The parameter that makes a table recctl's: its columns with Arrow's types, as JSON.
const TABLE: &str = "recctl.table";
/// The parameter that names the last leases that published, with their fences, as JSON.
const FENCES: &str = "recctl.fences";
/// So many leases are remembered: one for each day that is run for. A Hive metastore that the catalog
/// may be copied to takes 4,000 bytes.
const MAX_FENCES: usize = 64;
/// The version of its format.
const VERSION: u32 = 1;

// What Athena and Spectrum want of a table of Parquet files.
// <https://docs.aws.amazon.com/athena/latest/ug/parquet-serde.html>
const INPUT_FORMAT: &str = "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat";
const OUTPUT_FORMAT: &str = "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat";
const SERDE: &str = "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe";

#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    version: u32,
    by_day: bool,
    columns: Vec<ColumnEntry>,
}

/// Reads recctl's entry of a table; `None` if it is somebody else's.
///
/// Errors: `Usage` if a newer recctl wrote it, `Input` if it was broken.
pub(super) fn entry_of(table: &Table) -> Outcome<Option<TableEntry>> {
    let Some(text) = table.parameters().and_then(|parameters| parameters.get(TABLE)) else {
        return Ok(None);
    };
    let name = table.name();
    let stored: Stored = serde_json::from_str(text).map_err(|error| {
        Failure::new(
            FailureKind::Input,
            format!("parameter `{TABLE}` of table `{name}` in Glue cannot be read: {error}"),
        )
    })?;
    if stored.version > VERSION {
        return Err(Failure::new(
            FailureKind::Usage,
            format!("table `{name}` in Glue was written by a newer recctl"),
        )
        .with_hint("update recctl"));
    }
    Ok(Some(TableEntry {
        name: name.to_owned(),
        columns: stored.columns,
        by_day: stored.by_day,
        schema_change: SchemaChange::Stop,
    }))
}

/// Like [`entry_of`], for a table that is to be published.
///
/// Errors: `Conflict` if it is somebody else's.
pub(super) fn own_entry_of(table: &Table) -> Outcome<TableEntry> {
    entry_of(table)?.ok_or_else(|| {
        let message = format!("table `{}` in Glue was not made by recctl", table.name());
        Failure::new(FailureKind::Conflict, message)
            .with_hint("name the step differently, use another database, or delete that table")
    })
}

/// What recctl says of a table.
#[derive(Debug, Clone)]
pub(super) struct Definition {
    /// The entry.
    pub(super) entry: TableEntry,
    /// How it is partitioned.
    pub(super) partitioning: Partitioning,
    /// Names and Hive types of the columns, without those that partition keys stand for.
    columns: Vec<(String, String)>,
    text: String,
}

impl Definition {
    /// Errors: `Usage` if a column has no type in Glue.
    pub(super) fn of(entry: &TableEntry) -> Outcome<Self> {
        let partitioning = Partitioning::of(entry);
        let mut columns = hive::columns(entry)?;
        // A table cannot have a column and a key of one name; the key says the same of each row.
        columns.retain(|(name, _)| partitioning.keys().iter().all(|(key, _)| key != name));
        let stored =
            Stored { version: VERSION, by_day: entry.by_day, columns: entry.columns.clone() };
        let text = serde_json::to_string(&stored).map_err(|error| {
            Failure::new(FailureKind::Internal, format!("cannot write a parameter: {error}"))
        })?;
        Ok(Self { entry: entry.clone(), partitioning, columns, text })
    }

    /// A new table.
    pub(super) fn create(&self, lake: &S3Location) -> Outcome<TableInput> {
        let folder = match self.partitioning {
            // Nothing is visible yet.
            Partitioning::Whole => super::layout::empty_folder(&self.entry.name, "all", "none"),
            Partitioning::Day | Partitioning::StepAndDay => table_folder(&self.entry.name),
        };
        let columns = |columns: &[(String, String)]| -> Outcome<Vec<Column>> {
            columns.iter().map(|(name, kind)| column(name, kind)).collect()
        };
        let keys: Vec<(String, String)> = self
            .partitioning
            .keys()
            .iter()
            .map(|(name, kind)| ((*name).to_owned(), (*kind).to_owned()))
            .collect();
        let storage = StorageDescriptor::builder()
            .set_columns(Some(columns(&self.columns)?))
            .location(format!("{}/", lake.url(&folder)))
            .input_format(INPUT_FORMAT)
            .output_format(OUTPUT_FORMAT)
            .serde_info(
                SerDeInfo::builder()
                    .serialization_library(SERDE)
                    .parameters("serialization.format", "1")
                    .build(),
            )
            .build();
        TableInput::builder()
            .name(&self.entry.name)
            .table_type("EXTERNAL_TABLE")
            .parameters("EXTERNAL", "TRUE")
            .parameters("classification", "parquet")
            .parameters(TABLE, &self.text)
            .storage_descriptor(storage)
            // Athena refuses a table without the list, even if it is empty.
            .set_partition_keys(Some(columns(&keys)?))
            .build()
            .map_err(incomplete)
    }

    /// The table that is there with what recctl says of it: known columns get their types, new ones
    /// go last, those that `old` had and this has not go away. All that others have set stays.
    ///
    /// Errors: `Usage` if it is partitioned in another way, which nothing can change.
    pub(super) fn merge(&self, table: &Table, old: &TableEntry) -> Outcome<TableInput> {
        if Partitioning::of(old) != self.partitioning {
            let message =
                format!("table `{}` in Glue is partitioned in another way", self.entry.name);
            return Err(Failure::new(FailureKind::Usage, message).with_hint(
                "partition keys cannot change: delete the table in Glue, then run again",
            ));
        }
        let mut input = input_of(table)?;
        let mut storage =
            input.storage_descriptor.take().unwrap_or_else(|| StorageDescriptor::builder().build());
        let ours: Vec<String> =
            old.columns.iter().map(|column| column.name.to_lowercase()).collect();
        let mut columns: Vec<Column> = Vec::new();
        for mut known in storage.columns.take().unwrap_or_default() {
            let name = known.name.to_lowercase();
            match self.columns.iter().find(|(column, _)| *column == name) {
                Some((_, kind)) => {
                    known.r#type = Some(kind.clone());
                    columns.push(known);
                }
                None if ours.contains(&name) => {}
                None => columns.push(known),
            }
        }
        for (name, kind) in &self.columns {
            if columns.iter().all(|known| known.name.to_lowercase() != *name) {
                columns.push(column(name, kind)?);
            }
        }
        storage.columns = Some(columns);
        input.storage_descriptor = Some(storage);
        input.parameters.get_or_insert_default().insert(TABLE.to_owned(), self.text.clone());
        Ok(input)
    }
}

fn column(name: &str, kind: &str) -> Outcome<Column> {
    Column::builder().name(name).r#type(kind).build().map_err(incomplete)
}

/// The leases that published, with their fences, oldest first.
fn fences(parameters: Option<&Parameters>) -> Vec<(String, u64)> {
    let text = parameters.and_then(|parameters| parameters.get(FENCES));
    // What cannot be read was broken by somebody else, and is written anew.
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// Errors: `Conflict` if a later holder of the lease was here.
pub(super) fn check_fence(parameters: Option<&Parameters>, lease: &Lease) -> Outcome<()> {
    let later = |(name, fence): &(String, u64)| *name == lease.name && *fence > lease.fence;
    if fences(parameters).iter().any(later) { Err(lease.fenced_off()) } else { Ok(()) }
}

/// Remembers the lease as the last that published. Errors: as of [`check_fence`].
pub(super) fn set_fence(parameters: &mut Parameters, lease: &Lease) -> Outcome<()> {
    check_fence(Some(parameters), lease)?;
    let mut known = fences(Some(parameters));
    let ours = (lease.name.clone(), lease.fence);
    if known.contains(&ours) {
        return Ok(());
    }
    known.retain(|(name, _)| *name != lease.name);
    known.push(ours);
    known.drain(..known.len().saturating_sub(MAX_FENCES));
    let text = serde_json::to_string(&known).map_err(|error| {
        Failure::new(FailureKind::Internal, format!("cannot write a parameter: {error}"))
    })?;
    parameters.insert(FENCES.to_owned(), text);
    Ok(())
}

/// All of a table that an update takes.
pub(super) fn input_of(table: &Table) -> Outcome<TableInput> {
    let table = table.clone();
    TableInput::builder()
        .name(table.name)
        .set_description(table.description)
        .set_owner(table.owner)
        .set_last_access_time(table.last_access_time)
        .set_last_analyzed_time(table.last_analyzed_time)
        .retention(table.retention)
        .set_storage_descriptor(table.storage_descriptor)
        .set_partition_keys(table.partition_keys)
        .set_view_original_text(table.view_original_text)
        .set_view_expanded_text(table.view_expanded_text)
        .set_table_type(table.table_type)
        .set_parameters(table.parameters)
        .set_target_table(table.target_table)
        .build()
        .map_err(incomplete)
}

/// A table with location, columns and recctl's parameters as they were before; `None` if it is no
/// longer as recctl left it, and so not recctl's to change back.
pub(super) fn restored(
    now: &Table,
    left: &TableInput,
    before: &Table,
) -> Outcome<Option<TableInput>> {
    // A fence stays: it says who came last, whatever became of what he published.
    let is_state = |name: &str| name.starts_with(PREFIX) && name != FENCES;
    let own = |parameters: Option<&Parameters>| -> Vec<(String, String)> {
        let mut own: Vec<_> = parameters
            .into_iter()
            .flatten()
            .filter(|(name, _)| is_state(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        own.sort();
        own
    };
    if own(now.parameters()) != own(left.parameters()) {
        return Ok(None);
    }
    let mut input = input_of(now)?;
    let parameters = input.parameters.get_or_insert_default();
    parameters.retain(|name, _| !is_state(name));
    parameters.extend(own(before.parameters()));
    if let (Some(storage), Some(old)) = (&mut input.storage_descriptor, before.storage_descriptor())
    {
        storage.location.clone_from(&old.location);
        storage.columns.clone_from(&old.columns);
    }
    Ok(Some(input))
}
