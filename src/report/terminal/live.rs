//! A line that moves while something runs.

use std::fmt::Write;
use std::time::Duration;

use chrono::{DateTime, Utc};
use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};

use crate::report::number::{duration, metric};
use crate::report::paint::Paint;
use crate::report::table::{pad_left, pad_right};
use crate::report::words::headway;
use crate::run::event::{Progress, Unit};

/// Columns of a date.
const DAY: usize = 10;
/// Columns of a time: `2 min 03 s`.
const AGE: usize = 10;
/// Columns of a bar.
const BAR: usize = 20;
/// Time between two pictures of the spinner.
const TICK: Duration = Duration::from_millis(120);

/// Widths that let running and ended units stand in line.
#[derive(Debug, Clone, Copy)]
pub struct Columns {
    step: usize,
    action: usize,
}

impl Default for Columns {
    fn default() -> Self {
        Self { step: "history".len(), action: 0 }
    }
}

impl Columns {
    /// As wide as the widest of these.
    pub fn of<'a>(units: impl Iterator<Item = &'a Unit>) -> Self {
        units.fold(Self::default(), |wide, unit| Self {
            step: wide.step.max(unit.step.as_str().len()),
            action: wide.action.max(unit.action.len()),
        })
    }

    /// The columns before the time.
    pub fn cells(self, step: &str, action: &str, day: &str, paint: Paint) -> String {
        let step = pad_right(&paint.bold(step), self.step);
        let action = pad_right(&paint.dim(action), self.action);
        format!("{step}  {action}  {day:DAY$}")
    }
}

/// The column of the time.
pub fn aged(age: &str, paint: Paint) -> String {
    pad_left(&paint.dim(age), AGE)
}

/// Trials of a tuning job.
#[derive(Debug, Default)]
pub struct Trials {
    done: usize,
    of: usize,
    best: Option<f64>,
    metric: String,
}

impl Trials {
    /// Notes that a trial ended, with its objective if it has one.
    pub fn end(&mut self, of: usize, metric: &str, value: Option<f64>) {
        self.done += 1;
        self.of = of;
        metric.clone_into(&mut self.metric);
        // Every objective that recctl tunes for is better when higher.
        let better = |it: &f64| self.best.is_none_or(|best| *it > best);
        self.best = value.filter(better).or(self.best);
    }
}

/// The line of something that runs. It disappears when this is dropped.
pub struct Live {
    bars: MultiProgress,
    line: ProgressBar,
    began: DateTime<Utc>,
    /// The last that was heard of it.
    pub progress: Progress,
    /// Its trials, if it has any.
    pub trials: Option<Trials>,
}

impl Live {
    /// Adds a line below the others.
    pub fn last(bars: &MultiProgress, cells: String, now: DateTime<Utc>, paint: Paint) -> Self {
        Self::start(bars, bars.add(blank()), cells, now, paint)
    }

    /// Adds a line above the others.
    pub fn first(bars: &MultiProgress, cells: String, now: DateTime<Utc>, paint: Paint) -> Self {
        Self::start(bars, bars.insert(0, blank()), cells, now, paint)
    }

    fn start(
        bars: &MultiProgress,
        line: ProgressBar,
        cells: String,
        now: DateTime<Utc>,
        paint: Paint,
    ) -> Self {
        let template = format!("{} {{prefix}} {{age}}  {{wide_msg}}", paint.cyan("{spinner}"));
        // The template is ours; were it wrong, indicatif's own look would do.
        let style = ProgressStyle::with_template(&template)
            .unwrap_or_else(|_| ProgressStyle::default_spinner())
            .tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ ")
            .with_key("age", move |state: &ProgressState, out: &mut dyn Write| {
                // Below a second the figure would only twitch.
                let seconds = state.elapsed().as_secs_f64().floor();
                let age = if seconds < 60.0 { format!("{seconds} s") } else { duration(seconds) };
                let _infallible = out.write_str(&aged(&age, paint));
            });
        line.set_style(style);
        line.set_prefix(cells);
        if !bars.is_hidden() {
            line.enable_steady_tick(TICK);
        }
        let bars = bars.clone();
        Self { bars, line, began: now, progress: Progress::default(), trials: None }
    }

    /// Seconds since it began.
    pub fn seconds(&self, now: DateTime<Utc>) -> f64 {
        (now - self.began).as_seconds_f64()
    }

    /// Says something.
    pub fn say(&self, text: String) {
        self.line.set_message(text);
    }

    /// Says how far it is.
    pub fn show(&self, now: DateTime<Utc>, paint: Paint) {
        self.say(self.text(self.seconds(now), paint));
    }

    fn text(&self, seconds: f64, paint: Paint) -> String {
        progress_text(&self.progress, self.trials.as_ref(), seconds, paint)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.line.finish_and_clear();
        self.bars.remove(&self.line);
    }
}

/// A line that is not drawn before it has its place.
fn blank() -> ProgressBar {
    ProgressBar::hidden()
}

/// How far a unit is, with a bar if its end is known.
fn progress_text(
    progress: &Progress,
    trials: Option<&Trials>,
    seconds: f64,
    paint: Paint,
) -> String {
    let mut parts = Vec::new();
    let told = trials.map_or(0, |trials| trials.done as u64);
    let done = progress.trials.max(told);
    let of = progress.total_trials.max(trials.map_or(0, |trials| trials.of as u64));
    if of > 0 {
        parts.push(bar(done, of, paint));
        parts.push(format!("trial {done}/{of}"));
        if let Some((trials, best)) = trials.and_then(|it| it.best.map(|best| (it, best))) {
            parts.push(format!("best {} {}", trials.metric, paint.bold(metric(best))));
        }
    } else if progress.total_bytes > 0 {
        parts.push(bar(progress.bytes, progress.total_bytes, paint));
    }
    parts.push(headway(progress, seconds));
    parts.retain(|part| !part.is_empty());
    parts.join("  ")
}

/// A bar: `━━━━━━╸─────────────`.
pub fn bar(done: u64, of: u64, paint: Paint) -> String {
    let share = if of == 0 { 0.0 } else { (done as f64 / of as f64).min(1.0) };
    let halves = (share * (2 * BAR) as f64) as usize;
    let mut full = "━".repeat(halves / 2);
    if halves % 2 == 1 {
        full.push('╸');
    }
    let rest = "─".repeat(BAR - halves.div_ceil(2));
    format!("{}{}", paint.cyan(full), paint.dim(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_stay_within_their_width() {
        let bar = |done, of| bar(done, of, Paint::off());
        insta::assert_snapshot!([bar(0, 0), bar(0, 8), bar(3, 8), bar(33, 80), bar(8, 8), bar(9, 8)].join("\n"), @"
        ────────────────────
        ────────────────────
        ━━━━━━━╸────────────
        ━━━━━━━━────────────
        ━━━━━━━━━━━━━━━━━━━━
        ━━━━━━━━━━━━━━━━━━━━
        ");
    }

    #[test]
    fn progress_is_told_as_far_as_it_is_known() {
        let rows = Progress { rows: 1_234_567, bytes: 512_000_000, ..Progress::default() };
        let bytes = Progress { total_bytes: 1_200_000_000, ..rows };
        let tuning = Progress { total_trials: 8, ..Progress::default() };
        let mut trials = Trials::default();
        trials.end(8, "ndcg@10", Some(0.0712));
        trials.end(8, "ndcg@10", None);
        trials.end(8, "ndcg@10", Some(0.0689));
        let text = |progress, trials| progress_text(progress, trials, 2.572, Paint::off());
        let none = Progress::default();
        insta::assert_snapshot!([
            text(&none, None), text(&rows, None), text(&bytes, None), text(&tuning, None),
            text(&tuning, Some(&trials)), text(&none, Some(&trials)),
        ].join("\n"), @"
        1,234,567 rows  512 MB  480k rows/s
        ━━━━━━━━╸───────────  1,234,567 rows  512 MB of 1.2 GB  480k rows/s
        ────────────────────  trial 0/8
        ━━━━━━━╸────────────  trial 3/8  best ndcg@10 0.0712
        ━━━━━━━╸────────────  trial 3/8  best ndcg@10 0.0712
        ");
    }
}
