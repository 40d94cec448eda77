//! A preview for programs. The shape is documented in docs/plan.md and changes with its version.

use serde::Serialize;
use serde_json::{Value, json};

use crate::pipeline::interval::LogicalDate;
use crate::plan::Verdict;
use crate::plan::effects::{Call, Effect};
use crate::plan::forecast::{Guess, Wall};
use crate::plan::preview::{Day, Days, Preview};
use crate::plan::prices::Cost;

/// The version of the format.
pub const VERSION: u32 = 1;

/// One action.
#[derive(Serialize)]
struct ActionView<'a> {
    step: &'a str,
    action: &'static str,
    partition: String,
    verdict: &'static str,
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    unchanged_since: Option<&'a str>,
    /// Positions of the actions that come before.
    needs: &'a [usize],
    estimate: &'a Guess,
    effects: &'a [Effect],
}

/// One day.
#[derive(Serialize)]
struct DayView<'a> {
    date: LogicalDate,
    notices: &'a [String],
    to_do: usize,
    unchanged: usize,
    missing: Value,
    actions: Vec<ActionView<'a>>,
    run_effects: &'a [Effect],
    calls: &'a [Call],
    time: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<&'a Cost>,
}

/// The preview as one JSON object.
pub fn object(preview: &Preview) -> Value {
    let mut object = json!({
        "version": VERSION,
        "pipeline": preview.pipeline,
        "target": preview.target,
        "basis": preview.basis,
        "assumptions": preview.assumptions,
        "prices": preview.prices,
    });
    let refused = preview.refused.iter().map(|(date, why)| json!({"date": date, "reason": why}));
    let days = match &preview.days {
        Days::Each(days) => json!({
            "days": days.iter().map(day).collect::<Vec<_>>(),
            "refused": refused.collect::<Vec<_>>(),
        }),
        Days::Multiplied { first, next, days, last } => json!({
            "multiplied": {
                "from": first.plan.date,
                "to": last,
                "days": days,
                "first_day": day(first),
                "each_next_day": day(next),
            },
        }),
    };
    let sum = &preview.sum;
    let sum = json!({
        "to_do": sum.to_do,
        "unchanged": sum.unchanged,
        "bytes_in": sum.bytes_in,
        "time": time(&sum.wall),
        "cost": sum.cost,
        "calls": sum.calls,
    });
    if let Value::Object(members) = &mut object {
        if let Value::Object(days) = days {
            members.extend(days);
        }
        members.insert("sum".to_owned(), sum);
    }
    object
}

/// Seconds of what is known; nothing is known where there are none.
fn time(wall: &Wall) -> Value {
    let seconds = (wall.unknown == 0 || wall.seconds > 0.0).then_some(wall.seconds);
    json!({"seconds": seconds, "unknown": wall.unknown})
}

fn day(day: &Day) -> DayView<'_> {
    let all = day.plan.actions.iter().zip(&day.effects.actions).zip(&day.guesses);
    let actions: Vec<ActionView<'_>> = all
        .map(|((action, effects), estimate)| {
            let (verdict, reason, unchanged_since) = match &action.verdict {
                Verdict::Run(reason) => ("run", reason.clone(), None),
                Verdict::Skip(run) => {
                    ("skip", format!("unchanged since run {run}"), Some(run.as_str()))
                }
                Verdict::Adopt(run) => ("adopt", format!("made by run {run}, which died"), None),
            };
            ActionView {
                step: action.step.as_str(),
                action: action.kind.word(),
                partition: action.partition.key(),
                verdict,
                reason,
                unchanged_since,
                needs: &action.needs,
                estimate,
                effects,
            }
        })
        .collect();
    let to_do = day.to_do().count();
    let range = |(first, last): &(LogicalDate, LogicalDate)| json!({"from": first, "to": last});
    let missing: serde_json::Map<String, Value> = day
        .missing()
        .into_iter()
        .map(|(table, ranges)| {
            let ranges: Vec<Value> = ranges.iter().map(range).collect();
            let what = if ranges.is_empty() { json!("all") } else { json!(ranges) };
            (table.to_owned(), what)
        })
        .collect();
    DayView {
        date: day.plan.date,
        notices: &day.plan.notices,
        to_do,
        unchanged: actions.len() - to_do,
        missing: Value::Object(missing),
        actions,
        run_effects: &day.effects.run,
        calls: &day.calls,
        time: time(&day.wall),
        cost: day.cost.as_ref(),
    }
}
