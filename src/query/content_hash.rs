//! An order-independent hash of rows.

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::row::{RowConverter, SortField};
use twox_hash::XxHash3_128;

/// The sum, modulo 2^128, of the XXH3-128 hash of each row in Arrow's row format.
///
/// A sum does not depend on the order of rows nor on how they are spread over files, and unlike an
/// exclusive or it sees a row that comes twice. Equal hashes mean equal rows as far as 128 bits
/// go; the row format may change with the version of Arrow, so hashes are compared between runs of
/// one version of recctl.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ContentHash(u128);

impl ContentHash {
    /// Adds the rows of a batch.
    pub fn add(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let fields = batch
            .schema()
            .fields()
            .iter()
            .map(|field| SortField::new(field.data_type().clone()))
            .collect();
        let rows = RowConverter::new(fields)?.convert_columns(batch.columns())?;
        for row in &rows {
            self.0 = self.0.wrapping_add(XxHash3_128::oneshot(row.as_ref()));
        }
        Ok(())
    }

    /// Adds the rows behind another hash.
    pub fn merge(&mut self, other: &Self) {
        self.0 = self.0.wrapping_add(other.0);
    }

    /// Reads what [`Display`](std::fmt::Display) wrote.
    pub fn parse(text: &str) -> Option<Self> {
        u128::from_str_radix(text, 16).ok().map(Self)
    }
}

impl std::fmt::Display for ContentHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    fn hash(rows: &[(i64, Option<&str>)]) -> ContentHash {
        let mut hash = ContentHash::default();
        for chunk in rows.chunks(2) {
            let numbers: ArrayRef =
                Arc::new(Int64Array::from_iter_values(chunk.iter().map(|r| r.0)));
            let texts: ArrayRef = Arc::new(StringArray::from_iter(chunk.iter().map(|r| r.1)));
            hash.add(&RecordBatch::try_from_iter([("n", numbers), ("t", texts)]).unwrap()).unwrap();
        }
        hash
    }

    #[test]
    fn does_not_see_order_but_sees_everything_else() {
        let one = hash(&[(1, Some("a")), (2, None), (3, Some("c"))]);
        assert_eq!(one, hash(&[(3, Some("c")), (1, Some("a")), (2, None)]));
        assert_ne!(one, hash(&[(1, Some("a")), (2, Some("")), (3, Some("c"))]));
        assert_ne!(one, hash(&[(1, Some("a")), (2, None), (3, Some("c")), (3, Some("c"))]));
        assert_eq!(ContentHash::parse(&one.to_string()), Some(one));
    }
}
