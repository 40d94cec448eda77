//! Rows in; when the last came, rows with their number out.

use std::collections::VecDeque;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{LexOrdering, PhysicalExpr};
use datafusion::physical_plan::SpillManager;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, SpillMetrics};
use datafusion::physical_plan::spill::get_record_batch_memory_size;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;

use super::buckets::Buckets;
use super::table::{BYTES_A_ROW, number};

/// What a stream is made of.
pub(super) struct Parts {
    pub(super) input: SendableRecordBatchStream,
    pub(super) schema: SchemaRef,
    pub(super) key: Vec<Arc<dyn PhysicalExpr>>,
    pub(super) order: LexOrdering,
    pub(super) context: Arc<TaskContext>,
    pub(super) metrics: ExecutionPlanMetricsSet,
    pub(super) partition: usize,
}

/// The rows of the input with their number.
///
/// Errors: `ResourcesExhausted` if the pool has no room for a sixteenth of the rows.
pub(super) fn first_rows(parts: Parts) -> Result<SendableRecordBatchStream> {
    let schema = Arc::clone(&parts.schema);
    let spill = SpillManager::new(
        parts.context.runtime_env(),
        SpillMetrics::new(&parts.metrics, parts.partition),
        parts.input.schema(),
    );
    let reservation = MemoryConsumer::new("FirstRowExec")
        .with_can_spill(true)
        .register(parts.context.memory_pool());
    let state = FirstRowStream {
        metrics: BaselineMetrics::new(&parts.metrics, parts.partition),
        parts,
        spill,
        reservation,
        held: Vec::new(),
        buckets: None,
        is_read: false,
        ready: VecDeque::new(),
    };
    let stream = futures::stream::try_unfold(state, |mut state| async move {
        Ok(state.next().await?.map(|batch| (batch, state)))
    });
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
}

struct FirstRowStream {
    parts: Parts,
    metrics: BaselineMetrics,
    spill: SpillManager,
    reservation: MemoryReservation,
    held: Vec<RecordBatch>,
    /// Where rows go once the pool had no more room.
    buckets: Option<Buckets>,
    is_read: bool,
    ready: VecDeque<RecordBatch>,
}

impl FirstRowStream {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        if !self.is_read {
            while let Some(batch) = self.parts.input.next().await.transpose()? {
                if batch.num_rows() > 0 {
                    self.take(batch)?;
                }
            }
            self.is_read = true;
            self.number()?;
        }
        while self.ready.is_empty() {
            // What was handed over is not held here any more.
            self.reservation.free();
            let Some(buckets) = &mut self.buckets else { return Ok(None) };
            let Some(files) = buckets.next()? else { return Ok(None) };
            for mut file in files {
                while let Some(batch) = file.next().await.transpose()? {
                    self.reservation.try_grow(size(&batch))?;
                    self.held.push(batch);
                }
            }
            self.number()?;
        }
        let batch = self.ready.pop_front();
        if let Some(batch) = &batch {
            self.metrics.record_output(batch.num_rows());
        }
        Ok(batch)
    }

    fn take(&mut self, batch: RecordBatch) -> Result<()> {
        let time = self.metrics.elapsed_compute().clone();
        let _timer = time.timer();
        if self.buckets.is_none() && self.reservation.try_grow(size(&batch)).is_ok() {
            self.held.push(batch);
            return Ok(());
        }
        let (key, spill) = (&self.parts.key, &self.spill);
        let buckets = self.buckets.get_or_insert_with(|| Buckets::new(key.clone(), spill.clone()));
        for held in self.held.drain(..) {
            buckets.add(&held)?;
        }
        self.reservation.free();
        buckets.add(&batch)
    }

    fn number(&mut self) -> Result<()> {
        let time = self.metrics.elapsed_compute().clone();
        let _timer = time.timer();
        let held = std::mem::take(&mut self.held);
        let numbered = number(&self.parts.schema, &self.parts.key, &self.parts.order, &held)?;
        self.ready = numbered.into();
        Ok(())
    }
}

/// What a batch takes while its rows are numbered.
fn size(batch: &RecordBatch) -> usize {
    get_record_batch_memory_size(batch) + batch.num_rows() * BYTES_A_ROW
}
