//! Columns that a pipeline's file names, and those that mean something to recctl.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::datasource::empty::EmptyTable;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;

use super::Schemas;
use super::explain;
use super::planning::plan;
use super::statement::parse_problem;
use super::words::last_word;
use crate::pipeline::nearest::nearest;
use crate::pipeline::step::{
    Check, FATE_COLUMN, PARTITION_COLUMN, PROJECT_FILE, SqlStep, Step, StepKind,
};
use crate::query::checks::{CHECKED_TABLE, condition};
use crate::query::session::config;
use crate::run::failure::{Problem, Rule};

/// What is wrong with the columns of a query's result that mean something to recctl.
pub(super) fn special(sql: &SqlStep, made: &Schema) -> Vec<Problem> {
    let say = |rule: Rule, word: &str, message: String, hint: &str| {
        let mention = last_word(word, &sql.text).or_else(|| last_word("select", &sql.text));
        let (line, column) = mention.as_ref().map_or((1, 1), |it| (it.line, it.column));
        let length = mention.map_or(1, |it| it.name.chars().count());
        Problem::new(rule, &sql.file, line, column, length, message).with_hint(hint.to_owned())
    };
    let mut problems = Vec::new();
    if sql.partitioned {
        let rule = Rule::PartitionColumn;
        match made.column_with_name(PARTITION_COLUMN) {
            Some((_, field)) if *field.data_type() == DataType::Date32 => {}
            Some((_, field)) => problems.push(say(
                rule,
                PARTITION_COLUMN,
                format!("column `dt` is {}, expected a date", field.data_type()),
                "select `$logical_date AS dt`",
            )),
            None => problems.push(say(
                rule,
                PARTITION_COLUMN,
                "the query makes no column `dt`, by which the table is partitioned".to_owned(),
                "select `$logical_date AS dt`, or take `partition_by` out of the step",
            )),
        }
    }
    if let Some((_, fate)) = made.column_with_name(FATE_COLUMN)
        && !matches!(fate.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
    {
        problems.push(say(
            Rule::FateColumn,
            FATE_COLUMN,
            format!("column `_fate` is {}, expected text", fate.data_type()),
            "make it `kept`, `duplicate`, `filtered: <why>` or `quarantined: <why>`",
        ));
    }
    problems
}

/// What is wrong with the columns that the project's file names of a query's table.
pub(super) async fn named_of_table(step: &Step, sql: &SqlStep, table: &SchemaRef) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut named = |rule: Rule, what: &str, column: &String| {
        if table.column_with_name(column).is_none() {
            let message =
                format!("{what} names column `{column}`, which `{}` does not make", sql.file);
            let hint = Some(instead(column, table));
            problems.push(in_project(rule, step, column, message, hint));
        }
    };
    for column in &sql.unique_key {
        named(Rule::MissingColumn, "the unique key", column);
    }
    for column in sql.warehouse.iter().flat_map(|layout| layout.columns()) {
        named(Rule::MissingColumn, "the warehouse layout", column);
    }
    for check in &sql.checks {
        if let Check::NotNull(columns) = check {
            columns.iter().for_each(|column| named(Rule::Check, "a check", column));
        }
    }
    for check in &sql.checks {
        if let Check::Expression(expression) = check
            && let Err(error) = plan_check(table, expression).await
        {
            let mut told = explain::problem(&error, &sql.file, expression);
            if let DataFusionError::SQL(..) = error.find_root() {
                told.message = parse_problem(&error, expression).message;
            }
            // People do not know the table by this name.
            let own = format!("{CHECKED_TABLE}.");
            let hint = told.hint.map(|hint| hint.replace(&own, ""));
            let message = format!("the check is no condition: {}", told.message);
            problems.push(in_project(Rule::Check, step, expression, message, hint));
        }
    }
    problems
}

/// What is wrong with the columns that a step names of tables that others make.
pub(super) fn named_of_others(step: &Step, schemas: &Schemas) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let StepKind::Load(load) = &step.kind
        && let Some(names) = &load.names
        && let Some(schema) = schemas.get(&names.table)
    {
        for column in [&names.key, &names.column] {
            if schema.column_with_name(column).is_none() {
                let message = format!("table `{}` has no column `{column}`", names.table);
                let hint = Some(instead(column, schema));
                problems.push(in_project(Rule::MissingColumn, step, column, message, hint));
            }
        }
    }
    problems
}

/// The columns that may have been meant.
fn instead(column: &str, schema: &SchemaRef) -> String {
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    match nearest(column, names.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("expected one of `{}`", names.join("`, `")),
    }
}

/// A problem of something that the project's file names of a step.
fn in_project(
    rule: Rule,
    step: &Step,
    name: &str,
    message: String,
    hint: Option<String>,
) -> Problem {
    let mention = step.mentions.iter().find(|mention| mention.name == name);
    let (line, column) = mention.map_or((1, 1), |mention| (mention.line, mention.column));
    let length = mention.map_or(1, |mention| mention.name.chars().count());
    Problem::new(rule, PROJECT_FILE, line, column, length, message).with_hint(hint)
}

/// Plans the query that a condition is checked by.
async fn plan_check(table: &SchemaRef, expression: &str) -> Result<LogicalPlan, DataFusionError> {
    let context = SessionContext::new_with_config(config(1));
    context.register_table(CHECKED_TABLE, Arc::new(EmptyTable::new(Arc::clone(table))))?;
    plan(&context, &condition(expression), HashMap::new()).await
}
