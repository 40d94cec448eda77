//! Images of jobs.

use std::collections::BTreeMap;

use aws_sdk_ecr::types::ImageIdentifier;

use super::super::error::code;
use super::super::session::AwsSession;
use super::unread;
use crate::ports::preflight::{Finding, JobNeeds};

/// An image in a private repository of ECR.
#[derive(Debug, PartialEq, Eq)]
struct Image<'a> {
    account: &'a str,
    region: &'a str,
    repository: &'a str,
    reference: Reference<'a>,
}

#[derive(Debug, PartialEq, Eq)]
enum Reference<'a> {
    Tag(&'a str),
    Digest(&'a str),
}

/// Looks for the image of every job, once each.
pub async fn check(session: &AwsSession, jobs: &[JobNeeds]) -> Vec<Finding> {
    let mut images: BTreeMap<&str, &str> = BTreeMap::new();
    for job in jobs {
        images.entry(&job.image).or_insert(&job.step);
    }
    let mut findings = Vec::new();
    for (uri, step) in images {
        findings.push(image(session, uri, step).await);
    }
    findings
}

async fn image(session: &AwsSession, uri: &str, step: &str) -> Finding {
    let subject = format!("image {}", uri.rsplit('/').next().unwrap_or(uri));
    let Some(image) = read(uri) else {
        let text = format!("`{uri}` of `{step}` is not in a private repository of ECR");
        return Finding::unknown(subject, text)
            .hint("SageMaker pulls `<account>.dkr.ecr.<region>.amazonaws.com/<repository>:<tag>`");
    };
    if image.region != session.region() {
        let text = format!("is in {}, the target is in {}", image.region, session.region());
        return Finding::fail(subject, text)
            .hint("SageMaker pulls from its own region: copy it there");
    }
    let id = match image.reference {
        Reference::Tag(tag) => ImageIdentifier::builder().image_tag(tag),
        Reference::Digest(digest) => ImageIdentifier::builder().image_digest(digest),
    };
    let found = session
        .ecr()
        .describe_images()
        .registry_id(image.account)
        .repository_name(image.repository)
        .image_ids(id.build())
        .send()
        .await;
    match found {
        Ok(found) => {
            let bytes = found.image_details().first().and_then(|image| image.image_size_in_bytes());
            let size = bytes.map(|bytes| format!(", {} MB", bytes / 1_000_000)).unwrap_or_default();
            Finding::ok(subject, format!("is there{size}"))
        }
        Err(error) => match code(&error) {
            Some("ImageNotFoundException") => {
                Finding::fail(subject, format!("there is no image `{uri}`"))
                    .hint(format!("push it: `docker push {uri}`"))
            }
            Some("RepositoryNotFoundException") => {
                let text = format!("there is no repository `{}`", image.repository);
                let command = "aws ecr create-repository --repository-name";
                Finding::fail(subject, text)
                    .hint(format!("make it: `{command} {}`", image.repository))
            }
            _ => unread(subject, "look for the image", "ecr:DescribeImages", &error),
        },
    }
}

/// Reads `<account>.dkr.ecr.<region>.amazonaws.com/<repository>[:<tag>][@<digest>]`.
fn read(uri: &str) -> Option<Image<'_>> {
    let (host, rest) = uri.split_once('/')?;
    let mut labels = host.splitn(5, '.');
    let account = labels.next()?;
    let (dkr, ecr) = (labels.next()?, labels.next()?);
    let region = labels.next()?;
    let domain = labels.next()?;
    if dkr != "dkr" || !ecr.starts_with("ecr") || !domain.starts_with("amazonaws.com") {
        return None;
    }
    let (name, digest) = match rest.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (rest, None),
    };
    let (repository, tag) = name.split_once(':').unwrap_or((name, "latest"));
    // A digest says exactly which, whatever the tag beside it says.
    let reference = digest.map_or(Reference::Tag(tag), Reference::Digest);
    Some(Image { account, region, repository, reference })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_of_ecr_are_read() {
        let image = |repository, reference| {
            Some(Image { account: "123456789012", region: "eu-west-1", repository, reference })
        };
        let host = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
        assert_eq!(read(&format!("{host}/a/b:1.2")), image("a/b", Reference::Tag("1.2")));
        assert_eq!(read(&format!("{host}/a")), image("a", Reference::Tag("latest")));
        assert_eq!(
            read(&format!("{host}.cn/a@sha256:1")),
            image("a", Reference::Digest("sha256:1"))
        );
        assert_eq!(
            read(&format!("{host}/a:t@sha256:1")),
            image("a", Reference::Digest("sha256:1"))
        );
        for other in ["recctl:1", "docker.io/a/b:1", "public.ecr.aws/x/recctl:1"] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
