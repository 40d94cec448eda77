//! Live lines for a person at a terminal.
//!
//! What runs has a line that moves; what ended leaves one that stays, in the same columns. Days
//! before the run's own share one line, see [`History`].

mod live;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io::Write;
use std::sync::Mutex;

use chrono::{DateTime, Utc};
use indicatif::{MultiProgress, ProgressDrawTarget};

use self::live::{Columns, Live, Trials, bar};
use super::history::History;
use super::number::{count, duration};
use super::paint::Paint;
use super::problems::{Look, details};
use super::summary::{Closing, closing_lines, plan_lines, status_line};
use super::words::{again, day, deadline_missed, deadline_nears, outcome, subject, took, warning};
use super::{Now, ReadSource, Setup, lock, write_line, writer};
use crate::pipeline::interval::LogicalDate;
use crate::pipeline::name::Name;
use crate::run::event::{EventSink, RunEvent, Unit};
use crate::run::failure::Failure;
use crate::run::record::{Status, StepReport};

/// Shows a run as it happens.
pub struct Terminal {
    now: Now,
    state: Mutex<State>,
}

struct State {
    out: Box<dyn Write + Send>,
    read: ReadSource,
    quiet: bool,
    paint: Paint,
    bars: MultiProgress,
    columns: Columns,
    about: Option<(Name, LogicalDate)>,
    history: History,
    /// The line that history moves in.
    past: Option<Live>,
    sample: Option<Live>,
    running: HashMap<Unit, Live>,
    failures: Vec<(Unit, Failure)>,
}

impl Terminal {
    /// Makes one.
    pub fn new(setup: Setup) -> Self {
        let target = if setup.out.is_some() || setup.quiet {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        };
        let state = State {
            out: writer(setup.out),
            read: setup.read,
            quiet: setup.quiet,
            paint: Paint::new(setup.colour),
            bars: MultiProgress::with_draw_target(target),
            columns: Columns::default(),
            about: None,
            history: History::default(),
            past: None,
            sample: None,
            running: HashMap::new(),
            failures: Vec::new(),
        };
        Self { now: setup.now, state: Mutex::new(state) }
    }
}

impl EventSink for Terminal {
    fn emit(&self, event: RunEvent) {
        let now = (self.now)();
        lock(&self.state).take(event, now);
    }
}

impl State {
    fn take(&mut self, event: RunEvent, now: DateTime<Utc>) {
        let paint = self.paint;
        match event {
            RunEvent::Noticed { message } => {
                self.talk(&format!("{} {message}", paint.yellow("•")));
            }
            RunEvent::SampleProgressed { done, total } => self.sampled(done, total, now),
            RunEvent::RunStarted { run, pipeline, date, target, to_do, unchanged } => {
                let what = paint.bold(format_args!("{pipeline} {date}"));
                let run = paint.dim(format_args!("run {run}"));
                let mut lines = vec![format!("{what} on {target}  {run}")];
                lines.extend(plan_lines(&to_do, unchanged, paint));
                if !to_do.is_empty() {
                    lines.push(String::new());
                }
                self.talk(&lines.join("\n"));
                self.history = History::new(date, &to_do);
                self.columns = Columns::of(to_do.iter().map(|it| &it.unit));
                self.about = Some((pipeline, date));
            }
            RunEvent::StepStarted { unit } => self.started(unit, now),
            RunEvent::StepProgressed { unit, progress } => {
                if let Some(live) = self.running.get_mut(&unit) {
                    live.progress = progress;
                    live.show(now, paint);
                }
            }
            RunEvent::TrialFinished { unit, trial, of, result, metric: name, .. } => {
                if let Err(why) = &result {
                    let subject = paint.bold(subject(&unit));
                    let mark = paint.yellow("•");
                    self.talk(&format!("{mark} {subject}: trial {trial}/{of} failed: {why}"));
                }
                if let Some(live) = self.running.get_mut(&unit) {
                    live.trials.get_or_insert_with(Trials::default).end(of, &name, result.ok());
                    live.show(now, paint);
                }
            }
            RunEvent::StepRetried { unit, attempt, of, wait, failure } => {
                self.running.remove(&unit);
                let (mark, subject) = (paint.yellow("•"), paint.bold(subject(&unit)));
                self.talk(&format!("{mark} {subject}: {}", again(attempt, of, wait, &failure)));
            }
            RunEvent::DeadlineNeared { due, left, because } => {
                let text = deadline_nears(due, left, &because);
                self.shout(&format!("{} {text}", paint.yellow("•")));
            }
            RunEvent::DeadlineMissed { due, because, stops } => {
                let text = deadline_missed(due, &because, stops);
                self.shout(&format!("{} {text}", paint.mark(Status::Failed)));
            }
            RunEvent::StepFinished { unit, status, seconds, report, failure } => {
                self.finished(unit, status, seconds, &report, failure, now);
            }
            RunEvent::RunFinished { run, status, seconds, summary } => {
                self.close(&Closing {
                    run: &run,
                    about: None,
                    status,
                    seconds,
                    summary: &summary,
                    failures: &[],
                });
            }
            // It says the same as the line before it, to machines.
            RunEvent::RunExited { .. } => {}
        }
    }

    fn started(&mut self, unit: Unit, now: DateTime<Utc>) {
        if self.history.owns(&unit) {
            self.history.begin(now);
            if self.past.is_none() {
                let cells = self.columns.cells("history", "", "", self.paint);
                // History stands on top: it begins first and ends first.
                self.past = Some(Live::first(&self.bars, cells, now, self.paint));
            }
            self.show_history(&unit);
        } else {
            let columns = self.columns;
            let cells = columns.cells(unit.step.as_str(), unit.action, &day(&unit), self.paint);
            self.running.insert(unit, Live::last(&self.bars, cells, now, self.paint));
        }
    }

    fn show_history(&self, unit: &Unit) {
        if let Some(past) = &self.past {
            let (done, total) = (self.history.done(), self.history.total());
            let bar = bar(done, total, self.paint);
            let at = self.paint.dim(subject(unit));
            past.say(format!("{bar}  {}/{}  {at}", count(done), count(total)));
        }
    }

    fn finished(
        &mut self,
        unit: Unit,
        status: Status,
        seconds: f64,
        report: &StepReport,
        failure: Option<Failure>,
        now: DateTime<Utc>,
    ) {
        self.running.remove(&unit);
        let failed = status == Status::Failed;
        let folded = self.history.owns(&unit);
        if failed || !folded {
            let mut lines = vec![self.permanent(&unit, status, seconds, report, failure.as_ref())];
            if let (true, Some(failure)) = (failed, &failure) {
                let look = Look { paint: self.paint, rules: false, unicode: true };
                lines.extend(details(failure, &*self.read, look));
            }
            let text = lines.join("\n");
            if failed { self.shout(&text) } else { self.talk(&text) }
        }
        for check in report.checks.iter().filter(|it| !folded || it.is_warning()) {
            if let Some(text) = warning(check) {
                let (mark, subject) = (self.paint.yellow("•"), self.paint.bold(subject(&unit)));
                self.talk(&format!("{mark} {subject}: {text}"));
            }
        }
        if folded {
            self.history.end(&unit, status, seconds, report, now);
            self.show_history(&unit);
            if self.history.is_complete() {
                self.close_history();
            }
        }
        if let (true, Some(failure)) = (failed, failure) {
            self.failures.push((unit, failure));
        }
    }

    /// The line that a unit leaves.
    fn permanent(
        &self,
        unit: &Unit,
        status: Status,
        seconds: f64,
        report: &StepReport,
        failure: Option<&Failure>,
    ) -> String {
        let paint = self.paint;
        let day = day(unit);
        let cells = self.columns.cells(unit.step.as_str(), unit.action, &day, paint);
        let age = match status {
            Status::UpstreamFailed | Status::Unchanged => String::new(),
            Status::Succeeded
            | Status::Failed
            | Status::Cancelled
            | Status::Interrupted
            | Status::Running => duration(seconds),
        };
        let what = match (status, failure) {
            (Status::Failed, Some(failure)) => failure.message.clone(),
            (Status::Succeeded, _) => outcome(status, report),
            (_, _) => paint.dim(outcome(status, report)),
        };
        let line = format!("{} {cells} {}  {what}", paint.mark(status), live::aged(&age, paint));
        line.trim_end().to_owned()
    }

    /// Puts the line about history where its bar was, once.
    fn close_history(&mut self) {
        if self.past.take().is_none() {
            return;
        }
        if let Some(text) = self.history.closing() {
            let mark = self.paint.mark(self.history.status());
            self.talk(&format!("{mark} {text}"));
        }
    }

    fn sampled(&mut self, done: u64, total: u64, now: DateTime<Utc>) {
        let paint = self.paint;
        if self.sample.is_none() {
            let cells = paint.bold("sample data");
            self.sample = Some(Live::last(&self.bars, cells, now, paint));
        }
        if let Some(live) = &self.sample {
            let (did, all) = (count(done), count(total));
            live.say(format!("{}  {did} of {all} events", bar(done, total, paint)));
        }
        if done >= total
            && let Some(live) = self.sample.take()
        {
            let took = took(live.seconds(now));
            drop(live);
            let mark = paint.mark(Status::Succeeded);
            let what = paint.bold("sample data");
            self.talk(&format!("{mark} {what}: {} events made {took}", count(done)));
        }
    }

    /// Takes the live lines away and tells the end.
    fn close(&mut self, closing: &Closing<'_>) {
        self.running.clear();
        self.sample = None;
        self.close_history();
        let failures = std::mem::take(&mut self.failures);
        let about = self.about.take();
        let closing = Closing {
            about: about.as_ref().map(|(name, date)| (name, *date)),
            failures: &failures,
            ..*closing
        };
        if !self.quiet {
            let mut lines = closing_lines(&closing, self.paint);
            if !lines.is_empty() {
                if !closing.summary.units.is_empty() {
                    lines.insert(0, String::new());
                }
                lines.push(String::new());
                self.talk(&lines.join("\n"));
            }
        }
        self.shout(&status_line(&closing, self.paint));
    }

    /// Says what quiet people do without.
    fn talk(&mut self, text: &str) {
        if !self.quiet {
            self.shout(text);
        }
    }

    /// Puts lines above the live ones, in one drawing so that nothing flickers.
    fn shout(&mut self, text: &str) {
        if self.bars.is_hidden() {
            write_line(&mut *self.out, text);
        } else {
            // A closed terminal must not end a run.
            // The line break keeps a blank line at the end of the text.
            let _closed = self.bars.println(format!("{text}\n"));
        }
    }
}
