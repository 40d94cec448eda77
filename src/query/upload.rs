//! Writes one file of the lake as it is made: small ones at once, large ones in parts.

use std::sync::Arc;

use datafusion::parquet::arrow::async_writer::AsyncFileWriter;
use datafusion::parquet::errors::{ParquetError, Result as ParquetResult};
use futures::FutureExt;
use futures::future::BoxFuture;
use hyper::body::Bytes;
use object_store::path::Path as StorePath;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutPayloadMut};
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

use super::lake::store_failure;
use crate::run::failure::{Failure, Outcome};

/// Size of a part in bytes: 10,000 of them, the most that S3 takes, are 100 GB.
/// Smaller files go up in one go.
pub const PART_BYTES: usize = 10 * 1024 * 1024;
/// Parts under way at once; each holds its bytes in memory.
const PARALLEL: usize = 8;

/// A file that is being written. It is there once [`Self::complete`] returns, and not before. One
/// that fails or is dropped is aborted: parts that nobody sees would stay, and be paid for.
///
/// `object_store`'s own `BufWriter` aborts nothing by itself, and cannot be asked to once its last
/// parts are on their way.
pub struct Upload {
    store: Arc<dyn ObjectStore>,
    path: StorePath,
    buffer: PutPayloadMut,
    part: usize,
    upload: Option<Box<dyn MultipartUpload>>,
    parts: JoinSet<object_store::Result<()>>,
    aborts: TaskTracker,
}

impl Upload {
    /// Begins a file. `aborts` gets the task that aborts it, should it come to that.
    pub fn new(store: Arc<dyn ObjectStore>, path: &str, aborts: &TaskTracker) -> Self {
        Self {
            store,
            path: StorePath::from(path),
            buffer: PutPayloadMut::new(),
            part: PART_BYTES,
            upload: None,
            parts: JoinSet::new(),
            aborts: aborts.clone(),
        }
    }

    /// Adds bytes.
    pub async fn put(&mut self, mut bytes: Bytes) -> Outcome<()> {
        while self.buffer.content_length() + bytes.len() >= self.part {
            self.buffer.push(bytes.split_to(self.part - self.buffer.content_length()));
            self.send().await.map_err(|error| self.failed(&error))?;
        }
        if !bytes.is_empty() {
            self.buffer.push(bytes);
        }
        Ok(())
    }

    /// Sends what is left and makes the file visible.
    pub async fn complete(&mut self) -> Outcome<()> {
        let done = async {
            if self.upload.is_none() {
                let all = std::mem::take(&mut self.buffer).freeze();
                self.store.put(&self.path, all).await?;
                return Ok(());
            }
            if !self.buffer.is_empty() {
                self.send().await?;
            }
            while let Some(part) = self.parts.join_next().await {
                part??;
            }
            if let Some(upload) = &mut self.upload {
                upload.complete().await?;
            }
            self.upload = None;
            Ok(())
        };
        let done: object_store::Result<()> = done.await;
        done.map_err(|error| self.failed(&error))
    }

    /// Sends the buffer as the next part.
    async fn send(&mut self) -> object_store::Result<()> {
        if self.upload.is_none() {
            self.upload = Some(self.store.put_multipart(&self.path).await?);
        }
        while self.parts.len() >= PARALLEL {
            if let Some(part) = self.parts.join_next().await {
                part??;
            }
        }
        if let Some(upload) = &mut self.upload {
            let part = std::mem::take(&mut self.buffer).freeze();
            self.parts.spawn(upload.put_part(part));
        }
        Ok(())
    }

    fn failed(&self, error: &object_store::Error) -> Failure {
        store_failure("write", self.path.as_ref(), error)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(mut upload) = self.upload.take() else { return };
        let (mut parts, path) = (std::mem::take(&mut self.parts), self.path.clone());
        let abort = async move {
            // A part that comes after the abort would stay.
            parts.shutdown().await;
            if let Err(error) = upload.abort().await {
                tracing::warn!(%path, %error, "parts of a file are left");
            }
        };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            self.aborts.spawn_on(abort, &runtime);
        }
    }
}

impl AsyncFileWriter for Upload {
    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, ParquetResult<()>> {
        self.put(bytes).map(|done| done.map_err(external)).boxed()
    }

    fn complete(&mut self) -> BoxFuture<'_, ParquetResult<()>> {
        Self::complete(self).map(|done| done.map_err(external)).boxed()
    }
}

fn external(failure: Failure) -> ParquetError {
    ParquetError::External(Box::new(failure))
}

/// Takes a failure of an [`Upload`] out of a writer's error.
pub(super) fn inner_failure(error: &ParquetError) -> Option<Failure> {
    match error {
        ParquetError::External(inner) => inner.downcast_ref::<Failure>().cloned(),
        _ => None,
    }
}
