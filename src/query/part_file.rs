//! One Parquet file of a table.

use datafusion::arrow::array::{Array, ArrayRef, RecordBatch};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::hash_utils::{RandomState, create_hashes};
use datafusion::parquet::arrow::AsyncArrowWriter;
use datafusion::parquet::basic::{Compression, ZstdLevel};
use datafusion::parquet::errors::ParquetError;
use datafusion::parquet::file::properties::WriterProperties;
use datafusion::parquet::schema::types::ColumnPath;

use super::upload::Upload;

/// Rows of a row group: enough for good compression, few enough to bound the writer's memory.
const ROW_GROUP_ROWS: usize = 128 * 1024;

/// Rows from which it is told how a column is encoded.
const FIRST_ROWS: usize = 8 * 1024;
/// Values from which it can be told.
const LEAST_VALUES: usize = 1024;

/// A file that is being written. It is there once [`Self::close`] returns.
pub struct PartFile {
    schema: SchemaRef,
    state: State,
}

enum State {
    /// Rows that came so far.
    First(Upload, Vec<RecordBatch>),
    Open(Box<AsyncArrowWriter<Upload>>),
    /// It could not be opened.
    Failed,
}

impl PartFile {
    pub fn new(target: Upload, schema: SchemaRef) -> Self {
        Self { schema, state: State::First(target, Vec::new()) }
    }

    pub async fn write(&mut self, batch: RecordBatch) -> Result<(), ParquetError> {
        if let State::First(_, first) = &mut self.state {
            first.push(batch);
            if first.iter().map(RecordBatch::num_rows).sum::<usize>() >= FIRST_ROWS {
                self.open().await?;
            }
            return Ok(());
        }
        self.open().await?.write(&batch).await
    }

    /// Returns the bytes of the file.
    pub async fn close(mut self) -> Result<u64, ParquetError> {
        let writer = self.open().await?;
        writer.finish().await?;
        Ok(writer.bytes_written() as u64)
    }

    /// Begins the file with the rows that came first.
    async fn open(&mut self) -> Result<&mut AsyncArrowWriter<Upload>, ParquetError> {
        if matches!(self.state, State::First(..))
            && let State::First(target, first) = std::mem::replace(&mut self.state, State::Failed)
        {
            let first = concat_batches(&self.schema, &first)?;
            let properties = Some(properties(&first));
            let mut writer = AsyncArrowWriter::try_new(target, first.schema(), properties)?;
            writer.write(&first).await?;
            self.state = State::Open(Box::new(writer));
        }
        match &mut self.state {
            State::Open(writer) => Ok(writer),
            State::First(..) | State::Failed => {
                Err(ParquetError::General("a file is written that could not be opened".to_owned()))
            }
        }
    }
}

fn properties(first: &RecordBatch) -> WriterProperties {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS));
    for (column, field) in first.columns().iter().zip(first.schema_ref().fields()) {
        if hardly_repeats(column) {
            let column = ColumnPath::new(vec![field.name().clone()]);
            properties = properties.set_column_dictionary_enabled(column, false);
        }
    }
    properties.build()
}

/// Whether the values of a column hardly come twice in a row group, so that a dictionary would be larger
/// than they are: 15 of 16 that are different in the first rows are some 60,000 that come as often as
/// each other, twice in a row group.
fn hardly_repeats(column: &ArrayRef) -> bool {
    let values = column.len() - column.null_count();
    let mut hashes = vec![0; column.len()];
    if values < LEAST_VALUES
        || create_hashes([column], &RandomState::default(), &mut hashes).is_err()
    {
        return false;
    }
    hashes.sort_unstable();
    hashes.dedup();
    // NULL has a hash as well.
    hashes.len() - usize::from(column.null_count() > 0) > values / 16 * 15
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{Int64Array, StringArray};

    use super::*;

    #[test]
    fn a_dictionary_is_for_values_that_repeat() {
        let column = |of: fn(i64) -> Option<String>| -> ArrayRef {
            Arc::new((0..8_000).map(of).collect::<StringArray>())
        };
        assert!(hardly_repeats(&column(|row| Some(row.to_string()))));
        assert!(hardly_repeats(&column(|row| (row % 2 == 0).then(|| row.to_string()))));
        assert!(!hardly_repeats(&column(|row| Some((row / 2).to_string()))));
        assert!(!hardly_repeats(&column(|row| (row % 10 == 0).then(|| row.to_string()))));
        let few: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1_000));
        assert!(!hardly_repeats(&few));
    }
}
