//! Rows of a test as typed columns.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, StringArray};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::json::ReaderBuilder;
use datafusion::arrow::util::display::FormatOptions;
use recctl_raw::csv;

use crate::pipeline::nearest::nearest;
use crate::pipeline::test::{Cell, CellValue, Place, Row, Rows, Text, Word};
use crate::run::failure::{Problem, Rule};

/// A problem at a place.
pub(super) fn problem(
    rule: Rule,
    place: &Place,
    message: impl Into<String>,
    hint: Option<String>,
) -> Problem {
    let Place { file, line, column, length } = place;
    Problem::new(rule, file.as_str(), *line, *column, *length, message).with_hint(hint)
}

/// Reads the rows, whichever way they are written.
pub(super) fn read(rows: &Rows) -> Result<Cow<'_, [Row]>, Vec<Problem>> {
    match rows {
        Rows::Written(rows) => Ok(Cow::Borrowed(rows)),
        Rows::Csv(text) => of_csv(text).map(Cow::Owned),
        Rows::JsonLines(text) => of_json(text).map(Cow::Owned),
    }
}

fn of_csv(text: &Text) -> Result<Vec<Row>, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut header: Option<Vec<String>> = None;
    let mut rows = Vec::new();
    for (number, record) in records(&text.text) {
        let at = |offset: usize, length: usize| Place {
            file: text.file.clone(),
            line: text.line + number,
            column: text.indent + offset + 1,
            length: length.max(1),
        };
        let fields = match csv::split(record.as_bytes(), b',') {
            Ok(fields) => fields,
            Err(why) => {
                problems.push(problem(
                    Rule::InvalidValue,
                    &at(0, 1),
                    format!("malformed CSV: {why}"),
                    None,
                ));
                continue;
            }
        };
        let place = |field: &Cow<'_, str>| {
            let offset = match field {
                Cow::Borrowed(field) => {
                    let bytes = (field.as_ptr() as usize).wrapping_sub(record.as_ptr() as usize);
                    record.get(..bytes).map_or(0, |before| before.chars().count())
                }
                Cow::Owned(_) => 0,
            };
            at(offset, field.chars().count())
        };
        let Some(columns) = &header else {
            header = Some(fields.iter().map(|field| field.trim().to_owned()).collect());
            continue;
        };
        if fields.len() != columns.len() {
            let message = format!("expected {} fields, found {}", columns.len(), fields.len());
            problems.push(problem(
                Rule::InvalidValue,
                &at(0, record.chars().count()),
                message,
                None,
            ));
            continue;
        }
        let cells = columns.iter().zip(&fields).filter(|(_, field)| !field.is_empty());
        rows.push(Row {
            place: at(0, 1),
            cells: cells
                .map(|(column, field)| {
                    let place = place(field);
                    let value = CellValue::Text(field.to_string());
                    (Word { text: column.clone(), place: place.clone() }, Cell { value, place })
                })
                .collect(),
        });
    }
    if problems.is_empty() { Ok(rows) } else { Err(problems) }
}

/// The records of CSV with the number of the line that each begins on, from 0. Empty lines are
/// none.
fn records(text: &str) -> Vec<(usize, &str)> {
    let mut records = Vec::new();
    let mut begun: Option<(usize, usize)> = None;
    let mut offset = 0;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let (first, start) = *begun.get_or_insert((number, offset));
        offset += line.len();
        let record = text[start..offset].trim_end_matches(['\n', '\r']);
        if csv::is_open(record.as_bytes(), b',') && offset < text.len() {
            continue;
        }
        begun = None;
        if !record.is_empty() {
            records.push((first, record));
        }
    }
    records
}

fn of_json(text: &Text) -> Result<Vec<Row>, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut rows = Vec::new();
    for (number, line) in text.text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty())
    {
        let place = |column: usize, length: usize| Place {
            file: text.file.clone(),
            line: text.line + number,
            column,
            length,
        };
        let object: serde_json::Map<String, serde_json::Value> = match serde_json::from_str(line) {
            Ok(object) => object,
            Err(error) => {
                let message = format!("expected a JSON object: {error}");
                problems.push(problem(
                    Rule::InvalidValue,
                    &place(error.column().max(1), 1),
                    message,
                    None,
                ));
                continue;
            }
        };
        let cell = |(column, value): (String, serde_json::Value)| {
            // Where a member stands is not kept by the reader; its name is looked for.
            let name = format!("\"{column}\"");
            let at = line.find(&name).map_or(0, |byte| line[..byte].chars().count());
            let place = place(at + 1, name.chars().count());
            let value = match value {
                serde_json::Value::Null => CellValue::Null,
                serde_json::Value::String(text) => CellValue::Text(text),
                serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {
                    CellValue::Text(value.to_string())
                }
                nested => CellValue::Nested(nested),
            };
            (Word { text: column, place: place.clone() }, Cell { value, place })
        };
        rows.push(Row { place: place(1, 1), cells: object.into_iter().map(cell).collect() });
    }
    if problems.is_empty() { Ok(rows) } else { Err(problems) }
}

/// Columns that a row names and that there are not, each once.
pub(super) fn unknown_columns(rows: &[Row], known: &Schema, of: &str) -> Vec<Problem> {
    let names: Vec<&str> = known.fields().iter().map(|field| field.name().as_str()).collect();
    let mut told = BTreeSet::new();
    let mut problems = Vec::new();
    for (column, _) in rows.iter().flat_map(|row| &row.cells) {
        if known.column_with_name(&column.text).is_none() && told.insert(&column.text) {
            let hint = match nearest(&column.text, names.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("expected one of `{}`", names.join("`, `")),
            };
            let message = format!("{of} has no column `{}`", column.text);
            problems.push(problem(Rule::UnknownColumn, &column.place, message, Some(hint)));
        }
    }
    problems
}

/// What a column holds in a row, by its number, that does not name it.
pub(super) type Default<'a> = Box<dyn Fn(usize) -> String + Send + Sync + 'a>;

/// The rows as columns of those types; what a row does not name is the default or NULL.
///
/// A column is nullable where `fields` says so or where a row lacks it, so that the planner trusts
/// no promise that the test does not keep. Errors: each value that does not fit its column.
pub(super) fn batch(
    rows: &[Row],
    fields: &Schema,
    defaults: &[(String, Default<'_>)],
) -> Result<RecordBatch, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut columns = Vec::with_capacity(fields.fields().len());
    let mut built = Vec::with_capacity(fields.fields().len());
    for field in fields.fields() {
        let cells: Vec<Option<&Cell>> = rows
            .iter()
            .map(|row| row.cells.iter().find(|(c, _)| c.text == *field.name()).map(|(_, c)| c))
            .collect();
        let default = defaults.iter().find(|(column, _)| column == field.name());
        let column = column(field, &cells, default.map(|(_, text)| &**text));
        match column {
            Ok(column) => {
                let nullable = field.is_nullable() || column.null_count() > 0;
                built.push(Field::new(field.name(), field.data_type().clone(), nullable));
                columns.push(column);
            }
            Err(found) => problems.extend(found),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    let schema: SchemaRef = Arc::new(Schema::new(built));
    RecordBatch::try_new_with_options(schema, columns, &options).map_err(|error| {
        let place = Place { file: String::new(), line: 1, column: 1, length: 1 };
        vec![problem(
            Rule::InvalidValue,
            &rows.first().map_or(place, |row| row.place.clone()),
            error.to_string(),
            None,
        )]
    })
}

fn column(
    field: &Field,
    cells: &[Option<&Cell>],
    default: Option<&(dyn Fn(usize) -> String + Send + Sync)>,
) -> Result<ArrayRef, Vec<Problem>> {
    if field.data_type().is_nested() {
        return nested(field, cells);
    }
    let mut words: Vec<Option<String>> = Vec::with_capacity(cells.len());
    let mut problems = Vec::new();
    for (row, cell) in cells.iter().enumerate() {
        words.push(match cell.map(|cell| (&cell.value, cell)) {
            None => default.map(|default| default(row + 1)),
            Some((CellValue::Null, _)) => None,
            Some((CellValue::Text(text), _)) => Some(prepared(text, field.data_type())),
            Some((CellValue::Nested(value), _)) if is_text(field.data_type()) => {
                Some(value.to_string())
            }
            Some((CellValue::Nested(_), cell)) => {
                let message = format!(
                    "expected {} for `{}`, found a list or a mapping",
                    kind_of(field.data_type()),
                    field.name()
                );
                problems.push(problem(Rule::TypeMismatch, &cell.place, message, None));
                None
            }
        });
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    match parsed(&words, field.data_type()) {
        Some(column) => Ok(column),
        None => Err(unfit(field, cells, &words)),
    }
}

/// The text as Arrow reads it: instants may leave out seconds, or the time of the day.
fn prepared(text: &str, kind: &DataType) -> String {
    match kind {
        DataType::Timestamp(..) if text.trim().len() == "2026-03-01T10:00".len() => {
            format!("{}:00", text.trim())
        }
        kind if is_text(kind) => text.to_owned(),
        _ => text.trim().to_owned(),
    }
}

fn is_text(kind: &DataType) -> bool {
    matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn parsed(words: &[Option<String>], kind: &DataType) -> Option<ArrayRef> {
    let text: ArrayRef = Arc::new(StringArray::from_iter(words.iter().map(Option::as_deref)));
    // What Arrow reads as a day it also reads out of an instant, whose time would be lost.
    if matches!(kind, DataType::Date32 | DataType::Date64)
        && words.iter().flatten().any(|word| word.len() != "2026-03-01".len())
    {
        return None;
    }
    let options = CastOptions { safe: false, format_options: FormatOptions::default() };
    let column = cast_with_options(&text, kind, &options).ok()?;
    (column.null_count() == text.null_count()).then_some(column)
}

/// The cells that do not fit the type.
fn unfit(field: &Field, cells: &[Option<&Cell>], words: &[Option<String>]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (cell, word) in cells.iter().zip(words) {
        if let (Some(cell), Some(word)) = (cell, word)
            && parsed(&[Some(word.clone())], field.data_type()).is_none()
        {
            let message = format!(
                "expected {} for `{}`, found `{word}`",
                kind_of(field.data_type()),
                field.name()
            );
            let hint = example_of(field.data_type()).map(|example| format!("such as {example}"));
            problems.push(problem(Rule::TypeMismatch, &cell.place, message, hint));
        }
    }
    problems
}

/// Lists and structs, which YAML and JSON write alike.
fn nested(field: &Field, cells: &[Option<&Cell>]) -> Result<ArrayRef, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut rows = Vec::with_capacity(cells.len());
    for cell in cells {
        let value = match cell.map(|cell| (&cell.value, cell)) {
            None | Some((CellValue::Null, _)) => serde_json::Value::Null,
            Some((CellValue::Nested(value), _)) => value.clone(),
            // CSV has no other way to write it.
            Some((CellValue::Text(text), cell)) => match serde_json::from_str(text) {
                Ok(value) => value,
                Err(_) => {
                    let message = format!(
                        "expected {} for `{}`, found `{text}`",
                        kind_of(field.data_type()),
                        field.name()
                    );
                    problems.push(problem(Rule::TypeMismatch, &cell.place, message, None));
                    serde_json::Value::Null
                }
            },
        };
        rows.push(serde_json::json!({ field.name(): value }));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let nullable = Field::new(field.name(), field.data_type().clone(), true);
    let schema = Arc::new(Schema::new(vec![nullable]));
    let decoded = |rows: &[serde_json::Value]| {
        let mut decoder = ReaderBuilder::new(Arc::clone(&schema)).build_decoder().ok()?;
        decoder.serialize(rows).ok()?;
        let batch = decoder.flush().ok()?;
        Some(batch.map_or_else(
            || datafusion::arrow::array::new_empty_array(field.data_type()),
            |batch| Arc::clone(batch.column(0)),
        ))
    };
    if let Some(column) = decoded(&rows) {
        return Ok(column);
    }
    for (cell, row) in cells.iter().zip(&rows) {
        if let Some(cell) = cell
            && decoded(std::slice::from_ref(row)).is_none()
        {
            let message = format!("expected {} for `{}`", kind_of(field.data_type()), field.name());
            problems.push(problem(Rule::TypeMismatch, &cell.place, message, None));
        }
    }
    Err(problems)
}

/// A word for a type that somebody who writes tests knows.
fn kind_of(kind: &DataType) -> String {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text".to_owned(),
        DataType::Boolean => "`true` or `false`".to_owned(),
        DataType::Timestamp(..) => "an instant".to_owned(),
        DataType::Date32 | DataType::Date64 => "a day".to_owned(),
        kind if kind.is_integer() => "a whole number".to_owned(),
        kind if kind.is_floating() => "a number".to_owned(),
        DataType::Decimal128(..) | DataType::Decimal256(..) => "a number".to_owned(),
        DataType::List(_) | DataType::LargeList(_) => "a list".to_owned(),
        DataType::Struct(_) | DataType::Map(..) => "a mapping".to_owned(),
        kind => format!("a value of type {kind}"),
    }
}

fn example_of(kind: &DataType) -> Option<&'static str> {
    match kind {
        DataType::Timestamp(..) => Some("2026-03-01T10:00:00Z"),
        DataType::Date32 | DataType::Date64 => Some("2026-03-01"),
        _ => None,
    }
}
