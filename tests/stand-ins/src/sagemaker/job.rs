//! A training or processing job: what was asked for, and how it stands.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use tokio::sync::watch;

use super::fault::Fault;

/// What kind of job it is. Names are unique per kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Training,
    Processing,
}

impl Kind {
    /// How members of its API begin.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Training => "TrainingJob",
            Self::Processing => "ProcessingJob",
        }
    }

    pub(super) fn arn_word(self) -> &'static str {
        match self {
            Self::Training => "training-job",
            Self::Processing => "processing-job",
        }
    }

    pub(super) fn log_group(self) -> String {
        format!("/aws/sagemaker/{}s", self.word())
    }
}

/// The primary status, of tuning jobs too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    InProgress,
    Stopping,
    Completed,
    Failed,
    Stopped,
}

impl Status {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::InProgress => "InProgress",
            Self::Stopping => "Stopping",
            Self::Completed => "Completed",
            Self::Failed => "Failed",
            Self::Stopped => "Stopped",
        }
    }

    pub(super) fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Stopped)
    }
}

#[derive(Debug)]
pub(super) struct Transition {
    status: &'static str,
    start: f64,
    end: Option<f64>,
    message: String,
}

/// What a child of a tuning job has from it.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    pub(super) arn: String,
    pub(super) tuned: BTreeMap<String, String>,
    pub(super) metric: String,
    pub(super) goal: String,
}

#[derive(Debug)]
pub(super) struct Job {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) arn: String,
    pub(super) request: Value,
    /// All times are seconds since 1970.
    pub(super) created: f64,
    pub(super) started: Option<f64>,
    pub(super) ended: Option<f64>,
    modified: f64,
    pub(super) status: Status,
    pub(super) secondary: &'static str,
    pub(super) transitions: Vec<Transition>,
    pub(super) failure: Option<String>,
    pub(super) exit_message: Option<String>,
    /// The last value of each metric, and when it was seen.
    pub(super) metrics: BTreeMap<String, (f64, f64)>,
    /// All values of the objective, for a child of a tuning job.
    pub(super) history: Vec<f64>,
    /// Seconds in which the container ran, over all attempts.
    pub(super) ran: f64,
    pub(super) artifacts: Option<String>,
    pub(super) origin: Option<Origin>,
    pub(super) stop: watch::Sender<bool>,
    pub(super) fault: Option<Fault>,
    /// How often its container was started.
    pub(super) starts: usize,
}

impl Job {
    pub(super) fn new(kind: Kind, name: &str, arn: String, request: Value, now: f64) -> Self {
        let mut job = Self {
            kind,
            name: name.to_owned(),
            arn,
            request,
            created: now,
            started: None,
            ended: None,
            modified: now,
            status: Status::InProgress,
            secondary: "Starting",
            transitions: Vec::new(),
            failure: None,
            exit_message: None,
            metrics: BTreeMap::new(),
            history: Vec::new(),
            ran: 0.0,
            artifacts: None,
            origin: None,
            stop: watch::Sender::new(false),
            fault: None,
            starts: 0,
        };
        job.enter("Starting", "Starting the training job", now);
        job
    }

    /// Goes over to a secondary status.
    pub(super) fn enter(&mut self, status: &'static str, message: &str, now: f64) {
        if let Some(last) = self.transitions.last_mut() {
            last.end = Some(now);
        }
        self.secondary = status;
        self.modified = now;
        let message = message.to_owned();
        self.transitions.push(Transition { status, start: now, end: None, message });
    }

    /// Ends.
    pub(super) fn end(&mut self, status: Status, secondary: &'static str, text: &str, now: f64) {
        self.enter(secondary, text, now);
        if let Some(last) = self.transitions.last_mut() {
            last.end = Some(now);
        }
        self.status = status;
        self.ended = Some(now);
        if status == Status::Failed {
            self.failure = Some(text.chars().take(1_024).collect());
        }
    }

    /// A member of the request.
    pub(super) fn asked(&self, path: &str) -> Option<&Value> {
        self.request.pointer(path)
    }

    /// What `Describe…` answers.
    pub(super) fn describe(&self) -> Value {
        match self.kind {
            Kind::Training => self.describe_training(),
            Kind::Processing => self.describe_processing(),
        }
    }

    fn common(&self) -> Map<String, Value> {
        let mut members = self.request.as_object().cloned().unwrap_or_default();
        members.remove("Tags");
        let word = self.kind.word();
        members.insert(format!("{word}Name"), json!(self.name));
        members.insert(format!("{word}Arn"), json!(self.arn));
        members.insert(format!("{word}Status"), json!(self.status.word()));
        members.insert("CreationTime".into(), json!(self.created));
        members.insert("LastModifiedTime".into(), json!(self.modified));
        if let Some(reason) = &self.failure {
            members.insert("FailureReason".into(), json!(reason));
        }
        members
    }

    fn describe_training(&self) -> Value {
        let mut members = self.common();
        members.insert("SecondaryStatus".into(), json!(self.secondary));
        let transitions = self.transitions.iter().map(|transition| {
            let mut value = json!({
                "Status": transition.status,
                "StartTime": transition.start,
                "StatusMessage": transition.message,
            });
            if let Some(end) = transition.end {
                value["EndTime"] = json!(end);
            }
            value
        });
        members.insert("SecondaryStatusTransitions".into(), transitions.collect());
        if !self.metrics.is_empty() {
            let metrics = self.metrics.iter().map(|(name, (value, at))| {
                json!({ "MetricName": name, "Value": value, "Timestamp": at })
            });
            members.insert("FinalMetricDataList".into(), metrics.collect());
        }
        for (member, time) in [("TrainingStartTime", self.started), ("TrainingEndTime", self.ended)]
        {
            if let Some(time) = time {
                members.insert(member.into(), json!(time));
            }
        }
        if let (Some(_), true) = (self.started, self.status.is_terminal()) {
            members.insert("TrainingTimeInSeconds".into(), json!(whole(self.elapsed())));
            members.insert("BillableTimeInSeconds".into(), json!(whole(self.ran)));
        }
        let artifacts = self.artifacts.clone().or_else(|| {
            // SageMaker names the place before there is anything.
            let path = self.asked("/OutputDataConfig/S3OutputPath")?.as_str()?;
            Some(format!("{}/{}/output/model.tar.gz", path.trim_end_matches('/'), self.name))
        });
        members.insert("ModelArtifacts".into(), json!({ "S3ModelArtifacts": artifacts }));
        if let Some(origin) = &self.origin {
            members.insert("TuningJobArn".into(), json!(origin.arn));
        }
        Value::Object(members)
    }

    fn describe_processing(&self) -> Value {
        let mut members = self.common();
        if let Some(message) = &self.exit_message {
            members.insert("ExitMessage".into(), json!(message));
        }
        for (member, time) in
            [("ProcessingStartTime", self.started), ("ProcessingEndTime", self.ended)]
        {
            if let Some(time) = time {
                members.insert(member.into(), json!(time));
            }
        }
        Value::Object(members)
    }

    fn elapsed(&self) -> f64 {
        self.ended.unwrap_or(self.modified) - self.started.unwrap_or(self.modified)
    }

    /// What `List…` answers.
    pub(super) fn summary(&self) -> Value {
        let word = self.kind.word();
        let mut summary = json!({
            format!("{word}Name"): self.name,
            format!("{word}Arn"): self.arn,
            format!("{word}Status"): self.status.word(),
            "CreationTime": self.created,
            "LastModifiedTime": self.modified,
        });
        let end = match self.kind {
            Kind::Training => "TrainingEndTime",
            Kind::Processing => "ProcessingEndTime",
        };
        if let Some(ended) = self.ended {
            summary[end] = json!(ended);
        }
        if self.kind == Kind::Training {
            summary["SecondaryStatus"] = json!(self.secondary);
        } else if let Some(reason) = &self.failure {
            summary["FailureReason"] = json!(reason);
        }
        summary
    }

    /// The last value of its objective.
    pub(super) fn objective(&self) -> Option<f64> {
        let metric = &self.origin.as_ref()?.metric;
        self.metrics.get(metric).map(|(value, _)| *value)
    }
}

/// Whole seconds, at least one, as they are billed.
#[expect(clippy::cast_possible_truncation, reason = "seconds of a test")]
fn whole(seconds: f64) -> i64 {
    seconds.ceil().max(1.0) as i64
}
