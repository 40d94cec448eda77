//! References to another table: its keys in memory where they are few, else a join.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, BooleanArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::error::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::prelude::SessionContext;
use futures::StreamExt;

use super::{CHECKED_TABLE, quote};
use crate::pipeline::check::CheckRule;

/// Keys beyond these are joined after the table is written, which may spill.
pub const MOST_KEYS: u64 = 2_000_000;
/// What a key costs beside its bytes: its entry in the set.
const ENTRY: usize = 32;

/// The keys of a table.
#[derive(Debug)]
pub struct Keys {
    converter: RowConverter,
    keys: HashSet<Box<[u8]>>,
    /// Holds the memory in the pool that all queries share.
    _reservation: MemoryReservation,
}

impl Keys {
    /// Reads the keys of a table that the session knows, as values of these types: those of the
    /// columns that refer to it. A key that is no value of them cannot be referred to. Errors:
    /// `ResourcesExhausted` if the pool has no room for them.
    pub async fn read(
        context: &SessionContext,
        table: &str,
        columns: &[String],
        types: &[DataType],
    ) -> Result<Self> {
        let fields = types.iter().map(|kind| SortField::new(kind.clone())).collect();
        let converter = RowConverter::new(fields)?;
        let reservation = MemoryConsumer::new(format!("keys of {table}"))
            .register(&context.runtime_env().memory_pool);
        let list: Vec<String> = columns.iter().map(|column| quote(column)).collect();
        let query = format!("SELECT {} FROM {}", list.join(", "), quote(table));
        let mut stream = context.sql(&query).await?.execute_stream().await?;
        let mut keys: HashSet<Box<[u8]>> = HashSet::new();
        while let Some(batch) = stream.next().await {
            let batch = batch?;
            let columns = batch
                .columns()
                .iter()
                .zip(types)
                .map(|(column, kind)| Ok(cast(column, kind)?))
                .collect::<Result<Vec<ArrayRef>>>()?;
            let rows = converter.convert_columns(&columns)?;
            let mut added = 0;
            for (number, row) in rows.iter().enumerate() {
                let is_whole = columns.iter().all(|column| column.is_valid(number));
                if is_whole && !keys.contains(row.data()) {
                    added += row.data().len() + ENTRY;
                    keys.insert(row.data().into());
                }
            }
            reservation.try_grow(added)?;
        }
        Ok(Self { converter, keys, _reservation: reservation })
    }

    /// Whether the values of each row are one of the keys. A row with a NULL refers to nothing, so
    /// nothing is missing, as in SQL.
    pub fn contain(&self, columns: &[ArrayRef]) -> Result<BooleanArray> {
        let rows = self.converter.convert_columns(columns)?;
        let found = rows.iter().enumerate().map(|(number, row)| {
            Some(
                columns.iter().any(|column| column.is_null(number))
                    || self.keys.contains(row.data()),
            )
        });
        Ok(found.collect())
    }
}

/// What rows do that refer to nothing.
pub fn offence(rule: &CheckRule) -> String {
    match rule {
        CheckRule::References { columns, table, .. } => {
            let are = if columns.len() == 1 { "is" } else { "are" };
            format!("`{}` {are} not in `{table}`", columns.join("`, `"))
        }
        other => other.to_string(),
    }
}

/// The query that counts the rows that refer to nothing, over the checked table and the other, which
/// is known as `other`.
pub fn query(columns: &[String], other: &str, referenced: &[String]) -> String {
    let equal: Vec<String> = columns
        .iter()
        .zip(referenced)
        .map(|(own, key)| format!("c.{} = r.{}", quote(own), quote(key)))
        .collect();
    let whole: Vec<String> =
        columns.iter().map(|column| format!("c.{} IS NOT NULL", quote(column))).collect();
    format!(
        "SELECT count(*) FROM {CHECKED_TABLE} c WHERE {} AND NOT EXISTS (SELECT 1 FROM {} r WHERE {})",
        whole.join(" AND "),
        quote(other),
        equal.join(" AND ")
    )
}

/// Makes a session's table of a name known as one that checks look into.
pub fn name_of(position: usize) -> String {
    format!("_referenced_{position}")
}

/// Keys of other tables by the position of the check that needs them.
pub type KeysByCheck = Vec<(usize, Arc<Keys>)>;
