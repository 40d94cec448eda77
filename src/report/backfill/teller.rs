//! Tells of a backfill as it happens: a line for each run that ends, what fails in it, and the end.
//! What each run did in full is kept: `recctl runs show`.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::{Arc, Mutex};

use chrono::SecondsFormat;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::pipeline::interval::LogicalDate;
use crate::report::level::Level;
use crate::report::number::{count, counted, duration};
use crate::report::paint::Paint;
use crate::report::problems::{hinted, line};
use crate::report::words::{again, span, subject};
use crate::report::{Now, OutputMode, Setup, lock, write_line, writer};
use crate::run::event::{BackfillEvent, BackfillSink, EventSink, RunEvent, Unit};
use crate::run::failure::Failure;
use crate::run::record::{RunId, Status};

/// Units under way, and days at the end, that are named; more are counted.
const UNITS_TOLD: usize = 3;

/// Receives the events of a backfill and of its runs. All clones are one.
#[derive(Clone)]
pub struct Teller(Arc<Inner>);

struct Inner {
    mode: OutputMode,
    quiet: bool,
    paint: Paint,
    now: Now,
    state: Mutex<State>,
}

struct State {
    out: Box<dyn Write + Send>,
    /// The line at the bottom of a terminal.
    bar: ProgressBar,
    running: BTreeSet<String>,
    /// Runs in all and those that have ended.
    runs: (u64, u64),
}

#[derive(Serialize)]
struct Line<'a, Event: Serialize> {
    ts: String,
    level: &'static str,
    /// The day of the run whose event it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    date: Option<LogicalDate>,
    #[serde(flatten)]
    event: &'a Event,
}

impl Teller {
    /// Makes one.
    pub fn new(setup: Setup) -> Self {
        let shows = setup.mode == OutputMode::Terminal && setup.out.is_none() && !setup.quiet;
        let target =
            if shows { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        let style = ProgressStyle::with_template("{spinner} {wide_msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        let state = State { out: writer(setup.out), bar, running: BTreeSet::new(), runs: (0, 0) };
        Self(Arc::new(Inner {
            mode: setup.mode,
            quiet: setup.quiet,
            paint: Paint::new(setup.colour),
            now: setup.now,
            state: Mutex::new(state),
        }))
    }

    /// Says lines of one level; quiet people hear of what went wrong only.
    pub fn say(&self, level: Level, lines: &[String]) {
        self.0.say(level, lines, false);
    }
}

impl Inner {
    fn say(&self, level: Level, lines: &[String], always: bool) {
        if self.quiet && level < Level::Warn && !always {
            return;
        }
        let mut state = lock(&self.state);
        match self.mode {
            OutputMode::Terminal => {
                let State { out, bar, runs, .. } = &mut *state;
                let out = &mut **out;
                let mut write = || lines.iter().for_each(|line| write_line(out, line));
                // A bar that is not shown yet would be drawn.
                if *runs == (0, 0) { write() } else { bar.suspend(write) }
            }
            OutputMode::Plain => {
                let ts = (self.now)().to_rfc3339_opts(SecondsFormat::Secs, true);
                for line in lines.iter().flat_map(|line| line.lines()).filter(|it| !it.is_empty()) {
                    write_line(&mut *state.out, &format!("{ts} {} {line}", level.label()));
                }
            }
            OutputMode::Json => {}
        }
    }

    /// Writes an event as it is, for machines.
    fn write<Event: Serialize>(
        &self,
        level: Level,
        date: Option<LogicalDate>,
        event: &Event,
        always: bool,
    ) {
        if self.mode != OutputMode::Json || (self.quiet && level < Level::Warn && !always) {
            return;
        }
        let ts = (self.now)().to_rfc3339_opts(SecondsFormat::Millis, true);
        let line = Line { ts, level: level.word(), date, event };
        if let Ok(text) = serde_json::to_string(&line) {
            write_line(&mut *lock(&self.state).out, &text);
        }
    }

    /// Shows what is under way.
    fn show(&self) {
        let state = lock(&self.state);
        let (all, ended) = state.runs;
        let told: Vec<&str> = state.running.iter().take(UNITS_TOLD).map(String::as_str).collect();
        let more = state.running.len().saturating_sub(UNITS_TOLD);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let runs = format!("{} of {}", count(ended), counted(all, "run"));
        state.bar.set_message(format!("{runs}  {}{more}", told.join(", ")));
        state.bar.tick();
    }

    fn of_run(&self, date: LogicalDate, event: RunEvent) {
        let level = crate::report::json::level(&event);
        self.write(level, Some(date), &event, false);
        let paint = self.paint;
        match event {
            RunEvent::StepStarted { unit } => self.under_way(&unit, true),
            RunEvent::StepRetried { unit, attempt, of, wait, failure } => {
                self.under_way(&unit, false);
                let text = again(attempt, of, wait, &failure);
                let mark = paint.yellow("•");
                let line = format!("{mark} {date}  {}: {text}", paint.bold(subject(&unit)));
                self.say(Level::Warn, &[line], false);
            }
            RunEvent::StepFinished { unit, status, failure, .. } => {
                self.under_way(&unit, false);
                if let (Status::Failed, Some(failure)) = (status, failure) {
                    let what = format!("{date}  {}", paint.bold(subject(&unit)));
                    self.say(Level::Error, &self.failed(&what, &failure), false);
                }
            }
            // The plan told what a person should know before, and the end tells what was done.
            RunEvent::Noticed { .. }
            | RunEvent::SampleProgressed { .. }
            | RunEvent::RunStarted { .. }
            | RunEvent::StepProgressed { .. }
            | RunEvent::DeadlineNeared { .. }
            | RunEvent::DeadlineMissed { .. }
            | RunEvent::TrialFinished { .. }
            | RunEvent::RunFinished { .. }
            | RunEvent::RunExited { .. } => {}
        }
    }

    fn under_way(&self, unit: &Unit, is: bool) {
        let name = subject(unit);
        let mut state = lock(&self.state);
        if is {
            state.running.insert(name);
        } else {
            state.running.remove(&name);
        }
        drop(state);
        self.show();
    }

    fn failed(&self, what: &str, failure: &Failure) -> Vec<String> {
        let paint = self.paint;
        let kind = failure.kind.word();
        let mut lines =
            vec![format!("{} {what}: [{kind}] {}", paint.mark(Status::Failed), failure.message)];
        lines.extend(failure.problems.iter().map(|problem| format!("  {}", line(problem))));
        lines.extend(failure.hint.as_ref().map(|hint| hinted(hint, paint)));
        lines
    }

    fn run_ended(&self, event: &Ended<'_>) {
        let Ended { date, scope, run, status, seconds, units, failure } = *event;
        let paint = self.paint;
        {
            let mut state = lock(&self.state);
            state.runs.1 += 1;
        }
        self.show();
        let day = paint.bold(date);
        if let (None, Status::Failed, Some(failure)) = (run, status, failure) {
            return self.say(Level::Error, &self.failed(&day, failure), false);
        }
        let what = match status {
            Status::Unchanged => "nothing to do any more".to_owned(),
            Status::UpstreamFailed => "not run: a day that it needs failed".to_owned(),
            Status::Succeeded => {
                format!("{} in {}", counted(units, "unit"), duration(seconds))
            }
            Status::Failed | Status::Cancelled | Status::Interrupted | Status::Running => {
                format!("{} after {}", status.word(), duration(seconds))
            }
        };
        let run = run.map_or_else(String::new, |run| format!("  {}", paint.dim(run)));
        let scope = paint.dim(format_args!("{scope:6}"));
        let mut lines = vec![format!("{} {day}  {scope}  {what}{run}", paint.mark(status))];
        // What a step says was told when it failed; what kept the run from starting was not.
        let early = failure.filter(|_| units == 0 && status == Status::Failed);
        lines.extend(early.map(|failure| format!("  {}", failure.message)));
        self.say(Level::of(status), &lines, false);
    }
}

/// A run that ended, borrowed from its event.
#[derive(Clone, Copy)]
struct Ended<'a> {
    date: LogicalDate,
    scope: &'a str,
    run: Option<&'a RunId>,
    status: Status,
    seconds: f64,
    units: u64,
    failure: Option<&'a Failure>,
}

impl BackfillSink for Teller {
    fn tell(&self, event: BackfillEvent) {
        let inner = &self.0;
        let paint = inner.paint;
        match &event {
            BackfillEvent::BackfillStarted { runs, .. } => {
                inner.write(Level::Info, None, &event, false);
                lock(&inner.state).runs = (*runs, 0);
                inner.show();
            }
            BackfillEvent::BackfillRunEnded {
                date,
                scope,
                run,
                status,
                seconds,
                units,
                failure,
                ..
            } => {
                inner.write(Level::of(*status), None, &event, false);
                inner.run_ended(&Ended {
                    date: *date,
                    scope,
                    run: run.as_ref(),
                    status: *status,
                    seconds: *seconds,
                    units: *units,
                    failure: failure.as_ref(),
                });
            }
            BackfillEvent::BackfillFinished {
                status,
                seconds,
                done,
                failed,
                left,
                failure,
                again,
                ..
            } => {
                inner.write(Level::of(*status), None, &event, true);
                lock(&inner.state).bar.finish_and_clear();
                let mut lines = Vec::new();
                if !failed.is_empty() {
                    let mark = paint.mark(Status::Failed);
                    lines.push(format!("{mark} failed: {}", days(failed)));
                }
                if !left.is_empty() {
                    let mark = paint.mark(Status::UpstreamFailed);
                    lines.push(format!("{mark} not done: {}", days(left)));
                }
                if let Some(failure) = failure {
                    lines.extend(inner.failed("stopped", failure));
                }
                if let Some(again) = again {
                    lines.push(format!("  to go on: {}", paint.cyan(again)));
                }
                inner.say(Level::of(*status), &lines, false);
                let mark = paint.mark(*status);
                let (word, took) = (status.word(), duration(*seconds));
                let done = counted(done.len() as u64, "day");
                let text = paint.bold(format_args!("backfill {word}"));
                let end = format!("{mark} {text} in {took}, {done} done");
                inner.say(Level::of(*status), &[end], true);
            }
        }
    }

    fn of_run(&self, date: LogicalDate) -> Arc<dyn EventSink> {
        Arc::new(OfRun { teller: Arc::clone(&self.0), date })
    }
}

fn days(days: &[LogicalDate]) -> String {
    match days {
        few if few.len() <= UNITS_TOLD => {
            few.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        }
        many => span(many),
    }
}

/// Events that are of no run: wishes to stop.
impl EventSink for Teller {
    fn emit(&self, event: RunEvent) {
        let inner = &self.0;
        inner.write(crate::report::json::level(&event), None, &event, false);
        if let RunEvent::Noticed { message } = event {
            let line = format!("{} {message}", inner.paint.yellow("•"));
            inner.say(Level::Info, &[line], false);
        }
    }
}

struct OfRun {
    teller: Arc<Inner>,
    date: LogicalDate,
}

impl EventSink for OfRun {
    fn emit(&self, event: RunEvent) {
        self.teller.of_run(self.date, event);
    }
}
