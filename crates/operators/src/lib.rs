//! Physical operators for DataFusion, and the rules that put them into plans.
//!
//! Each computes exactly what the operator computes that it replaces, for any query of its shape; the
//! tests hold them against plain SQL on random input.

pub mod window;

use std::sync::Arc;

use datafusion::physical_optimizer::PhysicalOptimizerRule;

/// The rules, in the order in which they run after DataFusion's own.
pub fn rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    vec![Arc::new(window::SegmentedWindows)]
}
