//! Rows in, whole partitions out.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::metrics::BaselineMetrics;

use super::kernel::Kernel;
use crate::runs::of_whole_runs;

/// What a stream is made of.
pub(super) struct Parts {
    pub(super) input: SendableRecordBatchStream,
    pub(super) schema: SchemaRef,
    /// The expressions that tell partitions apart.
    pub(super) key: Vec<Arc<dyn PhysicalExpr>>,
    pub(super) kernels: Vec<Kernel>,
    pub(super) context: Arc<TaskContext>,
    pub(super) metrics: BaselineMetrics,
}

/// Adds the values of the kernels to the rows of the input.
///
/// Errors: `ResourcesExhausted` if the pool has no room for the rows of one partition.
pub(super) fn windows(parts: Parts) -> SendableRecordBatchStream {
    let Parts { input, schema, key, kernels, context, metrics } = parts;
    let room = MemoryConsumer::new("SegmentedWindowExec").register(context.memory_pool());
    let columns = Arc::clone(&schema);
    of_whole_runs(input, key, room, metrics, schema, move |batch| {
        let computed = kernels.iter().map(|kernel| kernel.compute(&batch));
        let values = batch.columns().iter().cloned().map(Ok).chain(computed);
        let values = values.collect::<Result<_>>()?;
        Ok(RecordBatch::try_new(Arc::clone(&columns), values)?)
    })
}
