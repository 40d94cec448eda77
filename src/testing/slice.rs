//! A slice of real data that is small enough for a test: some rows of a table, and of its inputs the
//! rows that these are made from.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::arrow::array::{Array, RecordBatch};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use sha2::{Digest, Sha256};

use super::Typed;
use crate::pipeline::interval::LogicalDate;
use crate::pipeline::step::{FATE_COLUMN, PARTITION_COLUMN, Read, ReadFrom, SqlStep, StepKind};
use crate::query::checks::quote;
use crate::query::raw::ROW_COLUMN;
use crate::run::failure::{Failure, FailureKind, Outcome};
use crate::steps::context::Services;
use crate::steps::preview::{RealInputs, Seen};

/// Rows of a table that are looked at for choosing some.
const LOOKED_AT: usize = 100_000;
/// Rows of an input for each chosen row, at most.
const ROWS_EACH: usize = 10;

/// Values by column, as text.
type Known = BTreeMap<String, BTreeSet<String>>;

/// What a slice is cut for.
#[derive(Debug, Clone, Copy)]
pub struct Cut {
    /// The day.
    pub date: LogicalDate,
    /// Rows of the table.
    pub rows: usize,
    /// What the choice depends on.
    pub seed: u64,
}

/// Chooses rows of a table and returns, for each input, the rows that share their keys; of an input
/// that shares none, the first few.
///
/// The slice need not give the rows exactly: a window may look at more of a visitor's events than
/// are in it. What is expected of a test is therefore computed from the slice.
pub async fn cut(
    services: &Services,
    typed: &Typed,
    sql: &SqlStep,
    cut: Cut,
) -> Outcome<Vec<(Read, RecordBatch)>> {
    let inputs = RealInputs::open(services, &typed.pipeline, &sql.reads, cut.date).await?;
    let whole = inputs.query(services, &typed.pipeline, sql, cut.date, None, LOOKED_AT).await?;
    let whole = whole_batch(&whole)?;
    let chosen = chosen(&whole, &sql.unique_key, &cut).map_err(internal)?;
    let mut known = Known::new();
    learn(&mut known, &chosen, &|column| sql.unique_key.iter().any(|key| key == column))
        .map_err(internal)?;
    let most = cut.rows * ROWS_EACH + ROWS_EACH;
    let mut waiting: Vec<&Read> = sql.reads.iter().collect();
    let mut slices = Vec::new();
    while !waiting.is_empty() {
        // The input that shares most with what is known comes first: it may tell the keys of others.
        let shared = |read: &&Read| shared(typed, read, &known).len();
        let next = (0..waiting.len()).max_by_key(|at| (shared(&waiting[*at]), usize::MAX - at));
        let read = waiting.remove(next.unwrap_or(0));
        let query = query_for(typed, read, &known, if shared(&read) > 0 { most } else { cut.rows });
        let rows = whole_batch(&inputs.sql(services, &query, most).await?)?;
        learn(&mut known, &rows, &|column| is_key(typed, column)).map_err(internal)?;
        slices.push((read.clone(), rows));
    }
    // In the order in which the query names them.
    slices.sort_by_key(|(read, _)| sql.reads.iter().position(|other| other == read));
    Ok(slices)
}

fn internal(error: ArrowError) -> Failure {
    Failure::new(FailureKind::Internal, format!("cannot cut a slice: {error}"))
}

fn whole_batch(seen: &Seen) -> Outcome<RecordBatch> {
    concat_batches(&seen.schema, &seen.batches).map_err(internal)
}

/// The rows with the smallest hashes, each fate in turn, so that a few rows show what a query does.
fn chosen(whole: &RecordBatch, key: &[String], cut: &Cut) -> Result<RecordBatch, ArrowError> {
    let by = |names: &[&str]| -> Result<Vec<String>, ArrowError> {
        let options = FormatOptions::default();
        let columns = names.iter().filter_map(|name| whole.column_by_name(name));
        let columns: Vec<ArrayFormatter<'_>> = columns
            .map(|column| ArrayFormatter::try_new(column.as_ref(), &options))
            .collect::<Result<_, _>>()?;
        let text = |row| columns.iter().map(|it| it.value(row).to_string()).collect::<Vec<_>>();
        Ok((0..whole.num_rows()).map(|row| text(row).join("\u{1}")).collect())
    };
    let names: Vec<&str> = key.iter().map(String::as_str).collect();
    let (keys, fates) = (by(&names)?, by(&[FATE_COLUMN])?);
    let mut by_fate: BTreeMap<&str, Vec<(Vec<u8>, usize)>> = BTreeMap::new();
    for (row, (key, fate)) in keys.iter().zip(&fates).enumerate() {
        let mut digest = Sha256::new();
        digest.update(cut.seed.to_le_bytes());
        digest.update(key.as_bytes());
        by_fate.entry(fate).or_default().push((digest.finalize().to_vec(), row));
    }
    let mut groups: Vec<Vec<(Vec<u8>, usize)>> = by_fate.into_values().collect();
    for group in &mut groups {
        group.sort_unstable_by(|a, b| b.cmp(a));
    }
    let mut rows: Vec<u64> = Vec::new();
    while rows.len() < cut.rows && groups.iter().any(|group| !group.is_empty()) {
        for group in &mut groups {
            if rows.len() < cut.rows
                && let Some((_, row)) = group.pop()
            {
                rows.push(row as u64);
            }
        }
    }
    rows.sort_unstable();
    let rows = datafusion::arrow::array::UInt64Array::from(rows);
    datafusion::arrow::compute::take_record_batch(whole, &rows)
}

/// Adds the values of columns that rows are known by.
fn learn(
    known: &mut Known,
    rows: &RecordBatch,
    is_key: &dyn Fn(&str) -> bool,
) -> Result<(), ArrowError> {
    let options = FormatOptions::default();
    for (field, column) in rows.schema_ref().fields().iter().zip(rows.columns()) {
        let name = field.name();
        if name == PARTITION_COLUMN || !is_key(name) || known.contains_key(name) {
            continue;
        }
        let values = (0..rows.num_rows()).filter(|row| column.is_valid(*row));
        let formatter = ArrayFormatter::try_new(column.as_ref(), &options)?;
        let texts: BTreeSet<String> = values.map(|row| formatter.value(row).to_string()).collect();
        known.insert(name.clone(), texts);
    }
    Ok(())
}

/// Whether rows of some table are known by the column alone.
fn is_key(typed: &Typed, column: &str) -> bool {
    typed.pipeline.steps.iter().any(|step| match &step.kind {
        StepKind::Sql(sql) => sql.unique_key.len() == 1 && sql.unique_key[0] == column,
        StepKind::Train(_)
        | StepKind::Tune(_)
        | StepKind::Select(_)
        | StepKind::Score(_)
        | StepKind::Load(_) => false,
    })
}

/// The columns of an input whose values are known.
fn shared<'a>(
    typed: &Typed,
    read: &Read,
    known: &'a Known,
) -> Vec<(&'a String, &'a BTreeSet<String>)> {
    let Some(schema) = typed.schemas.get(&read.name) else { return Vec::new() };
    let has = |column: &str| schema.column_with_name(column).is_some();
    known.iter().filter(|(column, values)| has(column) && !values.is_empty()).collect()
}

fn query_for(typed: &Typed, read: &Read, known: &Known, most: usize) -> String {
    let literal = |value: &String| format!("'{}'", value.replace('\'', "''"));
    let conditions: Vec<String> = shared(typed, read, known)
        .into_iter()
        .map(|(column, values)| {
            let values: Vec<String> = values.iter().map(literal).collect();
            format!("CAST({} AS VARCHAR) IN ({})", quote(column), values.join(", "))
        })
        .collect();
    let condition = match conditions.is_empty() {
        true => String::new(),
        false => format!(" WHERE {}", conditions.join(" AND ")),
    };
    // The order of raw rows may decide which of two copies is kept.
    let order = match read.from {
        ReadFrom::Source => format!(" ORDER BY {}", quote(ROW_COLUMN)),
        ReadFrom::Table => String::new(),
    };
    format!("SELECT * FROM {}{condition}{order} LIMIT {most}", quote(read.name.as_str()))
}
