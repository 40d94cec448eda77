//! Checks that judge each row alone, carried out on the batches of a result while it is written.

use std::sync::Arc;

use datafusion::arrow::array::{Array, BooleanArray, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::DFSchema;
use datafusion::common::cast::as_boolean_array;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionState;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::utils::collect_columns;

use super::quote;
use super::references::Keys;
use crate::pipeline::check::{Check, CheckRule, OnFail};
use crate::pipeline::variable::Value;

/// What a rule demands of each row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowCondition {
    /// What it is called: `range(price)`.
    pub name: String,
    /// What a row does that breaks it: `` `price` is less than 0 ``.
    pub offence: String,
    /// A boolean expression in SQL that is false in rows that break it; NULL holds.
    pub sql: String,
    /// The columns that it is about; of an expression they are found when it is planned.
    pub columns: Vec<String>,
}

/// The conditions of a rule on each row; none if it judges the whole table, or needs another one.
pub fn conditions(rule: &CheckRule, schema: &Schema) -> Vec<RowCondition> {
    match rule {
        CheckRule::NotNull(columns) => columns.iter().map(|column| not_null(column)).collect(),
        CheckRule::AcceptedValues { column, values } => {
            let list: Vec<String> = values.iter().map(literal).collect();
            vec![RowCondition {
                name: rule.to_string(),
                offence: format!("`{column}` is none of the accepted values"),
                sql: format!("{} IN ({})", quote(column), list.join(", ")),
                columns: vec![column.clone()],
            }]
        }
        CheckRule::Range { column, min, max } => {
            vec![range(rule.to_string(), column, (min.as_ref(), max.as_ref()), schema)]
        }
        CheckRule::Expression(expression) => vec![RowCondition {
            name: rule.to_string(),
            offence: format!("`{expression}` does not hold"),
            sql: expression.clone(),
            columns: Vec::new(),
        }],
        CheckRule::References { .. }
        | CheckRule::Unique(_)
        | CheckRule::Rows { .. }
        | CheckRule::Freshness { .. }
        | CheckRule::Distribution(_)
        | CheckRule::Statement(_) => Vec::new(),
    }
}

fn not_null(column: &str) -> RowCondition {
    RowCondition {
        name: format!("not_null({column})"),
        offence: format!("`{column}` is NULL"),
        sql: format!("{} IS NOT NULL", quote(column)),
        columns: vec![column.to_owned()],
    }
}

fn range(
    name: String,
    column: &str,
    bounds: (Option<&Value>, Option<&Value>),
    schema: &Schema,
) -> RowCondition {
    let quoted = quote(column);
    let mut parts = Vec::new();
    if let Some(min) = bounds.0 {
        parts.push(format!("{quoted} >= {}", literal(min)));
    }
    if let Some(max) = bounds.1 {
        parts.push(format!("{quoted} <= {}", literal(max)));
    }
    let kind = schema.column_with_name(column).map(|(_, field)| field.data_type());
    if let Some(DataType::Float16 | DataType::Float32 | DataType::Float64) = kind {
        // The engine sorts it after all numbers, and it is in no range.
        parts.push(format!("NOT isnan({quoted})"));
    }
    let offence = match bounds {
        (Some(min), Some(max)) => format!("`{column}` is not between {min} and {max}"),
        (Some(min), None) => format!("`{column}` is not at least {min}"),
        (None, Some(max)) => format!("`{column}` is not at most {max}"),
        (None, None) => format!("`{column}` is no number"),
    };
    let sql = format!("({})", parts.join(" AND "));
    RowCondition { name, offence, sql, columns: vec![column.to_owned()] }
}

/// A value as SQL.
fn literal(value: &Value) -> String {
    match value {
        Value::String(text) => format!("'{}'", text.replace('\'', "''")),
        Value::Int(number) => number.to_string(),
        Value::Double(number) => format!("{number:?}"),
        Value::Boolean(value) => value.to_string(),
    }
}

/// Plans a condition over columns. Errors: a text that is no condition, with a value that is not a
/// boolean among them.
pub fn planned(
    state: &SessionState,
    schema: &SchemaRef,
    sql: &str,
) -> Result<Arc<dyn PhysicalExpr>> {
    let columns = DFSchema::try_from(Arc::clone(schema))?;
    let context = SimplifyContext::builder()
        .with_schema(Arc::new(columns.clone()))
        .with_config_options(Arc::clone(state.config_options()))
        .with_query_execution_start_time(state.execution_props().query_execution_start_time)
        .build();
    // Some functions are others in disguise, and only become those here.
    let simplifier = ExprSimplifier::new(context);
    let meant = simplifier.coerce(state.create_logical_expr(sql, &columns)?, &columns)?;
    let meant = simplifier.simplify(meant)?;
    let physical = state.create_physical_expr(meant, &columns)?;
    match physical.data_type(schema)? {
        DataType::Boolean => Ok(physical),
        other => Err(DataFusionError::Plan(format!("it is {other}, expected true or false"))),
    }
}

/// A condition that is planned for a result's columns.
#[derive(Debug, Clone)]
pub struct RowCheck {
    /// The position of its check among those of the step.
    pub check: usize,
    /// What it is called.
    pub name: String,
    /// What a row does that breaks it.
    pub offence: String,
    on_fail: OnFail,
    columns: Vec<(String, usize)>,
    test: Test,
}

#[derive(Debug, Clone)]
enum Test {
    /// It holds where this is not false.
    Holds(Arc<dyn PhysicalExpr>),
    /// It holds where the columns' values are among these keys.
    IsAmong(Arc<Keys>),
}

impl RowCheck {
    /// Plans the row-level checks of a step. `keys` are those of other tables, by the check's
    /// position; a reference without them is judged when the table is written.
    pub fn plan(
        state: &SessionState,
        schema: &SchemaRef,
        checks: &[Check],
        keys: &[(usize, Arc<Keys>)],
    ) -> Result<Vec<Self>> {
        let mut planned_checks = Vec::new();
        for (position, check) in checks.iter().enumerate() {
            for condition in conditions(&check.rule, schema) {
                let expression = planned(state, schema, &condition.sql)?;
                let mut columns: Vec<(String, usize)> = collect_columns(&expression)
                    .into_iter()
                    .map(|column| (column.name().to_owned(), column.index()))
                    .collect();
                columns.sort_by_key(|(_, index)| *index);
                // A ruleset is told in its own words.
                let (name, offence) = match &check.written {
                    Some(rule) => (rule.text.clone(), format!("`{}` does not hold", rule.text)),
                    None => (condition.name, condition.offence),
                };
                planned_checks.push(Self {
                    check: position,
                    name,
                    offence,
                    on_fail: check.on_fail,
                    columns,
                    test: Test::Holds(expression),
                });
            }
            let CheckRule::References { columns, .. } = &check.rule else { continue };
            let Some((_, keys)) = keys.iter().find(|(of, _)| *of == position) else { continue };
            let columns = columns
                .iter()
                .map(|column| Ok((column.clone(), schema.index_of(column)?)))
                .collect::<Result<Vec<_>>>()?;
            planned_checks.push(Self {
                check: position,
                name: check.name(),
                offence: super::references::offence(&check.rule),
                on_fail: check.on_fail,
                columns,
                test: Test::IsAmong(Arc::clone(keys)),
            });
        }
        Ok(planned_checks)
    }

    /// Whether each row holds it; `None` if all do.
    fn holds(&self, batch: &RecordBatch) -> Result<Option<BooleanArray>> {
        let holds = match &self.test {
            Test::Holds(expression) => {
                let value = expression.evaluate(batch)?.into_array(batch.num_rows())?;
                as_boolean_array(&value)?.clone()
            }
            Test::IsAmong(keys) => {
                let columns: Vec<_> = self
                    .columns
                    .iter()
                    .map(|(_, index)| Arc::clone(batch.column(*index)))
                    .collect();
                keys.contain(&columns)?
            }
        };
        Ok((holds.false_count() > 0).then_some(holds))
    }

    /// The values that it judges in a row, as text.
    fn value(&self, batch: &RecordBatch, row: usize) -> Result<String> {
        let options = FormatOptions::default().with_null("NULL");
        let mut values = Vec::with_capacity(self.columns.len());
        for (name, index) in &self.columns {
            let formatter = ArrayFormatter::try_new(batch.column(*index).as_ref(), &options)?;
            let value = formatter.value(row).try_to_string()?;
            values.push(match self.columns.len() {
                1 => value,
                _ => format!("{name}={value}"),
            });
        }
        Ok(values.join(", "))
    }
}

/// A row that goes to the quarantine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offender {
    /// Its number in the batch.
    pub row: usize,
    /// The position of the condition that it breaks first.
    pub check: usize,
    /// The values that were judged.
    pub value: String,
}

/// Judges the rows of a batch, adds up in `offences` (one number for each condition) how many break
/// each, and returns the rows that stay and those that go to the quarantine.
///
/// What goes aside breaks no other check: those are about what the table holds. A row that breaks
/// several conditions whose rows go aside is counted for each of them, and goes aside once.
pub fn judge(
    checks: &[RowCheck],
    batch: RecordBatch,
    offences: &mut [u64],
) -> Result<(RecordBatch, Vec<Offender>)> {
    let mut aside: Vec<Offender> = Vec::new();
    let mut keep: Option<Vec<bool>> = None;
    for (position, check) in with(checks, OnFail::Quarantine) {
        let Some(holds) = check.holds(&batch)? else { continue };
        let keep = keep.get_or_insert_with(|| vec![true; batch.num_rows()]);
        for (row, stays) in keep.iter_mut().enumerate() {
            if holds.is_null(row) || holds.value(row) {
                continue;
            }
            offences[position] += 1;
            if std::mem::replace(stays, false) {
                let value = check.value(&batch, row)?;
                aside.push(Offender { row, check: position, value });
            }
        }
    }
    let kept = match keep {
        Some(keep) => filter_record_batch(&batch, &BooleanArray::from(keep))?,
        None => batch,
    };
    for (position, check) in with(checks, OnFail::Stop) {
        if let Some(holds) = check.holds(&kept)? {
            offences[position] += holds.false_count() as u64;
        }
    }
    Ok((kept, aside))
}

fn with(checks: &[RowCheck], on_fail: OnFail) -> impl Iterator<Item = (usize, &RowCheck)> {
    checks.iter().enumerate().filter(move |(_, check)| check.on_fail == on_fail)
}
