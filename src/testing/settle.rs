//! What a run would make of a query's rows: fates, the day, the account of rows, and the checks.

use datafusion::arrow::array::{BooleanArray, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::execution::SessionState;
use datafusion::prelude::SessionContext;

use crate::pipeline::check::{Check, CheckRule, CheckSeverity};
use crate::pipeline::interval::LogicalDate;
use crate::pipeline::name::Name;
use crate::pipeline::step::{FATE_COLUMN, PARTITION_COLUMN, SqlStep};
use crate::query::checks::{self, Scan};
use crate::query::fate::{Fate, check_day, fate_at, fates};
use crate::run::failure::{Failure, FailureKind, Outcome};
use crate::run::record::{CheckResult, RowCounts};
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
    let Judged { kept, aside, told } = match judge(subject, kept, &session.state()) {
        Ok(judged) => judged,
        Err(failure) => return Settled { kept: None, refusal: Some(failure) },
    };
    let counts =
        RowCounts { kept: counts.kept - aside, quarantined: counts.quarantined + aside, ..counts };
    let refusal = refuse(subject, &kept, counts, told).err();
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

fn refuse(
    subject: &Subject<'_>,
    kept: &RecordBatch,
    mut counts: RowCounts,
    told: Vec<String>,
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
    let mut broken = keys(subject, kept)?;
    broken.extend(told);
    if broken.is_empty() { Ok(()) } else { Err(checks::refusal(subject.name.as_str(), &broken)) }
}

/// The unique keys, as far as the test compares their columns: what it leaves out is not what it is
/// about.
fn keys(subject: &Subject<'_>, kept: &RecordBatch) -> Outcome<Vec<String>> {
    let key = &subject.sql.unique_key;
    let mut keys = vec![(key, checks::repeating(key))];
    for check in &subject.sql.checks {
        if let (CheckRule::Unique(columns), CheckSeverity::Error) = (&check.rule, check.severity) {
            keys.push((columns, format!("rows that repeat ({})", columns.join(", "))));
        }
    }
    let mut broken = Vec::new();
    for (key, offence) in keys {
        if key.is_empty() || !key.iter().all(|column| subject.compared.contains(column)) {
            continue;
        }
        let rows = repeated(kept, key).map_err(internal)?;
        if rows > 0 {
            broken.push(format!("{rows} {offence}"));
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

/// The rows that checks leave in the table, how many go to the quarantine, and what they tell.
struct Judged {
    kept: RecordBatch,
    aside: u64,
    told: Vec<String>,
}

/// Judges each row alone. What is about a day's data and not about a query is not judged: numbers of
/// rows, freshness, references and distributions; nor are columns that the test leaves out.
fn judge(subject: &Subject<'_>, kept: RecordBatch, state: &SessionState) -> Outcome<Judged> {
    let is_compared = |column: &&str| subject.compared.iter().any(|compared| compared == column);
    let judged = |check: &Check| match &check.rule {
        CheckRule::NotNull(columns) => {
            let columns = columns.iter().filter(|column| is_compared(&column.as_str()));
            let rule = CheckRule::NotNull(columns.cloned().collect());
            Some(Check { rule, ..check.clone() })
        }
        CheckRule::AcceptedValues { .. } | CheckRule::Range { .. } | CheckRule::Expression(_) => {
            check.rule.columns().iter().all(is_compared).then(|| check.clone())
        }
        CheckRule::Unique(_)
        | CheckRule::Rows { .. }
        | CheckRule::Freshness { .. }
        | CheckRule::References { .. }
        | CheckRule::Distribution(_)
        | CheckRule::Statement(_) => None,
    };
    let checks: Vec<Check> = subject.sql.checks.iter().filter_map(judged).collect();
    let sql = SqlStep { checks, ..subject.sql.clone() };
    let scan = Scan::plan(state, &kept.schema(), &sql, &Vec::new())?;
    let mut seen = scan.begin();
    let (kept, aside) = scan.judge(kept, &mut seen)?;
    let rows = kept.num_rows() as u64;
    let outcomes = sql
        .checks
        .iter()
        .enumerate()
        .flat_map(|(position, check)| scan.outcomes(position, check, &seen, rows));
    let failed = outcomes.filter(|outcome| outcome.result == CheckResult::Failed);
    let told = failed.map(|outcome| outcome.told).collect();
    Ok(Judged { kept, aside: aside.len() as u64, told })
}
