//! What actions will probably take, from what they took before and from the input that lies there.

use std::collections::BTreeMap;

use serde::Serialize;

use super::demand::source_reads;
use super::{Action, Facts, Plan};
use crate::pipeline::graph::Pipeline;
use crate::run::record::{Status, StepRecord};

/// Actions that a run does at once unless it is told otherwise.
const PARALLEL: usize = 2;

/// What earlier runs of a pipeline took.
#[derive(Debug, Clone, Default)]
pub struct Forecast {
    /// By step and word for the action.
    known: BTreeMap<(String, String), Observed>,
}

/// Means over the times that a step did one kind of action.
#[derive(Debug, Clone, Copy, Default)]
struct Observed {
    times: u32,
    seconds: f64,
    rows_in: f64,
    rows_out: f64,
    bytes_in: f64,
    bytes_out: f64,
}

/// What an action will probably take. What nobody knows is absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Guess {
    /// Seconds.
    pub seconds: Option<f64>,
    /// Rows that come in.
    pub rows_in: Option<u64>,
    /// Rows that go out; items of a load.
    pub rows_out: Option<u64>,
    /// Bytes of raw input, as stored.
    pub bytes_in: Option<u64>,
    /// Bytes that are written.
    pub bytes_out: Option<u64>,
    /// How often the step did this in the runs that were looked at.
    pub seen: u32,
}

/// How long a plan will probably take.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Wall {
    /// Seconds of what is known, done two at a time and in the order of the plan.
    pub seconds: f64,
    /// Actions that nobody knows the time of.
    pub unknown: usize,
}

impl Forecast {
    /// Learns from the records of steps that succeeded.
    pub fn of_records<'a>(records: impl IntoIterator<Item = &'a StepRecord>) -> Self {
        let mut known: BTreeMap<(String, String), Observed> = BTreeMap::new();
        for record in records {
            let (Status::Succeeded, Some(finished)) = (record.status, record.finished) else {
                continue;
            };
            let seconds = (finished - record.started).as_seconds_f64().max(0.0);
            let report = &record.report;
            let seen = known.entry((record.step.to_string(), record.action.clone())).or_default();
            seen.times += 1;
            let share = 1.0 / f64::from(seen.times);
            for (mean, value) in [
                (&mut seen.seconds, seconds),
                (&mut seen.rows_in, report.rows_in as f64),
                (&mut seen.rows_out, report.rows_out as f64),
                (&mut seen.bytes_in, report.bytes_in as f64),
                (&mut seen.bytes_out, report.bytes_out as f64),
            ] {
                *mean += (value - *mean) * share;
            }
        }
        Self { known }
    }

    /// What each action of a plan will probably take.
    pub fn of(&self, pipeline: &Pipeline, plan: &Plan, facts: &Facts) -> Vec<Guess> {
        plan.actions.iter().map(|action| self.guess(pipeline, action, facts)).collect()
    }

    fn guess(&self, pipeline: &Pipeline, action: &Action, facts: &Facts) -> Guess {
        let input = input(pipeline, action, facts);
        let key = (action.step.to_string(), action.kind.word().to_owned());
        let Some(seen) = self.known.get(&key) else {
            return Guess { bytes_in: input, ..Guess::default() };
        };
        // Twice the input takes about twice of all else.
        let scale = match input {
            Some(bytes) if seen.bytes_in > 0.0 => bytes as f64 / seen.bytes_in,
            _ => 1.0,
        };
        let scaled = |mean: f64| Some(whole(mean * scale));
        let or_none = |mean: f64| if mean > 0.0 { scaled(mean) } else { None };
        Guess {
            seconds: Some(seen.seconds * scale),
            rows_in: or_none(seen.rows_in),
            rows_out: or_none(seen.rows_out),
            bytes_in: input.or(or_none(seen.bytes_in)),
            bytes_out: or_none(seen.bytes_out),
            seen: seen.times,
        }
    }
}

/// Bytes of the raw input of an action; absent if it reads none, or nobody listed it.
fn input(pipeline: &Pipeline, action: &Action, facts: &Facts) -> Option<u64> {
    let step = pipeline.step(action.step.as_str())?;
    let reads = source_reads(pipeline, step, action.partition);
    if reads.is_empty() || facts.assumed {
        return None;
    }
    let bytes = |read| facts.listings.get(read).filter(|it| it.files > 0).map(|it| it.bytes);
    reads.iter().map(bytes).sum()
}

impl Guess {
    /// Seconds without their fraction, at least one.
    pub fn whole_seconds(&self) -> Option<u64> {
        self.seconds.map(|seconds| whole(seconds.ceil()).max(1))
    }

    /// How long a plan takes whose actions take so long: done two at a time, each as soon as what it
    /// needs is done.
    pub fn wall(plan: &Plan, guesses: &[Self]) -> Wall {
        let mut wall = Wall::default();
        let mut ends: Vec<f64> = vec![0.0; plan.actions.len()];
        let mut free = [0.0_f64; PARALLEL];
        for (index, (action, guess)) in plan.actions.iter().zip(guesses).enumerate() {
            if !action.runs() {
                continue;
            }
            let Some(seconds) = guess.seconds else {
                wall.unknown += 1;
                continue;
            };
            let ready = action.needs.iter().map(|need| ends[*need]).fold(0.0, f64::max);
            free.sort_by(f64::total_cmp);
            let end = free[0].max(ready) + seconds;
            free[0] = end;
            ends[index] = end;
            wall.seconds = wall.seconds.max(end);
        }
        wall
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an estimate of something that is counted"
)]
fn whole(value: f64) -> u64 {
    value.max(0.0).round() as u64
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta, Utc};

    use super::*;
    use crate::pipeline::interval::Partition;
    use crate::pipeline::name::Name;
    use crate::run::record::{RunId, StepReport};

    fn record(status: Status, seconds: i64, rows: u64) -> StepRecord {
        let started = DateTime::<Utc>::UNIX_EPOCH;
        StepRecord {
            run: RunId::from_text("r"),
            step: Name::new("clean").unwrap(),
            action: "sql".to_owned(),
            partition: Partition::Whole,
            status,
            started,
            finished: Some(started + TimeDelta::seconds(seconds)),
            report: StepReport { rows_out: rows, bytes_in: 100, ..StepReport::default() },
            failure: None,
            earlier: Default::default(),
        }
    }

    #[test]
    fn what_succeeded_is_averaged() {
        let records = [
            record(Status::Succeeded, 2, 10),
            record(Status::Succeeded, 4, 30),
            record(Status::Failed, 100, 0),
        ];
        let forecast = Forecast::of_records(&records);
        let seen = forecast.known[&("clean".to_owned(), "sql".to_owned())];
        assert_eq!((seen.times, seen.seconds, seen.rows_out), (2, 3.0, 20.0));
    }
}
