//! Values, hashes and runs of keys.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::compute::partition;
use datafusion::common::Result;
use datafusion::common::hash_utils::{HashState, RandomState, create_hashes};
use datafusion::physical_expr::PhysicalExpr;

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
    pub(crate) fn last_start(&self) -> usize {
        self.0.last().map_or(0, |run| run.start)
    }
}
