/// Holds a sparse matrix row by row (compressed sparse rows).
#[derive(Debug, Clone, PartialEq)]
pub struct SparseRows {
    /// One more than there are rows; row `r` is `offsets[r]..offsets[r + 1]` of the other two.
    offsets: Vec<usize>,
    columns: Vec<u32>,
    values: Vec<f32>,
}

impl Default for SparseRows {
    fn default() -> Self {
        Self { offsets: vec![0], columns: Vec::new(), values: Vec::new() }
    }
}

impl SparseRows {
    /// Builds the matrix from whole rows; the order of entries within a row is kept.
    pub fn from_rows<R: IntoIterator<Item = (u32, f32)>>(
        rows: impl IntoIterator<Item = R>,
    ) -> Self {
        let mut built = Self::default();
        for row in rows {
            for (column, value) in row {
                built.columns.push(column);
                built.values.push(value);
            }
            built.offsets.push(built.columns.len());
        }
        built
    }

    /// Takes the three arrays as stored; `Err` says what contradicts itself.
    pub fn from_parts(
        offsets: Vec<usize>,
        columns: Vec<u32>,
        values: Vec<f32>,
        rows: usize,
        width: usize,
    ) -> Result<Self, String> {
        if offsets.len() != rows + 1
            || offsets.first() != Some(&0)
            || offsets.last() != Some(&columns.len())
        {
            return Err(format!(
                "row offsets do not match {rows} rows of {} entries",
                columns.len()
            ));
        }
        if !offsets.is_sorted() {
            return Err("row offsets are not ascending".to_owned());
        }
        if columns.len() != values.len() {
            return Err(format!("{} columns against {} values", columns.len(), values.len()));
        }
        if columns.iter().any(|column| *column as usize >= width) {
            return Err(format!("a column number is not below {width}"));
        }
        Ok(Self { offsets, columns, values })
    }

    pub fn rows(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Counts the stored entries.
    pub fn len(&self) -> usize {
        self.columns.len()
    }

    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    pub fn offsets(&self) -> &[usize] {
        &self.offsets
    }

    pub fn columns(&self) -> &[u32] {
        &self.columns
    }

    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Returns the entries of a row.
    pub fn row(&self, row: usize) -> impl ExactSizeIterator<Item = (u32, f32)> + '_ {
        let range = self.offsets[row]..self.offsets[row + 1];
        self.columns[range.clone()].iter().copied().zip(self.values[range].iter().copied())
    }

    /// Returns the column numbers of a row.
    pub fn row_columns(&self, row: usize) -> &[u32] {
        &self.columns[self.offsets[row]..self.offsets[row + 1]]
    }

    /// Returns the matrix with rows and columns swapped, each new row in ascending column order.
    pub fn transposed(&self, width: usize) -> Self {
        let mut offsets = vec![0; width + 1];
        for column in &self.columns {
            offsets[*column as usize + 1] += 1;
        }
        for at in 0..width {
            offsets[at + 1] += offsets[at];
        }
        let mut next = offsets.clone();
        let mut columns = vec![0; self.columns.len()];
        let mut values = vec![0.0; self.values.len()];
        for row in 0..self.rows() {
            for (column, value) in self.row(row) {
                let place = next[column as usize];
                columns[place] = row as u32;
                values[place] = value;
                next[column as usize] += 1;
            }
        }
        Self { offsets, columns, values }
    }

    /// Replaces every value by `change(row, column, value)`.
    pub(crate) fn map(&self, change: impl Fn(u32, u32, f32) -> f32) -> Self {
        let mut values = Vec::with_capacity(self.values.len());
        for row in 0..self.rows() {
            values.extend(self.row(row).map(|(column, value)| change(row as u32, column, value)));
        }
        Self { offsets: self.offsets.clone(), columns: self.columns.clone(), values }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposing_swaps_rows_and_columns() {
        let matrix = SparseRows::from_rows([vec![(0, 1.0), (2, 2.0)], vec![], vec![(0, 3.0)]]);
        let swapped = matrix.transposed(3);
        assert_eq!(
            swapped,
            SparseRows::from_rows([vec![(0, 1.0), (2, 3.0)], vec![], vec![(0, 2.0)]])
        );
        assert_eq!(swapped.transposed(3), matrix);
    }

    #[test]
    fn contradicting_parts_are_refused() {
        let build = |offsets: &[usize], columns: &[u32], width| {
            SparseRows::from_parts(offsets.to_vec(), columns.to_vec(), vec![1.0; 2], 2, width)
        };
        assert!(build(&[0, 1, 2], &[0, 1], 2).is_ok());
        assert_eq!(build(&[0, 1, 2], &[0, 2], 2).unwrap_err(), "a column number is not below 2");
        assert_eq!(build(&[0, 3, 2], &[0, 1], 2).unwrap_err(), "row offsets are not ascending");
        assert_eq!(
            build(&[0, 1], &[0, 1], 2).unwrap_err(),
            "row offsets do not match 2 rows of 2 entries"
        );
    }
}
