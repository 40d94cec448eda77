//! Rows by the hash of their key, in memory as long as there is room.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::common::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;

use super::spill::{Place, Spill};

/// All buckets of an operator, those of a partition one after another.
pub(super) struct Store {
    reservation: MemoryReservation,
    spill: Spill,
    buckets: Vec<Bucket>,
    /// Bytes that may be held at most.
    most: usize,
}

#[derive(Default)]
struct Bucket {
    /// Rows in memory, and their bytes.
    held: Vec<RecordBatch>,
    bytes: usize,
    /// Rows on disk, and their bytes as they were in memory.
    places: Vec<Place>,
    spilled: usize,
}

impl Store {
    pub(super) fn new(
        buckets: usize,
        most: usize,
        spill: Spill,
        reservation: MemoryReservation,
    ) -> Self {
        let buckets = (0..buckets).map(|_| Bucket::default()).collect();
        Self { reservation, spill, buckets, most }
    }

    /// Adds rows to a bucket. If there is no room the largest buckets go to disk first.
    pub(super) fn add(&mut self, bucket: usize, rows: RecordBatch) -> Result<()> {
        let bytes = rows.get_array_memory_size();
        while self.reservation.size() + bytes > self.most
            || self.reservation.try_grow(bytes).is_err()
        {
            let largest = (0..self.buckets.len()).max_by_key(|at| self.buckets[*at].bytes);
            match largest {
                Some(at) if self.buckets[at].bytes > 0 => self.write(at)?,
                _ => return self.buckets[bucket].spill(&mut self.spill, &[rows], bytes),
            }
        }
        let bucket = &mut self.buckets[bucket];
        bucket.held.push(rows);
        bucket.bytes += bytes;
        Ok(())
    }

    fn write(&mut self, bucket: usize) -> Result<()> {
        let bucket = &mut self.buckets[bucket];
        let (held, bytes) = (std::mem::take(&mut bucket.held), std::mem::take(&mut bucket.bytes));
        bucket.spill(&mut self.spill, &held, bytes)?;
        drop(held);
        self.reservation.shrink(bytes);
        Ok(())
    }

    /// Bytes of the rows of a bucket.
    pub(super) fn size(&self, bucket: usize) -> usize {
        self.buckets[bucket].bytes + self.buckets[bucket].spilled
    }

    /// Bytes of all rows, if all of them are in memory.
    pub(super) fn size_in_memory(&self) -> Option<usize> {
        let is_spilled = self.buckets.iter().any(|bucket| bucket.spilled > 0);
        (!is_spilled).then(|| self.buckets.iter().map(|bucket| bucket.bytes).sum())
    }

    /// Takes the rows of buckets. Whoever takes them accounts for their memory.
    pub(super) fn take(&mut self, buckets: Range<usize>) -> Result<SendableRecordBatchStream> {
        let (mut held, mut places) = (Vec::new(), Vec::new());
        for bucket in &mut self.buckets[buckets] {
            self.reservation.shrink(std::mem::take(&mut bucket.bytes));
            held.append(&mut bucket.held);
            places.append(&mut bucket.places);
        }
        let rows = self.spill.read(places)?.chain(futures::stream::iter(held).map(Ok));
        let schema = Arc::clone(&self.spill.schema);
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}

impl Bucket {
    fn spill(&mut self, spill: &mut Spill, rows: &[RecordBatch], bytes: usize) -> Result<()> {
        self.places.push(spill.write(rows)?);
        self.spilled += bytes;
        Ok(())
    }
}
