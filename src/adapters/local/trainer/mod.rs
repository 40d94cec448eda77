//! The trainer as child processes, in folders laid out as SageMaker does it.

mod layout;
mod output;
mod process;
mod record;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::layout::{Claim, Job, is_job_name};
use self::process::{Ended, Group, KillOnDrop, Listener};
use self::record::{JobLock, JobRecord};
use super::sqlite::blocking;
use crate::ports::{JobRequest, JobState, JobStatus, Trainer};
use crate::run::failure::{Failure, FailureKind, Outcome};

/// How long a process that was asked to end may take before it is killed.
const GRACE: Duration = Duration::from_secs(10);

/// How often a job of another process is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// The longest reason of a failure, in characters, as in SageMaker.
const MAX_REASON: usize = 1_024;

/// Runs jobs as child processes: `<program> job train|score --root <folder>`.
///
/// A job's folder is `<jobs>/<name>`, with `opt/ml/` as the contract of training containers has it,
/// `log.txt` and `status.json`. A job that completed is found by later processes. Dropping the
/// trainer kills its jobs.
#[derive(Debug)]
pub struct ProcessTrainer {
    jobs_root: PathBuf,
    lake_root: PathBuf,
    program: PathBuf,
    grace: Duration,
    slots: Arc<Semaphore>,
    submitting: tokio::sync::Mutex<()>,
    jobs: Mutex<HashMap<String, OwnJob>>,
    tasks: Mutex<JoinSet<()>>,
}

/// A job that this trainer has started.
#[derive(Debug)]
struct OwnJob {
    digest: String,
    status: watch::Receiver<JobStatus>,
    stop: CancellationToken,
    group: Arc<Group>,
}

impl ProcessTrainer {
    /// Makes a trainer whose jobs have folders below `jobs_root` and read from and write to
    /// `lake_root`. At most `parallel` (at least 1) run at once; others wait.
    ///
    /// Errors: as the file system says.
    pub fn new(
        jobs_root: &Path,
        lake_root: &Path,
        program: &Path,
        parallel: usize,
    ) -> Outcome<Self> {
        let absolute = |path: &Path| {
            std::path::absolute(path)
                .map_err(|error| crate::run::failure::io_failure("find", path, &error))
        };
        layout::create_folder(jobs_root)?;
        // A bare name is looked for in PATH.
        let bare = program.components().count() == 1 && !program.is_absolute();
        Ok(Self {
            jobs_root: absolute(jobs_root)?,
            lake_root: absolute(lake_root)?,
            program: if bare { program.to_owned() } else { absolute(program)? },
            grace: GRACE,
            slots: Arc::new(Semaphore::new(parallel.clamp(1, Semaphore::MAX_PERMITS))),
            submitting: tokio::sync::Mutex::default(),
            jobs: Mutex::default(),
            tasks: Mutex::default(),
        })
    }

    /// Sets how long a process that was asked to end may take before it is killed (10 s).
    #[must_use]
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    fn own_jobs(&self) -> MutexGuard<'_, HashMap<String, OwnJob>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch_own(&self, name: &str) -> Option<watch::Receiver<JobStatus>> {
        self.own_jobs().get(name).map(|job| job.status.clone())
    }

    /// The status of a job that another trainer has started.
    async fn stored_status(&self, name: &str) -> Outcome<JobStatus> {
        let (jobs, name) = (self.jobs_root.clone(), name.to_owned());
        blocking(move || {
            let record =
                if is_job_name(&name) { JobRecord::read(&jobs.join(&name))? } else { None };
            let Some(record) = record else { return Err(not_found(&name)) };
            if record.is_in_progress() && !JobLock::is_held(&jobs, &name) {
                // Read again: it may have ended between the two looks.
                let again = JobRecord::read(&jobs.join(&name))?.unwrap_or(record);
                if again.is_in_progress() {
                    return Ok(failed("the process that ran the job has died", Vec::new()));
                }
                return Ok(again.status());
            }
            Ok(record.status())
        })
        .await
    }

    fn start(&self, job: Job, lock: JobLock) {
        let (send, status) = watch::channel(in_progress());
        let stop = CancellationToken::new();
        let group = Arc::new(Group::default());
        let own = OwnJob {
            digest: job.digest.clone(),
            status,
            stop: stop.clone(),
            group: Arc::clone(&group),
        };
        self.own_jobs().insert(job.request.name.clone(), own);
        let task = Task {
            job: Arc::new(job),
            program: self.program.clone(),
            grace: self.grace,
            slots: Arc::clone(&self.slots),
            stop,
            group,
            status: send,
        };
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task.run(lock));
    }
}

impl Drop for ProcessTrainer {
    fn drop(&mut self) {
        // The tasks end when the runtime comes to it; the processes end now.
        for job in self.own_jobs().values() {
            job.group.kill();
        }
    }
}

#[async_trait]
impl Trainer for ProcessTrainer {
    async fn submit(&self, request: &JobRequest) -> Outcome<()> {
        let job = Job::new(request, &self.jobs_root, &self.lake_root)?;
        // Of two submits of one name the second has to find the first.
        let _one_at_a_time = self.submitting.lock().await;
        if let Some(own) = self.own_jobs().get(&request.name)
            && own.status.borrow().state == JobState::InProgress
            && own.status.has_changed().is_ok()
        {
            return job.check_digest(&own.digest);
        }
        let (job, claim) = blocking(move || {
            let claim = job.claim()?;
            Ok((job, claim))
        })
        .await?;
        match claim {
            Claim::Start(lock) => self.start(job, lock),
            // What is stored is newer than what we remember.
            Claim::Attached => drop(self.own_jobs().remove(&request.name)),
        }
        Ok(())
    }

    async fn status(&self, name: &str) -> Outcome<JobStatus> {
        match self.watch_own(name) {
            Some(status) => Ok(now(&status)),
            None => self.stored_status(name).await,
        }
    }

    async fn wait(&self, name: &str, wait: Duration) -> Outcome<JobStatus> {
        if let Some(mut status) = self.watch_own(name) {
            let ended = status.wait_for(|status| status.state != JobState::InProgress);
            // Its three ends (ended, task gone, time up) are told apart by `now`.
            let _ = tokio::time::timeout(wait, ended).await;
            return Ok(now(&status));
        }
        let start = Instant::now();
        loop {
            let status = self.stored_status(name).await?;
            let left = wait.saturating_sub(start.elapsed());
            if status.state != JobState::InProgress || left.is_zero() {
                return Ok(status);
            }
            tokio::time::sleep(left.min(LOOK)).await;
        }
    }

    async fn cancel(&self, name: &str) -> Outcome<()> {
        if let Some(own) = self.own_jobs().get(name) {
            own.stop.cancel();
            return Ok(());
        }
        if self.stored_status(name).await?.state == JobState::InProgress {
            let text = format!("the job `{name}` runs under another process");
            return Err(Failure::new(FailureKind::Conflict, text)
                .with_hint("stop the recctl that started it"));
        }
        Ok(())
    }
}

/// All that a job's task needs.
struct Task {
    job: Arc<Job>,
    program: PathBuf,
    grace: Duration,
    slots: Arc<Semaphore>,
    stop: CancellationToken,
    group: Arc<Group>,
    status: watch::Sender<JobStatus>,
}

impl Task {
    async fn run(self, lock: JobLock) {
        let mut record = JobRecord::new(&self.job.digest);
        let state = {
            let slot = tokio::select! {
                biased;
                () = self.stop.cancelled() => None,
                slot = self.slots.acquire() => slot.ok(),
            };
            match slot {
                None => JobState::Stopped,
                Some(_slot) => self.execute(&mut record).await,
            }
        };
        let metrics = self.status.borrow().metrics.clone();
        let mut end = JobStatus { state, metrics };
        record.set_status(&end);
        record.pid = None;
        let folder = self.job.folder.clone();
        if let Err(failure) = blocking(move || record.write(&folder)).await {
            // Nobody would find the job again.
            end = JobStatus { metrics: end.metrics, ..failed(&failure.message, Vec::new()) };
        }
        // Given back before anybody learns of the end: they may submit the job again at once.
        drop(lock);
        self.status.send_replace(end);
    }

    async fn execute(&self, record: &mut JobRecord) -> JobState {
        let mut listener = Listener::new(&self.job, &self.status).await;
        match self.attend(record, &mut listener).await {
            Ok(Ended::Stopped) => JobState::Stopped,
            Ok(Ended::Itself(status)) if status.success() => match self.deliver(record).await {
                Ok(()) => JobState::Completed,
                Err(failure) => failed(&failure.message, listener.last_lines()).state,
            },
            Ok(Ended::Itself(status)) => {
                let path = self.job.root.join("output/failure");
                let own_words = match tokio::fs::read(&path).await {
                    Ok(bytes) => String::from_utf8_lossy(&bytes).trim().to_owned(),
                    Err(_) => String::new(),
                };
                let reason =
                    if own_words.is_empty() { process::exit_text(status) } else { own_words };
                failed(&reason, listener.last_lines()).state
            }
            Err(reason) => failed(&reason, listener.last_lines()).state,
        }
    }

    async fn attend(
        &self,
        record: &mut JobRecord,
        listener: &mut Listener<'_>,
    ) -> Result<Ended, String> {
        let mut child = process::start(&self.program, &self.job)
            .await
            .map_err(|error| format!("cannot start `{}`: {error}", self.program.display()))?;
        // Whatever happens from here on, nothing of it stays behind.
        let _kill = KillOnDrop(&self.group);
        record.pid = child.id();
        let (stored, folder) = (record.clone(), self.job.folder.clone());
        let noted = blocking(move || stored.write(&folder)).await;
        if let Err(failure) = noted {
            return Err(failure.message);
        }
        process::attend(&mut child, &self.job, &self.group, &self.stop, self.grace, listener)
            .await
            .map_err(|error| format!("cannot wait for the process: {error}"))
    }

    async fn deliver(&self, record: &mut JobRecord) -> Outcome<()> {
        let (job, mut delivered) = (Arc::clone(&self.job), record.clone());
        let (result, delivered) = blocking(move || {
            let result = output::deliver(&job, &mut delivered);
            Ok((result, delivered))
        })
        .await?;
        *record = delivered;
        result
    }
}

/// What is known now. A task that is gone without having said how its job ended has panicked, or
/// its runtime is ending.
fn now(status: &watch::Receiver<JobStatus>) -> JobStatus {
    let gone = status.has_changed().is_err();
    let last = status.borrow().clone();
    if gone && last.state == JobState::InProgress {
        return failed("the job's task has ended early", Vec::new());
    }
    last
}

fn in_progress() -> JobStatus {
    JobStatus { state: JobState::InProgress, metrics: BTreeMap::new() }
}

fn failed(reason: &str, last_lines: Vec<String>) -> JobStatus {
    let reason = reason.chars().take(MAX_REASON).collect();
    JobStatus { state: JobState::Failed { reason, last_lines }, metrics: BTreeMap::new() }
}

fn not_found(name: &str) -> Failure {
    Failure::new(FailureKind::NotFound, format!("there is no job `{name}`"))
}

#[cfg(test)]
mod tests;
