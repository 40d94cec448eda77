//! What a query means, apart from how it is written: its optimised logical plan, printed without
//! the names that a writer chose. Comments, layout, aliases and names of CTEs do not count, nor
//! what the optimiser of the engine proves to be equal.

mod expression;
mod plan;

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::OptimizerContext;

use crate::pipeline::fingerprint::{Meaning, digest};

/// Grows when the printed form of plans changes: older ones cannot be compared any more.
const FORM: u32 = 1;

/// The types of parameters by name, without the `$`.
pub type ParameterTypes = BTreeMap<String, DataType>;

/// The meaning of a plan whose parameters are left open; `None` if nothing is known that would hold
/// for another way of writing it.
pub fn meaning(
    state: &SessionState,
    plan: LogicalPlan,
    parameters: &ParameterTypes,
) -> Option<Meaning> {
    let normal = optimised(state, plan, parameters).ok()?;
    let printed = plan::printed(&normal)?;
    let engine = format!("datafusion {} form {FORM}", datafusion::DATAFUSION_VERSION);
    Some(Meaning { engine, plan: digest(printed.as_bytes()) })
}

/// Optimises with parameters left open. Values must not be filled in: a condition such as
/// `$limit > 5` would be decided by whatever value stands there.
fn optimised(
    state: &SessionState,
    plan: LogicalPlan,
    parameters: &ParameterTypes,
) -> Result<LogicalPlan, DataFusionError> {
    let plan = typed(plan, parameters)?;
    let plan = state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {})?;
    // Without a time `now()` is left as it is written.
    let context = OptimizerContext::new_with_config_options(Arc::clone(state.config_options()))
        .without_query_execution_start_time();
    state.optimizer().optimize(plan, &context, |_, _| {})
}

/// Gives parameters their types.
fn typed(plan: LogicalPlan, parameters: &ParameterTypes) -> Result<LogicalPlan, DataFusionError> {
    let with_type = |expression: Expr| {
        expression.transform_up(|one| match one {
            Expr::Placeholder(Placeholder { id, .. }) => {
                let known = parameters.get(id.trim_start_matches('$'));
                let field = known.map(|kind| Arc::new(Field::new("", kind.clone(), true)));
                Ok(Transformed::yes(Expr::Placeholder(Placeholder { id, field })))
            }
            other => Ok(Transformed::no(other)),
        })
    };
    let typed = plan.transform_up_with_subqueries(|node| {
        node.map_expressions(with_type)?.map_data(LogicalPlan::recompute_schema)
    })?;
    Ok(typed.data)
}

#[cfg(test)]
mod tests;
