//! Columns that a pipeline's file names, and those that mean something to recctl.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;

use super::Schemas;
use super::explain::fault;
use super::statement::tokens;
use super::syntax;
use super::words::last_word;
use crate::pipeline::nearest::nearest;
use crate::pipeline::query::Mention;
use crate::pipeline::step::{
    Check, FATE_COLUMN, ItemNames, PARTITION_COLUMN, PROJECT_FILE, SqlStep, Step, StepKind,
};
use crate::run::failure::{Problem, Rule};

/// What is wrong with the columns of a query's result that mean something to recctl.
pub(super) fn special(sql: &SqlStep, made: &Schema) -> Vec<Problem> {
    let say = |rule: Rule, word: &str, message: String, hint: &str| {
        let mention = last_word(word, &sql.text).or_else(|| last_word("select", &sql.text));
        let (line, column) = mention.as_ref().map_or((1, 1), |it| (it.line, it.column));
        let length = mention.map_or(1, |it| it.name.chars().count());
        Problem::new(rule, &sql.file, line, column, length, message).with_hint(hint.to_owned())
    };
    let mut problems = twice(sql, made);
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

/// Columns of the result that have the same name; catalogs and warehouses tell no capitals from
/// small letters.
fn twice(sql: &SqlStep, made: &Schema) -> Vec<Problem> {
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    let mut problems: Vec<Problem> = Vec::new();
    for field in made.fields() {
        let name = field.name().as_str();
        let Some(other) = seen.insert(name.to_lowercase(), name) else { continue };
        let place = last_word(name, &sql.text).or_else(|| last_word("select", &sql.text));
        let (line, column) = place.as_ref().map_or((1, 1), |it| (it.line, it.column));
        let length = place.map_or(1, |it| it.name.chars().count());
        let message = match other == name {
            true => format!("the query makes column `{name}` twice"),
            false => format!("columns `{other}` and `{name}` differ in capitals only"),
        };
        let rule = Rule::DuplicateColumn;
        let problem = Problem::new(rule, &sql.file, line, column, length, message);
        problems.push(problem.with_hint("leave one out, or rename it with `AS`".to_owned()));
    }
    problems
}

/// What is wrong with the columns that the project's file names of a query's table.
pub(super) fn named_of_table(
    state: &SessionState,
    step: &Step,
    sql: &SqlStep,
    table: &SchemaRef,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut places = Places::of(step);
    let mut named = |rule: Rule, what: &str, column: &String| {
        let place = places.next(column);
        if table.column_with_name(column).is_none() {
            let message =
                format!("{what} names column `{column}`, which `{}` does not make", sql.file);
            problems.push(place.problem(rule, message).with_hint(instead(column, table)));
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
    let mut places = Places::of(step);
    for check in &sql.checks {
        let Check::Expression(expression) = check else { continue };
        let place = places.next(expression);
        if let Err((told, hint)) = condition(state, table, expression) {
            let message = format!("the check is no condition: {told}");
            problems.push(place.problem(Rule::Check, message).with_hint(hint));
        }
    }
    problems
}

/// What is wrong with the columns that a step needs of tables that others make.
pub(super) fn named_of_others(step: &Step, schemas: &Schemas) -> Vec<Problem> {
    match &step.kind {
        StepKind::Load(load) => match &load.names {
            Some(names) => item_names(step, names, schemas),
            None => Vec::new(),
        },
        StepKind::Train(_)
        | StepKind::Tune(_)
        | StepKind::Sql(_)
        | StepKind::Select(_)
        | StepKind::Score(_) => Vec::new(),
    }
}

fn item_names(step: &Step, names: &ItemNames, schemas: &Schemas) -> Vec<Problem> {
    let Some(schema) = schemas.get(&names.table) else { return Vec::new() };
    let mut places = Places::of(step);
    let mut problems = Vec::new();
    for column in [&names.key, &names.column] {
        let place = places.next(column);
        if schema.column_with_name(column).is_none() {
            let message = format!("table `{}` has no column `{column}`", names.table);
            let problem = place.problem(Rule::MissingColumn, message);
            problems.push(problem.with_hint(instead(column, schema)));
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

/// Finds where the project's file names things of a step, one after the other: the same column may
/// be named several times.
struct Places<'a> {
    left: std::slice::Iter<'a, Mention>,
}

/// Where the project's file names something.
#[derive(Debug, Clone, Copy)]
struct Place<'a>(Option<&'a Mention>);

impl<'a> Places<'a> {
    fn of(step: &'a Step) -> Self {
        Self { left: step.mentions.iter() }
    }

    fn next(&mut self, name: &str) -> Place<'a> {
        Place(self.left.find(|mention| mention.name == name))
    }
}

impl Place<'_> {
    fn problem(self, rule: Rule, message: String) -> Problem {
        let (line, column) = self.0.map_or((1, 1), |mention| (mention.line, mention.column));
        let length = self.0.map_or(1, |mention| mention.name.chars().count());
        Problem::new(rule, PROJECT_FILE, line, column, length, message)
    }
}

/// Judges a condition over a table. Errors: what is wrong with it, and a hint.
fn condition(
    state: &SessionState,
    table: &SchemaRef,
    expression: &str,
) -> Result<(), (String, Option<String>)> {
    let told = |error: DataFusionError| {
        if let (DataFusionError::SQL(..), Ok(tokens)) = (error.find_root(), tokens(expression)) {
            let problem = syntax::describe(&error, expression, &tokens);
            return (problem.message, problem.hint);
        }
        let problem = fault(&error, "", expression).problem;
        (problem.message, problem.hint)
    };
    let schema = DFSchema::try_from(Arc::clone(table)).map_err(told)?;
    let meant = state.create_logical_expr(expression, &schema).map_err(told)?;
    let physical = state.create_physical_expr(meant, &schema).map_err(told)?;
    match physical.data_type(table).map_err(told)? {
        DataType::Boolean => Ok(()),
        other => Err((format!("it is {other}, expected true or false"), None)),
    }
}
