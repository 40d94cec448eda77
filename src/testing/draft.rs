//! Writes a test as YAML.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use datafusion::arrow::array::{Array, RecordBatch};
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};

use super::mask::masked;
use crate::pipeline::interval::LogicalDate;
use crate::pipeline::name::Name;
use crate::pipeline::step::{FATE_COLUMN, PARTITION_COLUMN};
use crate::pipeline::variable::Value;
use crate::query::fate::KEPT;
use crate::query::raw::{FILE_COLUMN, LINE_COLUMN, ROW_COLUMN};

/// Rows of an input for a test.
#[derive(Debug)]
pub struct DraftInput {
    /// The table or source.
    pub name: String,
    /// The rows.
    pub rows: RecordBatch,
    /// Columns whose values are masked.
    pub masked: BTreeSet<String>,
}

/// A test to be written.
#[derive(Debug)]
pub struct Draft<'a> {
    /// The test's name.
    pub name: String,
    /// The pipeline, if the table's name does not tell.
    pub pipeline: Option<&'a Name>,
    /// The table.
    pub table: &'a Name,
    /// The day.
    pub date: LogicalDate,
    /// The variables that the query uses.
    pub variables: Vec<(&'a str, &'a Value)>,
    /// The inputs.
    pub inputs: &'a [DraftInput],
    /// What masked values depend on.
    pub seed: u64,
}

impl Draft<'_> {
    /// The file's text, with these rows as what is expected.
    pub fn text(&self, outputs: Option<&RecordBatch>) -> Result<String, ArrowError> {
        let mut text = String::from("tests:\n");
        let _ = writeln!(text, "  {}:", word(&self.name));
        if let Some(pipeline) = self.pipeline {
            let _ = writeln!(text, "    pipeline: {pipeline}");
        }
        let _ = writeln!(text, "    table: {}\n    logical_date: {}", self.table, self.date);
        if !self.variables.is_empty() {
            let values: Vec<String> = self
                .variables
                .iter()
                .map(|(name, value)| match value {
                    Value::String(value) => format!("{name}: {}", word(value)),
                    Value::Int(_) | Value::Double(_) | Value::Boolean(_) => {
                        format!("{name}: {value}")
                    }
                })
                .collect();
            let _ = writeln!(text, "    vars: {{{}}}", values.join(", "));
        }
        let _ = writeln!(text, "    inputs:");
        for input in self.inputs {
            let _ = writeln!(text, "      {}:", input.name);
            let is_left_out = |column: &str, _: Option<&str>| {
                [FILE_COLUMN, LINE_COLUMN, ROW_COLUMN].contains(&column)
            };
            let rows = self.rows(&input.rows, &input.masked, &is_left_out)?;
            if rows.is_empty() {
                text.truncate(text.trim_end().len());
                text.push_str(" []\n");
            }
            rows.iter().for_each(|row| {
                let _ = writeln!(text, "        - {row}");
            });
        }
        let none = BTreeSet::new();
        let is_left_out = |column: &str, value: Option<&str>| {
            [FILE_COLUMN, LINE_COLUMN, ROW_COLUMN].contains(&column)
                || (column == FATE_COLUMN && value.is_none_or(|fate| fate == KEPT))
        };
        let rows = match outputs {
            Some(outputs) => self.rows(outputs, &none, &is_left_out)?,
            None => Vec::new(),
        };
        if rows.is_empty() {
            text.push_str("    outputs: []\n");
        } else {
            text.push_str("    outputs:\n");
        }
        for row in rows {
            let _ = writeln!(text, "      - {row}");
        }
        Ok(text)
    }

    /// Rows as flow mappings; NULL is what is not written.
    fn rows(
        &self,
        batch: &RecordBatch,
        hidden: &BTreeSet<String>,
        is_left_out: &dyn Fn(&str, Option<&str>) -> bool,
    ) -> Result<Vec<String>, ArrowError> {
        let options = FormatOptions::default();
        let date = self.date.to_string();
        let mut rows = vec![Vec::new(); batch.num_rows()];
        for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
            let name = field.name().as_str();
            let formatter = ArrayFormatter::try_new(column.as_ref(), &options)?;
            for (at, row) in rows.iter_mut().enumerate() {
                let value = column.is_valid(at).then(|| formatter.value(at).to_string());
                // The day itself is what a table by day has where nothing is said.
                let is_day = name == PARTITION_COLUMN && value.as_deref() == Some(date.as_str());
                if is_day || is_left_out(name, value.as_deref()) {
                    continue;
                }
                let Some(value) = value else { continue };
                let value = match (hidden.contains(name), field.data_type()) {
                    (true, kind) => masked(&value, kind, self.seed),
                    (false, _) => value,
                };
                let written = match field.data_type() {
                    kind if kind.is_nested() => json(batch, name, at)?,
                    DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => word(&value),
                    _ => value,
                };
                row.push(format!("{name}: {written}"));
            }
        }
        Ok(rows.into_iter().map(|cells| format!("{{{}}}", cells.join(", "))).collect())
    }
}

/// A nested value as JSON, which is YAML too.
fn json(batch: &RecordBatch, column: &str, row: usize) -> Result<String, ArrowError> {
    let index = batch.schema_ref().index_of(column)?;
    let one = batch.slice(row, 1).project(&[index])?;
    let mut writer = datafusion::arrow::json::LineDelimitedWriter::new(Vec::new());
    writer.write(&one)?;
    writer.finish()?;
    let text = String::from_utf8_lossy(&writer.into_inner()).into_owned();
    let object: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| ArrowError::JsonError(error.to_string()))?;
    Ok(object.get(column).cloned().unwrap_or_default().to_string())
}

/// A text as YAML: plain where nothing can take it for something else.
fn word(text: &str) -> String {
    const TAKEN: [&str; 9] = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"];
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || " _-./".contains(c))
        && !text.ends_with(' ')
        && !TAKEN.contains(&text.to_ascii_lowercase().as_str());
    // JSON's texts are YAML's too.
    if plain { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use super::word;

    #[test]
    fn words_stay_words() {
        for plain in ["e1", "Googlebot/2.1", "two words"] {
            assert_eq!(word(plain), plain);
        }
        for quoted in ["", "1", "null", "No", "a: b", "a, b", "[x", "é", "trailing "] {
            assert!(word(quoted).starts_with('"'), "{quoted}");
        }
    }
}
