//! The trainer: remote (or child) processes that fit models and score users.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;

use crate::pipeline::job::{MetricDefinition, Objective, Resources, Tuning};
use crate::run::failure::Outcome;

/// A job to be run under the training-container contract: inputs as channels of files, strings as
/// hyperparameters, an archive as output.
#[derive(Debug, Clone, PartialEq)]
pub struct JobRequest {
    /// Deterministic name, made from the run's identity, the step and the trial; at most 63
    /// characters of `[a-z0-9-]`. A second submit under the same name finds the first.
    pub name: String,
    /// What the program is asked to do.
    pub kind: JobKind,
    /// Hyperparameters, the algorithm among them under `algorithm`.
    pub hyperparameters: BTreeMap<String, String>,
    /// Folders of the lake by channel; each ends with `/`. For scoring jobs the channels `model`
    /// and `fallback` hold `model.tar.gz`.
    pub channels: BTreeMap<String, String>,
    /// Folder of the lake, ending with `/`, that gets the output: `model.tar.gz` of a training
    /// job, the files below `output/data/` of a scoring job.
    pub output: String,
    /// What to read from the program's output.
    pub metrics: Vec<MetricDefinition>,
    /// Longest time that it may run.
    pub max_runtime: Duration,
    /// What it runs on, where the trainer has a choice; not part of what the job *is*, so that a
    /// job on another machine is still the same job.
    pub resources: Resources,
}

/// A search for hyperparameters by a service that can do so by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct TuningRequest {
    /// Deterministic name; at most 32 characters of `[a-z0-9-]`.
    pub name: String,
    /// What every trial is; `name` and `output` are the folder-like beginnings of the trials' own,
    /// `hyperparameters` those that are not searched.
    pub trial: JobRequest,
    /// How to search, and where.
    pub tuning: Tuning,
    /// What trials are compared by; one of the trial's metrics.
    pub objective: Objective,
    /// Earlier searches to learn from, newest first; those that the service no longer knows or
    /// cannot use are left out.
    pub warm_start: Vec<String>,
}

/// How a search stands.
#[derive(Debug, Clone, PartialEq)]
pub struct TuningStatus {
    /// Its state. `Completed` says that trials ended, not that one of them reported the objective.
    pub state: JobState,
    /// Its trials, in the order of their start.
    pub trials: Vec<Trial>,
}

/// One trial of a search.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// The job's name.
    pub job: String,
    /// What was searched.
    pub hyperparameters: BTreeMap<String, String>,
    /// The objective; `None` if it has not reported it.
    pub value: Option<f64>,
}

/// What the program is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobKind {
    /// Fit a model.
    Train,
    /// Make recommendations with a model.
    Score,
}

/// How a job stands.
#[derive(Debug, Clone, PartialEq)]
pub struct JobStatus {
    /// Its state.
    pub state: JobState,
    /// The last value of each metric that was seen.
    pub metrics: BTreeMap<String, f64>,
}

/// The state of a job. `Completed` alone is success.
#[derive(Debug, Clone, PartialEq)]
pub enum JobState {
    /// Accepted or running.
    InProgress,
    /// Done; the output is where the request asked for it.
    Completed,
    /// Failed.
    Failed {
        /// The program's own words (at most 1,024 characters), else how its process ended.
        reason: String,
        /// The last lines of its output, oldest first; at most 20.
        last_lines: Vec<String>,
    },
    /// Stopped by `cancel` or for taking too long.
    Stopped,
}

/// A job or search that goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobUnderWay {
    /// Its name.
    pub name: String,
    /// The command that stops it.
    pub stop: String,
}

/// Runs jobs.
#[async_trait]
pub trait Trainer: Send + Sync {
    /// Starts a job, or attaches to the one of that name if it is under way or completed; one that
    /// failed or was stopped is started anew.
    ///
    /// Errors: `Input` if a channel has no file, `Usage` for a name that is not valid, `Conflict`
    /// if a job of that name was asked for in other words, `Exhausted` if there is no capacity.
    async fn submit(&self, job: &JobRequest) -> Outcome<()>;

    /// How a job stands. Does not wait. Errors: `NotFound` if no job has that name.
    async fn status(&self, name: &str) -> Outcome<JobStatus>;

    /// Waits until the job is no longer in progress, or `wait` has passed, and returns how it
    /// stands then.
    async fn wait(&self, name: &str, wait: Duration) -> Outcome<JobStatus>;

    /// Asks a job to stop. A job that ended already stays as it is. Errors: `NotFound`,
    /// `Conflict` if the job belongs to another process that cannot be told to stop it.
    async fn cancel(&self, name: &str) -> Outcome<()>;

    /// Jobs whose names begin with one of `jobs`, and searches whose names begin with one of
    /// `searches`, that are under way, whoever started them. Nothing is changed. Where jobs end with
    /// the process that started them there are none.
    ///
    /// Errors: `Denied` if listing is not allowed.
    async fn under_way(&self, _jobs: &[String], _searches: &[String]) -> Outcome<Vec<JobUnderWay>> {
        Ok(Vec::new())
    }

    /// Whether jobs go on when this process ends.
    fn outlives_the_run(&self) -> bool {
        false
    }

    /// The service's own search for hyperparameters; `None` if recctl has to run the trials.
    fn tuning(&self) -> Option<&dyn TuningService> {
        None
    }
}

/// Searches hyperparameters by itself.
#[async_trait]
pub trait TuningService: Send + Sync {
    /// Starts a search, or attaches to the one of that name if it is under way or completed; one
    /// that failed or was stopped is started anew.
    ///
    /// Errors: as [`Trainer::submit`], and `Usage` for a search that the service refuses.
    async fn submit_tuning(&self, request: &TuningRequest) -> Outcome<()>;

    /// Waits until the search is no longer in progress, or `wait` has passed, and returns how it
    /// stands then. Errors: `NotFound` if no search has that name.
    async fn wait_tuning(&self, name: &str, wait: Duration) -> Outcome<TuningStatus>;

    /// Asks a search to stop, and its trials with it. One that ended already stays as it is.
    /// Errors: `NotFound`.
    async fn cancel_tuning(&self, name: &str) -> Outcome<()>;
}
