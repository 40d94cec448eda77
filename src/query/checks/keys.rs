//! Whether keys repeat, by their hashes, while rows are written.
//!
//! Rows with equal keys have equal hashes: if no hash comes twice, no key does, and nothing need be
//! read again. If one does, only a query over the rows can tell whether the keys are equal too.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fmt;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Schema;
use datafusion::common::hash_utils::{QualityRandomState, create_hashes};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryReservation};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::spill_file::SpillFile;

/// Hashes of a key that a writer holds at most before they go to disk: 16 MiB.
const HELD: usize = 2 * 1024 * 1024;
/// So many times what a writer holds of a key fits into the pool: there are several of both.
const SHARES: usize = 128;

/// Keys whose repetitions are looked for.
#[derive(Debug, Clone)]
pub struct KeyColumns {
    /// The key's columns, as the step names them.
    pub names: Vec<String>,
    positions: Vec<usize>,
    runtime: Arc<RuntimeEnv>,
}

/// Hashes of the keys so far.
#[derive(Debug, Default)]
pub struct KeyHashes {
    /// Those in memory: of each part of the rows.
    held: Vec<Vec<u64>>,
    /// Those on disk, sorted.
    runs: Vec<Run>,
    /// What the hashes take of the pool; none once they were given up.
    room: Option<MemoryReservation>,
}

/// Sorted hashes on disk.
struct Run {
    file: Arc<dyn SpillFile>,
    hashes: usize,
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("hashes", &self.hashes).finish_non_exhaustive()
    }
}

impl KeyColumns {
    /// A key of a result; none if the result lacks one of its columns.
    pub fn new(names: &[String], result: &Schema, runtime: &Arc<RuntimeEnv>) -> Option<Self> {
        let positions = names.iter().map(|name| result.index_of(name).ok()).collect::<Option<_>>();
        let runtime = Arc::clone(runtime);
        Some(Self { names: names.to_vec(), positions: positions?, runtime })
    }

    /// No keys yet.
    pub fn begin(&self) -> KeyHashes {
        let room = MemoryConsumer::new("unique keys").register(&self.runtime.memory_pool);
        KeyHashes { held: vec![Vec::new()], runs: Vec::new(), room: Some(room) }
    }

    /// Adds the keys of the rows of a batch of the result.
    pub fn add(&self, batch: &RecordBatch, hashes: &mut KeyHashes) -> Result<()> {
        if !hashes.make_room(batch.num_rows(), &self.runtime) {
            *hashes = KeyHashes::default();
        }
        let Some(held) = hashes.held.last_mut() else { return Ok(()) };
        let from = held.len();
        held.resize(from + batch.num_rows(), 0);
        let columns: Vec<_> = self.positions.iter().map(|at| batch.column(*at)).collect();
        create_hashes(columns, &QualityRandomState::with_seed(0), &mut held[from..])?;
        Ok(())
    }
}

impl KeyHashes {
    /// Makes room for the keys of more rows; those that are held go to disk if there is none. False if
    /// they cannot.
    fn make_room(&mut self, rows: usize, runtime: &RuntimeEnv) -> bool {
        let (Some(held), Some(room)) = (self.held.last_mut(), &self.room) else { return false };
        if held.capacity() - held.len() >= rows {
            return true;
        }
        let most = match runtime.memory_pool.memory_limit() {
            MemoryLimit::Finite(limit) => HELD.min(limit / SHARES / size_of::<u64>()),
            MemoryLimit::Infinite | MemoryLimit::Unknown => HELD,
        };
        // Not twice as much, as a vector grows by itself.
        let more = rows.max(held.len() / 4);
        if held.len() + more <= most.max(rows) {
            // Too little to wait for.
            room.grow(more * size_of::<u64>());
            held.reserve_exact(more);
            return true;
        }
        if !held.is_empty() {
            let Ok(run) = Run::write(held, runtime) else { return false };
            self.runs.push(run);
            held.clear();
        }
        if held.capacity() < rows {
            room.grow(rows * size_of::<u64>());
            held.reserve_exact(rows);
        }
        true
    }

    /// Adds those of other rows.
    pub fn merge(&mut self, other: Self) {
        match (&self.room, &other.room) {
            (Some(own), Some(room)) => {
                own.grow(room.size());
                self.held.extend(other.held);
                self.runs.extend(other.runs);
            }
            _ => *self = Self::default(),
        }
    }

    /// Whether no key comes twice; false if that is not known.
    pub fn are_unique(mut self) -> bool {
        for part in &mut self.held {
            part.sort_unstable();
        }
        self.room.is_some() && self.rise().unwrap_or(false)
    }

    /// Whether all hashes, read in their order, are different.
    fn rise(&self) -> Result<bool> {
        let mut parts: Vec<Box<dyn Iterator<Item = std::io::Result<u64>> + '_>> = Vec::new();
        for part in &self.held {
            parts.push(Box::new(part.iter().copied().map(Ok)));
        }
        for run in &self.runs {
            parts.push(Box::new(run.read()?));
        }
        // The next of each part, the lowest first.
        let mut next = BinaryHeap::with_capacity(parts.len());
        for (at, part) in parts.iter_mut().enumerate() {
            if let Some(first) = part.next().transpose()? {
                next.push(Reverse((first, at)));
            }
        }
        let mut last = None;
        while let Some(mut lowest) = next.peek_mut() {
            let Reverse((hash, at)) = *lowest;
            if last.replace(hash) == Some(hash) {
                return Ok(false);
            }
            match parts[at].next().transpose()? {
                Some(following) => *lowest = Reverse((following, at)),
                None => drop(PeekMut::pop(lowest)),
            }
        }
        Ok(true)
    }
}

impl Run {
    /// Sorts hashes and writes them.
    fn write(hashes: &mut [u64], runtime: &RuntimeEnv) -> Result<Self> {
        hashes.sort_unstable();
        let file = runtime.disk_manager.create_tmp_file("unique keys")?;
        let mut writer = BufWriter::new(file.open_writer()?);
        for hash in &*hashes {
            writer.write_all(&hash.to_le_bytes())?;
        }
        writer.flush()?;
        drop(writer);
        Ok(Self { file, hashes: hashes.len() })
    }

    fn read(&self) -> Result<impl Iterator<Item = std::io::Result<u64>> + use<>> {
        let path = self
            .file
            .path()
            .ok_or_else(|| DataFusionError::Execution("spill files have to be local".to_owned()))?;
        let mut file = BufReader::new(File::open(path)?);
        Ok((0..self.hashes).map(move |_| {
            let mut bytes = [0; 8];
            file.read_exact(&mut bytes).map(|()| u64::from_le_bytes(bytes))
        }))
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{ArrayRef, Int64Array, StringArray};
    use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
    use datafusion::execution::memory_pool::GreedyMemoryPool;
    use datafusion::execution::runtime_env::RuntimeEnvBuilder;

    use super::*;

    fn batch(rows: &[(Option<i64>, Option<&str>)]) -> RecordBatch {
        let numbers: ArrayRef = Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>());
        let texts: ArrayRef = Arc::new(rows.iter().map(|row| row.1).collect::<StringArray>());
        RecordBatch::try_from_iter([("n", numbers), ("t", texts)]).unwrap()
    }

    fn runtime(memory: usize, spills: bool) -> Arc<RuntimeEnv> {
        let mode = if spills { DiskManagerMode::OsTmpDirectory } else { DiskManagerMode::Disabled };
        RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(GreedyMemoryPool::new(memory)))
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(mode))
            .build_arc()
            .unwrap()
    }

    fn unique(key: &[&str], parts: &[RecordBatch], runtime: &Arc<RuntimeEnv>) -> bool {
        let names: Vec<String> = key.iter().map(ToString::to_string).collect();
        let key = KeyColumns::new(&names, &parts[0].schema(), runtime).unwrap();
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
        let one = batch(&[(Some(1), Some("a")), (Some(1), Some("b")), (None, Some("a"))]);
        let two = batch(&[(Some(2), Some("a")), (None, None), (None, Some("b"))]);
        let free = runtime(1_000, false);
        assert!(unique(&["n", "t"], &[one.clone(), two.clone()], &free));
        assert!(!unique(&["n"], &[one.clone(), two.clone()], &free));
        assert!(!unique(&["t"], &[batch(&[(None, Some("a"))]), one.clone()], &free));
        assert!(!unique(&["n", "t"], &[two.clone(), two], &free));
        let none = KeyColumns::new(&["x".to_owned()], &one.schema(), &free);
        assert!(none.is_none());
    }

    #[test]
    fn without_room_and_disk_nothing_is_known() {
        let small = runtime(80, false);
        let part = batch(&[(Some(1), None), (Some(2), None), (Some(3), None)]);
        assert!(unique(&["n"], std::slice::from_ref(&part), &small));
        let key = KeyColumns::new(&["n".to_owned()], &part.schema(), &small).unwrap();
        let mut hashes = key.begin();
        for from in 0..4 {
            let rows: Vec<_> = (from * 5..from * 5 + 5).map(|n| (Some(n), None)).collect();
            key.add(&batch(&rows), &mut hashes).unwrap();
        }
        assert!(!hashes.are_unique());
        assert_eq!(small.memory_pool.reserved(), 0);
    }

    #[test]
    fn what_there_is_no_room_for_goes_to_disk() {
        // Each batch takes 160 bytes.
        let small = runtime(400, true);
        let numbers =
            |from: i64| batch(&(from..from + 20).map(|n| (Some(n), None)).collect::<Vec<_>>());
        let key = KeyColumns::new(&["n".to_owned()], &numbers(0).schema(), &small).unwrap();
        let mut all = key.begin();
        let mut own = key.begin();
        for from in (0..400).step_by(20) {
            key.add(&numbers(from), &mut own).unwrap();
        }
        assert!(own.runs.len() > 5, "{} runs", own.runs.len());
        all.merge(own);
        let mut other = key.begin();
        key.add(&numbers(400), &mut other).unwrap();
        key.add(&numbers(390), &mut other).unwrap();
        assert_eq!(other.runs.len(), 1);
        let rows: usize = other.held.iter().map(Vec::len).sum();
        assert_eq!(rows, 20);
        all.merge(other);
        assert!(!all.are_unique());

        let mut apart = key.begin();
        for from in [800, 60, 400, 0, 20, 900] {
            key.add(&numbers(from), &mut apart).unwrap();
        }
        assert!(!apart.runs.is_empty());
        assert!(apart.are_unique());
        assert_eq!(small.memory_pool.reserved(), 0);
    }
}
