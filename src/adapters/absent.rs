//! Stands where a target has no such service, and says so to whoever asks.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::pipeline::interval::LogicalDate;
use crate::ports::{
    GenerationEntry, JobRequest, JobStatus, Lease, LoadBatch, LoadOutcome, ServedList, ServingItem,
    ServingStore, Trainer, Warehouse,
};
use crate::run::failure::{Failure, FailureKind, Outcome};

/// A service that a target does not have. Every call is a failure of kind `Usage`.
#[derive(Debug, Clone)]
pub struct Absent {
    target: String,
    service: &'static str,
}

impl Absent {
    /// A target's service by its word in `pipelines.yaml`.
    pub fn new(target: &str, service: &'static str) -> Self {
        Self { target: target.to_owned(), service }
    }

    fn failed<T>(&self) -> Outcome<T> {
        let message = format!("target `{}` has no `{}`", self.target, self.service);
        Err(Failure::new(FailureKind::Usage, message)
            .with_hint(format!("add `{}` to the target in pipelines.yaml", self.service)))
    }
}

#[async_trait]
impl Warehouse for Absent {
    async fn load(&self, _: &LoadBatch) -> Outcome<LoadOutcome> {
        self.failed()
    }

    async fn fence(&self, _: &Lease) -> Outcome<()> {
        self.failed()
    }

    async fn count(&self, _: &str, _: Option<LogicalDate>) -> Outcome<Option<u64>> {
        self.failed()
    }
}

#[async_trait]
impl Trainer for Absent {
    async fn submit(&self, _: &JobRequest) -> Outcome<()> {
        self.failed()
    }

    async fn status(&self, _: &str) -> Outcome<JobStatus> {
        self.failed()
    }

    async fn wait(&self, _: &str, _: Duration) -> Outcome<JobStatus> {
        self.failed()
    }

    async fn cancel(&self, _: &str) -> Outcome<()> {
        self.failed()
    }
}

#[async_trait]
impl ServingStore for Absent {
    async fn begin(&self, _: &str, _: &str, _: &str, _: DateTime<Utc>) -> Outcome<u64> {
        self.failed()
    }

    async fn put(&self, _: &str, _: &str, _: &[ServingItem]) -> Outcome<()> {
        self.failed()
    }

    async fn checkpoint(&self, _: &str, _: &str, _: u64) -> Outcome<()> {
        self.failed()
    }

    async fn seal_and_flip(&self, _: &str, _: &str, _: u64, _: &Lease) -> Outcome<()> {
        self.failed()
    }

    async fn flip(&self, _: &str, _: &str, _: &Lease) -> Outcome<()> {
        self.failed()
    }

    async fn fence(&self, _: &str, _: &Lease) -> Outcome<()> {
        self.failed()
    }

    async fn generations(&self, _: &str) -> Outcome<Vec<GenerationEntry>> {
        self.failed()
    }

    async fn tables(&self) -> Outcome<Vec<String>> {
        self.failed()
    }

    async fn get(&self, _: &str, _: &str) -> Outcome<Option<ServedList>> {
        self.failed()
    }

    async fn discard(&self, _: &str, _: &str) -> Outcome<bool> {
        self.failed()
    }

    async fn prune(&self, _: &str, _: usize) -> Outcome<usize> {
        self.failed()
    }
}
