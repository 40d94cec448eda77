//! Where work is done bucket by bucket.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{Partitioning, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::sanity_checker::SanityCheckPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, ExecutionPlan, ExecutionPlanProperties, ReplaceChildrenOptions,
};

use super::{BucketExec, BucketedExec, BucketedJoinExec};
use crate::first::FirstRowExec;
use crate::groups::GroupSortExec;
use crate::window::SegmentedWindowExec;

type Plan = Arc<dyn ExecutionPlan>;
type Key = Vec<Arc<dyn PhysicalExpr>>;

/// Puts [`BucketedExec`] in place of repartitionings by hash with the aggregation or the search for
/// first rows above them, and of those with a sort where nobody asks for an order but windows.
///
/// Runs while the plan still says which order its result must have.
#[derive(Debug)]
pub struct Bucketed;

impl PhysicalOptimizerRule for Bucketed {
    fn optimize(&self, plan: Plan, config: &ConfigOptions) -> Result<Plan> {
        // What orders an operator hands on, and how, DataFusion's own check finds out: where a plan
        // does without an order that somebody relies on, it keeps its sorts, or stays as it is.
        for ordered in [false, true] {
            let rewritten = bucketed(&plan, ordered)?;
            if SanityCheckPlan::new().optimize(Arc::clone(&rewritten), config).is_ok() {
                return Ok(rewritten);
            }
        }
        Ok(plan)
    }

    fn name(&self) -> &'static str {
        "bucketed"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// A plan with its work in buckets. `ordered` says whether somebody asks for the order of its rows.
fn bucketed(plan: &Plan, ordered: bool) -> Result<Plan> {
    if let Some(sort) = plan.downcast_ref::<SortExec>()
        && !ordered
        && sort.fetch().is_none()
        && let Some(grouped) = grouped(plan, sort)?
    {
        return Ok(grouped);
    }
    if let [child] = plan.children()[..]
        && !(ordered && plan.output_ordering().is_some())
        && let Some(work) = work(plan, child)?
    {
        return Ok(work);
    }
    if let Some(join) = plan.downcast_ref::<HashJoinExec>()
        && !ordered
        && *join.partition_mode() == PartitionMode::Partitioned
        && !join.null_aware
        && join.fetch().is_none()
    {
        let (left, across) = match repartitioned(join.left()) {
            Some((key, input)) if join.on().iter().map(|(left, _)| left).eq(&key) => {
                (bucketed(input, false)?, true)
            }
            _ => (bucketed(join.left(), false)?, false),
        };
        let right = bucketed(join.right(), false)?;
        return Ok(Arc::new(BucketedJoinExec::in_place_of(join, left, right, across)?));
    }
    let orders = plan.required_input_ordering();
    let maintains = plan.maintains_input_order();
    // All that such a window asks for is that partitions follow one another, and an aggregation can do
    // without an order that its functions do not depend on.
    let is_indifferent =
        plan.is::<SegmentedWindowExec>() || plan.is::<AggregateExec>() && !reads_in_order(plan);
    let children = plan.children();
    let replaced = children
        .iter()
        .enumerate()
        .map(|(at, child)| {
            let asks = orders.get(at).is_some_and(Option::is_some) && !is_indifferent
                || reads_in_order(plan);
            let hands_on = maintains.get(at).copied().unwrap_or(true);
            let ordered = asks || (hands_on && ordered);
            let replaced = bucketed(child, ordered)?;
            // It may have counted on the order of something else than a sort.
            let lacks = plan.is::<SegmentedWindowExec>()
                && orders.get(at).is_some_and(Option::is_some)
                && groups_of(&replaced).is_none();
            if lacks && !ordered { bucketed(child, true) } else { Ok(replaced) }
        })
        .collect::<Result<Vec<_>>>()?;
    if replaced.iter().zip(&children).all(|(new, old)| Arc::ptr_eq(new, old)) {
        return Ok(Arc::clone(plan));
    }
    let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    Arc::clone(plan).replace_children(replaced, options)
}

/// Groups in place of a sort, if its rows come together by hash.
fn grouped(plan: &Plan, sort: &SortExec) -> Result<Option<Plan>> {
    if let Some((key, input)) = repartitioned(sort.input())
        && sort.preserve_partitioning()
        && let Some(order) = after(&key, sort)
    {
        let input = bucketed(input, false)?;
        let leaf = Arc::new(BucketExec::empty(input.schema()));
        let work = Arc::new(GroupSortExec::new(leaf, key.clone(), order, false));
        return Ok(Some(Arc::new(BucketedExec::in_place_of(plan, input, key, true, work))));
    }
    let input = bucketed(sort.input(), false)?;
    if let Some(key) = groups_of(&input)
        && let Some(order) = after(&key, sort)
        && input.output_partitioning().partition_count()
            == plan.output_partitioning().partition_count()
    {
        return Ok(Some(Arc::new(GroupSortExec::new(input, key, order, true))));
    }
    let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    Arc::clone(plan).replace_children(vec![input], options).map(Some)
}

/// What a sort sorts by after a key that it sorts by first, in whatever order of its parts.
fn after(key: &[Arc<dyn PhysicalExpr>], sort: &SortExec) -> Option<Vec<PhysicalSortExpr>> {
    // A sort names nothing twice, a key may.
    let mut distinct: Vec<&Arc<dyn PhysicalExpr>> = Vec::new();
    for part in key {
        if !distinct.contains(&part) {
            distinct.push(part);
        }
    }
    let (first, rest) = sort.expr().split_at_checked(distinct.len())?;
    let is_sorted = |part: &&Arc<dyn PhysicalExpr>| first.iter().any(|one| one.expr.eq(*part));
    let is_first = !distinct.is_empty() && distinct.iter().all(is_sorted);
    is_first.then(|| rest.to_vec())
}

/// The key by which rows come together, if they do.
pub(crate) fn groups_of(plan: &Plan) -> Option<Key> {
    if let Some(bucketed) = plan.downcast_ref::<BucketedExec>() {
        return Some(bucketed.parts.work.downcast_ref::<GroupSortExec>()?.key().to_vec());
    }
    if let Some(sort) = plan.downcast_ref::<GroupSortExec>() {
        return Some(sort.key().to_vec());
    }
    if plan.is::<SegmentedWindowExec>() {
        // Its columns come after those of its input.
        return groups_of(plan.children()[0]);
    }
    if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        let key = groups_of(filter.input())?;
        let Some(projection) = filter.projection() else { return Some(key) };
        let handed_on = |part: &Arc<dyn PhysicalExpr>| -> Option<Arc<dyn PhysicalExpr>> {
            let column = part.downcast_ref::<Column>()?;
            let at = projection.iter().position(|from| *from == column.index())?;
            Some(Arc::new(Column::new(column.name(), at)))
        };
        return key.iter().map(handed_on).collect();
    }
    let projection = plan.downcast_ref::<ProjectionExec>()?;
    let handed_on = |key: &Arc<dyn PhysicalExpr>| -> Option<Arc<dyn PhysicalExpr>> {
        let at = projection.expr().iter().position(|one| one.expr.eq(key))?;
        Some(Arc::new(Column::new(&projection.expr()[at].alias, at)))
    };
    groups_of(projection.input())?.iter().map(handed_on).collect()
}

/// An operator's work in buckets, if it is work on all rows of a key.
fn work(plan: &Plan, child: &Plan) -> Result<Option<Plan>> {
    let repartitioned = repartitioned(child);
    let is_first_row = plan.downcast_ref::<FirstRowExec>();
    let (key, input, across) = match (repartitioned, is_first_row) {
        (Some((key, input)), Some(_)) => (key, input, true),
        (None, Some(first)) => (first.key().to_vec(), child, false),
        (Some((key, input)), None) if counts(plan, AggregateMode::FinalPartitioned) => {
            (key, input, true)
        }
        (None, None) if counts(plan, AggregateMode::SinglePartitioned) => {
            return in_two(plan, child);
        }
        _ => return Ok(None),
    };
    let input = bucketed(input, false)?;
    let leaf = Arc::new(BucketExec::empty(input.schema()));
    let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    let work = Arc::clone(plan).replace_children(vec![leaf], options)?;
    Ok(Some(Arc::new(BucketedExec::in_place_of(plan, input, key, across, work))))
}

/// Whether a plan may have been told that its rows come in the order that its aggregates want.
fn reads_in_order(plan: &Plan) -> bool {
    plan.downcast_ref::<AggregateExec>()
        .is_some_and(|all| all.aggr_expr().iter().any(|one| !one.order_bys().is_empty()))
}

/// An aggregation of rows that are where they belong by a part of their key: they are counted as they
/// come, and what was counted is put together in buckets.
fn in_two(plan: &Plan, child: &Plan) -> Result<Option<Plan>> {
    let Some(aggregate) = plan.downcast_ref::<AggregateExec>() else { return Ok(None) };
    let (functions, schema) = (aggregate.aggr_expr().to_vec(), aggregate.input_schema());
    let partial: Plan = Arc::new(AggregateExec::try_new(
        AggregateMode::Partial,
        aggregate.group_expr().clone(),
        functions.clone(),
        aggregate.filter_expr().to_vec(),
        bucketed(child, false)?,
        Arc::clone(&schema),
    )?);
    let group = aggregate.group_expr().as_final();
    let key = group.input_exprs();
    let leaf = Arc::new(BucketExec::empty(partial.schema()));
    let filters = vec![None; functions.len()];
    let mode = AggregateMode::FinalPartitioned;
    let work: Plan =
        Arc::new(AggregateExec::try_new(mode, group, functions, filters, leaf, schema)?);
    let is_same = work.schema() == plan.schema();
    Ok(is_same
        .then(|| Arc::new(BucketedExec::in_place_of(plan, partial, key, false, work)) as Plan))
}

/// Whether a plan aggregates all rows of a group, in an order that changes nothing.
fn counts(plan: &Plan, mode: AggregateMode) -> bool {
    plan.downcast_ref::<AggregateExec>().is_some_and(|aggregate| {
        *aggregate.mode() == mode
            && aggregate.group_expr().is_single()
            && !aggregate.group_expr().is_empty()
            && aggregate.limit_options().is_none()
            && !reads_in_order(plan)
    })
}

/// What a repartitioning by hash spreads by which key.
fn repartitioned(plan: &Plan) -> Option<(Key, &Plan)> {
    let repartition = plan.downcast_ref::<RepartitionExec>()?;
    match repartition.partitioning() {
        Partitioning::Hash(key, _) if !repartition.preserve_order() => {
            Some((key.clone(), repartition.input()))
        }
        _ => None,
    }
}
