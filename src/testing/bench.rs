//! One test at work: its tables, its query, and what came out against what was expected.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use datafusion::arrow::array::{Array, ArrayRef, BooleanArray, Date32Array, RecordBatch};
use datafusion::arrow::compute::{cast, concat_batches, filter_record_batch};
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::collect;

use super::compare::{Grid, Manner, compare};
use super::rows::{batch, problem, read, unknown_columns};
use super::settle::{Settled, Subject, settle};
use super::{Case, Typed};
use crate::pipeline::interval::{LogicalDate, Partition};
use crate::pipeline::nearest::nearest;
use crate::pipeline::step::{FATE_COLUMN, PARTITION_COLUMN, Read, ReadFrom, SqlStep, StepKind};
use crate::pipeline::test::{CellValue, Expected, Given, Row, Rows, Test, Word};
use crate::query::analysis;
use crate::query::fate::KEPT;
use crate::query::raw::{FILE_COLUMN, LINE_COLUMN, ROW_COLUMN};
use crate::query::session::{QueryEngine, QuerySession, failure_of};
use crate::query::statement::QueryTree;
use crate::run::failure::{Failure, Problem, Rule};
use crate::run::testing::Mismatch;

/// What `$run_id` is in tests.
const RUN: &str = "test";
/// Columns that say where a raw row is from; compared only where a test names them.
const META: [&str; 3] = [FILE_COLUMN, LINE_COLUMN, ROW_COLUMN];

type Broken<T> = Result<T, Vec<Problem>>;
/// What a column holds where a row does not say, by the row's number from 1.
type Defaults<'a> = Vec<(String, Box<dyn Fn(usize) -> String + Send + Sync + 'a>)>;

/// A test's tables in a session of their own.
pub(super) struct Bench<'a> {
    test: &'a Test,
    typed: &'a Typed,
    sql: &'a SqlStep,
    query: QueryTree,
    session: QuerySession,
    date: LogicalDate,
    parameters: HashMap<String, ScalarValue>,
    /// Rows of the sources that the query reads, if it reads any.
    read: Option<u64>,
}

impl<'a> Bench<'a> {
    /// A bench without rows.
    pub(super) fn new(engine: &QueryEngine, case: &'a Case) -> Broken<Self> {
        let Case { test, typed } = case;
        let step = typed.pipeline.step(test.table.as_str()).map(|step| &step.kind);
        let Some(StepKind::Sql(sql)) = step else {
            let message = format!("unknown table `{}`", test.table);
            return Err(vec![problem(Rule::UnknownTable, &test.place, message, None)]);
        };
        let failed = |failure: Failure| {
            vec![problem(Rule::InvalidQuery, &test.place, failure.message, failure.hint)]
        };
        let query = QueryTree::parse(&sql.text)
            .map_err(|error| failed(failure_of(error, &format!("read `{}`", sql.file))))?;
        let date = date_of(test, sql)?;
        let partition = if sql.partitioned { Partition::Day(date) } else { Partition::Whole };
        let parameters = analysis::parameters(partition, date, RUN, &test.variables);
        let session = engine.session_in_memory().map_err(failed)?;
        Ok(Self { test, typed, sql, query, session, date, parameters, read: None })
    }

    /// Registers the rows of what the query reads, and of the CTEs that are given in its place.
    pub(super) async fn fill(&mut self) -> Broken<()> {
        let ctes = self.query.ctes();
        let mut problems = Vec::new();
        let is_read = |name: &str| self.sql.reads.iter().any(|read| read.name.as_str() == name);
        for Given { name, .. } in &self.test.inputs {
            if !is_read(&name.text) && !ctes.contains(&name.text) {
                problems.push(self.not_read(name, &ctes));
            }
        }
        let mut from_sources = None;
        for read in &self.sql.reads {
            // A CTE hides a table of its name.
            let given =
                self.given(read.name.as_str()).filter(|_| !ctes.contains(&read.name.to_string()));
            match self.input(read, given) {
                Ok(rows) if read.from == ReadFrom::Source => {
                    *from_sources.get_or_insert(0) += rows;
                }
                Ok(_) => {}
                Err(found) => problems.extend(found),
            }
        }
        self.read = from_sources;
        if problems.is_empty() {
            problems.extend(self.replace(&ctes).await.err().unwrap_or_default());
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    fn given(&self, name: &str) -> Option<&'a Given> {
        self.test.inputs.iter().find(|given| given.name.text == name)
    }

    fn not_read(&self, name: &Word, ctes: &[String]) -> Problem {
        let reads = self.sql.reads.iter().map(|read| read.name.as_str());
        let known: Vec<&str> = reads.chain(ctes.iter().map(String::as_str)).collect();
        let hint = match nearest(&name.text, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("expected one of `{}`", known.join("`, `")),
        };
        let message = format!("`{}` does not read `{}`", self.sql.file, name.text);
        problem(Rule::UnknownTable, &name.place, message, Some(hint))
    }

    /// Registers one table or source; returns its rows.
    fn input(&self, read: &Read, given: Option<&Given>) -> Broken<u64> {
        let name = read.name.as_str();
        let Some(schema) = self.typed.schemas.get(&read.name) else {
            let message = format!("the columns of `{name}` are not known");
            let place = given.map_or(&self.test.place, |given| &given.name.place);
            return Err(vec![problem(Rule::UnknownTable, place, message, None)]);
        };
        let (rows, mut problems) = rows_of(given)?;
        problems.extend(unknown_columns(&rows, schema, &format!("`{name}`")));
        let defaults: Defaults<'_> = match read.from {
            ReadFrom::Source => {
                problems.extend(nulls_of_required(&rows, schema));
                vec![
                    (FILE_COLUMN.to_owned(), Box::new(|_| format!("{name}.test"))),
                    (LINE_COLUMN.to_owned(), Box::new(|row| row.to_string())),
                    (ROW_COLUMN.to_owned(), Box::new(|row| row.to_string())),
                ]
            }
            ReadFrom::Table => {
                vec![(PARTITION_COLUMN.to_owned(), Box::new(|_| self.date.to_string()))]
            }
        };
        let by_day = read.from == ReadFrom::Table && self.is_by_day(name);
        let defaults = if read.from == ReadFrom::Table && !by_day { Vec::new() } else { defaults };
        let rows = match batch(&rows, schema, &defaults) {
            Ok(rows) if problems.is_empty() => rows,
            Ok(_) => return Err(problems),
            Err(found) => {
                problems.extend(found);
                return Err(problems);
            }
        };
        let rows = if by_day { self.within(rows, read.days) } else { rows };
        let count = rows.num_rows() as u64;
        self.register(name, rows)?;
        Ok(count)
    }

    fn is_by_day(&self, name: &str) -> bool {
        match self.typed.pipeline.step(name).map(|step| &step.kind) {
            Some(StepKind::Sql(sql)) => sql.partitioned,
            Some(StepKind::Score(_)) => true,
            Some(
                StepKind::Train(_) | StepKind::Tune(_) | StepKind::Select(_) | StepKind::Load(_),
            )
            | None => false,
        }
    }

    /// The rows of the days that a run reads.
    fn within(&self, rows: RecordBatch, days: u32) -> RecordBatch {
        let last = self.date.days_since_epoch();
        let first = self.date.minus(days.saturating_sub(1)).days_since_epoch();
        let column =
            rows.column_by_name(PARTITION_COLUMN).and_then(|c| cast(c, &DataType::Date32).ok());
        let read: Option<BooleanArray> = column.as_ref().and_then(|column| {
            let column = column.as_any().downcast_ref::<Date32Array>()?;
            Some(column.iter().map(|day| day.map(|day| (first..=last).contains(&day))).collect())
        });
        read.and_then(|read| filter_record_batch(&rows, &read).ok()).unwrap_or(rows)
    }

    fn register(&self, name: &str, rows: RecordBatch) -> Broken<()> {
        let failed = |error: DataFusionError| {
            let failure = failure_of(error, &format!("register `{name}`"));
            vec![problem(Rule::InvalidQuery, &self.test.place, failure.message, failure.hint)]
        };
        let table = MemTable::try_new(rows.schema(), vec![vec![rows]]).map_err(failed)?;
        self.session.context.register_table(name, Arc::new(table)).map_err(failed)?;
        Ok(())
    }

    /// Takes the CTEs out of the query whose rows are given, and registers these.
    async fn replace(&mut self, ctes: &[String]) -> Broken<()> {
        let mut replaced = Vec::new();
        let mut problems = Vec::new();
        for given in self.test.inputs.iter().filter(|given| ctes.contains(&given.name.text)) {
            let name = given.name.text.as_str();
            let query = self.selecting(&given.name)?;
            let (plan, _) = self.planned(&query, &given.name).await?;
            let schema = nullable(plan.schema().inner());
            let (rows, mut found) = rows_of(Some(given))?;
            found.extend(unknown_columns(&rows, &schema, &format!("CTE `{name}`")));
            match batch(&rows, &schema, &Vec::new()) {
                Ok(rows) if found.is_empty() => replaced.push((name, rows)),
                Ok(_) => problems.extend(found),
                Err(more) => problems.extend(found.into_iter().chain(more)),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let names: Vec<&str> = replaced.iter().map(|(name, _)| *name).collect();
        self.query = self.query.without(&names);
        for (name, rows) in replaced {
            self.register(name, rows)?;
        }
        Ok(())
    }

    fn selecting(&self, cte: &Word) -> Broken<QueryTree> {
        match self.query.selecting(&cte.text) {
            Ok(Some(query)) => Ok(query),
            Ok(None) => {
                let ctes = self.query.ctes();
                let hint = match nearest(&cte.text, ctes.iter().map(String::as_str)) {
                    Some(near) => Some(format!("did you mean `{near}`?")),
                    None if ctes.is_empty() => Some("the query has no `WITH`".to_owned()),
                    None => Some(format!("expected one of `{}`", ctes.join("`, `"))),
                };
                let message = format!("`{}` has no CTE `{}`", self.sql.file, cte.text);
                Err(vec![problem(Rule::UnknownCte, &cte.place, message, hint)])
            }
            Err(error) => {
                let failure = failure_of(error, "select the CTE");
                Err(vec![problem(Rule::InvalidQuery, &cte.place, failure.message, failure.hint)])
            }
        }
    }

    fn now(&self) -> DateTime<Utc> {
        self.test.now.unwrap_or_else(|| self.date.interval().end)
    }

    async fn planned(&self, query: &QueryTree, at: &Word) -> Broken<(LogicalPlan, SessionState)> {
        let now = Some(self.now());
        let planned = query.plan(&self.session.context, self.parameters.clone(), now).await;
        planned.map_err(|error| {
            let failure = failure_of(error, &format!("plan `{}`", self.sql.file));
            vec![problem(Rule::InvalidQuery, &at.place, failure.message, failure.hint)]
        })
    }

    /// Compares the rows of a CTE.
    pub(super) async fn cte(&self, cte: &Word, expected: &Expected) -> Broken<Vec<Mismatch>> {
        let query = self.selecting(cte)?;
        let (plan, state) = self.planned(&query, cte).await?;
        let schema = Arc::clone(plan.schema().inner());
        let wanted = self.wanted(expected, &schema, &format!("CTE `{}`", cte.text), false)?;
        let actual = match self.computed(&plan, &state).await {
            Ok(actual) => actual,
            Err(failure) => return Ok(vec![refused(failure)]),
        };
        let differ = wanted.against(&actual, expected, &self.sql.unique_key);
        let differ = differ
            .map_err(|message| vec![problem(Rule::InvalidQuery, &cte.place, message, None)])?;
        let named = differ.map(|mut differ| {
            differ.cte = Some(cte.text.clone());
            Mismatch::Rows(differ)
        });
        Ok(named.into_iter().collect())
    }

    /// Compares the rows of the table, as a run would publish them.
    pub(super) async fn table(&self, expected: Option<&Expected>) -> Broken<Vec<Mismatch>> {
        let at = Word { text: self.test.name.clone(), place: self.test.place.clone() };
        let (plan, state) = self.planned(&self.query, &at).await?;
        let schema = Arc::clone(plan.schema().inner());
        let of = format!("`{}`", self.test.table);
        let wanted = expected.map(|it| self.wanted(it, &schema, &of, true)).transpose()?;
        let actual = match self.computed(&plan, &state).await {
            Ok(actual) => actual,
            Err(failure) => return Ok(self.judge(Some(failure)).into_iter().collect()),
        };
        let all: Vec<String>;
        let compared = match &wanted {
            Some(wanted) => &wanted.columns,
            None => {
                all = schema.fields().iter().map(|field| field.name().clone()).collect();
                &all
            }
        };
        let Test { table: name, .. } = self.test;
        let subject = Subject { name, sql: self.sql, date: self.date, read: self.read, compared };
        let Settled { kept, refusal } = settle(&subject, &actual, &self.session.context).await;
        let mut mismatches: Vec<Mismatch> = self.judge(refusal).into_iter().collect();
        if let (Some(wanted), Some(expected), Some(kept)) = (wanted, expected, kept) {
            let rows = if wanted.with_fates { said(&actual) } else { kept };
            let differ = wanted.against(&rows, expected, &self.sql.unique_key);
            let differ = differ.map_err(|message| {
                vec![problem(Rule::InvalidQuery, &expected.place, message, None)]
            })?;
            mismatches.extend(differ.map(Mismatch::Rows));
        }
        Ok(mismatches)
    }

    /// Whether the rows are refused as they should be.
    fn judge(&self, refusal: Option<Failure>) -> Option<Mismatch> {
        match (&self.test.refused, refusal) {
            (None, None) => None,
            (None, Some(failure)) => Some(refused(failure)),
            (Some(word), Some(failure)) if failure.message.contains(&word.text) => None,
            (Some(word), refusal) => Some(Mismatch::NotRefused {
                expected: word.text.clone(),
                actual: refusal.map(|failure| failure.message),
            }),
        }
    }

    async fn computed(
        &self,
        plan: &LogicalPlan,
        state: &SessionState,
    ) -> Result<RecordBatch, Failure> {
        let failed = |error| failure_of(error, &format!("run `{}`", self.sql.file));
        let planner = state.query_planner();
        let physical = planner.create_physical_plan(plan, state).await.map_err(failed)?;
        let schema = physical.schema();
        let batches = collect(physical, state.task_ctx()).await.map_err(failed)?;
        concat_batches(&schema, &batches).map_err(|error| failed(error.into()))
    }

    /// The expected rows as columns of the query's types.
    fn wanted(
        &self,
        expected: &Expected,
        schema: &SchemaRef,
        of: &str,
        is_table: bool,
    ) -> Broken<Wanted> {
        let rows = read(&expected.rows)?;
        let mut problems = unknown_columns(&rows, schema, of);
        let written: BTreeSet<&str> =
            rows.iter().flat_map(|row| &row.cells).map(|(word, _)| word.text.as_str()).collect();
        let with_fates = is_table && written.contains(FATE_COLUMN);
        let columns: Vec<String> = schema
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .filter(|name| {
                let special = is_table && (META.contains(name) || *name == FATE_COLUMN);
                written.contains(name) || !(expected.partial || special)
            })
            .map(str::to_owned)
            .collect();
        let date = self.date.to_string();
        let mut defaults: Defaults<'_> = Vec::new();
        if is_table && self.sql.partitioned {
            defaults.push((PARTITION_COLUMN.to_owned(), Box::new(move |_| date.clone())));
        }
        if with_fates {
            defaults.push((FATE_COLUMN.to_owned(), Box::new(|_| KEPT.to_owned())));
        }
        let rows_as_columns = batch(&rows, &nullable(schema), &defaults);
        match rows_as_columns {
            Ok(batch) if problems.is_empty() => Ok(Wanted {
                batch,
                columns,
                with_fates,
                lines: rows.iter().map(|row| row.place.line).collect(),
            }),
            Ok(_) => Err(problems),
            Err(found) => {
                problems.extend(found);
                Err(problems)
            }
        }
    }
}

/// Expected rows, typed.
struct Wanted {
    batch: RecordBatch,
    /// The columns that are compared.
    columns: Vec<String>,
    /// Whether all rows are compared with their fates, instead of those that are kept.
    with_fates: bool,
    /// The lines on which the rows stand.
    lines: Vec<usize>,
}

impl Wanted {
    fn against(
        &self,
        actual: &RecordBatch,
        expected: &Expected,
        key: &[String],
    ) -> Result<Option<crate::run::testing::RowsDiffer>, String> {
        let told = |error: datafusion::arrow::error::ArrowError| format!("cannot compare: {error}");
        let wanted = Grid::new(&self.batch, &self.columns).map_err(told)?;
        let actual = Grid::new(actual, &self.columns).map_err(told)?;
        let Expected { ordered, tolerance, .. } = *expected;
        Ok(compare(&wanted, &actual, &Manner { ordered, tolerance, key, lines: &self.lines }))
    }
}

fn refused(failure: Failure) -> Mismatch {
    Mismatch::Refused { message: failure.message, hint: failure.hint }
}

/// The rows with a fate that is not said written out.
fn said(batch: &RecordBatch) -> RecordBatch {
    let Some((index, _)) = batch.schema_ref().column_with_name(FATE_COLUMN) else {
        return batch.clone();
    };
    let Ok(fates) = crate::query::fate::fates(batch, index) else { return batch.clone() };
    let said: ArrayRef = Arc::new(
        fates
            .iter()
            .map(|fate| Some(fate.unwrap_or(KEPT)))
            .collect::<datafusion::arrow::array::StringArray>(),
    );
    let mut columns = batch.columns().to_vec();
    columns[index] = said;
    let mut fields: Vec<_> = batch.schema_ref().fields().iter().cloned().collect();
    fields[index] =
        Arc::new(datafusion::arrow::datatypes::Field::new(FATE_COLUMN, DataType::Utf8, true));
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap_or_else(|_| batch.clone())
}

fn nullable(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The day of a test. A query without a day needs none.
fn date_of(test: &Test, sql: &SqlStep) -> Broken<LogicalDate> {
    let dated = ["logical_date", "interval_start", "interval_end"];
    let uses = sql.parameters.iter().find(|name| dated.contains(&name.as_str()));
    match test.date {
        Some(date) => Ok(date),
        None if sql.partitioned || uses.is_some() => {
            let message = format!("`{}` is of a day, and the test names none", test.table);
            let hint = "add `logical_date: 2026-03-01`".to_owned();
            Err(vec![problem(Rule::MissingField, &test.place, message, Some(hint))])
        }
        None => Ok(LogicalDate::new(chrono::NaiveDate::default())),
    }
}

fn rows_of(given: Option<&Given>) -> Broken<(std::borrow::Cow<'_, [Row]>, Vec<Problem>)> {
    const NONE: &Rows = &Rows::Written(Vec::new());
    read(given.map_or(NONE, |given| &given.rows)).map(|rows| (rows, Vec::new()))
}

/// A row of a source that lacks a required value never comes to the query.
fn nulls_of_required(rows: &[Row], schema: &Schema) -> Vec<Problem> {
    let cells = rows.iter().flat_map(|row| &row.cells);
    let nulls = cells.filter(|(column, cell)| {
        let required = schema.field_with_name(&column.text).is_ok_and(|it| !it.is_nullable());
        required && cell.value == CellValue::Null
    });
    let tell = |(column, cell): &(Word, crate::pipeline::test::Cell)| {
        let message = format!("`{}` is never NULL: the reader quarantines such a row", column.text);
        let hint = "leave the column out, or declare it with `?`".to_owned();
        problem(Rule::TypeMismatch, &cell.place, message, Some(hint))
    };
    nulls.map(tell).collect()
}
