//! Whether keys repeat, by their hashes, while rows are written.
//!
//! Rows with equal keys have equal hashes: if no hash comes twice, no key does, and nothing need be
//! read again. If one does, only a query over the rows can tell whether the keys are equal too.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Schema;
use datafusion::common::hash_utils::{QualityRandomState, create_hashes};
use datafusion::error::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};

/// Keys whose repetitions are looked for.
#[derive(Debug, Clone)]
pub struct KeyColumns {
    /// The key's columns, as the step names them.
    pub names: Vec<String>,
    positions: Vec<usize>,
    pool: Arc<dyn MemoryPool>,
}

/// Hashes of the keys so far.
#[derive(Debug, Default)]
pub struct KeyHashes {
    hashes: Vec<u64>,
    /// What the hashes take of the pool; none once it had no more room.
    room: Option<MemoryReservation>,
}

impl KeyColumns {
    /// A key of a result; none if the result lacks one of its columns.
    pub fn new(names: &[String], result: &Schema, pool: &Arc<dyn MemoryPool>) -> Option<Self> {
        let positions = names.iter().map(|name| result.index_of(name).ok()).collect::<Option<_>>();
        Some(Self { names: names.to_vec(), positions: positions?, pool: Arc::clone(pool) })
    }

    /// No keys yet.
    pub fn begin(&self) -> KeyHashes {
        let room = MemoryConsumer::new("unique keys").register(&self.pool);
        KeyHashes { hashes: Vec::new(), room: Some(room) }
    }

    /// Adds the keys of the rows of a batch of the result.
    pub fn add(&self, batch: &RecordBatch, hashes: &mut KeyHashes) -> Result<()> {
        let Some(room) = &hashes.room else { return Ok(()) };
        let bytes = batch.num_rows() * size_of::<u64>();
        if room.try_grow(bytes).is_err() {
            *hashes = KeyHashes::default();
            return Ok(());
        }
        let columns: Vec<_> = self.positions.iter().map(|at| batch.column(*at)).collect();
        let from = hashes.hashes.len();
        hashes.hashes.resize(from + batch.num_rows(), 0);
        let state = QualityRandomState::with_seed(0);
        create_hashes(columns, &state, &mut hashes.hashes[from..])?;
        Ok(())
    }
}

impl KeyHashes {
    /// Adds those of other rows.
    pub fn merge(&mut self, other: Self) {
        match (&self.room, &other.room) {
            (Some(own), Some(room)) => {
                own.grow(room.size());
                self.hashes.extend(other.hashes);
            }
            _ => *self = Self::default(),
        }
    }

    /// Whether no key comes twice; false if that is not known.
    pub fn are_unique(mut self) -> bool {
        self.hashes.sort_unstable();
        self.room.is_some() && self.hashes.windows(2).all(|pair| pair[0] != pair[1])
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{ArrayRef, Int64Array, StringArray};
    use datafusion::execution::memory_pool::{GreedyMemoryPool, UnboundedMemoryPool};

    use super::*;

    fn batch(rows: &[(Option<i64>, Option<&str>)]) -> RecordBatch {
        let numbers: ArrayRef = Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>());
        let texts: ArrayRef = Arc::new(rows.iter().map(|row| row.1).collect::<StringArray>());
        RecordBatch::try_from_iter([("n", numbers), ("t", texts)]).unwrap()
    }

    fn unique(key: &[&str], parts: &[RecordBatch], pool: Arc<dyn MemoryPool>) -> bool {
        let names: Vec<String> = key.iter().map(ToString::to_string).collect();
        let key = KeyColumns::new(&names, &parts[0].schema(), &pool).unwrap();
        let mut all = key.begin();
        for part in parts {
            let mut own = key.begin();
            key.add(part, &mut own).unwrap();
            all.merge(own);
        }
        all.are_unique()
    }

    #[test]
    fn a_key_that_repeats_is_never_called_unique() {
        let free = || Arc::new(UnboundedMemoryPool::default()) as Arc<dyn MemoryPool>;
        let one = batch(&[(Some(1), Some("a")), (Some(1), Some("b")), (None, Some("a"))]);
        let two = batch(&[(Some(2), Some("a")), (None, None), (None, Some("b"))]);
        assert!(unique(&["n", "t"], &[one.clone(), two.clone()], free()));
        assert!(!unique(&["n"], &[one.clone(), two.clone()], free()));
        assert!(!unique(&["t"], &[batch(&[(None, Some("a"))]), one.clone()], free()));
        assert!(!unique(&["n", "t"], &[two.clone(), two], free()));
        let none = KeyColumns::new(&["x".to_owned()], &one.schema(), &free());
        assert!(none.is_none());
    }

    #[test]
    fn without_room_nothing_is_known() {
        let pool = Arc::new(GreedyMemoryPool::new(80)) as Arc<dyn MemoryPool>;
        let part = batch(&[(Some(1), None), (Some(2), None), (Some(3), None)]);
        assert!(unique(&["n"], std::slice::from_ref(&part), Arc::clone(&pool)));
        let many: Vec<(Option<i64>, Option<&str>)> = (0..20).map(|n| (Some(n), None)).collect();
        assert!(!unique(&["n"], &[batch(&many)], Arc::clone(&pool)));
        assert_eq!(pool.reserved(), 0);
    }
}
