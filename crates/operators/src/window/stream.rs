//! Rows in, whole partitions out.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::metrics::BaselineMetrics;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;

use super::kernel::Kernel;
use crate::columns::WholeRuns;

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
    let schema = Arc::clone(&parts.schema);
    let reservation =
        MemoryConsumer::new("SegmentedWindowExec").register(parts.context.memory_pool());
    let runs = WholeRuns::new(parts.key.clone(), reservation);
    let state = Windows { parts, runs, ended: false };
    let stream = futures::stream::try_unfold(state, |mut state| async move {
        Ok(state.next().await?.map(|batch| (batch, state)))
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, stream))
}

struct Windows {
    parts: Parts,
    runs: WholeRuns,
    ended: bool,
}

impl Windows {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        while !self.ended {
            let batch = self.parts.input.next().await.transpose()?;
            let time = self.parts.metrics.elapsed_compute().clone();
            let timer = time.timer();
            let whole = match batch {
                Some(batch) if batch.num_rows() == 0 => continue,
                Some(batch) => self.runs.take(batch)?,
                None => {
                    self.ended = true;
                    self.runs.rest()
                }
            };
            if whole.is_empty() {
                continue;
            }
            let computed = self.compute(&whole)?;
            timer.done();
            self.runs.settle()?;
            self.parts.metrics.record_output(computed.num_rows());
            return Ok(Some(computed));
        }
        Ok(None)
    }

    fn compute(&self, whole: &[RecordBatch]) -> Result<RecordBatch> {
        let batch = self.runs.put_together(whole)?;
        let mut columns = batch.columns().to_vec();
        for kernel in &self.parts.kernels {
            columns.push(kernel.compute(&batch)?);
        }
        Ok(RecordBatch::try_new(Arc::clone(&self.parts.schema), columns)?)
    }
}
