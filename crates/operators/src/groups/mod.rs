//! Rows with the same key one after another, sorted among themselves.
//!
//! A window needs no more of its input than that. A full sort also brings the keys into their order,
//! which compares keys with keys most of the time; here they are told apart by their hash.

mod stream;

use std::fmt;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties,
    PlanProperties, ReplaceChildrenOptions,
};

/// Brings rows of the same key together and sorts them; keys come in no order.
#[derive(Debug)]
pub struct GroupSortExec {
    input: Arc<dyn ExecutionPlan>,
    key: Vec<Arc<dyn PhysicalExpr>>,
    order: Vec<PhysicalSortExpr>,
    /// Whether rows of the same key are together already. If they are, rows come out as they come in;
    /// if not, all of a partition are held.
    grouped: bool,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl GroupSortExec {
    pub(crate) fn new(
        input: Arc<dyn ExecutionPlan>,
        key: Vec<Arc<dyn PhysicalExpr>>,
        order: Vec<PhysicalSortExpr>,
        grouped: bool,
    ) -> Self {
        let mut equivalences = input.equivalence_properties().clone();
        equivalences.clear_orderings();
        let properties = Arc::new(PlanProperties::new(
            equivalences,
            input.output_partitioning().clone(),
            if grouped { EmissionType::Incremental } else { EmissionType::Final },
            Boundedness::Bounded,
        ));
        let metrics = ExecutionPlanMetricsSet::new();
        Self { input, key, order, grouped, properties, metrics }
    }

    /// What rows are brought together by.
    pub(crate) fn key(&self) -> &[Arc<dyn PhysicalExpr>] {
        &self.key
    }
}

impl DisplayAs for GroupSortExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key: Vec<String> = self.key.iter().map(ToString::to_string).collect();
        let order: Vec<String> = self.order.iter().map(ToString::to_string).collect();
        write!(f, "GroupSortExec: key=[{}], order=[{}]", key.join(", "), order.join(", "))?;
        write!(f, ", grouped={}", self.grouped)
    }
}

impl ExecutionPlan for GroupSortExec {
    fn name(&self) -> &'static str {
        "GroupSortExec"
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
        for expression in self.key.iter().chain(self.order.iter().map(|one| &one.expr)) {
            if f(expression)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (key, order) = (self.key.clone(), self.order.clone());
        Ok(Arc::new(Self::new(children.swap_remove(0), key, order, self.grouped)))
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
        let parts = stream::Parts {
            input: self.input.execute(partition, Arc::clone(&context))?,
            key: self.key.clone(),
            order: self.order.clone(),
            context,
            metrics: BaselineMetrics::new(&self.metrics, partition),
        };
        Ok(match self.grouped {
            true => stream::of_grouped(parts),
            false => stream::of_any(parts),
        })
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}
