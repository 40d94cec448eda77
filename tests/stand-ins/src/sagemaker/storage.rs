//! The buckets that jobs read and write.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::memory::InMemory;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

type Open = dyn Fn(&str) -> object_store::Result<Arc<dyn ObjectStore>> + Send + Sync;

/// Buckets by name.
#[derive(Clone)]
pub struct Buckets {
    open: Arc<Open>,
    opened: Arc<Mutex<BTreeMap<String, Arc<dyn ObjectStore>>>>,
}

impl fmt::Debug for Buckets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buckets").finish_non_exhaustive()
    }
}

impl Buckets {
    /// Buckets of an S3 endpoint (`http://127.0.0.1:…`), path style; any secret is accepted there.
    pub fn at(endpoint: &str, access_key: &str, region: &str) -> Self {
        let (endpoint, access_key, region) =
            (endpoint.to_owned(), access_key.to_owned(), region.to_owned());
        Self::new(move |bucket| {
            let store = AmazonS3Builder::new()
                .with_endpoint(&endpoint)
                .with_allow_http(true)
                .with_virtual_hosted_style_request(false)
                .with_access_key_id(&access_key)
                .with_secret_access_key("secret")
                .with_region(&region)
                .with_bucket_name(bucket)
                .build()?;
            Ok(Arc::new(store))
        })
    }

    /// Buckets in memory; each exists as soon as it is named.
    pub fn in_memory() -> Self {
        Self::new(|_| Ok(Arc::new(InMemory::new())))
    }

    fn new(
        open: impl Fn(&str) -> object_store::Result<Arc<dyn ObjectStore>> + Send + Sync + 'static,
    ) -> Self {
        Self { open: Arc::new(open), opened: Arc::default() }
    }

    /// A bucket.
    pub fn bucket(&self, name: &str) -> object_store::Result<Arc<dyn ObjectStore>> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = opened.get(name) {
            return Ok(Arc::clone(store));
        }
        let store = (self.open)(name)?;
        opened.insert(name.to_owned(), Arc::clone(&store));
        Ok(store)
    }

    /// Writes an object.
    pub async fn put(&self, uri: &str, bytes: impl Into<Bytes>) -> Result<(), String> {
        let (bucket, key) = parse(uri)?;
        let store = self.bucket(bucket).map_err(text)?;
        let payload = PutPayload::from_bytes(bytes.into());
        store.put(&parse_key(key), payload).await.map(drop).map_err(text)
    }

    /// Reads an object.
    pub async fn get(&self, uri: &str) -> Result<Bytes, String> {
        let (bucket, key) = parse(uri)?;
        let store = self.bucket(bucket).map_err(text)?;
        store.get(&parse_key(key)).await.map_err(text)?.bytes().await.map_err(text)
    }

    /// The URIs of the objects whose keys begin with that of `uri`, in order.
    ///
    /// A prefix is text to S3, not a folder: `s3://b/in` covers `in-other/x` too.
    pub async fn list(&self, uri: &str) -> Result<Vec<String>, String> {
        let (bucket, prefix) = parse(uri)?;
        let store = self.bucket(bucket).map_err(text)?;
        let folder = prefix.rfind('/').map(|at| parse_key(&prefix[..at]));
        let found: Vec<_> = store.list(folder.as_ref()).try_collect().await.map_err(text)?;
        let mut uris: Vec<String> = found
            .iter()
            .map(|object| object.location.as_ref())
            .filter(|key| key.starts_with(prefix))
            .map(|key| format!("s3://{bucket}/{key}"))
            .collect();
        uris.sort();
        Ok(uris)
    }

    /// Fetches the objects below a prefix into a folder; returns how many there were.
    pub(super) async fn download(&self, uri: &str, folder: &Path) -> Result<usize, String> {
        let objects = self.list(uri).await?;
        for object in &objects {
            let rest = object.get(uri.len()..).unwrap_or_default().trim_start_matches('/');
            let name = object.rsplit('/').next().unwrap_or_default();
            let relative = if rest.is_empty() { name } else { rest };
            let bytes = self.get(object).await?;
            write(&folder.join(relative), &bytes).await?;
        }
        Ok(objects.len())
    }

    /// Writes the files below a folder under a prefix; returns how many there were.
    pub(super) async fn upload(&self, folder: &Path, uri: &str) -> Result<usize, String> {
        let files = files_below(folder);
        for file in &files {
            let bytes = tokio::fs::read(folder.join(file)).await.map_err(text)?;
            self.put(&join(uri, &file.to_string_lossy()), bytes).await?;
        }
        Ok(files.len())
    }

    /// Makes a prefix hold what a folder holds: what was deleted there is deleted here.
    pub(super) async fn mirror(&self, folder: &Path, uri: &str) -> Result<(), String> {
        self.upload(folder, uri).await?;
        for object in self.list(&join(uri, "")).await? {
            let relative = object.get(join(uri, "").len()..).unwrap_or_default();
            if !folder.join(relative).is_file() {
                let (bucket, key) = parse(&object)?;
                let store = self.bucket(bucket).map_err(text)?;
                store.delete(&parse_key(key)).await.map_err(text)?;
            }
        }
        Ok(())
    }
}

/// A prefix and a name below it.
pub(super) fn join(uri: &str, name: &str) -> String {
    format!("{}/{name}", uri.trim_end_matches('/'))
}

fn parse(uri: &str) -> Result<(&str, &str), String> {
    let rest = uri.strip_prefix("s3://").ok_or_else(|| format!("`{uri}` is not an S3 URI"))?;
    Ok(rest.split_once('/').unwrap_or((rest, "")))
}

fn parse_key(key: &str) -> Key {
    Key::parse(key.trim_end_matches('/')).unwrap_or_else(|_| Key::from(key))
}

async fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    if let Some(folder) = path.parent() {
        tokio::fs::create_dir_all(folder).await.map_err(text)?;
    }
    tokio::fs::write(path, bytes).await.map_err(text)
}

/// Files below a folder, relative to it, in order; none if there is no such folder.
pub(super) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(relative) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(folder.join(&relative)) else { continue };
        for entry in entries.flatten() {
            let path = relative.join(entry.file_name());
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(path),
                _ => files.push(path),
            }
        }
    }
    files.sort();
    files
}

fn text(error: impl fmt::Display) -> String {
    error.to_string()
}
