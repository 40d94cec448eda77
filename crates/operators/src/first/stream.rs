//! Rows in; when the last came, rows with their number out.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{LexOrdering, PhysicalExpr};
use datafusion::physical_plan::metrics::BaselineMetrics;
use datafusion::physical_plan::spill::get_record_batch_memory_size;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt};

use super::table::{BYTES_A_ROW, number};

/// What a stream is made of.
pub(super) struct Parts {
    pub(super) input: SendableRecordBatchStream,
    pub(super) schema: SchemaRef,
    pub(super) key: Vec<Arc<dyn PhysicalExpr>>,
    pub(super) order: LexOrdering,
    pub(super) context: Arc<TaskContext>,
    pub(super) metrics: BaselineMetrics,
}

/// The rows of the input with their number.
///
/// Errors: `ResourcesExhausted` if the pool has no room for the rows.
pub(super) fn first_rows(parts: Parts) -> SendableRecordBatchStream {
    let schema = Arc::clone(&parts.schema);
    let stream = futures::stream::once(numbered(parts)).try_flatten();
    Box::pin(RecordBatchStreamAdapter::new(schema, stream))
}

async fn numbered(
    mut parts: Parts,
) -> Result<impl futures::Stream<Item = Result<RecordBatch>> + Send> {
    let reservation = MemoryConsumer::new("FirstRowExec").register(parts.context.memory_pool());
    let mut held = Vec::new();
    while let Some(batch) = parts.input.next().await.transpose()? {
        let bytes = get_record_batch_memory_size(&batch) + batch.num_rows() * BYTES_A_ROW;
        reservation.try_grow(bytes)?;
        if batch.num_rows() > 0 {
            held.push(batch);
        }
    }
    let timer = parts.metrics.elapsed_compute().timer();
    let numbered = number(&parts.schema, &parts.key, &parts.order, &held)?;
    timer.done();
    let metrics = parts.metrics;
    Ok(futures::stream::iter(numbered).map(move |batch| {
        // Memory is given back with the last row.
        let _ = &reservation;
        metrics.record_output(batch.num_rows());
        Ok(batch)
    }))
}
