//! Runs of rows with the same key.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::compute::partition;
use datafusion::common::Result;
use datafusion::physical_expr::PhysicalExpr;

/// Runs of rows, one after another, none of them empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segments(Vec<Range<usize>>);

impl Segments {
    /// The runs in which all of the columns stay the same; NULL equals NULL.
    pub(super) fn of_columns(columns: &[ArrayRef], rows: usize) -> Result<Self> {
        Ok(Self(match (columns, rows) {
            (_, 0) => Vec::new(),
            ([], rows) => std::iter::once(0..rows).collect(),
            (columns, _) => partition(columns)?.ranges(),
        }))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Range<usize>> {
        self.0.iter().cloned()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Where the last run begins.
    pub(super) fn last_start(&self) -> usize {
        self.0.last().map_or(0, |run| run.start)
    }
}

/// The values of expressions for the rows of a batch.
pub(super) fn evaluate(
    expressions: &[Arc<dyn PhysicalExpr>],
    batch: &RecordBatch,
) -> Result<Vec<ArrayRef>> {
    let rows = batch.num_rows();
    expressions.iter().map(|one| one.evaluate(batch)?.into_array(rows)).collect()
}
