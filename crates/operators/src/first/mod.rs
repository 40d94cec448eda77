//! Which row of each key comes first, without a sort.
//!
//! `row_number() OVER (PARTITION BY key ORDER BY …)` sorts all rows, wide as they are, by a key that
//! is often random. Where a query asks only whether the number is one, as those do that look for
//! copies, it is enough to keep the first row of each key so far in a hash table.

mod rule;
mod stream;
mod table;

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{
    Distribution, EquivalenceProperties, LexOrdering, PhysicalExpr, PhysicalSortExpr,
};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties,
    InputDistributionRequirements, PlanProperties, ReplaceChildrenOptions,
};

pub use self::rule::FirstRows;

/// Adds a column that is 1 in the first row of each key and 2 in all others.
///
/// Rows stay in their order. Of rows that the order does not tell apart, the one that came first is
/// first. All rows are held until the last came, so it works on a bucket at a time
/// ([`BucketedExec`](crate::buckets::BucketedExec)).
#[derive(Debug)]
pub struct FirstRowExec {
    input: Arc<dyn ExecutionPlan>,
    key: Vec<Arc<dyn PhysicalExpr>>,
    order: LexOrdering,
    /// The column that is added.
    field: FieldRef,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl FirstRowExec {
    fn new(
        input: Arc<dyn ExecutionPlan>,
        key: Vec<Arc<dyn PhysicalExpr>>,
        order: LexOrdering,
        field: FieldRef,
    ) -> Self {
        let fields: Vec<FieldRef> =
            input.schema().fields().iter().cloned().chain([Arc::clone(&field)]).collect();
        let schema: SchemaRef =
            Arc::new(Schema::new_with_metadata(fields, input.schema().metadata().clone()));
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(schema),
            input.output_partitioning().clone(),
            EmissionType::Final,
            Boundedness::Bounded,
        ));
        let metrics = ExecutionPlanMetricsSet::new();
        Self { input, key, order, field, properties, metrics }
    }
}

impl FirstRowExec {
    /// What tells rows apart of which one is first.
    pub(crate) fn key(&self) -> &[Arc<dyn PhysicalExpr>] {
        &self.key
    }
}

impl DisplayAs for FirstRowExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key: Vec<String> = self.key.iter().map(ToString::to_string).collect();
        write!(f, "FirstRowExec: key=[{}], order=[{}]", key.join(", "), self.order)
    }
}

impl ExecutionPlan for FirstRowExec {
    fn name(&self) -> &'static str {
        "FirstRowExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        let order = self.order.iter().map(|PhysicalSortExpr { expr, .. }| expr);
        for expression in self.key.iter().chain(order) {
            if f(expression)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::new(vec![Distribution::KeyPartitioned(self.key.clone())])
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self::new(
            children.swap_remove(0),
            self.key.clone(),
            self.order.clone(),
            Arc::clone(&self.field),
        )))
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
        let input = self.input.execute(partition, Arc::clone(&context))?;
        Ok(stream::first_rows(stream::Parts {
            input,
            schema: self.schema(),
            key: self.key.clone(),
            order: self.order.clone(),
            context,
            metrics: BaselineMetrics::new(&self.metrics, partition),
        }))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}
