//! What is allowed in a query, but seldom meant.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    self, Expr, Ident, ObjectNamePart, SelectItem, SetExpr, Spanned, visit_expressions,
};

use super::statement::{position, statement};
use super::words::slice;
use crate::pipeline::step::SqlStep;
use crate::run::failure::{Problem, Rule};

/// Functions whose result depends on when a query runs.
const CLOCK: [&str; 8] = [
    "now",
    "current_date",
    "current_timestamp",
    "current_time",
    "today",
    "localtimestamp",
    "localtime",
    "getdate",
];
/// Functions whose result is another one each time.
const CHANCE: [&str; 4] = ["random", "rand", "uuid", "gen_random_uuid"];

/// Warnings about a query that parses.
pub(super) fn judge(sql: &SqlStep) -> Vec<Problem> {
    let Ok(Statement::Statement(written)) = statement(&sql.text) else { return Vec::new() };
    let mut problems = unrepeatable(sql, &written);
    if let ast::Statement::Query(query) = written.as_ref() {
        problems.extend(unnamed(sql, &query.body));
    }
    problems
}

fn unrepeatable(sql: &SqlStep, written: &ast::Statement) -> Vec<Problem> {
    let mut problems = Vec::new();
    let _: ControlFlow<()> = visit_expressions(written, |expression| {
        if let Expr::Function(call) = expression
            && let [ObjectNamePart::Identifier(name)] = call.name.0.as_slice()
        {
            let word = name.value.to_lowercase();
            if CLOCK.contains(&word.as_str()) {
                let message =
                    format!("`{word}` is when the query runs, not the day that it is for");
                let hint = "use `$logical_date`, `$interval_start` or `$interval_end`";
                problems.push(at(sql, Rule::NotRepeatable, name, message, hint));
            } else if CHANCE.contains(&word.as_str()) {
                let message = format!("`{word}` gives other rows each time");
                let hint =
                    "hash a key instead, so that a day that is made again comes out the same";
                problems.push(at(sql, Rule::NotRepeatable, name, message, hint));
            }
        }
        ControlFlow::Continue(())
    });
    problems
}

fn at(sql: &SqlStep, rule: Rule, name: &Ident, message: String, hint: &str) -> Problem {
    let start = name.span.start;
    let (line, column) = (position(start.line), position(start.column));
    let length = name.value.chars().count();
    Problem::new(rule, &sql.file, line, column, length, message).with_hint(hint.to_owned())
}

/// Columns of the result that are called after their expressions.
fn unnamed(sql: &SqlStep, body: &SetExpr) -> Vec<Problem> {
    let select = match body {
        SetExpr::Select(select) => select,
        // The first part of a union names the columns.
        SetExpr::SetOperation { left, .. } => return unnamed(sql, left),
        SetExpr::Query(query) => return unnamed(sql, &query.body),
        _ => return Vec::new(),
    };
    let mut problems = Vec::new();
    for item in &select.projection {
        let SelectItem::UnnamedExpr(expression) = item else { continue };
        if matches!(expression, Expr::Identifier(_) | Expr::CompoundIdentifier(_)) {
            continue;
        }
        let Some(span) = datafusion::common::Span::try_from_sqlparser_span(expression.span())
        else {
            continue;
        };
        let written = slice(&sql.text, span);
        let first = written.lines().next().unwrap_or_default();
        let message = "the column is called after its expression".to_owned();
        let (line, column) = (position(span.start.line), position(span.start.column));
        let length = first.chars().count();
        let problem = Problem::new(Rule::UnnamedColumn, &sql.file, line, column, length, message);
        problems.push(problem.with_hint(format!("write `{first} AS total`, or what it is")));
    }
    problems
}
