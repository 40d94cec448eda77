//! Objects in parts: uploads of files and copies within S3. One that fails is aborted, so that no
//! parts stay behind that nobody sees and everybody pays for.

use std::path::Path;
use std::time::Duration;

use aws_sdk_s3::primitives::{ByteStream, Length};
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use futures::{FutureExt, StreamExt, TryStreamExt};

use super::{Bucket, of_code, unreadable};
use crate::adapters::aws::error::failure;
use crate::run::failure::{Failure, FailureKind, Outcome};

/// The most parts of an object.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>
const MAX_PARTS: u64 = 10_000;
/// Parts under way at once.
const PARALLEL: usize = 4;
/// Aborting is a courtesy; the failure that led to it is not held back for long.
const ABORT_TIMEOUT: Duration = Duration::from_secs(10);
const MIB: u64 = 1024 * 1024;

/// From which sizes on objects are written in parts, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartSizes {
    /// Files above this go up in parts of it; S3 takes no smaller ones than 5 MiB but the last.
    pub upload: u64,
    /// Objects above this are copied in parts; S3 copies at most 5 GB (5 GiB) at once.
    pub copy_above: u64,
    /// Size of a copied part.
    pub copy: u64,
}

impl Default for PartSizes {
    fn default() -> Self {
        Self { upload: 16 * MIB, copy_above: 5 * 1024 * MIB, copy: 512 * MIB }
    }
}

/// A part's number, from 1, and its bytes: first and length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    number: i32,
    first: u64,
    length: u64,
}

/// Cuts an object into parts of a size, or of larger ones where they would be too many.
fn cut(size: u64, part: u64) -> Vec<Part> {
    let least = size.div_ceil(MAX_PARTS).next_multiple_of(MIB);
    let part = if size.div_ceil(part.max(1)) > MAX_PARTS { least } else { part.max(1) };
    (1..)
        .zip((0..size).step_by(usize::try_from(part).unwrap_or(usize::MAX)))
        .map(|(number, first)| Part { number, first, length: part.min(size - first) })
        .collect()
}

/// An upload that is under way. Dropped before its end it is aborted.
struct Upload {
    bucket: Bucket,
    key: String,
    id: Option<String>,
}

impl Upload {
    async fn abort(bucket: Bucket, key: String, id: String) {
        let request = bucket.client.abort_multipart_upload().bucket(&bucket.name).key(&key);
        let request = request.upload_id(id).set_request_payer(bucket.payer()).send();
        let error = match tokio::time::timeout(ABORT_TIMEOUT, request).await {
            Ok(Ok(_)) => return,
            Ok(Err(error)) => bucket.failed("abort the upload of", &key, &error).message,
            Err(_) => "no answer in time".to_owned(),
        };
        tracing::warn!(key, error, "parts of an upload are left; a lifecycle rule can remove them");
    }
}

impl Drop for Upload {
    /// The future of an upload is dropped when its run is stopped. Nobody can wait for the abort
    /// then, so the runtime owns it.
    fn drop(&mut self) {
        if let (Some(id), Ok(runtime)) = (self.id.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(Self::abort(self.bucket.clone(), std::mem::take(&mut self.key), id));
        }
    }
}

/// Where the bytes come from.
enum Source<'a> {
    File(&'a Path),
    /// Bucket and key, encoded, and the ETag that it must still have.
    Object(&'a str, Option<&'a str>),
}

impl Bucket {
    pub(super) async fn upload_in_parts(&self, file: &Path, size: u64, key: &str) -> Outcome<()> {
        self.in_parts(key, &Source::File(file), cut(size, self.sizes.upload)).await
    }

    pub(super) async fn copy_in_parts(
        &self,
        source: &str,
        size: u64,
        etag: Option<&str>,
        key: &str,
    ) -> Outcome<()> {
        self.in_parts(key, &Source::Object(source, etag), cut(size, self.sizes.copy)).await
    }

    async fn in_parts(&self, key: &str, source: &Source<'_>, parts: Vec<Part>) -> Outcome<()> {
        let created = self
            .client
            .create_multipart_upload()
            .bucket(&self.name)
            .key(key)
            .checksum_algorithm(ChecksumAlgorithm::Crc32)
            .set_server_side_encryption(self.encryption())
            .set_ssekms_key_id(self.kms_key())
            .set_request_payer(self.payer())
            .send()
            .await
            .map_err(|error| self.failed("begin to write", key, &error))?;
        let id = created.upload_id.ok_or_else(|| {
            let text = format!("S3 gave no upload id for `s3://{}/{key}`", self.name);
            Failure::new(FailureKind::Transient, text)
        })?;
        let mut upload = Upload { bucket: self.clone(), key: key.to_owned(), id: Some(id.clone()) };
        match self.all_parts(key, &id, source, parts).await {
            Ok(()) => {
                upload.id = None;
                Ok(())
            }
            Err(failure) => {
                if let Some(id) = upload.id.take() {
                    Upload::abort(self.clone(), key.to_owned(), id).await;
                }
                Err(failure)
            }
        }
    }

    async fn all_parts(
        &self,
        key: &str,
        id: &str,
        source: &Source<'_>,
        parts: Vec<Part>,
    ) -> Outcome<()> {
        let sent = parts.into_iter().map(|part| match source {
            Source::File(file) => self.upload_part(key, id, file, part).boxed(),
            Source::Object(from, etag) => self.copy_part(key, id, from, *etag, part).boxed(),
        });
        // In the order of their numbers, as completing wants them.
        let parts: Vec<CompletedPart> =
            futures::stream::iter(sent).buffered(PARALLEL).try_collect().await?;
        self.client
            .complete_multipart_upload()
            .bucket(&self.name)
            .key(key)
            .upload_id(id)
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts)).build())
            .set_request_payer(self.payer())
            .send()
            .await
            .map_err(|error| self.failed("finish", key, &error))?;
        Ok(())
    }

    async fn upload_part(
        &self,
        key: &str,
        id: &str,
        file: &Path,
        part: Part,
    ) -> Outcome<CompletedPart> {
        let body = ByteStream::read_from()
            .path(file)
            .offset(part.first)
            .length(Length::Exact(part.length))
            .build()
            .await
            .map_err(|error| unreadable(file, &error))?;
        let sent = self
            .client
            .upload_part()
            .bucket(&self.name)
            .key(key)
            .upload_id(id)
            .part_number(part.number)
            .checksum_algorithm(ChecksumAlgorithm::Crc32)
            .body(body)
            .set_request_payer(self.payer())
            .send()
            .await
            .map_err(|error| self.failed("write a part of", key, &error))?;
        Ok(CompletedPart::builder()
            .part_number(part.number)
            .set_e_tag(sent.e_tag)
            .set_checksum_crc32(sent.checksum_crc32)
            .build())
    }

    async fn copy_part(
        &self,
        key: &str,
        id: &str,
        source: &str,
        etag: Option<&str>,
        part: Part,
    ) -> Outcome<CompletedPart> {
        let copied = self
            .client
            .upload_part_copy()
            .bucket(&self.name)
            .key(key)
            .upload_id(id)
            .part_number(part.number)
            .copy_source(source)
            .copy_source_range(format!("bytes={}-{}", part.first, part.first + part.length - 1))
            .set_copy_source_if_match(etag.map(str::to_owned))
            .set_request_payer(self.payer())
            .send()
            .await
            .map_err(|error| {
                let doing = format!("copy `s3://{source}` to `s3://{}/{key}`", self.name);
                failure(doing, &error, of_code)
            })?;
        let (etag, checksum) = match copied.copy_part_result {
            Some(result) => (result.e_tag, result.checksum_crc32),
            None => (None, None),
        };
        Ok(CompletedPart::builder()
            .part_number(part.number)
            .set_e_tag(etag)
            .set_checksum_crc32(checksum)
            .build())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_an_object_and_are_never_too_many() {
        let bytes = |parts: &[Part]| {
            parts.iter().map(|part| (part.number, part.first, part.length)).collect::<Vec<_>>()
        };
        assert_eq!(bytes(&cut(10, 4)), [(1, 0, 4), (2, 4, 4), (3, 8, 2)]);
        assert_eq!(bytes(&cut(8, 4)), [(1, 0, 4), (2, 4, 4)]);
        // 5 TiB, the most that an object holds.
        let size = 5 * 1024 * 1024 * MIB;
        let parts = cut(size, 16 * MIB);
        assert!(parts.len() <= 10_000, "{}", parts.len());
        assert_eq!(parts.iter().map(|part| part.length).sum::<u64>(), size);
        assert!(parts.iter().all(|part| part.length <= 5 * 1024 * MIB));
    }
}
