//! The lake: where raw input and tables lie.

use std::path::PathBuf;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path as StorePath;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};

use super::raw::reader::RawFile;
use super::store_error;
use crate::pipeline::interval::Partition;
use crate::pipeline::source::Source;
use crate::run::failure::{Failure, FailureKind, Outcome};

/// The URL under which DataFusion knows the lake.
pub const LAKE_URL: &str = "lake://lake";
/// The URL of another target's lake, where tables of two are compared.
pub const OTHER_LAKE_URL: &str = "lake://other";

/// Opens buckets, for sources that lie outside of the lake.
pub trait Buckets: std::fmt::Debug + Send + Sync {
    /// The store of a bucket; paths are its keys. Errors: as for the target's credentials.
    fn bucket<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Outcome<Arc<dyn ObjectStore>>>;
}

/// A store of files, and for sources that lie outside of it the machine's file system and buckets.
#[derive(Debug, Clone)]
pub struct Lake {
    /// The store of the lake; paths are relative to its root.
    pub store: Arc<dyn ObjectStore>,
    /// The file system, for sources whose path begins with `/`, `./` or `../`.
    pub files: Arc<dyn ObjectStore>,
    /// Buckets, for sources whose path begins with `s3://`.
    pub buckets: Arc<dyn Buckets>,
    /// The project's folder, which such paths are relative to.
    pub project: PathBuf,
    /// How the lake is called in messages.
    pub shown: String,
}

/// The files of a source for a partition, with a digest of their names, sizes and times.
#[derive(Debug, Clone)]
pub struct Listing {
    /// The files by path.
    pub files: Vec<RawFile>,
    /// The store that they are in.
    pub store: Arc<dyn ObjectStore>,
    /// One line per file: path, size and version (the entity tag where there is one, else the
    /// time of the last change).
    pub version: String,
    /// The folder or file that was looked for, as people know it.
    pub shown: String,
}

/// A file of the lake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// Path in the lake.
    pub path: String,
    /// Size in bytes.
    pub bytes: u64,
    /// When it was written last.
    pub modified: DateTime<Utc>,
}

/// Where a source's path leads.
struct Place {
    store: Arc<dyn ObjectStore>,
    path: StorePath,
    /// The path as people know it.
    shown: String,
    /// What makes a file's location in the store one that people know.
    root: String,
}

impl Lake {
    /// A lake that holds nothing, for queries over rows that are in memory.
    pub fn nowhere() -> Self {
        Self {
            store: Arc::new(InMemory::new()),
            files: Arc::new(InMemory::new()),
            buckets: Arc::new(Nowhere),
            project: PathBuf::new(),
            shown: String::new(),
        }
    }

    /// Lists the files of a source for a partition; an absent folder is an empty listing.
    pub async fn list(&self, source: &Source, partition: Partition) -> Outcome<Listing> {
        let text = source.path.of(partition);
        let folder = text.ends_with('/');
        let Place { store, path, shown, root } = self.place(&text).await?;
        let failed = |error: object_store::Error| {
            let words = store_error::words(&error);
            Failure::new(store_error::kind(&error), format!("cannot list `{shown}`: {words}"))
        };
        let mut metas: Vec<ObjectMeta> = if folder {
            store.list(Some(&path)).try_collect().await.map_err(failed)?
        } else {
            match store.head(&path).await {
                Ok(meta) => vec![meta],
                Err(object_store::Error::NotFound { .. }) => Vec::new(),
                Err(error) => return Err(failed(error)),
            }
        };
        // Writers leave markers and unfinished files under such names.
        metas.retain(|meta| {
            let name = meta.location.filename().unwrap_or_default();
            meta.size > 0 && !name.starts_with(['.', '_'])
        });
        metas.sort_by(|a, b| a.location.cmp(&b.location));
        let mut version = String::new();
        for meta in &metas {
            let stamp = match &meta.e_tag {
                Some(tag) => tag.clone(),
                None => meta.last_modified.timestamp_micros().to_string(),
            };
            version.push_str(&format!("{} {} {stamp}\n", meta.location, meta.size));
        }
        let files = metas
            .into_iter()
            .enumerate()
            .map(|(ordinal, meta)| RawFile {
                shown: format!("{root}{}", meta.location),
                location: meta.location,
                bytes: meta.size,
                ordinal,
            })
            .collect();
        Ok(Listing { files, store, version, shown })
    }

    /// Finds the store of a source's path.
    async fn place(&self, text: &str) -> Outcome<Place> {
        if let Some(rest) = text.strip_prefix("s3://") {
            let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
            return Ok(Place {
                store: self.buckets.bucket(bucket).await?,
                path: StorePath::from(key),
                shown: text.to_owned(),
                root: format!("s3://{bucket}/"),
            });
        }
        if ["/", "./", "../"].iter().any(|prefix| text.starts_with(prefix)) {
            let path = absolute(&self.project.join(text));
            let location = StorePath::from_absolute_path(&path).map_err(|error| {
                Failure::new(FailureKind::Usage, format!("`{text}` is not a path: {error}"))
            })?;
            return Ok(Place {
                store: Arc::clone(&self.files),
                path: location,
                shown: path.display().to_string(),
                root: "/".to_owned(),
            });
        }
        Ok(Place {
            store: Arc::clone(&self.store),
            path: StorePath::from(text),
            shown: format!("{}{text}", self.shown),
            root: String::new(),
        })
    }

    /// Puts bytes under a path of the lake.
    pub async fn put(&self, path: &str, bytes: Vec<u8>) -> Outcome<()> {
        let outcome = self.store.put(&StorePath::from(path), bytes.into()).await;
        outcome.map(|_| ()).map_err(|error| store_failure("write", path, &error))
    }

    /// The bytes under a path of the lake.
    pub async fn get(&self, path: &str) -> Outcome<Vec<u8>> {
        let failed = |error: object_store::Error| store_failure("read", path, &error);
        let result = self.store.get(&StorePath::from(path)).await.map_err(failed)?;
        Ok(result.bytes().await.map_err(failed)?.to_vec())
    }

    /// The size of a file in bytes.
    pub async fn size(&self, path: &str) -> Outcome<u64> {
        let meta = self.store.head(&StorePath::from(path)).await;
        meta.map(|meta| meta.size).map_err(|error| store_failure("read", path, &error))
    }

    /// Whether there is a file of that path and size. Errors: that it cannot be told, which is not
    /// that it is gone.
    pub async fn holds(&self, path: &str, bytes: u64) -> Outcome<bool> {
        match self.store.head(&StorePath::from(path)).await {
            Ok(meta) => Ok(meta.size == bytes),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(store_failure("look at", path, &error)),
        }
    }

    /// Paths of all files below a folder, sorted.
    pub async fn files_of(&self, folder: &str) -> Outcome<Vec<String>> {
        let failed = |error: object_store::Error| store_failure("list", folder, &error);
        let files: Vec<ObjectMeta> =
            self.store.list(Some(&StorePath::from(folder))).try_collect().await.map_err(failed)?;
        let mut paths: Vec<String> = files.iter().map(|file| file.location.to_string()).collect();
        paths.sort_unstable();
        Ok(paths)
    }

    /// All files below a folder, by path. A folder that is not there is no error.
    pub async fn stored(&self, folder: &str) -> Outcome<Vec<StoredFile>> {
        let failed = |error: object_store::Error| store_failure("list", folder, &error);
        let files: Vec<ObjectMeta> =
            self.store.list(Some(&StorePath::from(folder))).try_collect().await.map_err(failed)?;
        let mut stored: Vec<StoredFile> = files
            .into_iter()
            .map(|file| StoredFile {
                path: file.location.to_string(),
                bytes: file.size,
                modified: file.last_modified,
            })
            .collect();
        stored.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(stored)
    }

    /// Removes files. One that is not there is no error.
    pub async fn remove_files(&self, paths: &[String]) -> Outcome<()> {
        let locations: Vec<_> =
            paths.iter().map(|path| Ok(StorePath::from(path.as_str()))).collect();
        let mut removed = self.store.delete_stream(futures::stream::iter(locations).boxed());
        while let Some(one) = removed.next().await {
            match one {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => {
                    let first = paths.first().map_or("", String::as_str);
                    return Err(store_failure("remove", first, &error));
                }
            }
        }
        Ok(())
    }

    /// Removes a file.
    pub async fn remove_file(&self, path: &str) -> Outcome<()> {
        let removed = self.store.delete(&StorePath::from(path)).await;
        removed.map_err(|error| store_failure("remove", path, &error))
    }

    /// Removes all files below a folder. A folder that is not there is no error.
    pub async fn remove_folder(&self, folder: &str) -> Outcome<()> {
        let failed = |error: object_store::Error| store_failure("remove", folder, &error);
        let files: Vec<ObjectMeta> =
            self.store.list(Some(&StorePath::from(folder))).try_collect().await.map_err(failed)?;
        let paths = futures::stream::iter(files.into_iter().map(|file| Ok(file.location)));
        // S3 takes a thousand at once.
        self.store
            .delete_stream(paths.boxed())
            .try_for_each(|_| async { Ok(()) })
            .await
            .map_err(failed)
    }
}

#[derive(Debug)]
struct Nowhere;

impl Buckets for Nowhere {
    fn bucket<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Outcome<Arc<dyn ObjectStore>>> {
        let failure = Failure::new(FailureKind::Internal, format!("nothing opens bucket `{name}`"));
        Box::pin(std::future::ready(Err(failure)))
    }
}

/// Makes a [`Failure`] of a store's error.
pub fn store_failure(doing: &str, path: &str, error: &object_store::Error) -> Failure {
    let kind = store_error::kind(error);
    Failure::new(
        kind,
        format!("cannot {doing} `{path}` in the lake: {}", store_error::words(error)),
    )
}

/// Takes `.` and `..` out of a path without asking the disk, so that a missing file gets a message
/// that names the path.
fn absolute(path: &std::path::Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                clean.pop();
            }
            std::path::Component::CurDir => {}
            other => clean.push(other),
        }
    }
    clean
}
