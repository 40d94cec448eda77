//! Rows in, whole partitions out.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::compute::{concat, concat_batches};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::metrics::BaselineMetrics;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;

use super::kernel::Kernel;
use super::segments::{Segments, evaluate};

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
    let state = Windows { parts, reservation, held: Vec::new(), ended: false };
    let stream = futures::stream::try_unfold(state, |mut state| async move {
        Ok(state.next().await?.map(|batch| (batch, state)))
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, stream))
}

struct Windows {
    parts: Parts,
    reservation: MemoryReservation,
    /// Rows of the partition that goes on.
    held: Vec<RecordBatch>,
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
                Some(batch) => self.take(batch)?,
                None => {
                    self.ended = true;
                    std::mem::take(&mut self.held)
                }
            };
            if whole.is_empty() {
                continue;
            }
            let computed = self.compute(&whole)?;
            timer.done();
            let held: usize = self.held.iter().map(RecordBatch::get_array_memory_size).sum();
            self.reservation.try_resize(held)?;
            self.parts.metrics.record_output(computed.num_rows());
            return Ok(Some(computed));
        }
        Ok(None)
    }

    /// Takes rows and gives those of the partitions that ended.
    fn take(&mut self, batch: RecordBatch) -> Result<Vec<RecordBatch>> {
        let keys = evaluate(&self.parts.key, &batch)?;
        let segments = Segments::of_columns(&keys, batch.num_rows())?;
        let start = segments.last_start();
        if start > 0 {
            let mut whole = std::mem::take(&mut self.held);
            whole.push(batch.slice(0, start));
            self.hold(batch.slice(start, batch.num_rows() - start))?;
            return Ok(whole);
        }
        let whole = match self.goes_on(&keys)? {
            true => Vec::new(),
            false => std::mem::take(&mut self.held),
        };
        self.hold(batch)?;
        Ok(whole)
    }

    fn hold(&mut self, batch: RecordBatch) -> Result<()> {
        self.reservation.try_grow(batch.get_array_memory_size())?;
        self.held.push(batch);
        Ok(())
    }

    /// Whether the first row of new rows belongs to the partition that is held.
    fn goes_on(&self, keys: &[ArrayRef]) -> Result<bool> {
        let Some(held) = self.held.last() else { return Ok(true) };
        let last = evaluate(&self.parts.key, &held.slice(held.num_rows() - 1, 1))?;
        let both: Vec<ArrayRef> = last
            .iter()
            .zip(keys)
            .map(|(last, first)| Ok(concat(&[last.as_ref(), first.slice(0, 1).as_ref()])?))
            .collect::<Result<_>>()?;
        Ok(Segments::of_columns(&both, 2)?.len() == 1)
    }

    fn compute(&self, whole: &[RecordBatch]) -> Result<RecordBatch> {
        let batch = match whole {
            [one] => one.clone(),
            several => {
                // They are there twice while they are put together.
                let bytes = several.iter().map(RecordBatch::get_array_memory_size).sum();
                self.reservation.try_grow(bytes)?;
                concat_batches(&several[0].schema(), several)?
            }
        };
        let mut columns = batch.columns().to_vec();
        for kernel in &self.parts.kernels {
            columns.push(kernel.compute(&batch)?);
        }
        Ok(RecordBatch::try_new(Arc::clone(&self.parts.schema), columns)?)
    }
}
