//! All that is wrong with one statement. The planner stops at the first error; what it stops at is
//! replaced by what was probably meant, or by NULL, and it is asked again.

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::common::ScalarValue;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{Expr, Ident, ObjectNamePart, Value, visit_expressions_mut};

use super::explain::{Fault, fault};
use super::planning::filled;
use super::statement::{position, statement};
use crate::pipeline::step::SqlStep;
use crate::run::failure::{Problem, Rule};

/// Problems that are told of one statement at most.
const MOST_PROBLEMS: usize = 20;
/// Calls of one function that are looked through at most for the one that is wrong.
const MOST_CALLS: usize = 16;

/// A statement that can be planned.
pub(super) struct Planned {
    /// As written, with open parameters.
    pub open: LogicalPlan,
    /// The same, with parameters filled in.
    pub plan: LogicalPlan,
    /// As a run would carry it out.
    pub optimised: LogicalPlan,
}

/// Plans a query. Errors: all that is wrong with it, as far as one thing can be told from another.
pub(super) async fn plan_all(
    state: &SessionState,
    sql: &SqlStep,
    values: &HashMap<String, ScalarValue>,
) -> Result<Planned, Vec<Problem>> {
    let told = |error: &DataFusionError| fault(error, &sql.file, &sql.text);
    let mut written = statement(&sql.text).map_err(|error| vec![told(&error).problem])?;
    let mut problems: Vec<Problem> = Vec::new();
    while problems.len() < MOST_PROBLEMS {
        let error = match planned(state, written.clone(), values).await {
            Ok(planned) if problems.is_empty() => return Ok(planned),
            Ok(_) => break,
            Err(error) => error,
        };
        let mut fault = told(&error);
        if let Some(function) = fault.function.clone() {
            let whole = error.to_string();
            if let Some((line, column)) = call(state, &written, values, &function, &whole).await {
                (fault.problem.line, fault.problem.column) = (line, column);
            }
        }
        let here = |other: &Problem| {
            (other.line, other.column) == (fault.problem.line, fault.problem.column)
        };
        if problems.iter().any(here) || (!problems.is_empty() && may_follow(&fault.problem)) {
            break;
        }
        let replaced = replace(&mut written, &fault);
        problems.push(fault.problem);
        if !replaced {
            break;
        }
    }
    Err(problems)
}

async fn planned(
    state: &SessionState,
    written: Statement,
    values: &HashMap<String, ScalarValue>,
) -> Result<Planned, DataFusionError> {
    let open = state.statement_to_plan(written).await?;
    let plan = filled(open.clone(), values.clone())?;
    // What optimising finds would be found by a run.
    let optimised = state.optimize(&plan)?;
    // So would what has no physical plan, such as some correlated subqueries.
    state.query_planner().create_physical_plan(&optimised, state).await?;
    Ok(Planned { open, plan, optimised })
}

/// Whether a problem may come from what was put in the place of another. Names do not: they are
/// resolved whatever the types are.
fn may_follow(problem: &Problem) -> bool {
    match problem.rule {
        Rule::UnknownColumn
        | Rule::UnknownTable
        | Rule::AmbiguousColumn
        | Rule::UnknownFunction => false,
        Rule::TypeMismatch => {
            let text = format!("{} {:?}", problem.message, problem.hint);
            text.contains("Null")
        }
        _ => true,
    }
}

/// Puts something harmless in the place of what a problem is about. False if it is not found.
fn replace(written: &mut Statement, fault: &Fault) -> bool {
    let Statement::Statement(statement) = written else { return false };
    let stands = |name: &Ident| {
        let at = name.span.start;
        (position(at.line), position(at.column)) == (fault.problem.line, fault.problem.column)
    };
    let rule = fault.problem.rule;
    let a_name = matches!(rule, Rule::UnknownColumn | Rule::AmbiguousColumn | Rule::UnknownTable);
    let a_call = rule == Rule::UnknownFunction || fault.function.is_some();
    let mut replaced = false;
    let _: ControlFlow<()> = visit_expressions_mut(statement.as_mut(), |expression| {
        let is_it = match expression {
            Expr::Identifier(name) => a_name && stands(name),
            Expr::CompoundIdentifier(names) => {
                let ends = [names.first(), names.last()];
                a_name && ends.into_iter().flatten().any(stands)
            }
            Expr::Function(call) => match call.name.0.first() {
                Some(ObjectNamePart::Identifier(name)) => a_call && stands(name),
                Some(ObjectNamePart::Function(_)) | None => false,
            },
            _ => false,
        };
        if is_it {
            replaced = true;
            put(expression, fault);
        }
        ControlFlow::Continue(())
    });
    replaced
}

/// Puts the column that was meant in the place of a name, else NULL.
fn put(expression: &mut Expr, fault: &Fault) {
    let name = match expression {
        Expr::Identifier(name) => Some(name),
        Expr::CompoundIdentifier(names) => names.last_mut(),
        _ => None,
    };
    match (name, &fault.meant) {
        (Some(name), Some(meant)) => {
            // As it is written in the schema, capitals included.
            name.value.clone_from(meant);
            name.quote_style = Some('"');
        }
        _ => *expression = Expr::Value(Value::Null.with_empty_span()),
    }
}

/// Which of several calls of a function the planner means: the one without which it says something
/// else.
async fn call(
    state: &SessionState,
    written: &Statement,
    values: &HashMap<String, ScalarValue>,
    function: &str,
    error: &str,
) -> Option<(usize, usize)> {
    for number in 0..MOST_CALLS {
        let mut other = written.clone();
        let place = without_call(&mut other, function, number)?;
        match planned(state, other, values).await {
            Err(same) if same.to_string() == error => {}
            _ => return Some(place),
        }
    }
    None
}

/// Takes a call out and returns its place; none if there are not so many.
fn without_call(written: &mut Statement, function: &str, number: usize) -> Option<(usize, usize)> {
    let Statement::Statement(statement) = written else { return None };
    let mut seen = 0;
    let mut place = None;
    let _: ControlFlow<()> = visit_expressions_mut(statement.as_mut(), |expression| {
        if let Expr::Function(call) = expression
            && let [ObjectNamePart::Identifier(name)] = call.name.0.as_slice()
            && name.value.eq_ignore_ascii_case(function)
        {
            if seen == number {
                let at = name.span.start;
                place = Some((position(at.line), position(at.column)));
                *expression = Expr::Value(Value::Null.with_empty_span());
            }
            seen += 1;
        }
        ControlFlow::Continue(())
    });
    place
}
