//! Rows in any order in, groups out.

use std::cmp::Ordering;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, DynComparator, RecordBatch, UInt32Array, make_comparator,
};
use datafusion::arrow::compute::{SortOptions, concat, interleave_record_batch, take_record_batch};
use datafusion::common::{Result, internal_datafusion_err};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{LexOrdering, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::BaselineMetrics;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::spill::get_record_batch_memory_size;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt};

use crate::buckets::BucketExec;
use crate::columns::{Segments, evaluate, hashes};
use crate::runs::of_whole_runs;

/// Bytes that a row takes beside its own and its key: its hash, its number, its place.
const BYTES_A_ROW: usize = 40;

/// Bytes that are held at most: keys are put together in columns whose offsets have 31 bits.
const MOST: usize = i32::MAX as usize;

/// What a stream is made of.
pub(super) struct Parts {
    pub(super) input: SendableRecordBatchStream,
    pub(super) key: Vec<Arc<dyn PhysicalExpr>>,
    pub(super) order: Vec<PhysicalSortExpr>,
    pub(super) context: Arc<TaskContext>,
    pub(super) metrics: BaselineMetrics,
}

/// Groups of rows that come together. Errors: `ResourcesExhausted` if the pool has no room for one.
pub(super) fn of_grouped(parts: Parts) -> SendableRecordBatchStream {
    let Parts { input, key, order, context, metrics } = parts;
    let (schema, of_group) = (input.schema(), key.clone());
    let room = MemoryConsumer::new("GroupSortExec").register(context.memory_pool());
    of_whole_runs(input, key, room, metrics, schema, move |batch| {
        sort_grouped(&batch, &of_group, &order)
    })
}

/// Groups of rows that come in any order. What the pool has no room for is sorted by DataFusion, which
/// spills.
pub(super) fn of_any(parts: Parts) -> SendableRecordBatchStream {
    let schema = parts.input.schema();
    let stream = futures::stream::once(all(parts)).try_flatten();
    Box::pin(RecordBatchStreamAdapter::new(schema, stream))
}

async fn all(mut parts: Parts) -> Result<SendableRecordBatchStream> {
    let schema = parts.input.schema();
    let reservation = MemoryConsumer::new("GroupSortExec")
        .with_can_spill(true)
        .register(parts.context.memory_pool());
    let mut held = Vec::new();
    while let Some(batch) = parts.input.next().await.transpose()? {
        if batch.num_rows() == 0 {
            continue;
        }
        let bytes = get_record_batch_memory_size(&batch) + batch.num_rows() * BYTES_A_ROW;
        let has_room = reservation.try_grow(bytes).is_ok() && reservation.size() < MOST;
        held.push(batch);
        if !has_room {
            drop(reservation);
            return sorted(parts, held);
        }
    }
    let time = parts.metrics.elapsed_compute().clone();
    let timer = time.timer();
    let places = group(&held, &parts.key, &parts.order)?;
    timer.done();
    let size = parts.context.session_config().batch_size();
    let metrics = parts.metrics;
    let stream = futures::stream::try_unfold((held, places, 0), move |(held, places, from)| {
        let to = (from + size).min(places.len());
        let batch = (from < to).then(|| {
            let _timer = metrics.elapsed_compute().timer();
            let batches: Vec<&RecordBatch> = held.iter().collect();
            interleave_record_batch(&batches, &places[from..to])
        });
        metrics.record_output(to - from);
        // Memory is given back with the last row.
        let _ = &reservation;
        std::future::ready(match batch {
            None => Ok(None),
            Some(Ok(batch)) => Ok(Some((batch, (held, places, to)))),
            Some(Err(error)) => Err(error.into()),
        })
    });
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
}

/// All rows by a sort that spills.
fn sorted(parts: Parts, held: Vec<RecordBatch>) -> Result<SendableRecordBatchStream> {
    let schema = parts.input.schema();
    let rows = futures::stream::iter(held).map(Ok).chain(parts.input);
    let rows = Box::pin(RecordBatchStreamAdapter::new(schema, rows));
    let key = parts.key.into_iter().map(PhysicalSortExpr::new_default);
    let order = LexOrdering::new(key.chain(parts.order))
        .ok_or_else(|| internal_datafusion_err!("rows are brought together by no key"))?;
    SortExec::new(order, Arc::new(BucketExec::of(rows))).execute(0, parts.context)
}

/// Where each row comes from, so that rows of a key are together and in their order.
fn group(
    batches: &[RecordBatch],
    key: &[Arc<dyn PhysicalExpr>],
    order: &[PhysicalSortExpr],
) -> Result<Vec<(usize, usize)>> {
    let rows = batches.iter().map(RecordBatch::num_rows).sum();
    let mut places = Vec::with_capacity(rows);
    let mut hashed: Vec<(u64, u32)> = Vec::with_capacity(rows);
    let columns = key.len() + order.len();
    let mut columns: Vec<Vec<ArrayRef>> = vec![Vec::with_capacity(batches.len()); columns];
    for (at, batch) in batches.iter().enumerate() {
        let keys = evaluate(key, batch)?;
        let first = hashed.len() as u32;
        hashed.extend(hashes(&keys, batch.num_rows())?.into_iter().zip(first..));
        places.extend((0..batch.num_rows()).map(|row| (at, row)));
        let order = order.iter().map(|one| one.expr.evaluate(batch)?.into_array(batch.num_rows()));
        let values = keys.into_iter().map(Ok).chain(order).collect::<Result<Vec<_>>>()?;
        for (column, values) in columns.iter_mut().zip(values) {
            column.push(values);
        }
    }
    // The keys alone, not the rows, are put together.
    let columns: Vec<ArrayRef> = columns
        .iter()
        .map(|parts| {
            let parts: Vec<&dyn datafusion::arrow::array::Array> =
                parts.iter().map(|part| part.as_ref()).collect();
            Ok(concat(&parts)?)
        })
        .collect::<Result<_>>()?;
    let (keys, values) = columns.split_at(key.len());
    let by_key = Comparison::of(keys, key.iter().map(|_| SortOptions::default()))?;
    let by_order = Comparison::of(values, order.iter().map(|one| one.options))?;
    hashed.sort_unstable();
    for run in hashed.chunk_by_mut(|left, right| left.0 == right.0) {
        let is_one = run.windows(2).all(|pair| by_key.of_rows(pair[0].1, pair[1].1).is_eq());
        run.sort_by(|left, right| {
            let key = if is_one { Ordering::Equal } else { by_key.of_rows(left.1, right.1) };
            key.then_with(|| by_order.of_rows(left.1, right.1))
        });
    }
    Ok(hashed.into_iter().map(|(_, row)| places[row as usize]).collect())
}

/// Sorts the rows of each run of the same key.
fn sort_grouped(
    batch: &RecordBatch,
    key: &[Arc<dyn PhysicalExpr>],
    order: &[PhysicalSortExpr],
) -> Result<RecordBatch> {
    let rows = batch.num_rows();
    let expressions: Vec<Arc<dyn PhysicalExpr>> =
        order.iter().map(|one| Arc::clone(&one.expr)).collect();
    let values = evaluate(&expressions, batch)?;
    let by_order = Comparison::of(&values, order.iter().map(|one| one.options))?;
    let mut places: Vec<u32> = (0..rows as u32).collect();
    for run in Segments::of_columns(&evaluate(key, batch)?, rows)?.iter() {
        places[run].sort_by(|left, right| by_order.of_rows(*left, *right));
    }
    Ok(take_record_batch(batch, &UInt32Array::from(places))?)
}

/// How rows of columns compare.
struct Comparison(Vec<DynComparator>);

impl Comparison {
    fn of(columns: &[ArrayRef], options: impl Iterator<Item = SortOptions>) -> Result<Self> {
        let comparators = columns
            .iter()
            .zip(options)
            .map(|(column, options)| Ok(make_comparator(column, column, options)?));
        Ok(Self(comparators.collect::<Result<_>>()?))
    }

    fn of_rows(&self, left: u32, right: u32) -> Ordering {
        let (left, right) = (left as usize, right as usize);
        let decided = self.0.iter().map(|compare| compare(left, right)).find(|one| one.is_ne());
        decided.unwrap_or(Ordering::Equal)
    }
}
