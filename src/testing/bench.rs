//! One test at work: its tables, its query, and what came out against what was expected.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use datafusion::arrow::array::{Array, BooleanArray, Date32Array, RecordBatch};
use datafusion::arrow::compute::{cast, filter_record_batch};
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::ScalarValue;
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;

use super::plans::{Key, Plans};
use super::rows::{batch, problem, read, unknown_columns};
use super::{Case, Typed};
use crate::pipeline::interval::{LogicalDate, Partition};
use crate::pipeline::nearest::nearest;
use crate::pipeline::step::{PARTITION_COLUMN, Read, ReadFrom, SqlStep, StepKind};
use crate::pipeline::test::{CellValue, Given, Row, Rows, Test, Word};
use crate::query::analysis;
use crate::query::raw::{FILE_COLUMN, LINE_COLUMN, ROW_COLUMN};
use crate::query::session::{QueryEngine, QuerySession, failure_of};
use crate::query::statement::QueryTree;
use crate::run::failure::{Failure, Problem, Rule};

/// What `$run_id` is in tests.
const RUN: &str = "test";
pub(super) type Broken<T> = Result<T, Vec<Problem>>;
/// What a column holds where a row does not say, by the row's number from 1.
pub(super) type Defaults<'a> = Vec<(String, Box<dyn Fn(usize) -> String + Send + Sync + 'a>)>;

/// A test's tables in a session of their own.
pub(super) struct Bench<'a> {
    pub(super) test: &'a Test,
    pub(super) typed: &'a Typed,
    pub(super) sql: &'a SqlStep,
    pub(super) query: QueryTree,
    pub(super) session: QuerySession,
    plans: &'a Plans,
    /// The tables that are registered, with their rows.
    tables: BTreeMap<String, Arc<MemTable>>,
    /// The CTEs whose rows are given.
    replaced: Vec<String>,
    pub(super) date: LogicalDate,
    parameters: HashMap<String, ScalarValue>,
    /// Rows of the sources that the query reads, if it reads any.
    pub(super) read: Option<u64>,
}

impl<'a> Bench<'a> {
    /// A bench without rows.
    pub(super) fn new(engine: &QueryEngine, plans: &'a Plans, case: &'a Case) -> Broken<Self> {
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
        let tables = BTreeMap::new();
        let (replaced, read) = (Vec::new(), None);
        Ok(Self {
            test,
            typed,
            sql,
            query,
            session,
            plans,
            tables,
            replaced,
            date,
            parameters,
            read,
        })
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
    fn input(&mut self, read: &Read, given: Option<&Given>) -> Broken<u64> {
        let name = read.name.as_str();
        let Some(schema) = self.typed.schemas.get(&read.name) else {
            let message = format!("the columns of `{name}` are not known");
            let place = given.map_or(&self.test.place, |given| &given.name.place);
            return Err(vec![problem(Rule::UnknownTable, place, message, None)]);
        };
        let rows = rows_of(given)?;
        let mut problems = unknown_columns(&rows, schema, &format!("`{name}`"));
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
                let date = self.date.to_string();
                vec![(PARTITION_COLUMN.to_owned(), Box::new(move |_| date.clone()))]
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

    fn register(&mut self, name: &str, rows: RecordBatch) -> Broken<()> {
        let failed = |error: DataFusionError| {
            let failure = failure_of(error, &format!("register `{name}`"));
            vec![problem(Rule::InvalidQuery, &self.test.place, failure.message, failure.hint)]
        };
        let table = MemTable::try_new(rows.schema(), vec![vec![rows]]).map_err(failed)?;
        let table = Arc::new(table);
        self.tables.insert(name.to_owned(), Arc::clone(&table));
        let provider: Arc<dyn TableProvider> = table;
        self.session.context.register_table(name, provider).map_err(failed)?;
        Ok(())
    }

    /// Takes the CTEs out of the query whose rows are given, and registers these.
    async fn replace(&mut self, ctes: &[String]) -> Broken<()> {
        let mut replaced = Vec::new();
        let mut problems = Vec::new();
        for given in self.test.inputs.iter().filter(|given| ctes.contains(&given.name.text)) {
            let name = given.name.text.as_str();
            let query = self.selecting(&given.name)?;
            let (plan, _) = self.planned(&query, Some(name), &given.name).await?;
            let schema = nullable(plan.schema().inner());
            let rows = rows_of(Some(given))?;
            let found = unknown_columns(&rows, &schema, &format!("CTE `{name}`"));
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
        self.replaced = names.into_iter().map(str::to_owned).collect();
        for (name, rows) in replaced {
            self.register(name, rows)?;
        }
        Ok(())
    }

    pub(super) fn selecting(&self, cte: &Word) -> Broken<QueryTree> {
        match self.query.selecting(&cte.text) {
            Ok(Some(query)) => Ok(query),
            Ok(None) => {
                let hint = Some(self.query.instead_of(&cte.text));
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

    /// Plans a query over the registered tables; `of` is the CTE that it selects.
    pub(super) async fn planned(
        &self,
        query: &QueryTree,
        of: Option<&str>,
        at: &Word,
    ) -> Broken<(LogicalPlan, SessionState)> {
        let now = self.now();
        let key = Key::new(self.test, of, &self.replaced, self.date, now, &self.tables);
        let planned = match self.plans.over(&key, &self.tables) {
            Some(plan) => plan.map(|plan| {
                let mut state = self.session.context.state();
                state.execution_props_mut().query_execution_start_time = Some(now);
                (plan, state)
            }),
            None => {
                let context = &self.session.context;
                let planned = query.plan(context, self.parameters.clone(), Some(now)).await;
                planned.inspect(|(plan, _)| self.plans.keep(key, plan))
            }
        };
        planned.map_err(|error| {
            let failure = failure_of(error, &format!("plan `{}`", self.sql.file));
            vec![problem(Rule::InvalidQuery, &at.place, failure.message, failure.hint)]
        })
    }
}

pub(super) fn nullable(schema: &Schema) -> SchemaRef {
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

fn rows_of(given: Option<&Given>) -> Broken<Cow<'_, [Row]>> {
    const NONE: &Rows = &Rows::Written(Vec::new());
    read(given.map_or(NONE, |given| &given.rows))
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
