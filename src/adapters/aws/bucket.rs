//! What the lake's store cannot do: writes on condition that carry their own error, copies within
//! S3, files in parts, and many deletions at once.

mod parts;

use std::path::Path;

use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{Delete, ObjectIdentifier, RequestPayer, ServerSideEncryption};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

pub use self::parts::PartSizes;
use super::error::{common, failure};
use super::session::AwsSession;
use crate::pipeline::target::{Encryption, S3Options};
use crate::run::failure::{Failure, FailureKind, Outcome, io_failure};

/// Keys of one DeleteObjects call.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html>
const DELETE_KEYS: usize = 1_000;

/// One bucket, as the target says how to write and to pay.
#[derive(Debug, Clone)]
pub struct Bucket {
    client: aws_sdk_s3::Client,
    name: String,
    options: S3Options,
    sizes: PartSizes,
}

/// What must hold for a write to take place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precondition<'a> {
    /// Nothing.
    Always,
    /// There is no object of that key.
    Absent,
    /// The object is still the one with this ETag.
    Unchanged(&'a str),
}

/// An object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Content.
    pub bytes: Vec<u8>,
    /// Tells whether it is still the same one: for [`Precondition::Unchanged`].
    pub etag: String,
}

impl Bucket {
    /// A bucket by its name.
    pub fn new(session: &AwsSession, name: &str) -> Self {
        Self {
            client: session.s3(),
            name: name.to_owned(),
            options: session.target().s3.clone(),
            sizes: PartSizes::default(),
        }
    }

    /// The same with other sizes of parts.
    #[must_use]
    pub fn with_part_sizes(mut self, sizes: PartSizes) -> Self {
        self.sizes = sizes;
        self
    }

    /// The bucket's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Writes an object of at most 5 GB and returns its ETag.
    ///
    /// Writing the same again is harmless without a precondition. With one, the SDK's retry of a
    /// write whose answer got lost is a `Conflict` with itself: read the object to know.
    ///
    /// Errors: `Conflict` if the precondition does not hold.
    pub async fn put(
        &self,
        key: &str,
        bytes: Vec<u8>,
        precondition: Precondition<'_>,
    ) -> Outcome<String> {
        let request = self
            .client
            .put_object()
            .bucket(&self.name)
            .key(key)
            .body(ByteStream::from(bytes))
            .set_server_side_encryption(self.encryption())
            .set_ssekms_key_id(self.kms_key())
            .set_request_payer(self.payer());
        let request = match precondition {
            Precondition::Always => request,
            Precondition::Absent => request.if_none_match("*"),
            Precondition::Unchanged(etag) => request.if_match(etag),
        };
        let written = request.send().await.map_err(|error| {
            let failure = self.failed("write", key, &error);
            match (precondition, failure.kind) {
                // An object that is gone is not unchanged.
                (Precondition::Unchanged(_), FailureKind::NotFound) => {
                    Failure { kind: FailureKind::Conflict, ..failure }
                }
                _ => failure,
            }
        })?;
        Ok(written.e_tag.unwrap_or_default())
    }

    /// Reads an object; `None` if there is none.
    pub async fn get(&self, key: &str) -> Outcome<Option<Stored>> {
        let request = self.client.get_object().bucket(&self.name).key(key);
        let found = match request.set_request_payer(self.payer()).send().await {
            Ok(found) => found,
            Err(error) if super::error::code(&error) == Some("NoSuchKey") => return Ok(None),
            Err(error) => return Err(self.failed("read", key, &error)),
        };
        let bytes = found.body.collect().await.map_err(|error| {
            let text = format!("cannot read `s3://{}/{key}`: {error}", self.name);
            Failure::new(FailureKind::Transient, text)
        })?;
        Ok(Some(Stored { bytes: bytes.to_vec(), etag: found.e_tag.unwrap_or_default() }))
    }

    /// Copies an object inside S3, with its metadata up to 5 GB, without it above.
    ///
    /// Errors: `NotFound` if the source is missing, `Conflict` if it changes meanwhile.
    pub async fn copy(&self, from_bucket: &str, from_key: &str, to_key: &str) -> Outcome<()> {
        let head = self
            .client
            .head_object()
            .bucket(from_bucket)
            .key(from_key)
            .set_request_payer(self.payer())
            .send()
            .await
            .map_err(|error| {
                failure(format!("read `s3://{from_bucket}/{from_key}`"), &error, of_code)
            })?;
        let size = u64::try_from(head.content_length.unwrap_or_default()).unwrap_or_default();
        let source = format!("{}/{}", url_encoded(from_bucket), url_encoded(from_key));
        if size > self.sizes.copy_above {
            return self.copy_in_parts(&source, size, head.e_tag.as_deref(), to_key).await;
        }
        self.client
            .copy_object()
            .bucket(&self.name)
            .key(to_key)
            .copy_source(source)
            .set_copy_source_if_match(head.e_tag)
            .set_server_side_encryption(self.encryption())
            .set_ssekms_key_id(self.kms_key())
            .set_request_payer(self.payer())
            .send()
            .await
            .map_err(|error| {
                failure(
                    format!(
                        "copy `s3://{from_bucket}/{from_key}` to `s3://{}/{to_key}`",
                        self.name
                    ),
                    &error,
                    of_code,
                )
            })?;
        Ok(())
    }

    /// Writes a file of this machine, in parts if it is large. A failed upload leaves nothing.
    pub async fn upload(&self, file: &Path, key: &str) -> Outcome<()> {
        let data =
            tokio::fs::metadata(file).await.map_err(|error| io_failure("read", file, &error))?;
        if data.len() > self.sizes.upload {
            return self.upload_in_parts(file, data.len(), key).await;
        }
        let body = ByteStream::from_path(file).await.map_err(|error| unreadable(file, &error))?;
        self.client
            .put_object()
            .bucket(&self.name)
            .key(key)
            .body(body)
            .set_server_side_encryption(self.encryption())
            .set_ssekms_key_id(self.kms_key())
            .set_request_payer(self.payer())
            .send()
            .await
            .map_err(|error| self.failed("write", key, &error))?;
        Ok(())
    }

    /// Deletes objects; one that is not there counts as deleted.
    ///
    /// Errors: the first object's that could not be deleted, with the number of them all. The
    /// others are gone.
    pub async fn delete(&self, keys: &[String]) -> Outcome<()> {
        for chunk in keys.chunks(DELETE_KEYS) {
            let internal =
                |error: aws_sdk_s3::error::BuildError| internal(&self.name, &error.to_string());
            let objects = chunk
                .iter()
                .map(|key| ObjectIdentifier::builder().key(key).build().map_err(internal))
                .collect::<Outcome<Vec<_>>>()?;
            let delete = Delete::builder()
                .set_objects(Some(objects))
                .quiet(true)
                .build()
                .map_err(internal)?;
            let request = self.client.delete_objects().bucket(&self.name).delete(delete);
            let answer = request.set_request_payer(self.payer()).send().await.map_err(|error| {
                failure(format!("delete objects of `s3://{}`", self.name), &error, of_code)
            })?;
            let Some(first) = answer.errors().first() else { continue };
            let code = first.code().unwrap_or("an unknown error");
            let mut message = format!(
                "cannot delete `s3://{}/{}`: {code}",
                self.name,
                first.key().unwrap_or_default()
            );
            match answer.errors().len() - 1 {
                0 => {}
                more => message.push_str(&format!(" (and {more} more objects)")),
            }
            return Err(Failure::new(common(code).unwrap_or(FailureKind::Step), message));
        }
        Ok(())
    }

    fn failed<E>(&self, doing: &str, key: &str, error: &SdkError<E, HttpResponse>) -> Failure
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        failure(format!("{doing} `s3://{}/{key}`", self.name), error, of_code)
    }

    fn encryption(&self) -> Option<ServerSideEncryption> {
        self.options.encryption.as_ref().map(|encryption| match encryption {
            Encryption::S3 => ServerSideEncryption::Aes256,
            Encryption::Kms(_) => ServerSideEncryption::AwsKms,
        })
    }

    fn kms_key(&self) -> Option<String> {
        match &self.options.encryption {
            Some(Encryption::Kms(key)) => Some(key.clone()),
            Some(Encryption::S3) | None => None,
        }
    }

    fn payer(&self) -> Option<RequestPayer> {
        self.options.requester_pays.then_some(RequestPayer::Requester)
    }
}

/// Codes of S3.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>
fn of_code(code: &str) -> Option<FailureKind> {
    Some(match code {
        "NoSuchKey" | "NoSuchBucket" | "NotFound" => FailureKind::NotFound,
        "PreconditionFailed" | "ConditionalRequestConflict" => FailureKind::Conflict,
        "PermanentRedirect" | "AuthorizationHeaderMalformed" | "InvalidBucketName" => {
            FailureKind::Usage
        }
        _ => return None,
    })
}

fn unreadable(file: &Path, error: &aws_sdk_s3::primitives::ByteStreamError) -> Failure {
    Failure::new(FailureKind::Input, format!("cannot read `{}`: {error}", file.display()))
}

fn internal(bucket: &str, error: &str) -> Failure {
    Failure::new(FailureKind::Internal, format!("cannot ask `s3://{bucket}`: {error}"))
}

/// What CopyObject wants of a key: everything but letters, digits and `-._~/` as `%XX`.
fn url_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::url_encoded;

    #[test]
    fn sources_of_copies_are_encoded() {
        assert_eq!(url_encoded("a b+c/é=1.gz"), "a%20b%2Bc/%C3%A9%3D1.gz");
    }
}
