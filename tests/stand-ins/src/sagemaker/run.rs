//! What training and processing jobs have in common: starting, listening, ending.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use regex::Regex;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use super::container::{Ended, Launch, Limits, is_told};
use super::fault::Fault;
use super::job::{Job, Kind, Status};
use super::{Shared, now};

/// How a job ended.
pub(super) struct End {
    pub(super) status: Status,
    /// The last secondary status.
    pub(super) secondary: &'static str,
    /// The failure's reason, or the message of the last transition.
    pub(super) text: String,
}

impl End {
    pub(super) fn failed(text: impl Into<String>) -> Self {
        Self { status: Status::Failed, secondary: "Failed", text: text.into() }
    }

    pub(super) fn stopped(secondary: &'static str) -> Self {
        Self { status: Status::Stopped, secondary, text: "Training job stopped".to_owned() }
    }
}

/// A job that runs.
pub(super) struct Running {
    pub(super) shared: Arc<Shared>,
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) request: Value,
    pub(super) stop: watch::Receiver<bool>,
    pub(super) metrics: Vec<(String, Regex)>,
    /// The job's folder on this machine.
    pub(super) folder: PathBuf,
    /// The latest end of a spot job's wait.
    pub(super) wait: Option<Instant>,
}

/// Adds a job and starts it, unless there is one of its name.
pub(super) fn start<F: Future<Output = End> + Send + 'static>(
    shared: &Arc<Shared>,
    mut job: Job,
    work: impl FnOnce(Running) -> F,
) -> bool {
    let instance =
        ["/ResourceConfig/InstanceType", "/ProcessingResources/ClusterConfig/InstanceType"]
            .iter()
            .find_map(|path| job.asked(path)?.as_str())
            .unwrap_or_default()
            .to_owned();
    let running = Running {
        shared: Arc::clone(shared),
        kind: job.kind,
        name: job.name.clone(),
        request: job.request.clone(),
        stop: job.stop.subscribe(),
        metrics: metrics(&job.request),
        folder: shared.work.join(job.kind.word()).join(&job.name),
        wait: job
            .asked("/StoppingCondition/MaxWaitTimeInSeconds")
            .and_then(Value::as_u64)
            .map(|seconds| Instant::now() + Duration::from_secs(seconds)),
    };
    let (kind, name) = (job.kind, job.name.clone());
    let added = shared.update(|state| {
        if state.job(kind, &name).is_some() {
            return false;
        }
        let wanted = |fault: &Fault| *fault != Fault::ResourceLimit;
        job.fault = state.rules.take(&name, &instance, wanted);
        state.add_tags(&job.arn, &job.request);
        state.jobs.push(job);
        true
    });
    if added {
        let shared = Arc::clone(shared);
        let work = work(running);
        tokio::spawn(async move {
            let End { status, secondary, text } = work.await;
            shared.update(|state| {
                if let Some(job) = state.job_mut(kind, &name) {
                    job.end(status, secondary, &text, now());
                }
            });
        });
    }
    added
}

/// Whether a request meets a quota, by the tests' rules.
pub(super) fn exceeds(shared: &Shared, name: &str, instance: &str) -> Result<(), super::Refusal> {
    let met = shared.lock().rules.take(name, instance, |fault| *fault == Fault::ResourceLimit);
    if met.is_none() {
        return Ok(());
    }
    super::refuse(
        "ResourceLimitExceeded",
        format!(
            "The account-level service limit '{instance} for training job usage' is 0 Instances, \
             with current utilization of 0 Instances and a request delta of 1 Instances. Please \
             use AWS Service Quotas to request an increase for this quota."
        ),
    )
}

fn metrics(request: &Value) -> Vec<(String, Regex)> {
    let path = "/AlgorithmSpecification/MetricDefinitions";
    let definitions = request.pointer(path).and_then(Value::as_array);
    let definition = |value: &Value| {
        let regex = Regex::new(value.get("Regex")?.as_str()?).ok()?;
        Some((value.get("Name")?.as_str()?.to_owned(), regex))
    };
    definitions.into_iter().flatten().filter_map(definition).collect()
}

impl Running {
    pub(super) fn change(&self, change: impl FnOnce(&mut Job)) {
        self.shared.update(|state| {
            if let Some(job) = state.job_mut(self.kind, &self.name) {
                change(job);
            }
        });
    }

    pub(super) fn enter(&self, status: &'static str, message: &str) {
        self.change(|job| job.enter(status, message, now()));
    }

    pub(super) fn asked(&self, path: &str) -> Option<&str> {
        self.request.pointer(path)?.as_str()
    }

    pub(super) fn list(&self, path: &str) -> impl Iterator<Item = &Value> {
        self.request.pointer(path).and_then(Value::as_array).into_iter().flatten()
    }

    /// Environment variables of the request.
    pub(super) fn environment(&self) -> Vec<(String, String)> {
        let given = self.request.get("Environment").and_then(Value::as_object);
        let given = given.into_iter().flatten();
        self.shared
            .config
            .environment
            .iter()
            .cloned()
            .chain(
                given.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))),
            )
            .collect()
    }

    pub(super) fn max_runtime(&self) -> Duration {
        let seconds = self.request.pointer("/StoppingCondition/MaxRuntimeInSeconds");
        Duration::from_secs(seconds.and_then(Value::as_u64).unwrap_or(86_400))
    }

    /// What happens before an instance is there. Returns how the job ends, if it goes no further.
    pub(super) async fn provision(&mut self) -> Option<End> {
        let fault = self.shared.update(|state| {
            let job = state.job_mut(self.kind, &self.name)?;
            match &job.fault {
                // Happens later.
                Some(Fault::SpotInterruption { .. }) | None => None,
                Some(_) => job.fault.take(),
            }
        });
        let patience = match fault {
            Some(Fault::Capacity) => {
                return Some(End::failed(
                    "CapacityError: Unable to provision requested ML compute capacity. Please \
                     retry using a different ML instance type.",
                ));
            }
            Some(Fault::Failure(reason)) => return Some(End::failed(reason)),
            Some(Fault::SlowStart(time)) => Some(time),
            Some(Fault::Stuck) => None,
            Some(Fault::ResourceLimit | Fault::SpotInterruption { .. }) | None => {
                Some(Duration::ZERO)
            }
        };
        let start = patience.map(|time| Instant::now() + time);
        tokio::select! {
            biased;
            () = is_told(&mut self.stop) => Some(End::stopped("Stopped")),
            () = until(start) => None,
            () = until(self.wait) => Some(End::stopped("MaxWaitTimeExceeded")),
        }
    }

    /// Runs the container, with its lines in the logs and its metrics in the job.
    pub(super) async fn contain(&self, launch: &Launch, run: Instant) -> std::io::Result<Ended> {
        let began = now();
        let mut interrupted_after = None;
        self.change(|job| {
            job.starts += 1;
            job.started.get_or_insert(began);
            if let Some(Fault::SpotInterruption { after_lines }) = job.fault
                && job.asked("/EnableManagedSpotTraining") == Some(&Value::Bool(true))
            {
                interrupted_after = Some(after_lines);
                job.fault = None;
            }
        });
        let group = self.kind.log_group();
        #[expect(clippy::cast_possible_truncation, reason = "milliseconds since 1970")]
        let stream = format!("{}/algo-1-{}", self.name, (began * 1_000.0) as i64);
        let mut lines = 0;
        let on_line = |line: &str| {
            let at = now();
            self.shared.update(|state| {
                state.logs.append(&group, &stream, at, line);
                if let Some(job) = state.job_mut(self.kind, &self.name) {
                    for (name, regex) in &self.metrics {
                        self.read_metric(job, name, regex, line, at);
                    }
                }
            });
            lines += 1;
            interrupted_after == Some(lines)
        };
        let limits = Limits { run, wait: self.wait, grace: self.shared.config.grace };
        let ended = launch.run(&self.shared.groups, self.stop.clone(), limits, on_line).await;
        self.change(|job| job.ran += now() - began);
        ended
    }

    fn read_metric(&self, job: &mut Job, name: &str, regex: &Regex, line: &str, at: f64) {
        for found in regex.captures_iter(line) {
            let Some(value) = found.get(1).and_then(|text| text.as_str().parse().ok()) else {
                continue;
            };
            job.metrics.insert(name.to_owned(), (value, at));
            if job.origin.as_ref().is_some_and(|origin| origin.metric == name) {
                job.history.push(value);
            }
        }
    }
}

/// Waits for a time; for ever if there is none.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
