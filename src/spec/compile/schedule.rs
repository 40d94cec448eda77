//! When a pipeline runs and by when it has to be done, as written and as meant.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::NaiveTime;
use chrono_tz::{TZ_VARIANTS, Tz};

use super::super::job::parse_time;
use super::super::problems::Problems;
use super::super::project::{DeadlineSpec, MissedSpec, PipelineSpec, ScheduleSpec};
use super::super::yaml::Spanned;
use crate::pipeline::nearest::nearest;
use crate::pipeline::schedule::{Average, Deadline, Missed, Schedule};
use crate::pipeline::step::PROJECT_FILE;
use crate::run::rule::Rule;

/// The share of the time until a deadline after which a warning is given, where none is said.
pub(in crate::spec) const DEFAULT_WARN_AT: f64 = 0.8;
/// Runs of which an average is made, where none is said.
pub(in crate::spec) const DEFAULT_AVERAGE_RUNS: usize = 7;
/// The most runs of which an average is made: the last runs are looked through for them.
const MOST_AVERAGE_RUNS: usize = 30;

pub(super) fn compile_schedule(spec: &PipelineSpec, problems: &mut Problems) -> Option<Schedule> {
    let ScheduleSpec { at, timezone } = spec.schedule.as_ref()?;
    let at = clock(at, problems);
    let timezone = match timezone {
        None => Some(Tz::UTC),
        Some(text) => text.value.parse::<Tz>().ok().or_else(|| {
            let message = format!("unknown time zone `{}`", text.value);
            let known = TZ_VARIANTS.iter().map(|zone| (zone.name().to_lowercase(), zone.name()));
            let known: BTreeMap<String, &str> = known.collect();
            let near = nearest(&text.value, known.keys().map(String::as_str));
            let hint = match near.and_then(|near| known.get(near)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "expected a name such as `Europe/Berlin`, or `UTC`".to_owned(),
            };
            wrong(text, message, hint, problems);
            None
        }),
    };
    Some(Schedule { at: at?, timezone: timezone? })
}

pub(super) fn compile_deadline(spec: &PipelineSpec, problems: &mut Problems) -> Option<Deadline> {
    let deadline = spec.deadline.as_ref()?;
    let DeadlineSpec { at, after_schedule, after_start, average, warn_at, missed } =
        &deadline.value;
    if at.is_none() && after_schedule.is_none() && after_start.is_none() && average.is_none() {
        let hint = "expected `at`, `after_schedule`, `after_start` or `average`".to_owned();
        wrong(deadline, "nothing says when the deadline is".to_owned(), hint, problems);
    }
    let needs = [(at.as_ref(), "at"), (after_schedule.as_ref(), "after_schedule")];
    for (text, field) in needs {
        if let (Some(text), None) = (text, &spec.schedule) {
            let message = format!("`{field}` counts from the schedule, of which there is none");
            let hint = "add `schedule: {at: \"03:00\", timezone: Europe/Berlin}`".to_owned();
            wrong(text, message, hint, problems);
        }
    }
    let average = average.as_ref().map(|average| {
        let runs = average.runs.as_ref().map_or(DEFAULT_AVERAGE_RUNS, |runs| runs.value);
        if let Some(text) =
            average.runs.as_ref().filter(|_| !(1..=MOST_AVERAGE_RUNS).contains(&runs))
        {
            let message = format!("expected 1 to {MOST_AVERAGE_RUNS} runs");
            wrong(text, message, "the last runs that succeeded".to_owned(), problems);
        }
        let factor = average.factor.value;
        if !(1.0..=100.0).contains(&factor) {
            let message = "expected a factor from 1 to 100".to_owned();
            let hint = "half of all runs take longer than the average".to_owned();
            wrong(&average.factor, message, hint, problems);
        }
        Average { runs, factor }
    });
    if let Some(share) = warn_at.as_ref().filter(|it| !(0.0..1.0).contains(&it.value)) {
        let message = "expected a share from 0 to below 1".to_owned();
        let hint = "of the time from the start to the deadline".to_owned();
        wrong(share, message, hint, problems);
    }
    let mut time = |text: &Option<Spanned<String>>| -> Option<Duration> {
        let text = text.as_ref()?;
        let time = parse_time(&text.value);
        if time.is_none() {
            let message = format!("`{}` is not a length of time", text.value);
            wrong(text, message, "expected `2h` or `90m`".to_owned(), problems);
        }
        time
    };
    let (after_schedule, after_start) = (time(after_schedule), time(after_start));
    Some(Deadline {
        at: at.as_ref().and_then(|at| clock(at, problems)),
        after_schedule,
        after_start,
        average,
        warn_at: warn_at.as_ref().map_or(DEFAULT_WARN_AT, |share| share.value),
        missed: match missed {
            MissedSpec::Stop => Missed::Stop,
            MissedSpec::Warn => Missed::Warn,
        },
    })
}

/// A time on a clock of 24 hours.
fn clock(text: &Spanned<String>, problems: &mut Problems) -> Option<NaiveTime> {
    let time = NaiveTime::parse_from_str(&text.value, "%H:%M").ok();
    let time = time.filter(|_| text.value.len() == 5);
    if time.is_none() {
        let message = format!("`{}` is not a time on a clock", text.value);
        wrong(text, message, "expected `\"03:00\"`, from `00:00` to `23:59`".to_owned(), problems);
    }
    time
}

fn wrong<T>(at: &Spanned<T>, message: String, hint: String, problems: &mut Problems) {
    problems.at(Rule::InvalidValue, PROJECT_FILE, at, message, Some(hint));
}
