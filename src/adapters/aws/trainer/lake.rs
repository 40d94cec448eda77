//! The lake as jobs see it: channels to check, archives to put where they were asked for.

use std::path::{Component, Path};

use aws_sdk_s3::types::RequestPayer;

use super::super::bucket::{Bucket, Precondition};
use super::super::error::failure;
use super::super::session::AwsSession;
use crate::pipeline::target::S3Location;
use crate::ports::JobRequest;
use crate::run::failure::{Failure, FailureKind, Outcome};

/// The lake's folder of what SageMaker writes by its own rules: archives under the names of jobs,
/// checkpoints, and the configuration of processing jobs. Nothing in it is needed once its job's
/// output has been read.
pub(super) const WORK: &str = "sagemaker";

/// The lake of a target.
#[derive(Debug, Clone)]
pub(super) struct JobLake {
    location: S3Location,
    client: aws_sdk_s3::Client,
    bucket: Bucket,
    requester_pays: bool,
}

impl JobLake {
    pub(super) fn new(session: &AwsSession) -> Self {
        let location = session.target().lake.clone();
        Self {
            client: session.s3(),
            bucket: Bucket::new(session, &location.bucket),
            requester_pays: session.target().s3.requester_pays,
            location,
        }
    }

    /// The URL of a path of the lake.
    pub(super) fn url(&self, path: &str) -> String {
        self.location.url(path)
    }

    /// Checks that every channel has a file.
    ///
    /// Errors: `Input` if one has none, `Usage` for what cannot be a channel or a folder.
    pub(super) async fn check_channels(&self, job: &JobRequest) -> Outcome<()> {
        for (channel, folder) in &job.channels {
            if !self.has_file(folder).await? {
                let text = format!("the channel `{channel}` has no file in `{folder}`");
                return Err(Failure::new(FailureKind::Input, text));
            }
        }
        Ok(())
    }

    pub(super) async fn has_file(&self, folder: &str) -> Outcome<bool> {
        let prefix = self.location.key(folder);
        // Consoles leave empty objects as folders, whose keys end with a slash.
        Ok(self.list(&prefix, 2).await?.iter().any(|key| !key.ends_with('/')))
    }

    /// Whether there is a file.
    pub(super) async fn is_file(&self, path: &str) -> Outcome<bool> {
        let key = self.location.key(path);
        Ok(self.list(&key, 1).await?.first() == Some(&key))
    }

    async fn list(&self, prefix: &str, most: i32) -> Outcome<Vec<String>> {
        let bucket = &self.location.bucket;
        let answer = self
            .client
            .list_objects_v2()
            .bucket(bucket)
            .prefix(prefix)
            .max_keys(most)
            .set_request_payer(self.requester_pays.then_some(RequestPayer::Requester))
            .send()
            .await
            .map_err(|error| {
                failure(format!("list `s3://{bucket}/{prefix}`"), &error, |code| match code {
                    "NoSuchBucket" => Some(FailureKind::NotFound),
                    _ => None,
                })
            })?;
        Ok(answer.contents().iter().filter_map(|object| object.key().map(str::to_owned)).collect())
    }

    /// Copies what SageMaker wrote at a URL to a path of the lake.
    pub(super) async fn take_over(&self, url: &str, path: &str) -> Outcome<()> {
        let Some((bucket, key)) = url.strip_prefix("s3://").and_then(|rest| rest.split_once('/'))
        else {
            return Err(Failure::new(FailureKind::Step, format!("`{url}` is no place in S3")));
        };
        self.bucket.copy(bucket, key, &self.location.key(path)).await
    }

    /// Writes a small file.
    pub(super) async fn put(&self, path: &str, text: String) -> Outcome<()> {
        let key = self.location.key(path);
        self.bucket.put(&key, text.into_bytes(), Precondition::Always).await.map(drop)
    }
}

/// Whether text can be the name of a channel. SageMaker takes at most 64 characters.
pub(super) fn is_channel(channel: &str) -> bool {
    (1..=64).contains(&channel.len())
        && !channel.starts_with('.')
        && channel.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

/// Whether a path is a folder of the lake.
pub(super) fn is_folder(path: &str) -> bool {
    let mut parts = Path::new(path).components().peekable();
    path.ends_with('/')
        && parts.peek().is_some()
        && parts.all(|part| matches!(part, Component::Normal(_)))
}
