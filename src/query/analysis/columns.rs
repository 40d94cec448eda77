//! Columns that a pipeline's file names, and those that mean something to recctl.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;

use super::Schemas;
use super::explain::fault;
use super::statement::tokens;
use super::syntax;
use super::words::last_word;
use crate::pipeline::check::{CheckRule, Figure};
use crate::pipeline::name::Name;
use crate::pipeline::nearest::nearest;
use crate::pipeline::query::Mention;
use crate::pipeline::step::{
    FATE_COLUMN, ItemNames, PARTITION_COLUMN, PROJECT_FILE, SqlStep, Step, StepKind,
};
use crate::pipeline::variable::Value;
use crate::query::checks::rows::conditions;
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
    schemas: &Schemas,
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
        match &check.written {
            None => problems.extend(judged(state, sql, &check.rule, (table, schemas), &mut places)),
            // A ruleset has places of its own, and names columns in its own words.
            Some(rule) => {
                let place = |problem: Problem| Problem {
                    file: rule.file.clone(),
                    line: rule.line,
                    column: rule.column,
                    length: rule.length,
                    ..problem
                };
                let own = &mut Places { left: [].iter() };
                let found = judged(state, sql, &check.rule, (table, schemas), own);
                problems.extend(found.into_iter().map(place));
            }
        }
    }
    problems
}

/// What is wrong with a check: columns that are not there, types that it does not take, a text that
/// is no condition.
fn judged(
    state: &SessionState,
    sql: &SqlStep,
    rule: &CheckRule,
    (table, schemas): (&SchemaRef, &Schemas),
    places: &mut Places<'_>,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut fields = Vec::new();
    let mut place = Place(None);
    for column in rule.columns() {
        place = places.next(column);
        match table.column_with_name(column) {
            Some((_, field)) => fields.push((place, field)),
            None => {
                let message =
                    format!("a check names column `{column}`, which `{}` does not make", sql.file);
                let problem = place.problem(Rule::Check, message);
                problems.push(problem.with_hint(instead(column, table)));
            }
        }
    }
    if let CheckRule::Expression(expression) = rule {
        place = places.next(expression);
    }
    if let CheckRule::References { table: other, referenced, .. } = rule
        && let Some(schema) = schemas.get(other)
    {
        for (at, key) in referenced.iter().enumerate() {
            let own = fields.get(at).copied();
            let place = places.next_or(key, own.map(|(place, _)| place));
            problems.extend(key_of(place, key, other, schema, own.map(|(_, field)| field)));
        }
    }
    for (place, field) in fields {
        if let Err((message, hint)) = takes(rule, field) {
            problems.push(place.problem(Rule::Check, message).with_hint(Some(hint)));
        }
    }
    if problems.is_empty() {
        for wanted in conditions(rule, table) {
            if let Err((told, hint)) = condition(state, table, &wanted.sql) {
                let message = format!("the check is no condition: {told}");
                problems.push(place.problem(Rule::Check, message).with_hint(hint));
            }
        }
    }
    problems
}

/// A column of another table that a check looks into.
fn key_of(
    place: Place<'_>,
    key: &str,
    other: &Name,
    schema: &SchemaRef,
    own: Option<&Field>,
) -> Option<Problem> {
    let Some((_, field)) = schema.column_with_name(key) else {
        let message = format!("table `{other}` has no column `{key}`");
        return Some(place.problem(Rule::Check, message).with_hint(instead(key, schema)));
    };
    let own = own?;
    if Sort::of(own.data_type()) == Sort::of(field.data_type()) {
        return None;
    }
    let message = format!(
        "column `{}` is {}, and `{key}` of `{other}` is {}",
        own.name(),
        own.data_type(),
        field.data_type()
    );
    let hint = "values of different types never equal each other: cast one of them".to_owned();
    Some(place.problem(Rule::Check, message).with_hint(hint))
}

/// What values are, as far as checks tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Text,
    Whole,
    Number,
    Boolean,
    Time,
    Other,
}

impl Sort {
    fn of(kind: &DataType) -> Self {
        match kind {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Self::Text,
            DataType::Boolean => Self::Boolean,
            DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => Self::Time,
            kind if kind.is_integer() => Self::Whole,
            kind if kind.is_numeric() => Self::Number,
            _ => Self::Other,
        }
    }
}

/// Whether texts that stand for dates or times of a column are such. Errors: which is not, and a hint.
fn instants<'a>(
    values: impl Iterator<Item = &'a Value>,
    field: &Field,
) -> Result<(), (String, String)> {
    if Sort::of(field.data_type()) != Sort::Time {
        return Ok(());
    }
    for value in values {
        if let Value::String(text) = value
            && ScalarValue::try_from_string(text.clone(), field.data_type()).is_err()
        {
            let message =
                format!("`{text}` is no value of column `{}`, {}", field.name(), field.data_type());
            return Err((message, "write `2026-03-01`, or `2026-03-01T12:00:00Z`".to_owned()));
        }
    }
    Ok(())
}

/// Whether a check can judge a column. Errors: why not, and a hint.
fn takes(rule: &CheckRule, field: &Field) -> Result<(), (String, String)> {
    let (name, kind) = (field.name(), field.data_type());
    let sort = Sort::of(kind);
    let fail = |what: &str, hint: &str| {
        Err((format!("column `{name}` is {kind}, {what}"), hint.to_owned()))
    };
    match rule {
        CheckRule::AcceptedValues { values, .. } => {
            instants(values.iter(), field)?;
            let fits = |value: &Value| match value {
                Value::String(_) => matches!(sort, Sort::Text | Sort::Time),
                Value::Int(_) | Value::Double(_) => matches!(sort, Sort::Whole | Sort::Number),
                Value::Boolean(_) => sort == Sort::Boolean,
            };
            match values.iter().find(|value| !fits(value)) {
                Some(value) => fail(
                    &format!("which is never the {} {value}", value.kind()),
                    "write texts in quotes, and numbers without",
                ),
                None => Ok(()),
            }
        }
        CheckRule::Range { min, max, .. } => {
            instants(min.iter().chain(max), field)?;
            let fits = |value: &&Value| match value {
                Value::String(_) => sort == Sort::Time,
                Value::Int(_) | Value::Double(_) => matches!(sort, Sort::Whole | Sort::Number),
                Value::Boolean(_) => false,
            };
            match min.iter().chain(max).find(|value| !fits(value)) {
                Some(value) => fail(
                    &format!("which has no place relative to the {} {value}", value.kind()),
                    "a range is of numbers, or of dates and times as text; for others write an `expression`",
                ),
                None => Ok(()),
            }
        }
        CheckRule::Freshness { .. } if sort != Sort::Time => {
            fail("and freshness is told by a time", "name a column with a timestamp or a date")
        }
        CheckRule::References { .. } if matches!(sort, Sort::Number | Sort::Other) => {
            fail("which is no key", "name columns of text, whole numbers, dates or times")
        }
        CheckRule::Distribution(distribution) => match &distribution.figure {
            Figure::Mean(_) if !matches!(sort, Sort::Whole | Sort::Number) => {
                fail("which has no mean", "`distinct` and `null_share` are figures of any column")
            }
            _ => Ok(()),
        },
        CheckRule::NotNull(_)
        | CheckRule::Unique(_)
        | CheckRule::Rows { .. }
        | CheckRule::Freshness { .. }
        | CheckRule::References { .. }
        | CheckRule::Expression(_)
        | CheckRule::Statement(_) => Ok(()),
    }
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
        self.next_or(name, None)
    }

    /// The next place, or another one if there is none left; then nothing is passed over.
    fn next_or(&mut self, name: &str, other: Option<Place<'a>>) -> Place<'a> {
        let mut left = self.left.clone();
        match left.find(|mention| mention.name == name) {
            Some(mention) => {
                self.left = left;
                Place(Some(mention))
            }
            None => other.unwrap_or(Place(None)),
        }
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
