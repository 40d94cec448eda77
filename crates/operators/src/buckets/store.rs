//! Rows by the hash of their key, in memory as long as there is room.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::{MemoryLimit, MemoryPool, MemoryReservation};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;

use super::HELD;
use super::spill::{Place, Spill, read};

/// All buckets of an operator, those of a partition one after another.
pub(super) struct Store {
    schema: SchemaRef,
    room: Room,
    buckets: Vec<Bucket>,
    /// Bytes of all rows that came.
    all: usize,
}

/// How much of the rows may stay in memory.
pub(super) struct Room {
    pub(super) pool: Arc<dyn MemoryPool>,
    pub(super) reservation: MemoryReservation,
    /// Bytes that may be held at most.
    pub(super) most: usize,
}

impl Room {
    /// Others need some of the pool to go on, and cannot wait until rows went to disk.
    fn grow(&self, bytes: usize) -> bool {
        self.pool.reserved() + bytes <= limit_of(self.pool.as_ref()) / HELD.1 * HELD.0
            && self.reservation.size() + bytes <= self.most
            && self.reservation.try_grow(bytes).is_ok()
    }
}

/// Bytes of a pool.
pub(super) fn limit_of(pool: &dyn MemoryPool) -> usize {
    match pool.memory_limit() {
        MemoryLimit::Finite(bytes) => bytes,
        MemoryLimit::Infinite | MemoryLimit::Unknown => usize::MAX,
    }
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

/// Adds rows to a bucket. If there is no room the largest buckets go to disk first, while others add
/// rows of theirs.
pub(super) fn add(
    store: &Mutex<Store>,
    spill: &mut Spill,
    bucket: usize,
    rows: RecordBatch,
) -> Result<()> {
    let bytes = rows.get_array_memory_size();
    loop {
        let mut held = locked(store);
        if held.room.grow(bytes) {
            held.all += bytes;
            held.buckets[bucket].held.push(rows);
            held.buckets[bucket].bytes += bytes;
            return Ok(());
        }
        let largest = held.take_largest();
        drop(held);
        let Some((at, rows_of_largest, bytes_of_largest)) = largest else {
            let place = spill.write(&[rows])?;
            let mut held = locked(store);
            held.all += bytes;
            held.buckets[bucket].went(place, bytes);
            return Ok(());
        };
        let place = spill.write(&rows_of_largest)?;
        drop(rows_of_largest);
        let mut held = locked(store);
        held.buckets[at].went(place, bytes_of_largest);
        held.room.reservation.shrink(bytes_of_largest);
    }
}

pub(super) fn locked(store: &Mutex<Store>) -> MutexGuard<'_, Store> {
    store.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    pub(super) fn new(schema: SchemaRef, buckets: usize, room: Room) -> Self {
        let buckets = (0..buckets).map(|_| Bucket::default()).collect();
        Self { schema, room, buckets, all: 0 }
    }

    /// The rows of the largest bucket that are in memory, and their bytes, which stay reserved.
    fn take_largest(&mut self) -> Option<(usize, Vec<RecordBatch>, usize)> {
        let at = (0..self.buckets.len()).max_by_key(|at| self.buckets[*at].bytes)?;
        let bucket = &mut self.buckets[at];
        (bucket.bytes > 0)
            .then(|| (at, std::mem::take(&mut bucket.held), std::mem::take(&mut bucket.bytes)))
    }

    /// Bytes of the rows of a bucket.
    pub(super) fn size(&self, bucket: usize) -> usize {
        self.buckets[bucket].bytes + self.buckets[bucket].spilled
    }

    /// Bytes of all rows that came.
    pub(super) fn all(&self) -> usize {
        self.all
    }

    /// Bytes of all rows, if all of them are in memory.
    pub(super) fn size_in_memory(&self) -> Option<usize> {
        let is_spilled = self.buckets.iter().any(|bucket| bucket.spilled > 0);
        (!is_spilled).then(|| self.buckets.iter().map(|bucket| bucket.bytes).sum())
    }

    /// Takes the rows of buckets. Whoever takes them accounts for their memory.
    pub(super) fn take(&mut self, buckets: Range<usize>) -> SendableRecordBatchStream {
        let (mut held, mut places) = (Vec::new(), Vec::new());
        for bucket in &mut self.buckets[buckets] {
            self.room.reservation.shrink(std::mem::take(&mut bucket.bytes));
            held.append(&mut bucket.held);
            places.append(&mut bucket.places);
        }
        let rows = read(places).chain(futures::stream::iter(held).map(Ok));
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), rows))
    }
}

impl Bucket {
    fn went(&mut self, place: Place, bytes: usize) {
        self.places.push(place);
        self.spilled += bytes;
    }
}
