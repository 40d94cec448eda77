//! What came out of a test's query against what was expected.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::collect;

use super::bench::{Bench, Broken, Defaults, nullable};
use super::compare::{Grid, Manner, compare};
use super::rows::{batch, problem, read, unknown_columns};
use super::settle::{Settled, Subject, settle};
use crate::pipeline::step::{FATE_COLUMN, PARTITION_COLUMN};
use crate::pipeline::test::{Expected, Test, Word};
use crate::query::fate::{KEPT, fates};
use crate::query::raw::{FILE_COLUMN, LINE_COLUMN, ROW_COLUMN};
use crate::query::session::failure_of;
use crate::run::failure::{Failure, Rule};
use crate::run::testing::{Mismatch, RowsDiffer};

/// Columns that say where a raw row is from; compared only where a test names them.
const META: [&str; 3] = [FILE_COLUMN, LINE_COLUMN, ROW_COLUMN];

impl Bench<'_> {
    /// All rows that the query makes.
    pub(super) async fn rows(&self) -> Broken<Result<RecordBatch, Failure>> {
        let at = Word { text: self.test.name.clone(), place: self.test.place.clone() };
        let (plan, state) = self.planned(&self.query, None, &at).await?;
        Ok(self.computed(&plan, &state).await)
    }

    /// Compares the rows of a CTE.
    pub(super) async fn cte(&self, cte: &Word, expected: &Expected) -> Broken<Vec<Mismatch>> {
        let query = self.selecting(cte)?;
        let (plan, state) = self.planned(&query, Some(cte.text.as_str()), cte).await?;
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
        let (plan, state) = self.planned(&self.query, None, &at).await?;
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
        let by_default: Vec<&str> = defaults.iter().map(|(column, _)| column.as_str()).collect();
        let said = rows.iter().map(|row| {
            let written = row.cells.iter().map(|(word, _)| word.text.as_str());
            written.chain(by_default.iter().copied()).map(str::to_owned).collect()
        });
        let said = expected.partial.then(|| said.collect());
        let rows_as_columns = batch(&rows, &nullable(schema), &defaults);
        match rows_as_columns {
            Ok(batch) if problems.is_empty() => Ok(Wanted {
                batch,
                columns,
                with_fates,
                said,
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
    /// The columns that each row says, if only these are compared.
    said: Option<Vec<BTreeSet<String>>>,
    /// The lines on which the rows stand.
    lines: Vec<usize>,
}

impl Wanted {
    fn against(
        &self,
        actual: &RecordBatch,
        expected: &Expected,
        key: &[String],
    ) -> Result<Option<RowsDiffer>, String> {
        let told = |error: ArrowError| format!("cannot compare: {error}");
        let mut wanted = Grid::new(&self.batch, &self.columns).map_err(told)?;
        if let Some(said) = &self.said {
            wanted.open(&|row, column| said.get(row).is_some_and(|it| it.contains(column)));
        }
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
    let Ok(told) = fates(batch, index) else { return batch.clone() };
    let said: ArrayRef =
        Arc::new(told.iter().map(|fate| Some(fate.unwrap_or(KEPT))).collect::<StringArray>());
    let mut columns = batch.columns().to_vec();
    columns[index] = said;
    let mut fields: Vec<_> = batch.schema_ref().fields().iter().cloned().collect();
    fields[index] = Arc::new(Field::new(FATE_COLUMN, DataType::Utf8, true));
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap_or_else(|_| batch.clone())
}
