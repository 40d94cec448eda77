//! Reads the Parquet files of a data channel, column by column, with errors that name file and
//! column.

use std::fs::File;
use std::path::{Path, PathBuf};

use polars::prelude::{ArrowDataType, Column, DataFrame, DataType, ParquetReader, SerReader};

use super::error::ModelError;

/// What a column must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ColumnKind {
    Text,
    Number,
    Date,
}

impl ColumnKind {
    const fn expectation(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Number => "a 32- or 64-bit integer or floating-point number",
            Self::Date => "a date",
        }
    }

    /// Looks at the Arrow type before polars does, because polars is built without decimals,
    /// dictionaries and small integers, and would not say which column it stumbled over.
    const fn accepts(self, dtype: &ArrowDataType) -> bool {
        use ArrowDataType as A;
        match self {
            Self::Text => matches!(dtype, A::Utf8 | A::LargeUtf8 | A::Utf8View),
            Self::Number => matches!(
                dtype,
                A::Int32 | A::Int64 | A::UInt32 | A::UInt64 | A::Float32 | A::Float64
            ),
            Self::Date => matches!(dtype, A::Date32),
        }
    }
}

/// One column that a channel has to, or may, have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WantedColumn {
    pub name: &'static str,
    pub kind: ColumnKind,
    pub required: bool,
}

/// One file's wanted columns.
pub(crate) struct ChannelFrame {
    file: PathBuf,
    frame: DataFrame,
}

impl ChannelFrame {
    pub fn height(&self) -> usize {
        self.frame.height()
    }

    /// Returns the values of a text column; nulls stay `None`. `None` for a column that the file
    /// does not have.
    pub fn text(&self, name: &str) -> Result<Option<Vec<Option<&str>>>, ModelError> {
        let Some(column) = self.column(name) else { return Ok(None) };
        let values = column.str().map_err(ModelError::frame("read", &self.file))?;
        Ok(Some(values.iter().collect()))
    }

    /// Returns the values of a numeric column as f64; integers above 2^53 lose their last digits.
    pub fn number(&self, name: &str) -> Result<Option<Vec<Option<f64>>>, ModelError> {
        let Some(column) = self.column(name) else { return Ok(None) };
        let cast =
            column.cast(&DataType::Float64).map_err(ModelError::frame("read", &self.file))?;
        let values = cast.f64().map_err(ModelError::frame("read", &self.file))?;
        Ok(Some(values.iter().collect()))
    }

    /// Returns the values of a date column as days since 1970-01-01.
    pub fn days(&self, name: &str) -> Result<Option<Vec<Option<i32>>>, ModelError> {
        let Some(column) = self.column(name) else { return Ok(None) };
        let physical = column.to_physical_repr();
        let values = physical.i32().map_err(ModelError::frame("read", &self.file))?;
        Ok(Some(values.iter().collect()))
    }

    /// Returns the values of a text column in which every row must have one.
    pub fn required_text(&self, name: &str) -> Result<Vec<&str>, ModelError> {
        let values = self.text(name)?.ok_or_else(|| self.missing(name))?;
        self.without_nulls(name, values)
    }

    /// Returns the values of a numeric column in which every row must have a finite one.
    pub fn required_number(&self, name: &str) -> Result<Vec<f64>, ModelError> {
        let values = self.number(name)?.ok_or_else(|| self.missing(name))?;
        let values = self.without_nulls(name, values)?;
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(values),
            Some(row) => Err(ModelError::input(
                &self.file,
                format!("column `{name}` has the value {} in row {}", values[row], row + 1),
            )),
        }
    }

    fn without_nulls<T>(&self, name: &str, values: Vec<Option<T>>) -> Result<Vec<T>, ModelError> {
        let rows = values.len();
        let present: Vec<T> = values.into_iter().flatten().collect();
        let nulls = rows - present.len();
        if nulls == 0 {
            Ok(present)
        } else {
            Err(ModelError::input(
                &self.file,
                format!("column `{name}` is null in {nulls} of {rows} rows"),
            ))
        }
    }

    fn missing(&self, name: &str) -> ModelError {
        ModelError::input(&self.file, format!("column `{name}` is missing"))
    }

    fn column(&self, name: &str) -> Option<&Column> {
        self.frame.column(name).ok()
    }
}

/// Reads the wanted columns of every `*.parquet` file below `folder`, files in path order.
///
/// Names that start with `_` or `.` are markers of writers, not data, and are passed over.
///
/// # Errors
/// `Input` when there is no file, or a column is missing or of another type (the file and column
/// are named); `Io` and `Frame` when reading fails.
pub(crate) fn read(
    folder: &Path,
    wanted: &[WantedColumn],
) -> Result<Vec<ChannelFrame>, ModelError> {
    let mut files = Vec::new();
    list(folder, &mut files)?;
    if files.is_empty() {
        return Err(ModelError::input(folder, "no `*.parquet` file in the folder"));
    }
    files.sort();
    files.into_iter().map(|file| read_file(file, wanted)).collect()
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), ModelError> {
    for entry in std::fs::read_dir(folder).map_err(ModelError::io("list", folder))? {
        let path = entry.map_err(ModelError::io("list", folder))?.path();
        let name =
            path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.starts_with(['_', '.']) {
            continue;
        }
        if path.is_dir() {
            list(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "parquet") {
            files.push(path);
        }
    }
    Ok(())
}

fn read_file(file: PathBuf, wanted: &[WantedColumn]) -> Result<ChannelFrame, ModelError> {
    let opened = File::open(&file).map_err(ModelError::io("open", &file))?;
    let mut reader = ParquetReader::new(opened);
    let schema = reader.schema().map_err(ModelError::frame("read", &file))?;
    let mut present = Vec::new();
    for column in wanted {
        match schema.get(column.name) {
            None if column.required => {
                let found: Vec<_> = schema.iter_names().map(|name| format!("`{name}`")).collect();
                return Err(ModelError::input(
                    &file,
                    format!("column `{}` is missing, found {}", column.name, found.join(", ")),
                ));
            }
            None => {}
            Some(field) if column.kind.accepts(&field.dtype) => {
                present.push(column.name.to_owned())
            }
            Some(field) => {
                return Err(ModelError::input(
                    &file,
                    format!(
                        "column `{}` has type {:?}, expected {}",
                        column.name,
                        field.dtype,
                        column.kind.expectation()
                    ),
                ));
            }
        }
    }
    let frame =
        reader.with_columns(Some(present)).finish().map_err(ModelError::frame("read", &file))?;
    Ok(ChannelFrame { file, frame })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{
        ArrayRef, Date32Array, Decimal128Array, DictionaryArray, LargeStringArray, RecordBatch,
        StringArray, StringViewArray, UInt64Array,
    };
    use datafusion::arrow::datatypes::Int32Type;
    use datafusion::parquet::arrow::ArrowWriter;

    use super::*;

    const WANTED: [WantedColumn; 3] = [
        WantedColumn { name: "id", kind: ColumnKind::Text, required: true },
        WantedColumn { name: "weight", kind: ColumnKind::Number, required: false },
        WantedColumn { name: "dt", kind: ColumnKind::Date, required: false },
    ];

    /// Writes the way the SQL engine does, which is not polars.
    fn read_back(columns: Vec<(&str, ArrayRef)>) -> Result<Vec<ChannelFrame>, ModelError> {
        let folder = tempfile::tempdir().unwrap();
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let file = File::create(folder.path().join("x.parquet")).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        read(folder.path(), &WANTED)
    }

    #[test]
    fn every_kind_of_text_that_the_sql_engine_writes_is_read() {
        let texts: [ArrayRef; 3] = [
            Arc::new(StringArray::from(vec!["a", "größe and more than twelve bytes"])),
            Arc::new(LargeStringArray::from(vec!["a", "größe and more than twelve bytes"])),
            Arc::new(StringViewArray::from(vec!["a", "größe and more than twelve bytes"])),
        ];
        for text in texts {
            let numbers: ArrayRef = Arc::new(UInt64Array::from(vec![Some(1), None]));
            let days: ArrayRef = Arc::new(Date32Array::from(vec![None, Some(20_000)]));
            let frames = read_back(vec![("dt", days), ("id", text), ("weight", numbers)]).unwrap();
            let ids = frames[0].required_text("id").unwrap();
            assert_eq!(ids, ["a", "größe and more than twelve bytes"]);
            assert_eq!(frames[0].number("weight").unwrap().unwrap(), [Some(1.0), None]);
            assert_eq!(frames[0].days("dt").unwrap().unwrap(), [None, Some(20_000)]);
        }
    }

    #[test]
    fn types_that_polars_was_built_without_are_named_and_not_a_panic() {
        let told = |columns| {
            let error = read_back(columns).map(|_| ()).unwrap_err();
            error.to_string().split_once("x.parquet`: ").unwrap().1.to_owned()
        };
        let text: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
        let decimal = Decimal128Array::from(vec![150]).with_precision_and_scale(10, 2).unwrap();
        let decimal: ArrayRef = Arc::new(decimal);
        assert_eq!(
            told(vec![("id", text), ("weight", decimal)]),
            "column `weight` has type Decimal(10, 2), expected a 32- or 64-bit integer or floating-point number"
        );
        let words: ArrayRef = Arc::new(DictionaryArray::<Int32Type>::from_iter(["a"]));
        let error = told(vec![("id", words)]);
        assert!(error.starts_with("column `id` has type Dictionary("), "{error}");
        assert!(error.ends_with("expected text"), "{error}");
    }
}
