//! Buckets: that they are there, in the target's region, and how they keep what is put into them.

use aws_sdk_s3::types::{BucketVersioningStatus, ExpirationStatus, Payer, ServerSideEncryption};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;

use super::super::error::code;
use super::super::session::AwsSession;
use super::unread;
use crate::pipeline::target::Encryption;
use crate::ports::preflight::Finding;

/// Looks at the lake's bucket and at those that are only read.
pub async fn check(session: &AwsSession, others: &[String]) -> Vec<Finding> {
    let client = session.s3();
    let lake = &session.target().lake.bucket;
    let mut findings = Vec::new();
    if place(session, &client, lake, true, &mut findings).await {
        findings.push(encryption(session, &client, lake).await);
        findings.extend(lifecycle(&client, lake).await);
    }
    for bucket in others {
        if place(session, &client, bucket, false, &mut findings).await {
            findings.push(payer(session, &client, bucket).await);
        }
    }
    findings
}

fn subject(bucket: &str) -> String {
    format!("bucket {bucket}")
}

/// Looks for the bucket; whether there is more to look at.
async fn place(
    session: &AwsSession,
    client: &aws_sdk_s3::Client,
    bucket: &str,
    is_lake: bool,
    findings: &mut Vec<Finding>,
) -> bool {
    let located = client.get_bucket_location().bucket(bucket).send().await;
    let region = match &located {
        // The first region has no name here, and the first of Europe an old one.
        Ok(located) => match located.location_constraint().map(|it| it.as_str()) {
            None | Some("") => Some("us-east-1"),
            Some("EU") => Some("eu-west-1"),
            Some(region) => Some(region),
        },
        Err(error) if code(error) == Some("NoSuchBucket") => {
            let finding = Finding::fail(subject(bucket), "there is no such bucket");
            findings.push(finding.hint(match is_lake {
                true => format!(
                    "make it: `aws s3api create-bucket --bucket {bucket} --region {}`",
                    session.region()
                ),
                false => "correct the `path` of the source".to_owned(),
            }));
            return false;
        }
        Err(error) => told_region(error),
    };
    findings.push(match (region, &located) {
        (Some(region), _) if region == session.region() => {
            Finding::ok(subject(bucket), format!("is in {region}"))
        }
        (Some(region), _) => {
            let text = format!("is in {region}, the target is in {}", session.region());
            Finding::fail(subject(bucket), text).hint(
                "jobs and COPY read their own region only: set `region`, or take another bucket",
            )
        }
        (None, Err(error)) => {
            unread(subject(bucket), "find the bucket", "s3:GetBucketLocation", error)
        }
        (None, Ok(_)) => Finding::unknown(subject(bucket), "its region was not told"),
    });
    // From elsewhere S3 only says where to ask.
    located.is_ok() && region.is_none_or(|region| region == session.region())
}

/// S3 says where a bucket is even when it refuses everything else.
fn told_region<E>(error: &SdkError<E, HttpResponse>) -> Option<&str> {
    error.raw_response()?.headers().get("x-amz-bucket-region")
}

async fn payer(session: &AwsSession, client: &aws_sdk_s3::Client, bucket: &str) -> Finding {
    let subject = subject(bucket);
    match client.get_bucket_request_payment().bucket(bucket).send().await {
        Ok(found) => match (found.payer(), session.target().s3.requester_pays) {
            (Some(Payer::Requester), false) => {
                Finding::warn(subject, "the requester pays, and the target does not say so")
                    .hint("set `s3: {requester_pays: true}` unless the bucket is your own")
            }
            (Some(Payer::Requester), true) => Finding::ok(subject, "the requester pays"),
            _ => Finding::ok(subject, "its owner pays for requests"),
        },
        Err(error) => {
            unread(subject, "ask who pays for requests", "s3:GetBucketRequestPayment", &error)
        }
    }
}

async fn encryption(session: &AwsSession, client: &aws_sdk_s3::Client, bucket: &str) -> Finding {
    let subject = subject(bucket);
    let found = client.get_bucket_encryption().bucket(bucket).send().await;
    let default = match &found {
        Ok(found) => found
            .server_side_encryption_configuration()
            .and_then(|configuration| configuration.rules().first())
            .and_then(|rule| rule.apply_server_side_encryption_by_default()),
        Err(error) if code(error) == Some("ServerSideEncryptionConfigurationNotFoundError") => None,
        Err(error) => {
            let doing = "read the bucket's encryption";
            return unread(subject, doing, "s3:GetEncryptionConfiguration", error);
        }
    };
    let key = default.and_then(|default| default.kms_master_key_id());
    let is_kms = default.is_some_and(|it| *it.sse_algorithm() == ServerSideEncryption::AwsKms);
    match (&session.target().s3.encryption, default) {
        (None, None) => Finding::warn(subject, "writes are not encrypted by a rule of its own")
            .hint("set a default encryption, or `s3: {encryption: …}` in the target"),
        (None, Some(_)) if is_kms => {
            let text = format!("encrypts with the KMS key `{}`", key.unwrap_or("aws/s3"));
            Finding::warn(subject, text).hint(
                "name the key under `s3: {encryption: …}`, so that `recctl iam` knows which key is needed",
            )
        }
        (None, Some(default)) => {
            Finding::ok(subject, format!("encrypts with {}", default.sse_algorithm()))
        }
        (Some(Encryption::S3), _) => Finding::ok(subject, "writes ask for S3's own keys"),
        (Some(Encryption::Kms(asked)), _) => match key {
            Some(key) if is_kms && !same_key(key, asked) => {
                let text = format!("its own key is `{key}`, writes ask for `{asked}`");
                Finding::warn(subject, text)
                    .hint("policies of buckets often deny other keys than their own: name the same")
            }
            _ => Finding::ok(subject, format!("writes ask for the key `{asked}`")),
        },
    }
}

/// Whether two names may be one key's: an id is the end of an ARN, and what an alias stands for
/// cannot be seen.
fn same_key(one: &str, other: &str) -> bool {
    let is_alias = |key: &str| key.starts_with("alias/") || key.contains(":alias/");
    one == other || one.ends_with(other) || other.ends_with(one) || is_alias(one) || is_alias(other)
}

/// What happens to what nobody sees any more.
async fn lifecycle(client: &aws_sdk_s3::Client, bucket: &str) -> Vec<Finding> {
    let subject = || subject(bucket);
    let action = "s3:GetLifecycleConfiguration";
    let found = client.get_bucket_lifecycle_configuration().bucket(bucket).send().await;
    let rules = match &found {
        Ok(found) => found.rules(),
        Err(error) if code(error) == Some("NoSuchLifecycleConfiguration") => &[],
        Err(error) => return vec![unread(subject(), "read the bucket's rules", action, error)],
    };
    let mut active = rules.iter().filter(|rule| *rule.status() == ExpirationStatus::Enabled);
    let mut findings = Vec::new();
    findings.push(match active.clone().any(|rule| rule.abort_incomplete_multipart_upload().is_some()) {
        true => Finding::ok(subject(), "removes unfinished uploads"),
        false => Finding::warn(subject(), "unfinished uploads stay, and are paid for, for ever")
            .hint("add a lifecycle rule with `AbortIncompleteMultipartUpload`, for example after 7 days"),
    });
    let versioning = client.get_bucket_versioning().bucket(bucket).send().await;
    match &versioning {
        Ok(found) if found.status() == Some(&BucketVersioningStatus::Enabled) => {
            findings.push(
                match active.any(|rule| rule.noncurrent_version_expiration().is_some()) {
                    true => Finding::ok(subject(), "keeps versions, and removes old ones"),
                    false => {
                        Finding::warn(subject(), "keeps every version of what is removed, for ever")
                            .hint("add a lifecycle rule with `NoncurrentVersionExpiration`")
                    }
                },
            );
        }
        Ok(_) => findings.push(Finding::ok(subject(), "keeps no versions")),
        Err(error) => {
            findings.push(unread(
                subject(),
                "read the versioning",
                "s3:GetBucketVersioning",
                error,
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::same_key;

    #[test]
    fn keys_have_several_names() {
        let arn = "arn:aws:kms:eu-west-1:123456789012:key/1234-abcd";
        assert!(same_key(arn, "1234-abcd") && same_key("1234-abcd", arn));
        assert!(same_key(arn, "alias/lake"), "what it stands for is not known");
        assert!(!same_key(arn, "arn:aws:kms:eu-west-1:123456789012:key/9999"));
    }
}
