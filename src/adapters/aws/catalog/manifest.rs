//! One generation of a partition as an object of the lake.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStore;
use object_store::path::Path as StorePath;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::super::{AwsSession, Bucket, Precondition, lake_store};
use crate::pipeline::interval::LogicalDate;
use crate::pipeline::target::S3Location;
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
            "{}/{}-{digest}.json",
            folder(database, &entry.table, &entry.key),
            entry.generation
        );
        Ok(Self { path, text })
    }
}

/// The folder of a partition's manifests.
fn folder(database: &str, table: &str, key: &str) -> String {
    format!("_recctl/catalog/{database}/{table}/{key}")
}

/// The manifests of a lake.
#[derive(Debug, Clone)]
pub(super) struct Manifests {
    bucket: Bucket,
    lake: S3Location,
    store: Arc<dyn ObjectStore>,
}

impl Manifests {
    pub(super) fn new(session: &AwsSession) -> Outcome<Self> {
        let lake = session.target().lake.clone();
        let bucket = Bucket::new(session, &lake.bucket);
        Ok(Self { bucket, lake, store: lake_store(session)? })
    }

    /// Writes one. Writing it again changes nothing.
    pub(super) async fn write(&self, draft: &Draft) -> Outcome<()> {
        let (key, bytes) = (self.lake.key(&draft.path), draft.text.clone().into_bytes());
        self.bucket.put(&key, bytes, Precondition::Always).await.map(drop)
    }

    /// Reads one back; `None` if it was removed.
    pub(super) async fn read(
        &self,
        path: &str,
        published: DateTime<Utc>,
    ) -> Outcome<Option<PartitionEntry>> {
        let Some(stored) = self.bucket.get(&self.lake.key(path)).await? else { return Ok(None) };
        let broken = |why: String| {
            Failure::new(FailureKind::Input, format!("`{}` {why}", self.lake.url(path)))
        };
        let manifest: Manifest = serde_json::from_slice(&stored.bytes)
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

    /// Removes those of generations of a partition.
    pub(super) async fn remove(
        &self,
        database: &str,
        table: &str,
        key: &str,
        generations: &[String],
    ) -> Outcome<()> {
        let folder = folder(database, table, key);
        let failed = |error: object_store::Error| {
            let folder = self.lake.url(&folder);
            Failure::new(FailureKind::Transient, format!("cannot remove of `{folder}`: {error}"))
        };
        let found = self.store.list(Some(&StorePath::from(folder.as_str())));
        let found: Vec<_> = found.try_collect().await.map_err(failed)?;
        let is_gone = |path: &StorePath| {
            // `<generation>-<digest>.json`
            let name = path.filename().and_then(|name| name.rsplit_once('-'));
            name.is_some_and(|(generation, _)| generations.iter().any(|one| one == generation))
        };
        let paths: Vec<_> =
            found.into_iter().map(|object| object.location).filter(is_gone).map(Ok).collect();
        let removed = self.store.delete_stream(futures::stream::iter(paths).boxed());
        removed.try_for_each(|_| async { Ok(()) }).await.map_err(failed)
    }

    /// An object in a folder that is not one of these files and that other readers would take for
    /// data of the partition, if there is one.
    pub(super) async fn stranger(
        &self,
        folder: &str,
        files: &[FileEntry],
    ) -> Outcome<Option<String>> {
        let prefix = StorePath::from(folder);
        let mut objects = self.store.list(Some(&prefix));
        while let Some(object) = objects.next().await {
            let object = object.map_err(|error| {
                let folder = self.lake.url(folder);
                Failure::new(FailureKind::Transient, format!("cannot list `{folder}`: {error}"))
            })?;
            let inside = object.location.prefix_match(&prefix);
            // What Hive's readers take for no data.
            let hidden = inside
                .is_some_and(|mut parts| parts.any(|part| part.as_ref().starts_with(['_', '.'])));
            let path = object.location.as_ref();
            if !hidden && object.size > 0 && files.iter().all(|file| file.path != path) {
                return Ok(Some(path.to_owned()));
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
