//! Checks on a finished partition before it becomes visible.

use std::sync::Arc;

use datafusion::arrow::array::{Array, Int64Array};
use datafusion::catalog::TableProvider;
use datafusion::prelude::SessionContext;

use super::session::failure_of;
use crate::pipeline::step::{Check, SqlStep};
use crate::run::failure::{Failure, FailureKind, Outcome};

/// Runs the checks of a step over its staged partition. Errors: `Quality`, with every check that
/// does not hold and how many rows break it.
pub async fn run(
    context: &SessionContext,
    name: &str,
    sql: &SqlStep,
    staged: Arc<dyn TableProvider>,
) -> Outcome<()> {
    let broken = broken(context, name, sql, staged).await?;
    if broken.is_empty() { Ok(()) } else { Err(refusal(name, &broken)) }
}

/// What is told of a table that does not pass its checks.
pub fn refusal(name: &str, broken: &[String]) -> Failure {
    let message = format!("`{name}` does not pass its checks: {}", broken.join("; "));
    Failure::new(FailureKind::Quality, message)
        .with_hint("nothing was published; the tables are as they were before")
}

/// The checks of a step that a table does not hold, each as how many rows break it and how.
pub async fn broken(
    context: &SessionContext,
    name: &str,
    sql: &SqlStep,
    table: Arc<dyn TableProvider>,
) -> Outcome<Vec<String>> {
    let mut conditions: Vec<(String, String)> = Vec::new();
    if !sql.unique_key.is_empty() {
        let columns: Vec<String> = sql.unique_key.iter().map(|column| quote(column)).collect();
        let columns = columns.join(", ");
        conditions.push((
            repeating(&sql.unique_key),
            format!("SELECT coalesce(sum(n - 1), 0) FROM (SELECT count(*) AS n FROM checked GROUP BY {columns} HAVING count(*) > 1)"),
        ));
    }
    for check in &sql.checks {
        match check {
            Check::NotNull(columns) => {
                for column in columns {
                    conditions.push((
                        null_in(column),
                        format!("SELECT count(*) FROM checked WHERE {} IS NULL", quote(column)),
                    ));
                }
            }
            Check::MinRows(rows) => conditions.push((
                format!("rows fewer than the {rows} that it should have"),
                format!("SELECT greatest({rows} - count(*), 0) FROM checked"),
            )),
            Check::Expression(expression) => conditions
                .push((format!("rows where `{expression}` does not hold"), condition(expression))),
        }
    }
    if conditions.is_empty() {
        return Ok(Vec::new());
    }
    let doing = format!("check `{name}`");
    context.register_table(CHECKED_TABLE, table).map_err(|error| failure_of(error, &doing))?;
    let mut broken = Vec::new();
    for (what, query) in conditions {
        let frame = context.sql(&query).await.map_err(|error| failure_of(error, &doing))?;
        let batches = frame.collect().await.map_err(|error| failure_of(error, &doing))?;
        let rows = batches
            .first()
            .and_then(|batch| {
                datafusion::arrow::compute::cast(
                    batch.column(0),
                    &datafusion::arrow::datatypes::DataType::Int64,
                )
                .ok()
            })
            .and_then(|column| column.as_any().downcast_ref::<Int64Array>().map(|c| c.value(0)));
        match rows {
            Some(0) => {}
            Some(rows) => broken.push(format!("{rows} {what}")),
            None => broken.push(format!("no answer for: {what}")),
        }
    }
    Ok(broken)
}

/// What rows do that come after one of the same key.
pub fn repeating(key: &[String]) -> String {
    format!("rows that repeat the unique key ({})", key.join(", "))
}

/// What rows are that lack a value.
pub fn null_in(column: &str) -> String {
    format!("rows where `{column}` is NULL")
}

/// The name under which checks know the table.
pub const CHECKED_TABLE: &str = "checked";

/// The query that counts the rows in which a condition does not hold.
pub fn condition(expression: &str) -> String {
    format!("SELECT count(*) FROM {CHECKED_TABLE} WHERE NOT ({expression})")
}

/// Quotes an identifier for SQL.
pub fn quote(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}
