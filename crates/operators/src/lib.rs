//! Physical operators for DataFusion, and the rules that put them into plans.
//!
//! Each computes exactly what the operator computes that it replaces, for any query of its shape; the
//! tests hold them against plain SQL on random input.

pub mod first;
pub mod window;

use std::sync::Arc;

use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;

type Rule = Arc<dyn PhysicalOptimizerRule + Send + Sync>;

/// DataFusion's rules for physical plans with ours among them.
pub fn physical_rules() -> Vec<Rule> {
    let mut rules = PhysicalOptimizer::new().rules;
    // What needs no sort has to be known before sorts are put in.
    let requirements = rules.iter().position(|rule| rule.name() == "EnsureRequirements");
    if let Some(at) = requirements {
        rules.insert(at, Arc::new(first::FirstRows));
    }
    rules.push(Arc::new(window::SegmentedWindows));
    rules
}
