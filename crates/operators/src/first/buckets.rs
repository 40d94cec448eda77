//! Rows on disk, those of one key together.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use datafusion::arrow::compute::{concat_batches, take_record_batch};
use datafusion::common::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::spill_file::SpillFile;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::SpillManager;

use super::table::hashes;

/// So many times the memory is what can be held.
const BUCKETS: usize = 16;
/// Rows that a bucket gathers before it writes them.
const ROWS: usize = 8_192;

/// Rows spread over spill files by the hash of their key.
pub(super) struct Buckets {
    key: Vec<Arc<dyn PhysicalExpr>>,
    spill: SpillManager,
    buckets: Vec<Bucket>,
}

#[derive(Default)]
struct Bucket {
    rows: usize,
    gathered: Vec<RecordBatch>,
    files: Vec<Arc<dyn SpillFile>>,
}

impl Buckets {
    pub(super) fn new(key: Vec<Arc<dyn PhysicalExpr>>, spill: SpillManager) -> Self {
        let buckets = (0..BUCKETS).map(|_| Bucket::default()).collect();
        Self { key, spill, buckets }
    }

    pub(super) fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let count = batch.num_rows();
        let columns: Vec<ArrayRef> = self
            .key
            .iter()
            .map(|one| one.evaluate(batch)?.into_array(count))
            .collect::<Result<_>>()?;
        let mut rows: Vec<Vec<u32>> = vec![Vec::new(); BUCKETS];
        for (row, hash) in (0_u32..).zip(hashes(&columns, count)?) {
            // Bits that the table looks at neither for its places nor for its tags.
            rows[(hash >> 40) as usize % BUCKETS].push(row);
        }
        for (bucket, rows) in self.buckets.iter_mut().zip(rows) {
            if rows.is_empty() {
                continue;
            }
            bucket.rows += rows.len();
            bucket.gathered.push(take_record_batch(batch, &UInt32Array::from(rows))?);
            if bucket.rows >= ROWS {
                bucket.write(&self.spill)?;
            }
        }
        Ok(())
    }

    /// The rows of the next bucket; none if there is no other.
    pub(super) fn next(&mut self) -> Result<Option<Vec<SendableRecordBatchStream>>> {
        let Some(mut bucket) = self.buckets.pop() else { return Ok(None) };
        bucket.write(&self.spill)?;
        let files = bucket.files.into_iter();
        files
            .map(|file| self.spill.read_spill_as_stream(file, None))
            .collect::<Result<_>>()
            .map(Some)
    }
}

impl Bucket {
    fn write(&mut self, spill: &SpillManager) -> Result<()> {
        let Some(first) = self.gathered.first() else { return Ok(()) };
        let batch = concat_batches(&first.schema(), &self.gathered)?;
        self.files.extend(spill.spill_record_batch_and_finish(&[batch], "FirstRowExec")?);
        self.gathered.clear();
        self.rows = 0;
        Ok(())
    }
}
