//! One JSON object a line, for log collectors.

use std::io::Write;
use std::sync::Mutex;

use chrono::SecondsFormat;
use serde::Serialize;

use super::level::Level;
use super::{Now, Setup, lock, write_line, writer};
use crate::run::event::{EventSink, RunEvent};

/// Writes every event as it is, with the time and a level.
pub struct JsonLines {
    now: Now,
    quiet: bool,
    out: Mutex<Box<dyn Write + Send>>,
}

#[derive(Serialize)]
struct Line<'a> {
    ts: String,
    level: &'static str,
    #[serde(flatten)]
    event: &'a RunEvent,
}

impl JsonLines {
    /// Makes one.
    pub fn new(setup: Setup) -> Self {
        Self { now: setup.now, quiet: setup.quiet, out: Mutex::new(writer(setup.out)) }
    }
}

impl EventSink for JsonLines {
    fn emit(&self, event: RunEvent) {
        let level = level(&event);
        let last = matches!(event, RunEvent::RunFinished { .. } | RunEvent::RunExited { .. });
        if self.quiet && !last && level < Level::Warn {
            return;
        }
        let ts = (self.now)().to_rfc3339_opts(SecondsFormat::Millis, true);
        // serde_json escapes line breaks, so that an event cannot take two lines. Events are plain
        // data with text keys: making the text of one does not fail.
        if let Ok(text) = serde_json::to_string(&Line { ts, level: level.word(), event: &event }) {
            write_line(&mut *lock(&self.out), &text);
        }
    }
}

/// How loud an event is.
pub(super) fn level(event: &RunEvent) -> Level {
    match event {
        RunEvent::SampleProgressed { .. }
        | RunEvent::StepStarted { .. }
        | RunEvent::StepProgressed { .. } => Level::Debug,
        RunEvent::Noticed { .. } | RunEvent::RunStarted { .. } => Level::Info,
        RunEvent::TrialFinished { result: Ok(_), .. } => Level::Info,
        RunEvent::TrialFinished { result: Err(_), .. }
        | RunEvent::StepRetried { .. }
        | RunEvent::DeadlineNeared { .. } => Level::Warn,
        RunEvent::DeadlineMissed { .. } => Level::Error,
        RunEvent::StepFinished { status, .. }
        | RunEvent::RunFinished { status, .. }
        | RunEvent::RunExited { status, .. } => Level::of(*status),
    }
}

#[cfg(test)]
mod tests {
    use crate::report::{OutputMode, sample};

    #[test]
    fn every_event_is_one_object_on_one_line() {
        let text = sample::play(OutputMode::Json, false, sample::failing_run());
        for line in text.lines() {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(value["ts"].is_string() && value["level"].is_string(), "{line}");
        }
        let short: Vec<&str> = text.lines().filter(|line| line.len() < 330).collect();
        insta::assert_snapshot!(short.join("\n"), @r#"
        {"ts":"2026-03-02T03:15:00.000Z","level":"info","event":"noticed","message":"no data yet: making a sample"}
        {"ts":"2026-03-02T03:15:01.100Z","level":"debug","event":"sample_progressed","done":0,"total":1000000}
        {"ts":"2026-03-02T03:15:02.200Z","level":"debug","event":"sample_progressed","done":400000,"total":1000000}
        {"ts":"2026-03-02T03:15:03.300Z","level":"debug","event":"sample_progressed","done":1000000,"total":1000000}
        {"ts":"2026-03-02T03:15:03.300Z","level":"debug","event":"step_started","unit":{"step":"clean_events","action":"sql","partition":"2026-02-26"}}
        {"ts":"2026-03-02T03:15:04.140Z","level":"debug","event":"step_started","unit":{"step":"interactions","action":"sql","partition":"2026-02-26"}}
        {"ts":"2026-03-02T03:15:04.450Z","level":"debug","event":"step_started","unit":{"step":"publish","action":"publish","partition":"2026-02-26"}}
        {"ts":"2026-03-02T03:15:04.500Z","level":"debug","event":"step_started","unit":{"step":"clean_events","action":"sql","partition":"2026-02-27"}}
        {"ts":"2026-03-02T03:15:05.340Z","level":"debug","event":"step_started","unit":{"step":"interactions","action":"sql","partition":"2026-02-27"}}
        {"ts":"2026-03-02T03:15:05.650Z","level":"debug","event":"step_started","unit":{"step":"publish","action":"publish","partition":"2026-02-27"}}
        {"ts":"2026-03-02T03:15:05.700Z","level":"debug","event":"step_started","unit":{"step":"clean_events","action":"sql","partition":"2026-02-28"}}
        {"ts":"2026-03-02T03:15:06.540Z","level":"debug","event":"step_started","unit":{"step":"interactions","action":"sql","partition":"2026-02-28"}}
        {"ts":"2026-03-02T03:15:06.850Z","level":"debug","event":"step_started","unit":{"step":"publish","action":"publish","partition":"2026-02-28"}}
        {"ts":"2026-03-02T03:15:06.900Z","level":"debug","event":"step_started","unit":{"step":"clean_events","action":"sql","partition":"2026-03-01"}}
        {"ts":"2026-03-02T03:15:07.900Z","level":"debug","event":"step_progressed","unit":{"step":"clean_events","action":"sql","partition":"2026-03-01"},"progress":{"rows":411000,"bytes":170000000,"total_bytes":512000000,"trials":0,"total_trials":0}}
        {"ts":"2026-03-02T03:15:08.900Z","level":"debug","event":"step_progressed","unit":{"step":"clean_events","action":"sql","partition":"2026-03-01"},"progress":{"rows":822000,"bytes":340000000,"total_bytes":512000000,"trials":0,"total_trials":0}}
        {"ts":"2026-03-02T03:15:09.900Z","level":"debug","event":"step_progressed","unit":{"step":"clean_events","action":"sql","partition":"2026-03-01"},"progress":{"rows":1233000,"bytes":510000000,"total_bytes":512000000,"trials":0,"total_trials":0}}
        {"ts":"2026-03-02T03:15:10.740Z","level":"debug","event":"step_started","unit":{"step":"interactions","action":"sql","partition":"2026-03-01"}}
        {"ts":"2026-03-02T03:15:11.050Z","level":"debug","event":"step_started","unit":{"step":"publish","action":"publish","partition":"2026-03-01"}}
        {"ts":"2026-03-02T03:15:11.100Z","level":"debug","event":"step_started","unit":{"step":"als","action":"tune","partition":"all"}}
        {"ts":"2026-03-02T03:15:14.100Z","level":"debug","event":"step_started","unit":{"step":"item_knn","action":"train","partition":"all"}}
        "#);
    }

    #[test]
    fn quiet_keeps_what_went_wrong_and_the_end() {
        let text = sample::play(OutputMode::Json, true, sample::failing_run());
        let levels: Vec<String> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .map(|line| format!("{} {}", line["level"], line["event"]).replace('"', ""))
            .collect();
        insta::assert_snapshot!(levels.join("\n"), @"
        error step_finished
        warn step_finished
        warn step_finished
        error step_finished
        warn step_finished
        warn step_finished
        warn step_finished
        error run_finished
        ");
    }
}
