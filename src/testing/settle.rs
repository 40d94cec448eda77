//! What a run would make of a query's rows: fates, the day, the account of rows, and the checks.

use std::sync::Arc;

use datafusion::arrow::array::{Array, BooleanArray, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;

use crate::pipeline::interval::{LogicalDate, Partition};
use crate::pipeline::name::Name;
use crate::pipeline::step::{Check, FATE_COLUMN, PARTITION_COLUMN, SqlStep};
use crate::query::checks;
use crate::query::fate::{Fate, check_day, fate_at, fates};
use crate::query::write::stored_schema;
use crate::run::failure::{Failure, FailureKind, Outcome};
use crate::run::record::RowCounts;
use crate::steps::sql::account;

/// A query's rows as a run would take them.
#[derive(Debug)]
pub(super) struct Settled {
    /// The rows that the table holds; `None` if they could not be told from the others.
    pub kept: Option<RecordBatch>,
    /// Why a run would refuse them.
    pub refusal: Option<Failure>,
}

/// What the rows are of.
#[derive(Debug)]
pub(super) struct Subject<'a> {
    /// The table.
    pub name: &'a Name,
    /// Its step.
    pub sql: &'a SqlStep,
    /// The day.
    pub date: LogicalDate,
    /// Rows of the sources that the query reads; `None` if it reads none.
    pub read: Option<u64>,
    /// The columns that the test compares.
    pub compared: &'a [String],
}

fn internal(error: ArrowError) -> Failure {
    Failure::new(FailureKind::Internal, format!("cannot look at rows: {error}"))
}

/// Settles the rows of a query.
pub(super) async fn settle(
    subject: &Subject<'_>,
    batch: &RecordBatch,
    session: &SessionContext,
) -> Settled {
    let (kept, counts) = match split(batch) {
        Ok(split) => split,
        Err(failure) => return Settled { kept: None, refusal: Some(failure) },
    };
    let refusal = refuse(subject, &kept, counts, session).await.err();
    Settled { kept: Some(kept), refusal }
}

/// The rows that are kept, and how many have which fate.
fn split(batch: &RecordBatch) -> Outcome<(RecordBatch, RowCounts)> {
    let rows = batch.num_rows() as u64;
    let mut counts = RowCounts { kept: rows, ..RowCounts::default() };
    let Some((column, _)) = batch.schema_ref().column_with_name(FATE_COLUMN) else {
        return Ok((batch.clone(), counts));
    };
    counts.kept = 0;
    let fates = fates(batch, column)?;
    let mut keep = Vec::with_capacity(batch.num_rows());
    for row in 0..batch.num_rows() {
        let fate = fate_at(&fates, row)?;
        keep.push(fate == Fate::Kept);
        match fate {
            Fate::Kept => counts.kept += 1,
            Fate::Duplicate => counts.duplicates += 1,
            Fate::Filtered(_) => counts.filtered += 1,
            Fate::Quarantined(_) => counts.quarantined += 1,
        }
    }
    let kept = filter_record_batch(batch, &BooleanArray::from(keep)).map_err(internal)?;
    Ok((kept, counts))
}

async fn refuse(
    subject: &Subject<'_>,
    kept: &RecordBatch,
    mut counts: RowCounts,
    session: &SessionContext,
) -> Outcome<()> {
    let schema = kept.schema_ref();
    if let (true, Some((day, _))) =
        (subject.sql.partitioned, schema.column_with_name(PARTITION_COLUMN))
    {
        check_day(kept, day, subject.date)?;
    }
    if let Some(read) = subject.read {
        counts.read = read;
        let has_fates = schema.column_with_name(FATE_COLUMN).is_some();
        account(subject.name, subject.sql, counts, has_fates)?;
    }
    let mut broken = over_columns(subject, kept).map_err(internal)?;
    broken.extend(conditions(subject, kept, session).await?);
    if broken.is_empty() { Ok(()) } else { Err(checks::refusal(subject.name.as_str(), &broken)) }
}

/// The unique key and the columns without NULL, as far as the test compares them: what it leaves out
/// is not what it is about.
fn over_columns(subject: &Subject<'_>, kept: &RecordBatch) -> Result<Vec<String>, ArrowError> {
    let mut broken = Vec::new();
    let key = &subject.sql.unique_key;
    if !key.is_empty() && key.iter().all(|column| subject.compared.contains(column)) {
        let rows = repeated(kept, key)?;
        if rows > 0 {
            broken.push(format!("{rows} {}", checks::repeating(key)));
        }
    }
    for check in &subject.sql.checks {
        let Check::NotNull(columns) = check else { continue };
        for column in columns.iter().filter(|column| subject.compared.contains(column)) {
            let rows = kept.column_by_name(column).map_or(0, |values| values.logical_null_count());
            if rows > 0 {
                broken.push(format!("{rows} {}", checks::null_in(column)));
            }
        }
    }
    Ok(broken)
}

/// The number of rows whose key came before.
fn repeated(kept: &RecordBatch, key: &[String]) -> Result<usize, ArrowError> {
    let columns: Vec<_> =
        key.iter().filter_map(|name| kept.column_by_name(name)).cloned().collect();
    if columns.len() != key.len() {
        return Ok(0);
    }
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let rows = RowConverter::new(fields)?.convert_columns(&columns)?;
    let distinct: std::collections::HashSet<&[u8]> = rows.iter().map(|row| row.data()).collect();
    Ok(kept.num_rows() - distinct.len())
}

/// The conditions on every row. The least number of rows is about a day's data, not about a query.
async fn conditions(
    subject: &Subject<'_>,
    kept: &RecordBatch,
    session: &SessionContext,
) -> Outcome<Vec<String>> {
    let sql = SqlStep {
        unique_key: Vec::new(),
        checks: subject
            .sql
            .checks
            .iter()
            .filter(|check| matches!(check, Check::Expression(_)))
            .cloned()
            .collect(),
        ..subject.sql.clone()
    };
    if sql.checks.is_empty() {
        return Ok(Vec::new());
    }
    // With `dt`, which is a column of the published table too.
    let stored = stored_schema(kept.schema_ref(), Partition::Whole);
    let positions: Vec<usize> = stored
        .fields()
        .iter()
        .filter_map(|field| kept.schema_ref().index_of(field.name()).ok())
        .collect();
    let columns = kept.project(&positions).map_err(internal)?;
    let columns = RecordBatch::try_new(stored, columns.columns().to_vec()).map_err(internal)?;
    let table = MemTable::try_new(columns.schema(), vec![vec![columns]])
        .map_err(|error| crate::query::session::failure_of(error, "check rows"))?;
    checks::broken(session, subject.name.as_str(), &sql, Arc::new(table)).await
}
