//! Values, hashes and runs of keys.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::compute::{concat, concat_batches, partition};
use datafusion::common::Result;
use datafusion::common::hash_utils::{HashState, RandomState, create_hashes};
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::spill::get_record_batch_memory_size;

/// The seed of our own hash tables. It is not that of DataFusion's repartitioning, after which the
/// hashes of one partition have much in common.
const SEED: u64 = 0x6669_7273_7472_6f77;

/// The values of expressions for the rows of a batch.
pub(crate) fn evaluate(
    expressions: &[Arc<dyn PhysicalExpr>],
    batch: &RecordBatch,
) -> Result<Vec<ArrayRef>> {
    let rows = batch.num_rows();
    expressions.iter().map(|one| one.evaluate(batch)?.into_array(rows)).collect()
}

/// Hashes of the keys of rows for tables of our own.
pub(crate) fn hashes(key: &[ArrayRef], rows: usize) -> Result<Vec<u64>> {
    seeded_hashes(key, rows, &RandomState::with_seed(SEED))
}

/// Hashes of the keys of rows.
pub(crate) fn seeded_hashes(
    key: &[ArrayRef],
    rows: usize,
    seed: &impl HashState,
) -> Result<Vec<u64>> {
    let mut hashes = vec![0; rows];
    create_hashes(key, seed, &mut hashes)?;
    Ok(hashes)
}

/// Runs of rows with the same key, one after another, none of them empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segments(Vec<Range<usize>>);

impl Segments {
    /// The runs in which all of the columns stay the same; NULL equals NULL.
    pub(crate) fn of_columns(columns: &[ArrayRef], rows: usize) -> Result<Self> {
        Ok(Self(match (columns, rows) {
            (_, 0) => Vec::new(),
            ([], rows) => std::iter::once(0..rows).collect(),
            (columns, _) => partition(columns)?.ranges(),
        }))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Range<usize>> {
        self.0.iter().cloned()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Where the last run begins.
    fn last_start(&self) -> usize {
        self.0.last().map_or(0, |run| run.start)
    }
}

/// Gathers rows until runs of the same key are whole.
pub(crate) struct WholeRuns {
    key: Vec<Arc<dyn PhysicalExpr>>,
    pub(crate) reservation: MemoryReservation,
    /// Rows of the run that goes on.
    held: Vec<RecordBatch>,
}

impl WholeRuns {
    pub(crate) fn new(key: Vec<Arc<dyn PhysicalExpr>>, reservation: MemoryReservation) -> Self {
        Self { key, reservation, held: Vec::new() }
    }

    /// Takes rows and gives those of the runs that ended.
    ///
    /// Errors: `ResourcesExhausted` if the pool has no room for the rows of one run.
    pub(crate) fn take(&mut self, batch: RecordBatch) -> Result<Vec<RecordBatch>> {
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

    /// The rows of the last run.
    pub(crate) fn rest(&mut self) -> Vec<RecordBatch> {
        std::mem::take(&mut self.held)
    }

    /// Rows that were handed over as one batch.
    pub(crate) fn put_together(&self, whole: &[RecordBatch]) -> Result<RecordBatch> {
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
    pub(crate) fn settle(&self) -> Result<()> {
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
