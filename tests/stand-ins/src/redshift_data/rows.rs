//! Rows of Parquet files in the text form of PostgreSQL's COPY.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, make_array};
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::Bytes;
use parquet::arrow::arrow_reader::{
    ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::{ConvertedType, LogicalType, TimeUnit, Type as Physical};
use parquet::schema::types::Type;
use serde_json::{Map, Value};

/// A column of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub name: String,
    /// PostgreSQL's name of the type.
    kind: String,
    /// Length plus four of texts, precision and scale of decimals; -1 for none.
    modifier: i32,
}

impl Column {
    pub fn new(name: String, kind: String, modifier: i32) -> Self {
        Self { name, kind, modifier }
    }

    /// Bytes that a text may have: Redshift counts them, not characters.
    fn width(&self) -> Option<usize> {
        let text = matches!(self.kind.as_str(), "varchar" | "bpchar");
        if text { usize::try_from(self.modifier - 4).ok() } else { None }
    }

    /// Whether values of a Parquet column can go into this one.
    fn takes(&self, parquet: &Type, to_json: bool) -> bool {
        if !parquet.is_primitive() {
            return self.kind == "jsonb" && to_json;
        }
        let info = parquet.get_basic_info();
        let (physical, logical) = (parquet.get_physical_type(), info.logical_type_ref());
        let converted = info.converted_type();
        let signed = match logical {
            Some(LogicalType::Integer(integer)) => Some(integer.is_signed),
            None => Some(!matches!(converted, ConvertedType::UINT_32 | ConvertedType::UINT_64)),
            _ => None,
        };
        let text =
            matches!(logical, Some(LogicalType::String | LogicalType::Json | LogicalType::Enum))
                || converted == ConvertedType::UTF8;
        match self.kind.as_str() {
            "int2" | "int4" => {
                physical == Physical::INT32
                    && signed == Some(true)
                    && converted != ConvertedType::DATE
            }
            "int8" => physical == Physical::INT64 && signed == Some(true),
            "float4" => physical == Physical::FLOAT,
            "float8" => physical == Physical::DOUBLE,
            "bool" => physical == Physical::BOOLEAN,
            "varchar" | "bpchar" | "text" => physical == Physical::BYTE_ARRAY && text,
            "bytea" => {
                matches!(physical, Physical::BYTE_ARRAY | Physical::FIXED_LEN_BYTE_ARRAY)
                    && logical.is_none()
                    && !text
            }
            "date" => {
                converted == ConvertedType::DATE || matches!(logical, Some(LogicalType::Date))
            }
            "timestamp" | "timestamptz" => {
                let unit = match logical {
                    Some(LogicalType::Timestamp(stamp)) => Some(&stamp.unit),
                    _ => None,
                };
                physical == Physical::INT96
                    || matches!(unit, Some(TimeUnit::MILLIS | TimeUnit::MICROS))
                    || matches!(
                        converted,
                        ConvertedType::TIMESTAMP_MICROS | ConvertedType::TIMESTAMP_MILLIS
                    )
            }
            "numeric" => {
                let (precision, scale) = match logical {
                    Some(LogicalType::Decimal(decimal)) => (decimal.precision, decimal.scale),
                    _ if converted == ConvertedType::DECIMAL => {
                        (parquet.get_precision(), parquet.get_scale())
                    }
                    _ => return false,
                };
                self.modifier - 4 == (precision << 16 | scale)
            }
            "jsonb" => to_json,
            _ => false,
        }
    }
}

/// The rows of a file.
pub(super) struct FileRows {
    url: String,
    columns: Vec<Column>,
    reader: ParquetRecordBatchReader,
}

impl FileRows {
    /// Reads the footer and holds its columns against the table's, by position.
    pub fn open(
        url: &str,
        bytes: Bytes,
        columns: &[Column],
        to_json: bool,
        fill: bool,
    ) -> Result<Self, String> {
        let broken = |error: parquet::errors::ParquetError| {
            format!("ERROR: Spectrum Scan Error: {url} is not a Parquet file: {error}")
        };
        // What Arrow noted about its own types does not exist for Redshift.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes, options)
            .map_err(broken)?;
        let fields = builder.parquet_schema().root_schema().get_fields();
        let count = fields.len();
        let counts = count == columns.len() || (fill && count < columns.len());
        if !counts {
            return Err(format!(
                "ERROR: Spectrum Scan Error: Unmatched number of columns between table and file. Table columns: {}, Data columns: {count}, File name: {url}",
                columns.len()
            ));
        }
        if columns.iter().zip(fields).any(|(column, field)| !column.takes(field, to_json)) {
            return Err(format!(
                "ERROR: Spectrum Scan Error: File '{url}' has an incompatible Parquet schema"
            ));
        }
        let reader = builder.with_batch_size(8_192).build().map_err(broken)?;
        Ok(Self { url: url.to_owned(), columns: columns.to_vec(), reader })
    }

    /// The next rows, at least `size` characters of them if there are so many.
    pub fn next(&mut self, size: usize) -> Result<Option<String>, String> {
        let mut text = String::new();
        while text.len() < size {
            let Some(batch) = self.reader.next() else { break };
            let batch =
                batch.map_err(|e| format!("ERROR: Spectrum Scan Error: {}: {e}", self.url))?;
            self.write(&batch, &mut text)?;
        }
        Ok(if text.is_empty() { None } else { Some(text) })
    }

    fn write(&self, batch: &RecordBatch, text: &mut String) -> Result<(), String> {
        let failed = |e: arrow::error::ArrowError| format!("ERROR: Spectrum Scan Error: {e}");
        let options = FormatOptions::default();
        let arrays: Vec<ArrayRef> =
            batch.columns().iter().map(zoneless).collect::<Result<_, _>>().map_err(failed)?;
        let mut cells = Vec::with_capacity(batch.num_columns());
        for (column, array) in self.columns.iter().zip(&arrays) {
            let nested = column.kind == "jsonb";
            let formatter = match nested {
                true => None,
                false => Some(ArrayFormatter::try_new(array, &options).map_err(failed)?),
            };
            cells.push((column, array, formatter));
        }
        let mut cell = String::new();
        for row in 0..batch.num_rows() {
            for at in 0..self.columns.len() {
                if at > 0 {
                    text.push('\t');
                }
                let Some((column, array, formatter)) = cells.get(at) else {
                    text.push_str("\\N");
                    continue;
                };
                if array.is_null(row) {
                    text.push_str("\\N");
                    continue;
                }
                cell.clear();
                match (formatter, array.data_type()) {
                    (None, _) => cell.push_str(&json(array, row)?.to_string()),
                    (Some(_), DataType::Binary) => {
                        cell.push_str("\\x");
                        for byte in array.as_binary::<i32>().value(row) {
                            let _ = write!(cell, "{byte:02x}");
                        }
                    }
                    (Some(formatter), _) => {
                        formatter.value(row).write(&mut cell).map_err(failed)?;
                    }
                }
                if column.width().is_some_and(|width| cell.len() > width) {
                    return Err(format!(
                        "ERROR: Spectrum Scan Error: The length of the data column {} is longer than the length defined in the table. Table: {}, Data: {}",
                        column.name,
                        column.width().unwrap_or_default(),
                        cell.len()
                    ));
                }
                escape(&cell, text);
            }
            text.push('\n');
        }
        Ok(())
    }
}

fn escape(cell: &str, text: &mut String) {
    for c in cell.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '\t' => text.push_str("\\t"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            other => text.push(other),
        }
    }
}

/// Instants without the name of their zone, which is UTC in Parquet files: Arrow knows no names here.
fn zoneless(array: &ArrayRef) -> Result<ArrayRef, arrow::error::ArrowError> {
    let DataType::Timestamp(unit, Some(_)) = array.data_type() else {
        return Ok(Arc::clone(array));
    };
    let data = array.to_data().into_builder().data_type(DataType::Timestamp(*unit, None)).build();
    Ok(make_array(data?))
}

/// A nested value as JSON.
fn json(array: &ArrayRef, row: usize) -> Result<Value, String> {
    if array.is_null(row) {
        return Ok(Value::Null);
    }
    let all = |items: &ArrayRef| -> Result<Value, String> {
        (0..items.len()).map(|at| json(items, at)).collect::<Result<Vec<_>, _>>().map(Value::Array)
    };
    Ok(match array.data_type() {
        DataType::List(_) => all(&array.as_list::<i32>().value(row))?,
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns();
            let mut object = Map::new();
            for (field, column) in fields.iter().zip(columns) {
                object.insert(field.name().clone(), json(column, row)?);
            }
            Value::Object(object)
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let mut object = Map::new();
            for at in 0..entries.len() {
                let key = match json(entries.column(0), at)? {
                    Value::String(key) => key,
                    other => other.to_string(),
                };
                object.insert(key, json(entries.column(1), at)?);
            }
            Value::Object(object)
        }
        other => {
            let failed = |e: arrow::error::ArrowError| format!("ERROR: Spectrum Scan Error: {e}");
            let array = zoneless(array).map_err(failed)?;
            let formatter =
                ArrayFormatter::try_new(&array, &FormatOptions::default()).map_err(failed)?;
            let text = formatter.value(row).to_string();
            match other.is_numeric() || *other == DataType::Boolean {
                true => serde_json::from_str(&text).unwrap_or(Value::String(text)),
                false => Value::String(text),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array, ListArray, StringArray,
        TimestampMicrosecondArray, TimestampNanosecondArray,
    };
    use arrow::datatypes::Int32Type;
    use parquet::arrow::ArrowWriter;

    use super::*;

    fn file(columns: Vec<(&str, ArrayRef)>) -> Bytes {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        bytes.into()
    }

    fn column(kind: &str, modifier: i32) -> Column {
        Column::new("c".to_owned(), kind.to_owned(), modifier)
    }

    fn text(bytes: Bytes, columns: &[Column]) -> Result<String, String> {
        let mut rows = FileRows::open("s3://b/f", bytes, columns, true, false)?;
        Ok(rows.next(usize::MAX)?.unwrap_or_default())
    }

    #[test]
    fn values_get_their_text() {
        let lists =
            ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), None]);
        let bytes = file(vec![
            ("a", Arc::new(Int64Array::from(vec![Some(1), None]))),
            ("b", Arc::new(StringArray::from(vec!["x\t\\\n", ""]))),
            ("c", Arc::new(Float64Array::from(vec![0.5, f64::NAN]))),
            ("d", Arc::new(Date32Array::from(vec![0, 1]))),
            ("e", Arc::new(TimestampMicrosecondArray::from(vec![1, 2]))),
            ("f", Arc::new(TimestampMicrosecondArray::from(vec![1, 2]).with_timezone("UTC"))),
            (
                "g",
                Arc::new(
                    Decimal128Array::from(vec![110, -5]).with_precision_and_scale(10, 2).unwrap(),
                ),
            ),
            ("h", Arc::new(lists)),
        ]);
        let columns = [
            column("int8", -1),
            column("varchar", 260),
            column("float8", -1),
            column("date", -1),
            column("timestamp", -1),
            column("timestamptz", -1),
            column("numeric", 4 + (10 << 16 | 2)),
            column("jsonb", -1),
        ];
        assert_eq!(
            text(bytes, &columns).unwrap(),
            "1\tx\\t\\\\\\n\t0.5\t1970-01-01\t1970-01-01T00:00:00.000001\t1970-01-01T00:00:00.000001\t1.10\t[1,null]\n\
             \\N\t\tNaN\t1970-01-02\t1970-01-01T00:00:00.000002\t1970-01-01T00:00:00.000002\t-0.05\t\\N\n"
        );
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let one = |array: ArrayRef| file(vec![("x", array)]);
        let numbers = one(Arc::new(Int64Array::from(vec![1])));
        assert!(text(numbers.clone(), &[column("int8", -1)]).is_ok());
        for kind in ["int4", "float8", "varchar", "timestamp", "bool", "numeric"] {
            let failure = text(numbers.clone(), &[column(kind, -1)]).unwrap_err();
            assert!(failure.ends_with("has an incompatible Parquet schema"), "{failure}");
        }
        let two = [column("int8", -1), column("int8", -1)];
        assert!(text(numbers.clone(), &two).unwrap_err().contains("Unmatched number"));
        assert!(FileRows::open("u", numbers, &two, false, true).is_ok());
        let dates = one(Arc::new(Date32Array::from(vec![1])));
        assert!(text(dates, &[column("int4", -1)]).is_err());
        assert!(text(one(Arc::new(Int32Array::from(vec![1]))), &[column("int4", -1)]).is_ok());
        let nanos = one(Arc::new(TimestampNanosecondArray::from(vec![1])));
        assert!(text(nanos, &[column("timestamp", -1)]).is_err());
        // Six bytes in three characters.
        let words = one(Arc::new(StringArray::from(vec!["äöü"])));
        assert!(text(words.clone(), &[column("varchar", 4 + 6)]).is_ok());
        assert!(text(words, &[column("varchar", 4 + 5)]).unwrap_err().contains("longer than"));
        assert!(text(Bytes::from_static(b"PAR1 no"), &[column("int8", -1)]).is_err());
    }
}
