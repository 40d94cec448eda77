//! Where segmented windows stand in for DataFusion's.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{ExecutionPlan, InputOrderMode};

use super::SegmentedWindowExec;

/// Puts [`SegmentedWindowExec`] in place of window operators whose partitions follow one another.
#[derive(Debug)]
pub struct SegmentedWindows;

impl PhysicalOptimizerRule for SegmentedWindows {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let replaced = plan.transform_up(|node| {
            let expressions = if let Some(window) = node.downcast_ref::<BoundedWindowAggExec>()
                && window.input_order_mode == InputOrderMode::Sorted
            {
                window.window_expr().to_vec()
            } else if let Some(window) = node.downcast_ref::<WindowAggExec>() {
                window.window_expr().to_vec()
            } else {
                return Ok(Transformed::no(node));
            };
            Ok(match SegmentedWindowExec::in_place_of(Arc::clone(&node), expressions) {
                Some(window) => Transformed::yes(Arc::new(window)),
                None => Transformed::no(node),
            })
        });
        Ok(replaced?.data)
    }

    fn name(&self) -> &'static str {
        "segmented_windows"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
