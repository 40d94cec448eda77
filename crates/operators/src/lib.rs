//! Physical operators for DataFusion, and the rules that put them into plans.
//!
//! Each computes exactly what the operator computes that it replaces, for any query of its shape; the
//! tests hold them against plain SQL on random input.

pub mod buckets;
mod columns;
pub mod first;
pub mod groups;
mod runs;
pub mod window;

use std::sync::Arc;

use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;

type Rule = Arc<dyn PhysicalOptimizerRule + Send + Sync>;

/// DataFusion's rules for physical plans with ours among them.
pub fn physical_rules() -> Vec<Rule> {
    let mut rules = PhysicalOptimizer::new().rules;
    // What needs no sort has to be known before sorts are put in, and what order the result must have
    // is known until its requirement is taken out.
    if let Some(at) = rules.iter().position(|rule| rule.name() == "EnsureRequirements") {
        rules.insert(at, Arc::new(first::FirstRows));
    }
    if let Some(at) = rules.iter().rposition(|rule| rule.name() == "OutputRequirements") {
        rules.insert(at, Arc::new(window::SegmentedWindows));
        rules.insert(at + 1, Arc::new(buckets::Bucketed));
    }
    rules
}
