//! The trainer on SageMaker: training jobs fit, processing jobs score, tuning jobs search.
//!
//! A job's name is SageMaker's, so whoever asks again finds the job that is there. SageMaker keeps
//! names for ever; an attempt after one that failed or was stopped has a name of its own, made of
//! the job's, and the last attempt there is speaks for the job.

mod create;
mod lake;
mod listing;
mod logs;
mod names;
mod seen;
mod tuning;
mod work;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sagemaker::error::SdkError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use serde_json::json;
use tokio::time::Instant;

use self::lake::JobLake;
use self::seen::{Seen, Standing, own_words};
use self::work::{Machine, check_named, identity, regexes};
use super::error::{code, failure};
use super::sagemaker::found;
use super::session::AwsSession;
use crate::pipeline::target::SageMakerOptions;
use crate::ports::{JobKind, JobRequest, JobState, JobStatus, JobUnderWay, Trainer, TuningService};
use crate::run::failure::{Failure, FailureKind, Outcome};

/// How often a job is looked at. Jobs take minutes, and looks count against a rate of the account.
const LOOK: Duration = Duration::from_secs(5);
/// Attempts of one job that are looked for.
const MOST_ATTEMPTS: usize = 99;
/// The archive that a training job makes.
const ARCHIVE: &str = "model.tar.gz";
/// The longest reason of a failure, in characters.
const MAX_REASON: usize = 1_024;

/// Runs jobs on SageMaker.
///
/// A training job's archive is copied from where SageMaker writes it (the folder `sagemaker/` of the
/// lake) to where it was asked for when the job is first seen completed. A job that found no
/// instance is started again on the next type by whoever has submitted it and looks at it.
#[derive(Debug)]
pub struct SageMakerTrainer {
    sagemaker: aws_sdk_sagemaker::Client,
    logs: aws_sdk_cloudwatchlogs::Client,
    lake: JobLake,
    options: SageMakerOptions,
    tags: BTreeMap<String, String>,
    look: Duration,
    known: Mutex<HashMap<String, Known>>,
}

/// What this trainer remembers of a job.
#[derive(Debug, Clone, Default)]
struct Known {
    /// What it was asked for, by who submitted it here.
    request: Option<JobRequest>,
    kind: Option<JobKind>,
    /// The last attempt that was seen.
    attempt: usize,
    /// Whether its archive is where it belongs.
    delivered: bool,
    /// How it stood, and when, while it is in progress.
    last: Option<(Instant, JobStatus)>,
}

/// What became of a create call.
enum Created {
    Ok,
    /// Somebody has the name.
    Taken,
}

impl SageMakerTrainer {
    /// Makes the trainer of a target. No request is sent.
    ///
    /// Errors: `Usage` if the target has no trainer.
    pub fn new(session: &AwsSession) -> Outcome<Self> {
        let target = session.target();
        let Some(options) = target.trainer.clone() else {
            let text = format!("target `{}` has no trainer", target.name);
            return Err(Failure::new(FailureKind::Usage, text)
                .with_hint("add `trainer: {sagemaker: {role: …, image: …}}` to the target"));
        };
        Ok(Self {
            sagemaker: session.sagemaker(),
            logs: session.logs(),
            lake: JobLake::new(session),
            options,
            tags: target.tags.clone(),
            look: LOOK,
            known: Mutex::default(),
        })
    }

    /// Sets how often a job is looked at (5 s).
    #[must_use]
    pub fn with_look(mut self, look: Duration) -> Self {
        self.look = look;
        self
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, name: &str) -> Known {
        self.lock().get(name).cloned().unwrap_or_default()
    }

    fn remember(&self, name: &str, change: impl FnOnce(&mut Known)) {
        change(self.lock().entry(name.to_owned()).or_default());
    }

    /// Describes one attempt; `None` if there is none of that name.
    async fn look_at(&self, kind: JobKind, name: &str, attempt: usize) -> Outcome<Option<Seen>> {
        let own = names::of_attempt(name, attempt, names::JOB);
        let seen = match kind {
            JobKind::Train => {
                let call = self.sagemaker.describe_training_job().training_job_name(&own);
                let answer = found(&own, call.send().await)?;
                answer.map(|job| Seen::of_training(&own, attempt, &job))
            }
            JobKind::Score => {
                let call = self.sagemaker.describe_processing_job().processing_job_name(&own);
                let answer = found(&own, call.send().await)?;
                answer.map(|job| Seen::of_processing(&own, attempt, &job))
            }
        };
        Ok(seen)
    }

    /// The last attempt of a job.
    async fn latest(&self, kind: JobKind, name: &str) -> Outcome<Option<Seen>> {
        let first = self.known(name).attempt.max(1);
        let mut latest = None;
        for attempt in first..=MOST_ATTEMPTS {
            let Some(seen) = self.look_at(kind, name, attempt).await? else { break };
            let is_over = seen.is_over();
            latest = Some(seen);
            // Nobody starts another one before.
            if !is_over {
                break;
            }
        }
        if let Some(seen) = &latest {
            self.remember(name, |known| {
                known.attempt = seen.attempt;
                known.kind = Some(kind);
            });
        }
        Ok(latest)
    }

    /// The last attempt of a job of either kind. Errors: `NotFound`.
    async fn find(&self, name: &str) -> Outcome<Seen> {
        if names::check(name, names::JOB).is_ok() {
            let kinds = match self.known(name).kind {
                Some(kind) => vec![kind],
                None => vec![JobKind::Train, JobKind::Score],
            };
            for kind in kinds {
                if let Some(seen) = self.latest(kind, name).await? {
                    return Ok(seen);
                }
            }
        }
        Err(Failure::new(FailureKind::NotFound, format!("there is no job `{name}`")))
    }

    /// Creates an attempt on the first instance type from `first` on that the account has room for.
    ///
    /// Errors: `Exhausted` if it has room for none.
    async fn create(
        &self,
        job: &JobRequest,
        machine: &Machine,
        attempt: usize,
        first: usize,
    ) -> Outcome<Created> {
        let name = names::of_attempt(&job.name, attempt, names::JOB);
        if job.kind == JobKind::Score {
            let path = format!("{}hyperparameters.json", Self::config_folder(&name));
            self.lake.put(&path, format!("{:#}\n", json!(job.hyperparameters))).await?;
        }
        let mut full = None;
        for instance in &machine.instances[first..] {
            let doing = format!("create job `{name}` on {instance}");
            let refused = match job.kind {
                JobKind::Train => {
                    let call = self.training_job(job, machine, &name, instance);
                    call.send().await.err().map(|error| refusal(doing, &error))
                }
                JobKind::Score => {
                    let call = self.processing_job(job, machine, &name, instance);
                    call.send().await.err().map(|error| refusal(doing, &error))
                }
            };
            match refused {
                None => {
                    self.verify(job, machine, attempt).await?;
                    return Ok(Created::Ok);
                }
                Some(Refusal::Taken) => return Ok(Created::Taken),
                Some(Refusal::Full(failure)) => full = Some(failure),
                Some(Refusal::Other(failure)) => return Err(failure),
            }
        }
        Err(full.unwrap_or_else(|| {
            Failure::new(FailureKind::Exhausted, format!("no instance type left for `{name}`"))
        }))
    }

    /// Makes sure that a job that is to run on spot capacity does, with checkpoints: a job without
    /// them would begin anew with each interruption, and nobody would know why it is late.
    async fn verify(&self, job: &JobRequest, machine: &Machine, attempt: usize) -> Outcome<()> {
        if !machine.spot {
            return Ok(());
        }
        let seen = self.look_at(job.kind, &job.name, attempt).await?;
        let wanted = self.checkpoints_url(&job.name);
        let Some(seen) = seen else { return Ok(()) };
        if seen.spot && seen.checkpoints.as_deref() == Some(wanted.as_str()) {
            return Ok(());
        }
        self.stop(&seen).await?;
        let text = format!("job `{}` was created without spot capacity or checkpoints", seen.name);
        Err(Failure::new(FailureKind::Step, text))
    }

    async fn stop(&self, seen: &Seen) -> Outcome<()> {
        let doing = format!("stop job `{}`", seen.name);
        let refused = match seen.kind {
            JobKind::Train => {
                let call = self.sagemaker.stop_training_job().training_job_name(&seen.name);
                call.send().await.err().map(|error| ended(doing, &error))
            }
            JobKind::Score => {
                let call = self.sagemaker.stop_processing_job().processing_job_name(&seen.name);
                call.send().await.err().map(|error| ended(doing, &error))
            }
        };
        refused.map_or(Ok(()), |refused| refused.map_or(Ok(()), Err))
    }

    /// Whether a completed job's output is, or can be put, where it was asked for.
    async fn has_output(&self, seen: &Seen, job: &JobRequest) -> Outcome<bool> {
        match job.kind {
            JobKind::Score => self.lake.has_file(&job.output).await,
            JobKind::Train => {
                let delivered = self.deliver(seen, Some(&job.output)).await;
                match delivered {
                    Ok(()) => Ok(true),
                    Err(failure) if failure.kind == FailureKind::NotFound => Ok(false),
                    Err(failure) => Err(failure),
                }
            }
        }
    }

    /// Puts the archive of a completed training job where it was asked for, unless it is there.
    ///
    /// Errors: `NotFound` if there is no archive any more.
    async fn deliver(&self, seen: &Seen, output: Option<&str>) -> Outcome<()> {
        let (Some(output), Some(archive)) = (output.or(seen.output.as_deref()), &seen.archive)
        else {
            let text = format!("job `{}` does not say where its archive is", seen.name);
            return Err(Failure::new(FailureKind::Step, text));
        };
        let path = format!("{output}{ARCHIVE}");
        if self.lake.is_file(&path).await? {
            return Ok(());
        }
        self.lake.take_over(archive, &path).await
    }

    /// A status of an attempt, with what has to be done for it to be true.
    async fn settle(&self, name: &str, seen: Seen) -> Outcome<JobStatus> {
        let known = self.known(name);
        let mut metrics = seen.metrics.clone();
        if let (Some(request), JobKind::Score, true) = (&known.request, seen.kind, seen.is_over())
            && !request.metrics.is_empty()
        {
            let regexes = regexes(request)?;
            metrics = logs::metrics(&self.logs, seen.kind, &seen.name, &regexes).await?;
        }
        let state = match &seen.standing {
            Standing::InProgress => JobState::InProgress,
            Standing::Stopped => JobState::Stopped,
            Standing::Completed => {
                if seen.kind == JobKind::Train && !known.delivered {
                    self.deliver(&seen, None).await?;
                    self.remember(name, |known| known.delivered = true);
                }
                JobState::Completed
            }
            Standing::Failed(reason) => {
                if let Some(request) = &known.request
                    && self.start_elsewhere(request, &seen).await?
                {
                    JobState::InProgress
                } else {
                    JobState::Failed {
                        reason: own_words(reason).chars().take(MAX_REASON).collect(),
                        last_lines: self.last_lines(&seen).await,
                    }
                }
            }
        };
        Ok(JobStatus { state, metrics })
    }

    /// Starts a job that found no instance on the next type, if there is one.
    async fn start_elsewhere(&self, job: &JobRequest, seen: &Seen) -> Outcome<bool> {
        let machine = Machine::new(job, &self.options)?;
        let next = machine.after(seen.instance.as_deref());
        // The last type was tried: the first is for the next submit.
        if !seen.lacks_capacity() || next == 0 {
            return Ok(false);
        }
        tracing::info!(job = %seen.name, instance = %machine.instances[next], "no capacity, trying another instance type");
        // Taken says that somebody else did.
        match self.create(job, &machine, seen.attempt + 1, next).await? {
            Created::Ok | Created::Taken => {}
        }
        self.remember(&job.name, |known| known.attempt = seen.attempt + 1);
        Ok(true)
    }

    /// The lines are for a person; that they cannot be read must not hide the failure.
    async fn last_lines(&self, seen: &Seen) -> Vec<String> {
        match logs::last_lines(&self.logs, seen.kind, &seen.name).await {
            Ok(lines) => lines,
            Err(failure) => {
                tracing::warn!(job = %seen.name, %failure, "cannot read the job's log");
                Vec::new()
            }
        }
    }

    /// How a job in progress stood, and how long ago until the next look is due.
    fn recent(&self, name: &str) -> Option<(Duration, JobStatus)> {
        let (at, status) = self.known(name).last?;
        Some((self.look.saturating_sub(at.elapsed()), status))
    }
}

#[async_trait]
impl Trainer for SageMakerTrainer {
    async fn submit(&self, job: &JobRequest) -> Outcome<()> {
        check_named(job)?;
        let machine = Machine::new(job, &self.options)?;
        let identity = identity(job);
        // Twice: somebody may take the name between the look and the create call.
        for _ in 0..2 {
            let seen = self.latest(job.kind, &job.name).await?;
            let (attempt, first) = match &seen {
                None => (1, 0),
                Some(seen) => match &seen.standing {
                    Standing::InProgress | Standing::Completed
                        if seen.identity.as_ref() != Some(&identity) =>
                    {
                        let text = format!(
                            "another job of the name `{}` asks for something else",
                            job.name
                        );
                        return Err(Failure::new(FailureKind::Conflict, text));
                    }
                    Standing::InProgress => {
                        self.attached(job, seen.attempt, false);
                        return Ok(());
                    }
                    Standing::Completed if self.has_output(seen, job).await? => {
                        self.attached(job, seen.attempt, true);
                        return Ok(());
                    }
                    // A model that was pruned from the lake has to be made again.
                    Standing::Completed | Standing::Stopped => (seen.attempt + 1, 0),
                    Standing::Failed(_) if seen.lacks_capacity() => {
                        (seen.attempt + 1, machine.after(seen.instance.as_deref()))
                    }
                    Standing::Failed(_) => (seen.attempt + 1, 0),
                },
            };
            if attempt > MOST_ATTEMPTS {
                let text = format!("job `{}` was tried {MOST_ATTEMPTS} times", job.name);
                return Err(Failure::new(FailureKind::Exhausted, text));
            }
            self.lake.check_channels(job).await?;
            match self.create(job, &machine, attempt, first).await? {
                Created::Ok => {
                    self.attached(job, attempt, false);
                    return Ok(());
                }
                Created::Taken => {}
            }
        }
        let text = format!("the name of job `{}` is being fought over", job.name);
        Err(Failure::new(FailureKind::Conflict, text))
    }

    async fn status(&self, name: &str) -> Outcome<JobStatus> {
        let seen = self.find(name).await?;
        let status = self.settle(name, seen).await?;
        let last = (status.state == JobState::InProgress).then(|| (Instant::now(), status.clone()));
        self.remember(name, |known| known.last = last);
        Ok(status)
    }

    async fn wait(&self, name: &str, wait: Duration) -> Outcome<JobStatus> {
        let start = Instant::now();
        loop {
            let left = wait.saturating_sub(start.elapsed());
            if let Some((due, status)) = self.recent(name) {
                if due > left {
                    tokio::time::sleep(left).await;
                    return Ok(status);
                }
                tokio::time::sleep(due).await;
            }
            let status = self.status(name).await?;
            if status.state != JobState::InProgress || start.elapsed() >= wait {
                return Ok(status);
            }
        }
    }

    async fn cancel(&self, name: &str) -> Outcome<()> {
        let seen = self.find(name).await?;
        if seen.is_over() { Ok(()) } else { self.stop(&seen).await }
    }

    async fn under_way(&self, jobs: &[String], searches: &[String]) -> Outcome<Vec<JobUnderWay>> {
        self.list_under_way(jobs, searches).await
    }

    fn outlives_the_run(&self) -> bool {
        true
    }

    fn tuning(&self) -> Option<&dyn TuningService> {
        Some(self)
    }
}

impl SageMakerTrainer {
    fn attached(&self, job: &JobRequest, attempt: usize, delivered: bool) {
        let under_way = JobStatus { state: JobState::InProgress, metrics: BTreeMap::new() };
        self.remember(&job.name, |known| {
            known.request = Some(job.clone());
            known.kind = Some(job.kind);
            known.attempt = attempt;
            known.delivered = delivered;
            // What was created a moment ago is looked at when its first look is due.
            known.last = (!delivered).then(|| (Instant::now(), under_way));
        });
    }
}

/// Why a create call was refused.
enum Refusal {
    Taken,
    Full(Failure),
    Other(Failure),
}

fn refusal<E>(doing: String, error: &SdkError<E, HttpResponse>) -> Refusal
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let failure = failure(doing, error, |_| None);
    match code(error) {
        Some("ResourceInUse") => Refusal::Taken,
        Some("ResourceLimitExceeded") => Refusal::Full(failure.with_hint(
            "ask for a higher quota of the instance type, or name others under `instances`",
        )),
        _ => Refusal::Other(failure),
    }
}

/// Why a stop call was refused; `None` if the job has ended in between.
///
/// SageMaker refuses to stop a job that has ended with the code of a bad request, and so it does
/// with a job that there is not. The name is valid and was just described.
fn ended<E>(doing: String, error: &SdkError<E, HttpResponse>) -> Option<Failure>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match code(error) {
        Some("ValidationException" | "ResourceNotFound") => None,
        _ => Some(failure(doing, error, |_| None)),
    }
}
