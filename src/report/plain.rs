//! Timestamped lines without colours, for logs.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io::Write;
use std::sync::Mutex;

use chrono::{DateTime, SecondsFormat, Utc};

use super::history::History;
use super::level::Level;
use super::number::{count, duration, metric};
use super::paint::Paint;
use super::summary::{Closing, closing_lines, plan_lines, status_line};
use super::words::{
    again, deadline_missed, deadline_nears, headway, outcome, subject, took, warning,
};
use super::{Now, Setup, lock, problems, write_line, writer};
use crate::pipeline::interval::LogicalDate;
use crate::pipeline::name::Name;
use crate::run::event::{EventSink, RunEvent, Unit};
use crate::run::failure::Failure;
use crate::run::record::Status;

/// Seconds that a unit runs before a log hears of its progress, and between two such lines.
const SILENCE: f64 = 10.0;

/// Writes lines of `time LEVEL text`.
pub struct Plain {
    now: Now,
    quiet: bool,
    state: Mutex<State>,
}

struct State {
    out: Box<dyn Write + Send>,
    about: Option<(Name, LogicalDate)>,
    history: History,
    /// When a unit began and when it was last heard of.
    running: HashMap<Unit, (DateTime<Utc>, DateTime<Utc>)>,
    /// The same of the sample data.
    sample: Option<(DateTime<Utc>, DateTime<Utc>)>,
}

impl Plain {
    /// Makes one.
    pub fn new(setup: Setup) -> Self {
        let state = State {
            out: writer(setup.out),
            about: None,
            history: History::default(),
            running: HashMap::new(),
            sample: None,
        };
        Self { now: setup.now, quiet: setup.quiet, state: Mutex::new(state) }
    }
}

impl EventSink for Plain {
    fn emit(&self, event: RunEvent) {
        let now = (self.now)();
        let mut state = lock(&self.state);
        let last = matches!(event, RunEvent::RunFinished { .. });
        let lines = state.take(event, now);
        let loud = |level: Level| !self.quiet || level >= Level::Warn;
        let end = lines.len();
        for (at, (level, text)) in lines.into_iter().enumerate() {
            // The line that closes a run is told in any case.
            if loud(level) || (last && at + 1 == end) {
                let ts = now.to_rfc3339_opts(SecondsFormat::Secs, true);
                for part in text.lines() {
                    write_line(&mut *state.out, &format!("{ts} {} {part}", level.label()));
                }
            }
        }
    }
}

type Lines = Vec<(Level, String)>;

impl State {
    /// The lines that an event makes.
    fn take(&mut self, event: RunEvent, now: DateTime<Utc>) -> Lines {
        let info = |text: String| vec![(Level::Info, text)];
        match event {
            RunEvent::Noticed { message } => info(message),
            RunEvent::SampleProgressed { done, total } => self.sampled(done, total, now),
            RunEvent::RunStarted { run, pipeline, date, target, to_do, unchanged } => {
                let mut lines = info(format!("{pipeline} {date} on {target}, run {run}"));
                let plan = plan_lines(&to_do, unchanged, Paint::off());
                lines.extend(plan.into_iter().map(|line| (Level::Info, line)));
                self.history = History::new(date, &to_do);
                self.about = Some((pipeline, date));
                lines
            }
            RunEvent::StepStarted { unit } => {
                if self.history.owns(&unit) {
                    self.history.begin(now);
                }
                self.running.insert(unit, (now, now));
                Vec::new()
            }
            RunEvent::StepProgressed { unit, progress } => {
                let Some((began, heard)) = self.running.get_mut(&unit) else {
                    return Vec::new();
                };
                if since(*heard, now) < SILENCE {
                    return Vec::new();
                }
                *heard = now;
                let seconds = since(*began, now);
                let headway = headway(&progress, seconds).replace("  ", ", ");
                let comma = if headway.is_empty() { "" } else { ", " };
                let age = duration(seconds);
                info(format!("{}: running for {age}{comma}{headway}", subject(&unit)))
            }
            RunEvent::TrialFinished { unit, trial, of, hyperparameters, result, metric: name } => {
                let head = format!("{}: trial {trial}/{of}", subject(&unit));
                if let Some((_, heard)) = self.running.get_mut(&unit) {
                    *heard = now;
                }
                vec![match result {
                    Ok(value) => (
                        Level::Info,
                        format!("{head}, {name} {} ({hyperparameters})", metric(value)),
                    ),
                    Err(why) => (Level::Warn, format!("{head} failed: {why} ({hyperparameters})")),
                }]
            }
            RunEvent::StepRetried { unit, attempt, of, wait, failure } => {
                self.running.remove(&unit);
                let text = format!("{}: {}", subject(&unit), again(attempt, of, wait, &failure));
                vec![(Level::Warn, text)]
            }
            RunEvent::DeadlineNeared { due, left, because } => {
                vec![(Level::Warn, deadline_nears(due, left, &because))]
            }
            RunEvent::DeadlineMissed { due, because, stops } => {
                vec![(Level::Error, deadline_missed(due, &because, stops))]
            }
            RunEvent::StepFinished { unit, status, seconds, report, failure } => {
                self.running.remove(&unit);
                let mut lines = Lines::new();
                let own = !self.history.owns(&unit);
                if own || matches!(status, Status::Failed) {
                    let failed = failure.as_ref();
                    lines = ended(&unit, status, seconds, &outcome(status, &report), failed);
                }
                let told = report.checks.iter().filter(|it| own || it.is_warning());
                lines.extend(
                    told.filter_map(warning)
                        .map(|text| (Level::Warn, format!("{}: {text}", subject(&unit)))),
                );
                if let Some((status, day)) = self.history.end(&unit, status, seconds, &report, now)
                {
                    // The units that failed have their own lines at the level of errors.
                    lines.push((Level::of(status).min(Level::Warn), day));
                }
                lines
            }
            RunEvent::RunFinished { run, status, seconds, summary } => {
                let closing = Closing {
                    run: &run,
                    about: self.about.as_ref().map(|(name, date)| (name, *date)),
                    status,
                    seconds,
                    summary: &summary,
                    // A log has them above, with their level.
                    failures: &[],
                };
                let mut lines = Lines::new();
                let told = self.history.closing().into_iter();
                let told = told.chain(closing_lines(&closing, Paint::off()));
                // A log has no use for the blank lines that give a screen its shape.
                let told = told.filter(|line| !line.is_empty());
                lines.extend(told.map(|line| (Level::Info, line)));
                lines.push((Level::of(status), status_line(&closing, Paint::off())));
                lines
            }
            // It says the same as the line before it, to machines.
            RunEvent::RunExited { .. } => Lines::new(),
        }
    }

    fn sampled(&mut self, done: u64, total: u64, now: DateTime<Utc>) -> Lines {
        let (began, heard) = self.sample.get_or_insert((now, now));
        let text = if done >= total {
            let took = took(since(*began, now));
            self.sample = None;
            format!("sample data: {} events made {took}", count(done))
        } else if since(*heard, now) >= SILENCE {
            *heard = now;
            format!("sample data: {} of {} events", count(done), count(total))
        } else {
            return Lines::new();
        };
        vec![(Level::Info, text)]
    }
}

/// The lines of a unit that ended.
fn ended(
    unit: &Unit,
    status: Status,
    seconds: f64,
    outcome: &str,
    failure: Option<&Failure>,
) -> Lines {
    let subject = subject(unit);
    let level = Level::of(status);
    let text = match (status, failure) {
        (Status::Succeeded, _) => {
            let deed = if outcome.is_empty() { "done" } else { outcome };
            format!("{subject}: {deed} {}", took(seconds))
        }
        (Status::Failed, Some(failure)) => {
            let (after, kind) = (duration(seconds), failure.kind.word());
            format!("{subject} failed after {after}: [{kind}] {}", failure.message)
        }
        (Status::Failed, None) => format!("{subject} failed after {}", duration(seconds)),
        (_, _) => format!("{subject}: {outcome}"),
    };
    let mut lines = vec![(level, text)];
    if let (Status::Failed, Some(failure)) = (status, failure) {
        let places = failure.problems.iter().map(|it| format!("  {}", problems::line(it)));
        let hint = failure.hint.as_ref().map(|hint| format!("  hint: {hint}"));
        lines.extend(places.chain(hint).map(|line| (Level::Error, line)));
    }
    lines
}

fn since(then: DateTime<Utc>, now: DateTime<Utc>) -> f64 {
    (now - then).as_seconds_f64()
}
