//! A backfill's plan for programs. The shape is documented in docs/backfill.md and changes with its
//! version.

use serde_json::{Value, json};

use super::About;
use crate::plan::backfill::{Backfill, Part, at_most};

/// The version of the format.
pub const VERSION: u32 = 1;

/// The plan as one JSON object.
pub fn object(backfill: &Backfill, about: &About<'_>) -> Value {
    let Backfill { pipeline, asked, parts, done, passed_over, refused, states, not_served, sum } =
        backfill;
    let refused = refused.iter().map(|(date, why)| json!({"date": date, "reason": why.message}));
    let states: serde_json::Map<String, Value> =
        states.iter().map(|(date, states)| (date.to_string(), json!(states))).collect();
    json!({
        "version": VERSION,
        "pipeline": pipeline,
        "target": about.target,
        "from": asked.range.first(),
        "to": asked.range.last(),
        "order": asked.order,
        "only": asked.only,
        "serve": asked.serve,
        "runs": parts.iter().map(run).collect::<Vec<_>>(),
        "states": states,
        "done": done,
        "passed_over": passed_over,
        "refused": refused.collect::<Vec<_>>(),
        "not_served": not_served,
        "sum": {
            "units": sum.to_do,
            "seconds": (sum.wall.unknown == 0 || sum.wall.seconds > 0.0).then_some(sum.wall.seconds),
            "unknown": sum.wall.unknown,
            "cost": sum.cost,
            "at_most": sum.cost.as_ref().map(at_most),
            "max_cost": about.max_cost,
        },
    })
}

fn run(part: &Part) -> Value {
    let units: serde_json::Map<String, Value> =
        part.units.iter().map(|(kind, units)| (kind.word().to_owned(), json!(units))).collect();
    json!({
        "date": part.date,
        "scope": part.scope,
        "waits": part.waits,
        "units": units,
        "seconds": (part.wall.unknown == 0 || part.wall.seconds > 0.0).then_some(part.wall.seconds),
        "unknown": part.wall.unknown,
        "cost": part.cost.as_ref().map(|cost| cost.amount),
        "at_most": part.cost.as_ref().map(at_most),
    })
}
