//! The first row of each key among the rows that are held.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::Result;
use datafusion::physical_expr::{LexOrdering, PhysicalExpr};
use hashbrown::HashTable;

use crate::columns::{evaluate, hashes};

/// Bytes that a row takes beside its own: its key and its place in the order as text that can be
/// compared, its hash and its place in the table. An estimate, for keys of the size of a UUID.
pub(super) const BYTES_A_ROW: usize = 120;

struct First {
    hash: u64,
    batch: u32,
    row: u32,
}

/// Adds to each batch the column that tells whether a row is the first of its key.
pub(super) fn number(
    schema: &SchemaRef,
    key: &[Arc<dyn PhysicalExpr>],
    order: &LexOrdering,
    batches: &[RecordBatch],
) -> Result<Vec<RecordBatch>> {
    let Some(first) = batches.first() else { return Ok(Vec::new()) };
    let input = first.schema();
    let key_fields = key.iter().map(|one| Ok(SortField::new(one.data_type(&input)?)));
    let keys = RowConverter::new(key_fields.collect::<Result<_>>()?)?;
    let order_fields = order
        .iter()
        .map(|one| Ok(SortField::new_with_options(one.expr.data_type(&input)?, one.options)));
    let places = RowConverter::new(order_fields.collect::<Result<_>>()?)?;
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let mut table: HashTable<First> = HashTable::with_capacity(rows);
    let mut encoded: Vec<(Rows, Rows)> = Vec::with_capacity(batches.len());
    for (at, batch) in (0..).zip(batches) {
        let count = batch.num_rows();
        let values = |one: &Arc<dyn PhysicalExpr>| one.evaluate(batch)?.into_array(count);
        let columns = evaluate(key, batch)?;
        let hashes = hashes(&columns, count)?;
        let columns = keys.convert_columns(&columns)?;
        let order: Vec<ArrayRef> =
            order.iter().map(|one| values(&one.expr)).collect::<Result<_>>()?;
        encoded.push((columns, places.convert_columns(&order)?));
        let (own_keys, own_places) = &encoded[at as usize];
        for (row, hash) in hashes.into_iter().enumerate() {
            let own = own_keys.row(row);
            let same = |first: &First| {
                first.hash == hash && encoded[first.batch as usize].0.row(first.row as usize) == own
            };
            let this = First { hash, batch: at, row: row as u32 };
            match table.find_mut(hash, same) {
                Some(first) => {
                    let best = encoded[first.batch as usize].1.row(first.row as usize);
                    if own_places.row(row) < best {
                        *first = this;
                    }
                }
                None => {
                    table.insert_unique(hash, this, |first| first.hash);
                }
            }
        }
    }
    let mut numbers: Vec<Vec<u64>> =
        batches.iter().map(|batch| vec![2; batch.num_rows()]).collect();
    for first in &table {
        numbers[first.batch as usize][first.row as usize] = 1;
    }
    let numbered = batches.iter().zip(numbers).map(|(batch, numbers)| {
        let mut columns = batch.columns().to_vec();
        columns.push(Arc::new(UInt64Array::from(numbers)));
        Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
    });
    numbered.collect()
}
