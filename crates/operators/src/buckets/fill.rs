//! Fills buckets with the rows of an input.

use std::sync::{Arc, Mutex, MutexGuard};

use datafusion::arrow::array::{RecordBatch, UInt32Array};
use datafusion::arrow::compute::{concat_batches, take_record_batch};
use datafusion::common::runtime::SpawnedTask;
use datafusion::common::{DataFusionError, Result, exec_datafusion_err};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::metrics::Time;
use datafusion::physical_plan::repartition::REPARTITION_RANDOM_STATE;
use futures::future::{BoxFuture, Shared};
use futures::{FutureExt, StreamExt};

use super::spill::Spill;
use super::store::{Store, add, locked};
use crate::columns::{evaluate, seeded_hashes};

/// Rows of an input that are spread at once: enough that each bucket gets some hundreds.
const ROWS: usize = 262_144;

/// Buckets that are being filled. The work ends when the last of its clones is dropped.
#[derive(Clone)]
pub(super) struct Filling {
    done: Shared<BoxFuture<'static, Result<Option<usize>, Arc<DataFusionError>>>>,
    store: Arc<Mutex<Store>>,
}

/// How rows find their bucket.
#[derive(Clone)]
pub(super) struct Spread {
    pub(super) key: Vec<Arc<dyn PhysicalExpr>>,
    pub(super) partitions: usize,
    /// Buckets of a partition.
    pub(super) buckets: usize,
    /// Whether rows go to other partitions. If not, they stay in that in which they came.
    pub(super) across: bool,
    /// What of the hash says nothing any more: the rows have it in common.
    pub(super) spent: u64,
    /// Bytes of an input that are spread at once, if its rows are wide.
    pub(super) at_once: usize,
    pub(super) time: Time,
    pub(super) pool: Arc<dyn MemoryPool>,
}

impl Filling {
    /// Starts to read all inputs at once.
    pub(super) fn start(
        inputs: Vec<(SendableRecordBatchStream, Spill)>,
        spread: &Spread,
        store: Store,
    ) -> Self {
        let store = Arc::new(Mutex::new(store));
        let tasks: Vec<SpawnedTask<Result<()>>> = inputs
            .into_iter()
            .enumerate()
            .map(|(own, (input, spill))| {
                SpawnedTask::spawn(fill(own, input, spill, spread.clone(), Arc::clone(&store)))
            })
            .collect();
        let filled = Arc::clone(&store);
        let done = async move {
            for task in tasks {
                let ended = task.join().await;
                let ended = ended.unwrap_or_else(|error| {
                    Err(exec_datafusion_err!("reading rows into buckets: {error}"))
                });
                ended.map_err(Arc::new)?;
            }
            let bytes = locked(&filled).size_in_memory();
            Ok(bytes)
        };
        Self { done: done.boxed().shared(), store }
    }

    /// Waits until all rows are in their buckets. Returns their bytes if all of them are in memory.
    pub(super) async fn done(&self) -> Result<Option<usize>> {
        self.done.clone().await.map_err(DataFusionError::Shared)
    }

    /// Its buckets.
    pub(super) fn store(&self) -> MutexGuard<'_, Store> {
        locked(&self.store)
    }
}

async fn fill(
    own: usize,
    mut input: SendableRecordBatchStream,
    mut spill: Spill,
    spread: Spread,
    store: Arc<Mutex<Store>>,
) -> Result<()> {
    let (mut gathered, mut rows) = (Vec::new(), 0);
    let reservation = MemoryConsumer::new("BucketedExec").register(&spread.pool);
    while let Some(batch) = input.next().await.transpose()? {
        if batch.num_rows() == 0 {
            continue;
        }
        let by_bucket = spread.by_bucket(own, &batch)?;
        rows += batch.num_rows();
        // Too little to wait for.
        reservation.grow(by_bucket.rows.get_array_memory_size());
        gathered.push(by_bucket);
        if rows >= ROWS || reservation.size() >= spread.at_once {
            spread.store(&gathered, &store, &mut spill)?;
            (gathered, rows) = (Vec::new(), 0);
            reservation.free();
        }
    }
    spread.store(&gathered, &store, &mut spill)?;
    spill.finish()
}

/// Rows of one bucket after another.
struct ByBucket {
    rows: RecordBatch,
    /// Where each bucket begins, and where the last one ends.
    starts: Vec<u32>,
}

impl Spread {
    fn by_bucket(&self, own: usize, batch: &RecordBatch) -> Result<ByBucket> {
        let _timer = self.time.timer();
        let (partitions, buckets) = (self.partitions as u64, self.buckets as u64);
        let key = evaluate(&self.key, batch)?;
        // That of DataFusion's own repartitioning, so that partitions are those of other inputs.
        let seed = REPARTITION_RANDOM_STATE.random_state();
        let bucket_of: Vec<u32> = seeded_hashes(&key, batch.num_rows(), seed)?
            .into_iter()
            .map(|hash| {
                let hash = hash / self.spent;
                let partition = if self.across { hash % partitions } else { own as u64 };
                (partition * buckets + hash / partitions % buckets) as u32
            })
            .collect();
        let mut starts = vec![0; self.partitions * self.buckets + 1];
        for bucket in &bucket_of {
            starts[*bucket as usize + 1] += 1;
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let (mut next, mut places) = (starts.clone(), vec![0; batch.num_rows()]);
        for (row, bucket) in (0_u32..).zip(bucket_of) {
            let place = &mut next[bucket as usize];
            places[*place as usize] = row;
            *place += 1;
        }
        Ok(ByBucket { rows: take_record_batch(batch, &UInt32Array::from(places))?, starts })
    }

    fn store(&self, gathered: &[ByBucket], store: &Mutex<Store>, spill: &mut Spill) -> Result<()> {
        let Some(first) = gathered.first() else { return Ok(()) };
        let _timer = self.time.timer();
        for bucket in 0..self.partitions * self.buckets {
            let parts = gathered.iter().map(|one| {
                let (start, end) = (one.starts[bucket] as usize, one.starts[bucket + 1] as usize);
                one.rows.slice(start, end - start)
            });
            let mut parts: Vec<RecordBatch> = parts.filter(|part| part.num_rows() > 0).collect();
            if let Some(part) = parts.first() {
                // One alone would not be copied, and hold the rows of all buckets.
                parts.push(part.slice(0, 0));
                let rows = concat_batches(first.rows.schema_ref(), &parts)?;
                add(store, spill, bucket, rows)?;
            }
        }
        Ok(())
    }
}
