//! Metrics for CloudWatch: a JSON document a line, in the embedded metric format.
//!
//! Every document holds what one run or one unit did, never a difference to the one before: a
//! document that a log collector delivers twice may not add up to something else. Names of runs and
//! days are members without being dimensions, since each value of a dimension is a metric of its
//! own, to be paid for.
//!
//! The format: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>.

use std::io::Write;
use std::sync::{Arc, Mutex};

use serde_json::{Map, Value, json};

use super::{Now, lock, write_line};
use crate::pipeline::interval::LogicalDate;
use crate::run::event::{EventSink, RunEvent, RunSummary, Unit};
use crate::run::failure::FailureKind;
use crate::run::record::{RowsOf, RunId, Status, StepReport};

/// Where CloudWatch lists the metrics.
const NAMESPACE: &str = "recctl";
const OF_A_RUN: &[&str] = &["pipeline", "target"];
const OF_A_STEP: &[&str] = &["pipeline", "step", "target"];

/// Writes metrics of a run's events, and hands the events on.
pub struct Emf {
    next: Arc<dyn EventSink>,
    now: Now,
    state: Mutex<State>,
}

struct State {
    out: Box<dyn Write + Send>,
    about: Option<About>,
    ended: Option<(f64, Box<RunSummary>)>,
}

#[derive(Clone)]
struct About {
    run: RunId,
    pipeline: String,
    target: String,
    date: LogicalDate,
}

impl Emf {
    /// Writes documents to `out`, which nobody else may write to.
    pub fn new(next: Arc<dyn EventSink>, now: Now, out: Box<dyn Write + Send>) -> Self {
        Self { next, now, state: Mutex::new(State { out, about: None, ended: None }) }
    }
}

impl EventSink for Emf {
    fn emit(&self, event: RunEvent) {
        let mut state = lock(&self.state);
        if let Some(document) = state.take(&event) {
            let text = document.text((self.now)().timestamp_millis());
            write_line(&mut *state.out, &text);
        }
        drop(state);
        self.next.emit(event);
    }
}

impl State {
    fn take(&mut self, event: &RunEvent) -> Option<Document> {
        match event {
            RunEvent::RunStarted { run, pipeline, date, target, .. } => {
                let about = About {
                    run: run.clone(),
                    pipeline: pipeline.to_string(),
                    target: target.clone(),
                    date: *date,
                };
                let mut document = Document::of(&about);
                document.metric("RunStarted", "Count", 1);
                self.about = Some(about);
                Some(document)
            }
            RunEvent::StepFinished { unit, status, seconds, report, failure } => {
                let kind = failure.as_ref().map(|failure| failure.kind);
                let about = self.about.as_ref()?;
                step(about, unit, *status, *seconds, report, kind)
            }
            RunEvent::RunFinished { seconds, summary, .. } => {
                self.ended = Some((*seconds, summary.clone()));
                None
            }
            RunEvent::RunExited { pipeline, target, status, kind, exit_code, .. } => {
                let mut document = match &self.about {
                    Some(about) => Document::of(about),
                    None => Document::new(pipeline, target),
                };
                let began = self.about.is_some();
                document.run_ended(*status, *kind, *exit_code, began, self.ended.as_ref());
                Some(document)
            }
            RunEvent::Noticed { .. }
            | RunEvent::SampleProgressed { .. }
            | RunEvent::StepStarted { .. }
            | RunEvent::StepProgressed { .. }
            | RunEvent::StepRetried { .. }
            | RunEvent::DeadlineNeared { .. }
            | RunEvent::DeadlineMissed { .. }
            | RunEvent::TrialFinished { .. } => None,
        }
    }
}

/// A unit that was not carried out to an end says nothing of its step.
fn step(
    about: &About,
    unit: &Unit,
    status: Status,
    seconds: f64,
    report: &StepReport,
    kind: Option<FailureKind>,
) -> Option<Document> {
    let failed = match status {
        Status::Succeeded => false,
        Status::Failed => true,
        Status::Running
        | Status::Unchanged
        | Status::UpstreamFailed
        | Status::Cancelled
        | Status::Interrupted => return None,
    };
    let mut document = Document::of(about);
    document.dimensions = OF_A_STEP;
    document.property("step", unit.step.as_str());
    document.property("action", unit.action);
    document.property("partition", json!(unit.partition));
    document.property("status", json!(status));
    if let Some(kind) = kind {
        document.property("kind", kind.word());
    }
    document.metric("StepSucceeded", "Count", u64::from(!failed));
    document.metric("StepFailed", "Count", u64::from(failed));
    document.metric("StepDuration", "Seconds", rounded(seconds));
    if !failed {
        document.volume(std::iter::once(report));
        document.at_least_one("RowsWritten", "Count", report.rows_out);
        document.at_least_one("PeakMemory", "Bytes", report.peak_memory.unwrap_or(0));
    }
    Some(document)
}

/// A document that is being written.
struct Document {
    dimensions: &'static [&'static str],
    metrics: Vec<Value>,
    members: Map<String, Value>,
}

impl Document {
    fn new(pipeline: &str, target: &str) -> Self {
        let mut document = Self { dimensions: OF_A_RUN, metrics: Vec::new(), members: Map::new() };
        document.property("pipeline", pipeline);
        document.property("target", target);
        document
    }

    fn of(about: &About) -> Self {
        let mut document = Self::new(&about.pipeline, &about.target);
        document.property("run", about.run.as_str());
        document.property("date", about.date.to_string());
        document
    }

    fn property(&mut self, name: &str, value: impl Into<Value>) {
        self.members.insert(name.to_owned(), value.into());
    }

    fn metric(&mut self, name: &str, unit: &str, value: impl Into<Value>) {
        self.metrics.push(json!({"Name": name, "Unit": unit}));
        self.property(name, value);
    }

    /// A metric that is left out where there is nothing to count: not every step reads bytes.
    fn at_least_one(&mut self, name: &str, unit: &str, value: u64) {
        if value > 0 {
            self.metric(name, unit, value);
        }
    }

    /// What came in, and what became of the rows of sources.
    fn volume<'a>(&mut self, reports: impl Iterator<Item = &'a StepReport> + Clone) {
        // Rows of tables were counted when they were read of a source.
        let counts = reports.clone().filter_map(|report| report.counts);
        let mut counts = counts.filter(|counts| counts.of == RowsOf::Raw);
        if let Some(mut total) = counts.next() {
            counts.for_each(|other| total.add(&other));
            self.metric("RowsRead", "Count", total.read);
            self.metric("RowsKept", "Count", total.kept);
            self.metric("RowsQuarantined", "Count", total.quarantined);
            self.metric("RowsFiltered", "Count", total.filtered);
            self.metric("RowsDuplicate", "Count", total.duplicates);
        } else if self.dimensions == OF_A_STEP {
            // The sum over the steps of a run would count a row once for every step it goes through.
            self.at_least_one("RowsRead", "Count", reports.clone().map(|it| it.rows_in).sum());
        }
        self.at_least_one("BytesRead", "Bytes", reports.clone().map(|it| it.bytes_in).sum());
        self.at_least_one("BytesWritten", "Bytes", reports.map(|it| it.bytes_out).sum());
    }

    fn run_ended(
        &mut self,
        status: Status,
        kind: Option<FailureKind>,
        exit_code: u8,
        began: bool,
        ended: Option<&(f64, Box<RunSummary>)>,
    ) {
        self.property("status", json!(status));
        self.property("exit_code", exit_code);
        if let Some(kind) = kind {
            self.property("kind", kind.word());
        }
        let succeeded = matches!(status, Status::Succeeded | Status::Unchanged);
        let cancelled = status == Status::Cancelled;
        // A schedule delivers at least once: that the second start finds the first at work is no
        // failure of anything.
        let refused = !began && kind == Some(FailureKind::Held);
        let failed = !succeeded && !cancelled && !refused;
        for (name, is) in [
            ("RunSucceeded", succeeded),
            ("RunFailed", failed),
            ("RunCancelled", cancelled),
            ("RunRefused", refused),
        ] {
            self.metric(name, "Count", u64::from(is));
        }
        let Some((seconds, summary)) = ended else { return };
        self.metric("RunDuration", "Seconds", rounded(*seconds));
        let with = |status: Status| {
            summary.units.iter().filter(|unit| unit.status == status).count() as u64
        };
        self.metric("StepsSucceeded", "Count", with(Status::Succeeded));
        self.metric("StepsFailed", "Count", with(Status::Failed));
        self.volume(summary.units.iter().map(|unit| &unit.report));
        self.at_least_one("PeakMemory", "Bytes", summary.peak_memory.unwrap_or(0));
    }

    fn text(self, timestamp: i64) -> String {
        let mut members = self.members;
        let directive = json!({
            "Namespace": NAMESPACE,
            "Dimensions": [self.dimensions],
            "Metrics": self.metrics,
        });
        let head = json!({"Timestamp": timestamp, "CloudWatchMetrics": [directive]});
        members.insert("_aws".to_owned(), head);
        Value::Object(members).to_string()
    }
}

/// To milliseconds.
fn rounded(seconds: f64) -> f64 {
    (seconds * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests;
