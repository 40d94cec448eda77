//! One generation of a partition as an object of the lake.

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{RequestPayer, ServerSideEncryption};
use chrono::{DateTime, Utc};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::super::error;
use crate::pipeline::interval::LogicalDate;
use crate::pipeline::target::{AwsTarget, Encryption};
use crate::ports::{FileEntry, PartitionEntry};
use crate::run::failure::{Failure, FailureKind, Outcome};

/// The version of the format.
const VERSION: u32 = 1;
/// Requests in flight at a time.
pub(super) const AT_ONCE: usize = 16;

/// All of a [`PartitionEntry`] but the moment at which it became visible.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Manifest {
    version: u32,
    table: String,
    key: String,
    date: Option<LogicalDate>,
    generation: String,
    rows: u64,
    content_hash: String,
    fingerprint: String,
    files: Vec<FileEntry>,
}

/// A manifest to be written. Its path says what it holds, so it is never written with other
/// contents, and two generations are the same if their paths are.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    /// Path in the lake.
    pub(super) path: String,
    text: String,
}

impl Draft {
    pub(super) fn of(database: &str, entry: &PartitionEntry) -> Outcome<Self> {
        let manifest = Manifest {
            version: VERSION,
            table: entry.table.clone(),
            key: entry.key.clone(),
            date: entry.date,
            generation: entry.generation.clone(),
            rows: entry.rows,
            content_hash: entry.content_hash.clone(),
            fingerprint: entry.fingerprint.clone(),
            files: entry.files.clone(),
        };
        let text = serde_json::to_string(&manifest).map_err(|error| {
            Failure::new(FailureKind::Internal, format!("cannot write a manifest: {error}"))
        })?;
        let digest: String =
            Sha256::digest(&text).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let path = format!(
            "_recctl/catalog/{database}/{}/{}/{}-{digest}.json",
            entry.table, entry.key, entry.generation
        );
        Ok(Self { path, text })
    }
}

/// The manifests of a lake.
#[derive(Debug, Clone)]
pub(super) struct Manifests {
    client: Client,
    target: AwsTarget,
}

impl Manifests {
    pub(super) fn new(client: Client, target: &AwsTarget) -> Self {
        Self { client, target: target.clone() }
    }

    fn payer(&self) -> Option<RequestPayer> {
        self.target.s3.requester_pays.then_some(RequestPayer::Requester)
    }

    /// Writes one. Writing it again changes nothing.
    pub(super) async fn write(&self, draft: &Draft) -> Outcome<()> {
        let lake = &self.target.lake;
        let mut request = self
            .client
            .put_object()
            .bucket(&lake.bucket)
            .key(lake.key(&draft.path))
            .content_type("application/json")
            .set_request_payer(self.payer())
            .body(ByteStream::from(draft.text.clone().into_bytes()));
        match &self.target.s3.encryption {
            None => {}
            Some(Encryption::S3) => {
                request = request.server_side_encryption(ServerSideEncryption::Aes256);
            }
            Some(Encryption::Kms(key)) => {
                request =
                    request.server_side_encryption(ServerSideEncryption::AwsKms).ssekms_key_id(key);
            }
        }
        match request.send().await {
            Ok(_) => Ok(()),
            Err(failed) => {
                let doing = format!("write the manifest `{}`", lake.url(&draft.path));
                Err(error::failure(doing, &failed, |_| None))
            }
        }
    }

    /// Reads one back; `None` if it was removed.
    pub(super) async fn read(
        &self,
        path: &str,
        published: DateTime<Utc>,
    ) -> Outcome<Option<PartitionEntry>> {
        let lake = &self.target.lake;
        let url = lake.url(path);
        let request = self
            .client
            .get_object()
            .bucket(&lake.bucket)
            .key(lake.key(path))
            .set_request_payer(self.payer());
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(failed) if error::code(&failed) == Some("NoSuchKey") => return Ok(None),
            Err(failed) => {
                return Err(error::failure(format!("read `{url}`"), &failed, |_| None));
            }
        };
        let bytes = answer.body.collect().await.map_err(|failed| {
            Failure::new(FailureKind::Transient, format!("cannot read `{url}`: {failed}"))
        })?;
        let broken = |why: String| Failure::new(FailureKind::Input, format!("`{url}` {why}"));
        let manifest: Manifest = serde_json::from_slice(&bytes.into_bytes())
            .map_err(|error| broken(format!("is not a manifest: {error}")))?;
        if manifest.version > VERSION {
            return Err(broken("was written by a newer recctl".to_owned()));
        }
        Ok(Some(PartitionEntry {
            table: manifest.table,
            key: manifest.key,
            date: manifest.date,
            generation: manifest.generation,
            files: manifest.files,
            rows: manifest.rows,
            content_hash: manifest.content_hash,
            fingerprint: manifest.fingerprint,
            published,
        }))
    }

    /// An object in a folder that is not one of these files and that other readers would take for
    /// data of the partition, if there is one.
    pub(super) async fn stranger(
        &self,
        folder: &str,
        files: &[FileEntry],
    ) -> Outcome<Option<String>> {
        let lake = &self.target.lake;
        let prefix = format!("{}/", lake.key(folder));
        let mut pages = self
            .client
            .list_objects_v2()
            .bucket(&lake.bucket)
            .prefix(&prefix)
            .set_request_payer(self.payer())
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|failed| {
                error::failure(format!("list `{}`", lake.url(folder)), &failed, |_| None)
            })?;
            for object in page.contents() {
                let Some(rest) = object.key().and_then(|key| key.strip_prefix(&prefix)) else {
                    continue;
                };
                // What Hive's readers take for no data.
                let hidden = rest.split('/').any(|part| part.starts_with(['_', '.']));
                let path = format!("{folder}/{rest}");
                let known = files.iter().any(|file| file.path == path);
                if !hidden && !known && object.size() != Some(0) {
                    return Ok(Some(path));
                }
            }
        }
        Ok(None)
    }

    /// Reads several, in their order, without those that were removed.
    pub(super) async fn read_all(
        &self,
        paths: Vec<(String, DateTime<Utc>)>,
    ) -> Outcome<Vec<PartitionEntry>> {
        let reads = paths
            .into_iter()
            .map(|(path, published)| async move { self.read(&path, published).await });
        let entries: Vec<_> = futures::stream::iter(reads).buffered(AT_ONCE).collect().await;
        entries.into_iter().filter_map(Result::transpose).collect()
    }
}
