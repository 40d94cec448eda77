//! What is known of a job beyond the process that runs it: `status.json` in the job's folder, and
//! a lock that is held while somebody runs it.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ports::{JobState, JobStatus};
use crate::run::failure::{Failure, FailureKind, Outcome, io_failure};

/// A job as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct JobRecord {
    /// Version of the format.
    version: u32,
    /// Digest of the request.
    pub digest: String,
    state: StoredState,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    last_lines: Vec<String>,
    metrics: BTreeMap<String, f64>,
    /// Files in the lake that the job has made, or was about to make.
    pub outputs: Vec<String>,
    /// The job's process, while there is one.
    pub pid: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredState {
    InProgress,
    Completed,
    Failed,
    Stopped,
}

impl JobRecord {
    pub(super) fn new(digest: &str) -> Self {
        Self {
            version: 1,
            digest: digest.to_owned(),
            state: StoredState::InProgress,
            reason: String::new(),
            last_lines: Vec::new(),
            metrics: BTreeMap::new(),
            outputs: Vec::new(),
            pid: None,
        }
    }

    pub(super) fn set_status(&mut self, status: &JobStatus) {
        self.metrics = status.metrics.clone();
        self.state = match &status.state {
            JobState::InProgress => StoredState::InProgress,
            JobState::Completed => StoredState::Completed,
            JobState::Stopped => StoredState::Stopped,
            JobState::Failed { reason, last_lines } => {
                self.reason = reason.clone();
                self.last_lines = last_lines.clone();
                StoredState::Failed
            }
        };
    }

    pub(super) fn status(self) -> JobStatus {
        let state = match self.state {
            StoredState::InProgress => JobState::InProgress,
            StoredState::Completed => JobState::Completed,
            StoredState::Stopped => JobState::Stopped,
            StoredState::Failed => {
                JobState::Failed { reason: self.reason, last_lines: self.last_lines }
            }
        };
        JobStatus { state, metrics: self.metrics }
    }

    pub(super) fn is_completed(&self) -> bool {
        self.state == StoredState::Completed
    }

    pub(super) fn is_in_progress(&self) -> bool {
        self.state == StoredState::InProgress
    }

    /// Reads the record; `None` if there is none, or none of this version that can be read: the job
    /// is then done again.
    pub(super) fn read(folder: &Path) -> Outcome<Option<Self>> {
        let path = folder.join("status.json");
        match std::fs::read(&path) {
            Ok(bytes) => {
                let record = serde_json::from_slice::<Self>(&bytes).ok();
                Ok(record.filter(|record| record.version == 1))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_failure("read", &path, &error)),
        }
    }

    /// Replaces the record; readers see the old one or the new one.
    pub(super) fn write(&self, folder: &Path) -> Outcome<()> {
        let (temporary, path) = (folder.join("status.json.tmp"), folder.join("status.json"));
        let bytes = serde_json::to_vec_pretty(self).map_err(|error| {
            Failure::new(FailureKind::Internal, format!("cannot write JSON: {error}"))
        })?;
        std::fs::write(&temporary, bytes)
            .and_then(|()| std::fs::rename(&temporary, &path))
            .map_err(|error| io_failure("write", &path, &error))
    }
}

/// The right to run a job. The system takes it back when the process ends, however that happens.
#[derive(Debug)]
pub(super) struct JobLock(#[expect(dead_code, reason = "held for its lock")] File);

impl JobLock {
    /// Takes the lock; `None` if somebody else has it.
    #[expect(clippy::disallowed_methods, reason = "a bounded wait for another process's look")]
    pub(super) fn take(jobs: &Path, name: &str) -> Outcome<Option<Self>> {
        // Beside the job's folder, which is removed when the job starts anew.
        let folder = jobs.join(".locks");
        let path = folder.join(name);
        let file = std::fs::create_dir_all(&folder)
            .and_then(|()| File::options().create(true).append(true).open(&path))
            .map_err(|error| io_failure("open", &path, &error))?;
        // Somebody who only looks (`is_held`) has it for an instant.
        for _ in 0..5 {
            match file.try_lock() {
                Ok(()) => return Ok(Some(Self(file))),
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(10)),
                Err(TryLockError::Error(error)) => return Err(io_failure("lock", &path, &error)),
            }
        }
        Ok(None)
    }

    /// Whether somebody runs the job.
    pub(super) fn is_held(jobs: &Path, name: &str) -> bool {
        File::open(jobs.join(".locks").join(name))
            .is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }
}
