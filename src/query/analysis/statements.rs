//! Conditions on whole tables, which rulesets are made of.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::datasource::empty::EmptyTable;

use super::explain::fault;
use super::session;
use crate::pipeline::check::{CHECKED_TABLE, CheckRule, PRIMARY_TABLE};
use crate::pipeline::interval::LogicalDate;
use crate::pipeline::step::SqlStep;
use crate::query::checks::question;
use crate::run::failure::{Problem, Rule};

/// What is wrong with the rules of a step's rulesets that are about the whole table: columns that are
/// not there, types that they do not take, queries that are none.
pub(super) async fn judge(sql: &SqlStep, table: &SchemaRef) -> Vec<Problem> {
    let mut problems = Vec::new();
    let context = session();
    for name in [CHECKED_TABLE, PRIMARY_TABLE] {
        // The session is new, so that the names are free.
        let empty = Arc::new(EmptyTable::new(Arc::clone(table)));
        let _registered = context.register_table(name, empty);
    }
    let state = context.state();
    let day = LogicalDate::new(chrono::NaiveDate::default());
    for check in &sql.checks {
        let (CheckRule::Statement(statement), Some(rule)) = (&check.rule, &check.written) else {
            continue;
        };
        let query = question(statement, day, table.fields().len());
        let planned = state.create_logical_plan(&query).await;
        let Err(error) = planned.and_then(|plan| state.optimize(&plan)) else { continue };
        let found = fault(&error, "", "").problem;
        let message = format!("the rule cannot be judged: {}", found.message);
        let (line, column, length) = (rule.line, rule.column, rule.length);
        let problem = Problem::new(Rule::Check, &rule.file, line, column, length, message);
        problems.push(problem.with_hint(found.hint));
    }
    problems
}
