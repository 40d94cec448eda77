//! Window functions over sorted partitions, computed for many partitions at once.
//!
//! DataFusion's operators keep a state for every partition and ask each function for every partition
//! by itself, which is slow where partitions are small: sessions of visitors, copies of events. Here
//! rows are gathered until whole partitions are there, and a function is computed over all of them in
//! one pass. Functions without such a kernel are asked partition by partition, as `WindowAggExec`
//! does.

mod kernel;
mod rule;
mod stream;

use std::fmt;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::window::WindowExpr;
use datafusion::physical_expr_common::sort_expr::OrderingRequirements;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan,
    InputDistributionRequirements, PlanProperties, ReplaceChildrenOptions,
};

use self::kernel::Kernel;
pub use self::rule::SegmentedWindows;
use crate::buckets::groups_of;

/// A window operator whose input is sorted by the keys of its partitions.
#[derive(Debug)]
pub struct SegmentedWindowExec {
    /// The operator of DataFusion that this one stands for; it knows what it needs and gives.
    replaced: Arc<dyn ExecutionPlan>,
    expressions: Vec<Arc<dyn WindowExpr>>,
    metrics: ExecutionPlanMetricsSet,
}

impl SegmentedWindowExec {
    /// An operator in place of another of one child. `None` if rows of a partition need not follow
    /// one another, or if there is but one partition, which would have to be held in memory.
    fn in_place_of(
        replaced: Arc<dyn ExecutionPlan>,
        expressions: Vec<Arc<dyn WindowExpr>>,
    ) -> Option<Self> {
        let shortest = shortest_key(&expressions);
        let nested = expressions
            .iter()
            .all(|one| shortest.iter().all(|key| one.partition_by().contains(key)));
        (!shortest.is_empty() && nested).then(|| Self {
            replaced,
            expressions,
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }

    fn input(&self) -> &Arc<dyn ExecutionPlan> {
        self.replaced.children()[0]
    }
}

/// The key whose partitions hold those of all others.
fn shortest_key(expressions: &[Arc<dyn WindowExpr>]) -> &[Arc<dyn PhysicalExpr>] {
    let keys = expressions.iter().map(|one| one.partition_by());
    keys.min_by_key(|key| key.len()).unwrap_or_default()
}

impl DisplayAs for SegmentedWindowExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.expressions.iter().map(|one| one.name()).collect();
        write!(f, "SegmentedWindowExec: wdw=[{}]", names.join(", "))
    }
}

impl ExecutionPlan for SegmentedWindowExec {
    fn name(&self) -> &'static str {
        "SegmentedWindowExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.replaced.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.replaced.children()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.replaced.apply_expressions(f)
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        match groups_of(self.input()) {
            // Its partitions follow one another, though the input as a whole is in no order.
            Some(_) => vec![None],
            None => self.replaced.required_input_ordering(),
        }
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        self.replaced.input_distribution_requirements()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        self.replaced.maintains_input_order()
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self {
            replaced: Arc::clone(&self.replaced).replace_children(children, options)?,
            expressions: self.expressions.clone(),
            metrics: ExecutionPlanMetricsSet::new(),
        }))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        self.replace_children(children, options)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let input = self.input().execute(partition, Arc::clone(&context))?;
        let kernels = self.expressions.iter().map(Kernel::of).collect::<Result<Vec<_>>>()?;
        Ok(stream::windows(stream::Parts {
            input,
            schema: self.schema(),
            key: shortest_key(&self.expressions).to_vec(),
            kernels,
            context,
            metrics: BaselineMetrics::new(&self.metrics, partition),
        }))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}
