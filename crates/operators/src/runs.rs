//! Rows of the same key that come one after another, put together as they go by.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::compute::{concat, concat_batches};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::metrics::BaselineMetrics;
use datafusion::physical_plan::spill::get_record_batch_memory_size;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;

use crate::columns::{Segments, evaluate};

/// Batches that are computed from the rows of whole runs of a key.
///
/// Errors: `ResourcesExhausted` if the pool has no room for the rows of one run.
pub(crate) fn of_whole_runs(
    input: SendableRecordBatchStream,
    key: Vec<Arc<dyn PhysicalExpr>>,
    reservation: MemoryReservation,
    metrics: BaselineMetrics,
    schema: SchemaRef,
    compute: impl Fn(RecordBatch) -> Result<RecordBatch> + Send + 'static,
) -> SendableRecordBatchStream {
    let runs = WholeRuns { key, reservation, held: Vec::new() };
    let state = Computed { input: Some(input), runs, metrics, compute };
    let stream = futures::stream::try_unfold(state, |mut state| async move {
        Ok(state.next().await?.map(|batch| (batch, state)))
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, stream))
}

struct Computed<F> {
    /// None once it ended.
    input: Option<SendableRecordBatchStream>,
    runs: WholeRuns,
    metrics: BaselineMetrics,
    compute: F,
}

impl<F: Fn(RecordBatch) -> Result<RecordBatch>> Computed<F> {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        while let Some(input) = &mut self.input {
            let batch = input.next().await.transpose()?;
            let time = self.metrics.elapsed_compute().clone();
            let timer = time.timer();
            let whole = match batch {
                Some(batch) if batch.num_rows() == 0 => continue,
                Some(batch) => self.runs.take(batch)?,
                None => {
                    self.input = None;
                    std::mem::take(&mut self.runs.held)
                }
            };
            if whole.is_empty() {
                continue;
            }
            let computed = (self.compute)(self.runs.put_together(&whole)?)?;
            timer.done();
            self.runs.settle()?;
            self.metrics.record_output(computed.num_rows());
            return Ok(Some(computed));
        }
        Ok(None)
    }
}

/// Gathers rows until runs of the same key are whole.
struct WholeRuns {
    key: Vec<Arc<dyn PhysicalExpr>>,
    reservation: MemoryReservation,
    /// Rows of the run that goes on.
    held: Vec<RecordBatch>,
}

impl WholeRuns {
    /// Takes rows and gives those of the runs that ended.
    ///
    /// Errors: `ResourcesExhausted` if the pool has no room for the rows of one run.
    fn take(&mut self, batch: RecordBatch) -> Result<Vec<RecordBatch>> {
        let keys = evaluate(&self.key, &batch)?;
        let start = Segments::of_columns(&keys, batch.num_rows())?.last_start();
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

    /// Rows that were handed over as one batch.
    fn put_together(&self, whole: &[RecordBatch]) -> Result<RecordBatch> {
        Ok(match whole {
            [one] => one.clone(),
            several => {
                // They are there twice while they are put together.
                let bytes = several.iter().map(get_record_batch_memory_size).sum();
                self.reservation.try_grow(bytes)?;
                concat_batches(&several[0].schema(), several)?
            }
        })
    }

    /// Gives memory back that is no longer needed for what was handed over.
    fn settle(&self) -> Result<()> {
        self.reservation.try_resize(self.held.iter().map(get_record_batch_memory_size).sum())
    }

    fn hold(&mut self, batch: RecordBatch) -> Result<()> {
        self.reservation.try_grow(get_record_batch_memory_size(&batch))?;
        self.held.push(batch);
        Ok(())
    }

    /// Whether the first row of new rows belongs to the run that is held.
    fn goes_on(&self, keys: &[ArrayRef]) -> Result<bool> {
        let Some(held) = self.held.last() else { return Ok(true) };
        let last = evaluate(&self.key, &held.slice(held.num_rows() - 1, 1))?;
        let both: Vec<ArrayRef> = last
            .iter()
            .zip(keys)
            .map(|(last, first)| Ok(concat(&[last.as_ref(), first.slice(0, 1).as_ref()])?))
            .collect::<Result<_>>()?;
        Ok(Segments::of_columns(&both, 2)?.len() == 1)
    }
}
