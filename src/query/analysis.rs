//! Analysis of SQL without running it: parsing, and type-checking a whole pipeline by passing each
//! step's schema on to the steps that read it. No data is read.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::metadata::ScalarAndMetadata;
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::datasource::empty::EmptyTable;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::DFParser;
use datafusion::sql::resolve::resolve_table_references;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use super::checks::{CHECKED_TABLE, condition};
use super::published::table_schema;
use super::raw::source_schema;
use super::session::config;
use super::write::stored_schema;
use crate::pipeline::graph::Pipeline;
use crate::pipeline::interval::{LogicalDate, Partition};
use crate::pipeline::name::Name;
use crate::pipeline::nearest::nearest;
use crate::pipeline::query::{Mention, QueryFacts, QueryProblem};
use crate::pipeline::step::{
    Check, FATE_COLUMN, PARTITION_COLUMN, PROJECT_FILE, SqlStep, Step, StepKind,
};
use crate::pipeline::variable::{Value, Variables};
use crate::run::failure::Problem;

/// Reads a statement: its normal form, the tables and the parameters that it names.
pub fn parse(text: &str) -> Result<QueryFacts, QueryProblem> {
    let dialect = GenericDialect {};
    let tokens =
        Tokenizer::new(&dialect, text).tokenize_with_location().map_err(|error| QueryProblem {
            line: position(error.location.line),
            column: position(error.location.column),
            message: lowered(&error.message),
        })?;
    let mut statements = DFParser::parse_sql(text).map_err(|error| parse_problem(&error, text))?;
    let (Some(statement), true) = (statements.pop_front(), statements.is_empty()) else {
        let mut rest = tokens.iter().skip_while(|token| token.token != Token::SemiColon).skip(1);
        let second = rest.find(|token| !matches!(token.token, Token::Whitespace(_) | Token::EOF));
        return Err(QueryProblem {
            line: second.map_or(1, |token| position(token.span.start.line)),
            column: second.map_or(1, |token| position(token.span.start.column)),
            message: "expected exactly one statement in the file".to_owned(),
        });
    };
    let (references, _) = resolve_table_references(&statement, true)
        .map_err(|error| QueryProblem { line: 1, column: 1, message: error.strip_backtrace() })?;
    let tables = references.iter().map(|table| mention(table.table(), &tokens)).collect::<Vec<_>>();
    let mut parameters: Vec<Mention> = Vec::new();
    for token in &tokens {
        if let Token::Placeholder(name) = &token.token {
            let name = name.trim_start_matches('$');
            if !parameters.iter().any(|known| known.name == name) {
                parameters.push(at(name, token));
            }
        }
    }
    // Tokens instead of the printed tree: no query means something else for its layout, and the
    // printing of trees changes from version to version.
    let words: Vec<String> = tokens
        .iter()
        .filter(|token| {
            !matches!(token.token, Token::Whitespace(_) | Token::EOF | Token::SemiColon)
        })
        .map(|token| token.token.to_string())
        .collect();
    Ok(QueryFacts { normalized: words.join(" "), tables, parameters })
}

fn position(number: u64) -> usize {
    usize::try_from(number).unwrap_or(1).max(1)
}

fn at(name: &str, token: &TokenWithSpan) -> Mention {
    Mention {
        name: name.to_owned(),
        line: position(token.span.start.line),
        column: position(token.span.start.column),
    }
}

/// Finds where a name stands as a word of the statement; its start if nowhere.
fn mention(name: &str, tokens: &[TokenWithSpan]) -> Mention {
    let is_name = |token: &&TokenWithSpan| match &token.token {
        Token::Word(word) => word.value.eq_ignore_ascii_case(name),
        _ => false,
    };
    // A table stands behind FROM or JOIN or a comma; the same word elsewhere may be a column.
    let mut behind_from = false;
    let mut first = None;
    for token in tokens {
        match &token.token {
            Token::Whitespace(_) => continue,
            Token::Word(word)
                if word.value.eq_ignore_ascii_case("from")
                    || word.value.eq_ignore_ascii_case("join") =>
            {
                behind_from = true;
                continue;
            }
            _ => {}
        }
        if is_name(&token) {
            if behind_from {
                return at(name, token);
            }
            first.get_or_insert_with(|| at(name, token));
        }
        behind_from = false;
    }
    first.unwrap_or_else(|| Mention { name: name.to_owned(), line: 1, column: 1 })
}

/// The parser keeps the place of an error only as the end of its text.
fn parse_problem(error: &DataFusionError, text: &str) -> QueryProblem {
    let whole = error.find_root().strip_backtrace();
    let message = whole
        .trim_start_matches("SQL error: ")
        .trim_start_matches("ParserError(\"")
        .trim_end_matches("\")")
        .replace("sql parser error: ", "");
    match message.rsplit_once(" at Line: ") {
        Some((what, place)) => {
            let (line, column) = place.split_once(", Column: ").unwrap_or((place, "1"));
            let number = |text: &str| text.trim().parse().unwrap_or(1);
            QueryProblem { line: number(line), column: number(column), message: lowered(what) }
        }
        None => {
            // The end of the text is where the parser stood.
            let line = text.lines().count().max(1);
            let column = text.lines().last().map_or(1, |line| line.chars().count() + 1);
            QueryProblem { line, column, message: lowered(&message) }
        }
    }
}

/// Notes of the planner that are told at most.
const MOST_NOTES: usize = 4;

/// Schemas of a pipeline's tables, as SQL sees them.
pub type Schemas = BTreeMap<Name, SchemaRef>;

/// Type-checks the queries of a pipeline and returns the schema of each table that they make.
/// Steps after a broken one are checked as far as their inputs are known.
pub async fn check(pipeline: &Pipeline) -> Result<Schemas, Vec<Problem>> {
    let mut schemas: Schemas = pipeline
        .sources
        .iter()
        .map(|(name, source)| (name.clone(), source_schema(source)))
        .collect();
    let mut problems = Vec::new();
    for step in &pipeline.steps {
        let StepKind::Sql(sql) = &step.kind else { continue };
        if sql.reads.iter().any(|read| !schemas.contains_key(&read.name)) {
            continue;
        }
        match check_step(step, sql, &schemas, &pipeline.variables).await {
            Ok(schema) => {
                schemas.insert(step.name.clone(), schema);
            }
            Err(found) => problems.extend(found),
        }
    }
    for step in &pipeline.steps {
        if let StepKind::Load(load) = &step.kind
            && let Some(names) = &load.names
            && let Some(schema) = schemas.get(&names.table)
        {
            for column in [&names.key, &names.column] {
                if schema.column_with_name(column).is_none() {
                    let message = format!("table `{}` has no column `{column}`", names.table);
                    problems.push(in_project(step, column, message, Some(instead(column, schema))));
                }
            }
        }
    }
    if problems.is_empty() { Ok(schemas) } else { Err(problems) }
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
fn in_project(step: &Step, name: &str, message: String, hint: Option<String>) -> Problem {
    let mention = step.mentions.iter().find(|mention| mention.name == name);
    let (line, column) = mention.map_or((1, 1), |mention| (mention.line, mention.column));
    let length = mention.map_or(1, |mention| mention.name.chars().count());
    Problem { file: PROJECT_FILE.to_owned(), line, column, length, message, hint }
}

async fn check_step(
    step: &Step,
    sql: &SqlStep,
    schemas: &Schemas,
    variables: &Variables,
) -> Result<SchemaRef, Vec<Problem>> {
    let context = SessionContext::new_with_config(config(1));
    for read in &sql.reads {
        if let Some(schema) = schemas.get(&read.name) {
            let table = Arc::new(EmptyTable::new(Arc::clone(schema)));
            context
                .register_table(read.name.as_str(), table)
                .map_err(|e| vec![problem(&e, sql)])?;
        }
    }
    // Any date does: only types matter here.
    let date = LogicalDate::new(chrono::NaiveDate::default());
    let plan = plan(&context, &sql.text, parameters(Partition::Day(date), date, "run", variables))
        .await
        .map_err(|error| vec![problem(&error, sql)])?;
    let schema = plan.schema().inner();
    let say = |word: &str, message: String, hint: &str| {
        let mention = last_word(word, &sql.text).or_else(|| last_word("select", &sql.text));
        let (line, column) = mention.as_ref().map_or((1, 1), |it| (it.line, it.column));
        let length = mention.map_or(1, |it| it.name.chars().count());
        let (file, hint) = (sql.file.clone(), Some(hint.to_owned()));
        vec![Problem { file, line, column, length, message, hint }]
    };
    if sql.partitioned {
        match schema.column_with_name(PARTITION_COLUMN) {
            Some((_, field)) if *field.data_type() == DataType::Date32 => {}
            Some((_, field)) => {
                return Err(say(
                    PARTITION_COLUMN,
                    format!("column `dt` is {}, expected a date", field.data_type()),
                    "select `$logical_date AS dt`",
                ));
            }
            None => {
                return Err(say(
                    PARTITION_COLUMN,
                    "the query makes no column `dt`, by which the table is partitioned".to_owned(),
                    "select `$logical_date AS dt`, or take `partition_by` out of the step",
                ));
            }
        }
    }
    if let Some((_, fate)) = schema.column_with_name(FATE_COLUMN)
        && !matches!(fate.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
    {
        return Err(say(
            FATE_COLUMN,
            format!("column `_fate` is {}, expected text", fate.data_type()),
            "make it `kept`, `duplicate`, `filtered: <why>` or `quarantined: <why>`",
        ));
    }
    let partition = if sql.partitioned { Partition::Day(date) } else { Partition::Whole };
    let visible = table_schema(&stored_schema(schema, partition), sql.partitioned);
    let mut problems = Vec::new();
    let layout = sql.warehouse.iter().flat_map(|layout| layout.columns());
    let key = sql.unique_key.iter().map(|column| ("the unique key", column));
    for (what, column) in key.chain(layout.map(|column| ("the warehouse layout", column))) {
        if visible.column_with_name(column).is_none() {
            let message =
                format!("{what} names column `{column}`, which `{}` does not make", sql.file);
            problems.push(in_project(step, column, message, Some(instead(column, &visible))));
        }
    }
    for check in &sql.checks {
        match check {
            Check::NotNull(columns) => {
                for column in columns {
                    if visible.column_with_name(column).is_none() {
                        let message = format!(
                            "a check names column `{column}`, which `{}` does not make",
                            sql.file
                        );
                        problems.push(in_project(
                            step,
                            column,
                            message,
                            Some(instead(column, &visible)),
                        ));
                    }
                }
            }
            Check::Expression(expression) => {
                if let Err(error) = plan_check(&visible, expression).await {
                    let mut told = problem(&error, sql);
                    if let DataFusionError::SQL(..) = error.find_root() {
                        told.message = parse_problem(&error, expression).message;
                    }
                    // People do not know the table by this name.
                    let own = format!("{CHECKED_TABLE}.");
                    told.hint = told.hint.map(|hint| hint.replace(&own, ""));
                    let message = format!("the check is no condition: {}", told.message);
                    problems.push(in_project(step, expression, message, told.hint));
                }
            }
            Check::MinRows(_) => {}
        }
    }
    if problems.is_empty() { Ok(visible) } else { Err(problems) }
}

/// Plans the query that a condition is checked by.
async fn plan_check(table: &SchemaRef, expression: &str) -> Result<LogicalPlan, DataFusionError> {
    let context = SessionContext::new_with_config(config(1));
    context.register_table(CHECKED_TABLE, Arc::new(EmptyTable::new(Arc::clone(table))))?;
    plan(&context, &condition(expression), HashMap::new()).await
}

/// Plans a statement with parameters filled in and types checked.
pub async fn plan(
    context: &SessionContext,
    text: &str,
    parameters: HashMap<String, ScalarValue>,
) -> Result<LogicalPlan, DataFusionError> {
    let state = context.state();
    let plan = state.create_logical_plan(text).await?;
    let values = parameters
        .into_iter()
        .map(|(name, value)| (name, ScalarAndMetadata::new(value, None)))
        .collect();
    let plan = plan.with_param_values(ParamValues::Map(values))?;
    state.optimize(&plan)
}

/// The values of a query's parameters.
pub fn parameters(
    partition: Partition,
    date: LogicalDate,
    run: &str,
    variables: &Variables,
) -> HashMap<String, ScalarValue> {
    let day = partition.date().unwrap_or(date);
    let interval = day.interval();
    let instant = |at: chrono::DateTime<chrono::Utc>| {
        ScalarValue::TimestampMicrosecond(Some(at.timestamp_micros()), Some("UTC".into()))
    };
    let mut values = HashMap::from([
        ("logical_date".to_owned(), ScalarValue::Date32(Some(day.days_since_epoch()))),
        ("interval_start".to_owned(), instant(interval.start)),
        ("interval_end".to_owned(), instant(interval.end)),
        ("run_id".to_owned(), ScalarValue::Utf8(Some(run.to_owned()))),
    ]);
    for (name, value) in variables {
        let value = match value {
            Value::String(text) => ScalarValue::Utf8(Some(text.clone())),
            Value::Int(value) => ScalarValue::Int64(Some(*value)),
            Value::Double(value) => ScalarValue::Float64(Some(*value)),
            Value::Boolean(value) => ScalarValue::Boolean(Some(*value)),
        };
        values.insert(name.clone(), value);
    }
    values
}

fn problem(error: &DataFusionError, sql: &SqlStep) -> Problem {
    let whole = error.find_root().strip_backtrace();
    let mut message = whole.lines().next().unwrap_or_default().to_owned();
    let prefixes =
        ["Error during planning: ", "Schema error: ", "type_coercion\n", "Internal error: "];
    for prefix in prefixes {
        message = message.replace(prefix, "");
    }
    let (mut line, mut column, mut length) = (1, 1, 1);
    let mut hint = None;
    let mut placed = false;
    if let Some(diagnostic) = error.diagnostic() {
        message.clone_from(&diagnostic.message);
        if let Some(span) = diagnostic.span {
            (line, column) = (position(span.start.line), position(span.start.column));
            if span.end.line == span.start.line {
                length = position(span.end.column.saturating_sub(span.start.column));
            }
            placed = true;
        }
        let notes = diagnostic.notes.iter().map(|note| note.message.as_str());
        let helps = diagnostic.helps.iter().map(|help| help.message.as_str());
        let told: Vec<&str> = notes.chain(helps).take(MOST_NOTES).collect();
        hint = (!told.is_empty()).then(|| told.join("; "));
    }
    if !placed && let Some(mention) = named_in(&message, &sql.text) {
        (line, column, length) = (mention.line, mention.column, mention.name.chars().count());
    }
    if hint.is_none()
        && let Some((first, rest)) = message.clone().split_once(" Did you mean ")
    {
        hint = Some(format!("did you mean {}", rest.trim()));
        message = first.trim_end_matches('.').to_owned();
    }
    // Of a function that fits none of its kinds, every kind is told; the first shows what is meant.
    if let Some((first, kinds)) = message.clone().split_once(", errors: ") {
        hint = kinds
            .split(".,")
            .next()
            .and_then(|kind| kind.split(",Function").next())
            .map(str::to_owned);
        message = first.to_owned();
    }
    let (message, hint) = (lowered(&message), hint.map(|hint| lowered(&hint)));
    let hint = hint.map(|hint: String| {
        hint.trim_end_matches('.').replace("Possible column", "possible columns:")
    });
    Problem { file: sql.file.clone(), line, column, length, message, hint }
}

/// The text with a small letter at its beginning.
fn lowered(text: &str) -> String {
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => first.to_lowercase().chain(characters).collect(),
        None => String::new(),
    }
}

/// Finds where a word stands last in a statement: what a query makes is said at its end.
fn last_word(word: &str, text: &str) -> Option<Mention> {
    let dialect = GenericDialect {};
    let tokens = Tokenizer::new(&dialect, text).tokenize_with_location().ok()?;
    let found = tokens.iter().rev().find(|token| match &token.token {
        Token::Word(known) => known.value.eq_ignore_ascii_case(word),
        _ => false,
    });
    found.map(|token| at(word, token))
}

/// Finds the first word of a message that is also a word of the statement: one in quotes, else any
/// that is no keyword.
fn named_in(message: &str, text: &str) -> Option<Mention> {
    use datafusion::sql::sqlparser::keywords::Keyword;
    let dialect = GenericDialect {};
    let tokens = Tokenizer::new(&dialect, text).tokenize_with_location().ok()?;
    let find = |word: &str, keywords: bool| {
        let found = tokens.iter().find(|token| match &token.token {
            Token::Word(known) => {
                known.value.eq_ignore_ascii_case(word)
                    && (keywords || known.keyword == Keyword::NoKeyword)
            }
            _ => false,
        });
        found.map(|token| at(word, token))
    };
    let quoted = message.split(['\'', '`', '"']).skip(1).step_by(2);
    let mut plain =
        message.split(['\'', '`', '"', ' ', '(', ')', ',', '.']).filter(|word| word.len() > 2);
    quoted
        .flat_map(|words| words.split('.').rev())
        .find_map(|word| find(word, true))
        .or_else(|| plain.find_map(|word| find(word, false)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_tables_and_parameters_where_they_stand() {
        let facts = parse(
            "-- events\nWITH e AS (SELECT * FROM events WHERE ts >= $interval_start)\n\
             SELECT e.*, items.name FROM e JOIN items USING (item_id)\nWHERE ts < $interval_end;",
        )
        .unwrap();
        let tables: Vec<_> = facts.tables.iter().map(|t| (t.name.as_str(), t.line)).collect();
        assert_eq!(tables, [("events", 2), ("items", 3)]);
        let parameters: Vec<_> = facts.parameters.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(parameters, ["interval_start", "interval_end"]);
    }

    #[test]
    fn layout_and_comments_do_not_count() {
        let one = parse("SELECT a, b FROM t -- why\n").unwrap().normalized;
        let other = parse("SELECT a,\n  b\nFROM t;").unwrap().normalized;
        assert_eq!(one, other);
        assert_ne!(one, parse("SELECT b, a FROM t").unwrap().normalized);
    }

    #[test]
    fn places_syntax_errors() {
        let problem = parse("SELECT a\nFORM t x y").unwrap_err();
        assert_eq!(problem.line, 2, "{problem:?}");
        assert!(parse("SELECT 1; SELECT 2").unwrap_err().message.contains("exactly one"));
        assert!(parse("SELECT 'open").is_err());
    }
}
