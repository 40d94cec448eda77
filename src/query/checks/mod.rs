//! Checks of a table before it becomes visible. What judges each row alone, and what can be added
//! up, is done while the table is written ([`Scan`]); the rest by SQL over what was written.

pub mod figures;
mod keys;
pub mod references;
pub mod rows;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, Utc};
use datafusion::arrow::array::{Array, ArrayRef, RecordBatch};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::catalog::TableProvider;
use datafusion::common::cast::{as_boolean_array, as_int64_array};
use datafusion::execution::SessionState;
use datafusion::prelude::SessionContext;

use self::figures::{Comparison, Sums, Wanted, add_up, compare, short, wanted};
use self::keys::{KeyColumns, KeyHashes};
use self::references::KeysByCheck;
use self::rows::{Offender, RowCheck};
use super::session::failure_of;
pub use crate::pipeline::check::CHECKED_TABLE;
use crate::pipeline::check::{
    COLUMNS, Check, CheckRule, CheckSeverity, Distribution, Figure, INTERVAL_END, OnFail,
    PRIMARY_TABLE, Statement,
};
use crate::pipeline::interval::{LogicalDate, Partition};
use crate::pipeline::step::SqlStep;
use crate::run::failure::{Failure, FailureKind, Outcome};
use crate::run::record::{CheckOutcome, CheckResult};

/// What is judged and added up while a result is written. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Scan {
    rows: Arc<[RowCheck]>,
    wanted: Arc<[Wanted]>,
    keys: Arc<[KeyColumns]>,
}

/// What a scan saw.
#[derive(Debug, Default)]
pub struct Seen {
    /// Rows that break each of the scan's conditions.
    offences: Vec<u64>,
    /// What was added up, by column.
    sums: BTreeMap<String, Sums>,
    /// Each of the scan's keys.
    keys: Vec<KeyHashes>,
}

impl Seen {
    /// Adds what was seen of other rows by the same scan.
    pub fn add(&mut self, other: Self) {
        for (own, other) in self.offences.iter_mut().zip(other.offences) {
            *own += other;
        }
        for (column, sums) in other.sums {
            self.sums.entry(column).or_default().add(&sums);
        }
        for (own, other) in self.keys.iter_mut().zip(other.keys) {
            own.merge(other);
        }
    }
}

impl Scan {
    /// Plans the checks of a step for its result's columns. `keys` are those of referenced tables; a
    /// reference without them is judged by [`judge`]. Errors: `Usage` for a condition that is none.
    pub fn plan(
        state: &SessionState,
        result: &SchemaRef,
        sql: &SqlStep,
        keys: &KeysByCheck,
    ) -> Outcome<Self> {
        let rows = RowCheck::plan(state, result, &sql.checks, keys)
            .map_err(|error| failure_of(error, &format!("plan the checks of `{}`", sql.file)))?;
        let runtime = state.runtime_env();
        let unique = sql.checks.iter().filter_map(|check| match &check.rule {
            CheckRule::Unique(columns) => Some(columns),
            _ => None,
        });
        let keys = [&sql.unique_key].into_iter().chain(unique).filter(|key| !key.is_empty());
        let keys: Vec<KeyColumns> =
            keys.filter_map(|key| KeyColumns::new(key, result, runtime)).collect();
        let wanted = wanted(&sql.checks, result);
        Ok(Self { rows: rows.into(), wanted: wanted.into(), keys: keys.into() })
    }

    /// Nothing seen yet.
    pub fn begin(&self) -> Seen {
        Seen {
            offences: vec![0; self.rows.len()],
            sums: BTreeMap::new(),
            keys: self.keys.iter().map(KeyColumns::begin).collect(),
        }
    }

    /// The keys of which the scan knows that none comes twice.
    fn unique(&self, seen: &mut Seen) -> Vec<&[String]> {
        let hashes = std::mem::take(&mut seen.keys);
        let keys = self.keys.iter().zip(hashes);
        keys.filter_map(|(key, hashes)| hashes.are_unique().then_some(&*key.names)).collect()
    }

    /// Judges a batch: the rows that stay, and those that go to the quarantine.
    pub fn judge(
        &self,
        batch: RecordBatch,
        seen: &mut Seen,
    ) -> Outcome<(RecordBatch, Vec<Offender>)> {
        let doing = "check rows";
        let (kept, aside) = rows::judge(&self.rows, batch, &mut seen.offences)
            .map_err(|error| failure_of(error, doing))?;
        add_up(&self.wanted, &kept, &mut seen.sums)
            .map_err(|error| failure_of(error.into(), doing))?;
        for (key, hashes) in self.keys.iter().zip(&mut seen.keys) {
            key.add(&kept, hashes).map_err(|error| failure_of(error, doing))?;
        }
        Ok((kept, aside))
    }

    /// How the conditions of a check did, of which `rows` rows stay in the table. None if the scan
    /// did not judge it.
    pub fn outcomes(
        &self,
        position: usize,
        check: &Check,
        seen: &Seen,
        rows: u64,
    ) -> Vec<CheckOutcome> {
        let conditions = self.rows.iter().enumerate().filter(|(_, it)| it.check == position);
        conditions
            .map(|(at, condition)| {
                let offences = seen.offences.get(at).copied().unwrap_or_default();
                // Those that went aside were judged too.
                let aside = if check.on_fail == OnFail::Quarantine { offences } else { 0 };
                let offence = format!("rows where {}", condition.offence);
                of_rows(check, condition.name.clone(), offences, rows + aside, offence)
            })
            .collect()
    }

    /// A condition of the scan, by its position.
    pub fn condition(&self, position: usize) -> &RowCheck {
        &self.rows[position]
    }
}

/// What is judged.
#[derive(Debug)]
pub struct Subject<'a> {
    /// The table.
    pub name: &'a str,
    /// Its step.
    pub sql: &'a SqlStep,
    /// The partition.
    pub partition: Partition,
    /// The day that the data is about.
    pub date: LogicalDate,
    /// Figures of the partitions before, the newest first.
    pub before: &'a [BTreeMap<String, f64>],
    /// Rows that the table holds.
    pub rows: u64,
}

/// How a table did.
#[derive(Debug, Default)]
pub struct Judgement {
    /// What is worth telling; what simply passed is not.
    pub outcomes: Vec<CheckOutcome>,
    /// How many checks held in every row.
    pub passed: u64,
    /// Figures of the partition that later ones are compared with.
    pub figures: BTreeMap<String, f64>,
}

impl Judgement {
    /// Errors: `Quality` if a check stops the publication, with every check that does.
    pub fn settle(&self, name: &str) -> Outcome<()> {
        let failed = self.outcomes.iter().filter(|it| it.result == CheckResult::Failed);
        let broken: Vec<String> = failed.map(|it| it.told.clone()).collect();
        if broken.is_empty() { Ok(()) } else { Err(refusal(name, &broken)) }
    }

    fn note(&mut self, outcome: CheckOutcome) {
        match (outcome.result, outcome.rows) {
            (CheckResult::Passed, 0) => self.passed += 1,
            _ => self.outcomes.push(outcome),
        }
    }
}

/// What is told of a table that does not pass its checks.
pub fn refusal(name: &str, broken: &[String]) -> Failure {
    let message = format!("`{name}` does not pass its checks: {}", broken.join("; "));
    Failure::new(FailureKind::Quality, message)
        .with_hint("nothing was published; the tables are as they were before")
}

/// Judges a table that was written: what its scan saw, and what only all rows together show.
///
/// The tables that references look into are known to the session as [`references::name_of`] the
/// check's position, as far as the scan did not judge them.
pub async fn judge(
    context: &SessionContext,
    subject: &Subject<'_>,
    scan: &Scan,
    mut seen: Seen,
    staged: Arc<dyn TableProvider>,
) -> Outcome<Judgement> {
    let doing = format!("check `{}`", subject.name);
    let columns = staged.schema().fields().len();
    for name in [CHECKED_TABLE, PRIMARY_TABLE] {
        let registered = context.register_table(name, Arc::clone(&staged));
        registered.map_err(|error| failure_of(error, &doing))?;
    }
    let mut judgement = Judgement::default();
    let unique = scan.unique(&mut seen);
    let repeating_rows = async |key: &[String]| match unique.contains(&key) {
        true => Ok(0),
        false => number(context, &repetitions(key), &doing).await,
    };
    let key = &subject.sql.unique_key;
    if !key.is_empty() {
        let rows = repeating_rows(key).await?;
        let check = Check::strict(CheckRule::Unique(key.clone()));
        let name = format!("unique_key({})", key.join(", "));
        judgement.note(of_rows(&check, name, rows, subject.rows, repeating(key)));
    }
    for (position, check) in subject.sql.checks.iter().enumerate() {
        let outcomes = scan.outcomes(position, check, &seen, subject.rows);
        if !outcomes.is_empty() {
            outcomes.into_iter().for_each(|outcome| judgement.note(outcome));
            continue;
        }
        match &check.rule {
            CheckRule::Unique(columns) => {
                let rows = repeating_rows(columns).await?;
                let offence = format!("rows that repeat ({})", columns.join(", "));
                let name = check.name();
                judgement.note(of_rows(check, name, rows, subject.rows, offence));
            }
            CheckRule::References { columns, referenced, .. } => {
                let other = references::name_of(position);
                let query = references::query(columns, &other, referenced);
                let rows = number(context, &query, &doing).await?;
                let offence = format!("rows where {}", references::offence(&check.rule));
                let name = check.name();
                judgement.note(of_rows(check, name, rows, subject.rows, offence));
            }
            CheckRule::Rows { min, max } => {
                judgement.note(of_table(check, too_many_or_few(subject.rows, *min, *max)));
            }
            CheckRule::Freshness { column, within } => {
                let latest = seen.sums.get(column).and_then(|sums| sums.latest);
                let end = subject.partition.date().unwrap_or(subject.date).interval().end;
                judgement.note(of_table(check, stale(column, latest, end, *within)));
            }
            CheckRule::Distribution(distribution) => {
                let value = match &distribution.figure {
                    Figure::Distinct(column) => {
                        let column = quote(column);
                        let query = format!("SELECT count(DISTINCT {column}) FROM {CHECKED_TABLE}");
                        Some(as_figure(number(context, &query, &doing).await?))
                    }
                    other => figure(other, subject.rows, &seen),
                };
                if let Some(value) = value.filter(|value| value.is_finite()) {
                    judgement.figures.insert(distribution.figure.to_string(), value);
                }
                judgement.note(compared(check, distribution, value, subject.before));
            }
            CheckRule::Statement(statement) => {
                let day = subject.partition.date().unwrap_or(subject.date);
                let query = question(statement, day, columns);
                let wrong = answer(context, &query, &doing).await?;
                let told =
                    wrong.map(|observed| format!("{} does not hold{observed}", check.name()));
                judgement.note(of_table(check, told));
            }
            // Each row was judged in the scan.
            CheckRule::NotNull(_)
            | CheckRule::AcceptedValues { .. }
            | CheckRule::Range { .. }
            | CheckRule::Expression(_) => {}
        }
    }
    Ok(judgement)
}

/// The outcome of a check that counts rows.
fn of_rows(check: &Check, name: String, rows: u64, of: u64, offence: String) -> CheckOutcome {
    let is_broken = check.is_broken(rows, of);
    let result = match (is_broken, check.severity, check.on_fail) {
        (true, CheckSeverity::Error, _) => CheckResult::Failed,
        (true, CheckSeverity::Warn, _) => CheckResult::Warned,
        (false, _, OnFail::Quarantine) if rows > 0 => CheckResult::Quarantined,
        (false, ..) => CheckResult::Passed,
    };
    let told = match check.allowed {
        Some(allowed) => format!("{rows} of {of} {offence} ({allowed} allowed)"),
        None => format!("{rows} {offence}"),
    };
    CheckOutcome { check: name, result, rows, of, told }
}

/// The outcome of a check of the whole table. `wrong` is what is wrong, if anything is.
fn of_table(check: &Check, wrong: Option<String>) -> CheckOutcome {
    let result = match (&wrong, check.severity) {
        (None, _) => CheckResult::Passed,
        (Some(_), CheckSeverity::Error) => CheckResult::Failed,
        (Some(_), CheckSeverity::Warn) => CheckResult::Warned,
    };
    let told = wrong.unwrap_or_default();
    CheckOutcome { check: check.name(), result, rows: 0, of: 0, told }
}

fn too_many_or_few(rows: u64, min: Option<u64>, max: Option<u64>) -> Option<String> {
    if let Some(min) = min
        && rows < min
    {
        return Some(format!("{} rows fewer than the {min} that it should have", min - rows));
    }
    match max {
        Some(max) if rows > max => {
            Some(format!("{} rows more than the {max} that it may have", rows - max))
        }
        _ => None,
    }
}

fn stale(
    column: &str,
    latest: Option<i64>,
    end: DateTime<Utc>,
    within: std::time::Duration,
) -> Option<String> {
    let Some(latest) = latest.and_then(DateTime::from_timestamp_micros) else {
        return Some(format!("no row has a `{column}`, so nothing is known to be fresh"));
    };
    // What is later than the end is as fresh as can be.
    let age = (end - latest).to_std().unwrap_or_default();
    (age > within).then(|| {
        let hours = |time: std::time::Duration| short(time.as_secs_f64() / 3_600.0);
        format!(
            "the latest `{column}` is {}, {} h before the end of the day, and {} h are allowed",
            latest.to_rfc3339_opts(SecondsFormat::Secs, true),
            hours(age),
            hours(within)
        )
    })
}

fn compared(
    check: &Check,
    distribution: &Distribution,
    value: Option<f64>,
    before: &[BTreeMap<String, f64>],
) -> CheckOutcome {
    let Distribution { figure, runs, within } = distribution;
    let name = figure.to_string();
    let most = usize::try_from(*runs).unwrap_or(usize::MAX);
    let before: Vec<f64> =
        before.iter().filter_map(|figures| figures.get(&name)).copied().take(most).collect();
    let not_judged = |told: String| CheckOutcome {
        check: check.name(),
        result: CheckResult::NotJudged,
        rows: 0,
        of: 0,
        told,
    };
    let Some(value) = value else {
        return not_judged(format!("{name} has no value to judge"));
    };
    match compare(value, &before, *runs, *within) {
        Comparison::Like => of_table(check, None),
        Comparison::Unlike(how) => of_table(check, Some(format!("{name} {how}; {within} allowed"))),
        Comparison::TooFew => {
            let known = before.len();
            let needed = figures::FEWEST_RUNS.min(most);
            not_judged(format!(
                "{name} is not judged yet: {known} runs before are known of {needed} that it takes"
            ))
        }
    }
}

/// A figure that was added up; `None` where there is nothing to make it of.
fn figure(figure: &Figure, rows: u64, seen: &Seen) -> Option<f64> {
    match figure {
        Figure::Rows => Some(as_figure(rows)),
        Figure::Mean(column) => {
            let sums = seen.sums.get(column)?;
            (sums.values > 0).then(|| sums.sum / as_figure(sums.values))
        }
        Figure::NullShare(column) => {
            let sums = seen.sums.get(column)?;
            let all = sums.nulls + sums.values;
            (all > 0).then(|| as_figure(sums.nulls) / as_figure(all))
        }
        Figure::Distinct(_) => None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a figure for comparisons")]
fn as_figure(number: u64) -> f64 {
    number as f64
}

/// The number that a query gives.
async fn number(context: &SessionContext, query: &str, doing: &str) -> Outcome<u64> {
    let frame = context.sql(query).await.map_err(|error| failure_of(error, doing))?;
    let batches = frame.collect().await.map_err(|error| failure_of(error, doing))?;
    let counted = batches.iter().find(|batch| batch.num_rows() > 0).and_then(|batch| {
        let column = as_int64_array(batch.column(0)).ok()?;
        u64::try_from(column.value(0)).ok()
    });
    counted.ok_or_else(|| Failure::new(FailureKind::Internal, format!("cannot {doing}: no count")))
}

/// The query of a statement for a day: whether it holds, then what it measures.
pub fn question(statement: &Statement, day: LogicalDate, columns: usize) -> String {
    let end = day.interval().end.format("TIMESTAMP '%Y-%m-%dT%H:%M:%S'").to_string();
    let mut parts = vec![format!("{} AS holds", statement.holds)];
    let observed = statement.observed.iter().enumerate();
    parts.extend(observed.map(|(at, it)| format!("CAST({it} AS VARCHAR) AS observed_{at}")));
    let query = format!("SELECT {}", parts.join(", "));
    query.replace(INTERVAL_END, &end).replace(COLUMNS, &columns.to_string())
}

/// What a statement that does not hold measured; `None` if it holds.
async fn answer(context: &SessionContext, query: &str, doing: &str) -> Outcome<Option<String>> {
    let frame = context.sql(query).await.map_err(|error| failure_of(error, doing))?;
    let batches = frame.collect().await.map_err(|error| failure_of(error, doing))?;
    let Some(batch) = batches.iter().find(|batch| batch.num_rows() > 0) else {
        return Err(Failure::new(FailureKind::Internal, format!("cannot {doing}: no answer")));
    };
    let holds = as_boolean_array(batch.column(0)).map_err(|error| failure_of(error, doing))?;
    if holds.is_valid(0) && holds.value(0) {
        return Ok(None);
    }
    let text = |column: &ArrayRef| match array_value_to_string(column, 0) {
        Ok(value) if !value.is_empty() => value,
        _ => "NULL".to_owned(),
    };
    let observed: Vec<String> = batch.columns().iter().skip(1).map(text).collect();
    Ok(Some(match observed.is_empty() {
        true => String::new(),
        false => format!(": it is {}", observed.join(" and ")),
    }))
}

/// The query that counts rows whose key came before. NULL equals NULL.
fn repetitions(key: &[String]) -> String {
    let columns: Vec<String> = key.iter().map(|column| quote(column)).collect();
    let columns = columns.join(", ");
    format!(
        "SELECT CAST(coalesce(sum(n - 1), 0) AS BIGINT) FROM (SELECT count(*) AS n FROM {CHECKED_TABLE} GROUP BY {columns} HAVING count(*) > 1)"
    )
}

/// What rows do that come after one of the same key.
pub fn repeating(key: &[String]) -> String {
    format!("rows that repeat the unique key ({})", key.join(", "))
}

/// Quotes an identifier for SQL.
pub fn quote(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}
