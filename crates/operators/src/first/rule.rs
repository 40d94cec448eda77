//! Where the first row of each key is all that a query asks for.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal};
use datafusion::physical_expr::utils::split_conjunction;
use datafusion::physical_expr::window::StandardWindowExpr;
use datafusion::physical_expr::{LexOrdering, PhysicalExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowUDFExpr};
use datafusion::physical_plan::{ChildrenPropertiesMode, ExecutionPlan, ReplaceChildrenOptions};

use super::FirstRowExec;

type Plan = Arc<dyn ExecutionPlan>;

/// Puts [`FirstRowExec`] in place of a window with `row_number()` alone, where what reads it compares
/// the number with one and lets nobody else see it.
///
/// Runs before requirements are met by sorts and repartitionings: the sort is what it saves.
#[derive(Debug)]
pub struct FirstRows;

impl PhysicalOptimizerRule for FirstRows {
    fn optimize(&self, plan: Plan, _: &ConfigOptions) -> Result<Plan> {
        let replaced = plan.transform_up(|node| {
            let children = node.children();
            let [child] = children.as_slice() else { return Ok(Transformed::no(node)) };
            match first_below(child)? {
                Some((first, number)) if asks_for_first_only(&node, &number) => {
                    Ok(Transformed::yes(over(node, first)?))
                }
                _ => Ok(Transformed::no(node)),
            }
        });
        Ok(replaced?.data)
    }

    fn name(&self) -> &'static str {
        "first_rows"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// A plan with first rows in place of its window, and the columns that show the number, if it is a
/// window that can be replaced, or a projection that hands on the number of one.
fn first_below(plan: &Plan) -> Result<Option<(Plan, Vec<usize>)>> {
    if let Some(first) = in_place_of(plan) {
        let number = plan.schema().fields().len() - 1;
        return Ok(Some((Arc::new(first), vec![number])));
    }
    let Some(projection) = plan.downcast_ref::<ProjectionExec>() else { return Ok(None) };
    let Some((first, number)) = first_below(projection.input())? else { return Ok(None) };
    let mut handed_on = Vec::new();
    for (position, one) in projection.expr().iter().enumerate() {
        match one.expr.downcast_ref::<Column>() {
            Some(reference) if number.contains(&reference.index()) => handed_on.push(position),
            _ if compares_only(&one.expr, &number) => {}
            _ => return Ok(None),
        }
    }
    Ok(Some((over(Arc::clone(plan), first)?, handed_on)))
}

/// A plan over another input.
fn over(plan: Plan, input: Plan) -> Result<Plan> {
    let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    plan.replace_children(vec![input], options)
}

fn in_place_of(plan: &Plan) -> Option<FirstRowExec> {
    let window = plan.downcast_ref::<BoundedWindowAggExec>()?;
    let [expression] = window.window_expr() else { return None };
    let standard = expression.as_any().downcast_ref::<StandardWindowExpr>()?;
    let function = standard.get_standard_func_expr();
    let function = function.as_any().downcast_ref::<WindowUDFExpr>()?;
    let is_partitioned = !expression.partition_by().is_empty();
    if function.fun().name() != "row_number" || !is_partitioned {
        return None;
    }
    let order = LexOrdering::new(expression.order_by().iter().cloned())?;
    let key = expression.partition_by().to_vec();
    let field = Arc::clone(plan.schema().fields().last()?);
    Some(FirstRowExec::new(Arc::clone(window.input()), key, order, field))
}

/// Whether a plan sees of columns of its input only whether they are one.
fn asks_for_first_only(plan: &Plan, columns: &[usize]) -> bool {
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        return projection.expr().iter().all(|one| compares_only(&one.expr, columns));
    }
    let Some(filter) = plan.downcast_ref::<FilterExec>() else { return false };
    // What passes has the number one, which is what it is.
    compares_only(filter.predicate(), columns)
        && split_conjunction(filter.predicate()).iter().any(|part| {
            comparison(part, columns).is_some_and(|(operator, with)| {
                matches!((operator, with), (Operator::Eq | Operator::LtEq, 1) | (Operator::Lt, 2))
            })
        })
}

/// Whether an expression has the same value for all numbers but one.
fn compares_only(expression: &Arc<dyn PhysicalExpr>, columns: &[usize]) -> bool {
    if let Some((operator, with)) = comparison(expression, columns) {
        return matches!(
            (operator, with),
            (Operator::Eq | Operator::NotEq | Operator::Gt | Operator::LtEq, 1)
                | (Operator::Lt | Operator::GtEq, 2)
        );
    }
    if let Some(reference) = expression.downcast_ref::<Column>() {
        return !columns.contains(&reference.index());
    }
    expression.children().iter().all(|child| compares_only(child, columns))
}

/// How an expression compares a column with a whole number, if it does that.
fn comparison(expression: &Arc<dyn PhysicalExpr>, columns: &[usize]) -> Option<(Operator, u64)> {
    let binary = expression.downcast_ref::<BinaryExpr>()?;
    let is_column = |side: &Arc<dyn PhysicalExpr>| {
        side.downcast_ref::<Column>().is_some_and(|reference| columns.contains(&reference.index()))
    };
    if is_column(binary.left()) {
        return Some((*binary.op(), whole(binary.right())?));
    }
    if is_column(binary.right()) {
        return Some((binary.op().swap()?, whole(binary.left())?));
    }
    None
}

fn whole(expression: &Arc<dyn PhysicalExpr>) -> Option<u64> {
    match expression.downcast_ref::<Literal>()?.value() {
        ScalarValue::UInt64(Some(number)) => Some(*number),
        ScalarValue::Int64(Some(number)) => u64::try_from(*number).ok(),
        _ => None,
    }
}
