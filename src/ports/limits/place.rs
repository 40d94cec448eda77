//! The forms of ARNs, buckets, keys, images and regions.

use std::sync::LazyLock;

use regex::Regex;

/// The longest key of an object, in bytes.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html>
pub const KEY_BYTES: usize = 1_024;
/// The longest path below the lake that recctl makes, in bytes: a table's folder, its partition, a
/// run and a file, all of which have names of limited length.
pub const PATH_BYTES: usize = 320;

/// Says why a text cannot be the name of a bucket; `None` if it can.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>
pub fn bucket_problem(name: &str) -> Option<&'static str> {
    let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    let ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if name.contains('_') {
        return Some("has a `_`, which names of buckets cannot have");
    }
    if name.chars().any(|c| c.is_ascii_uppercase()) {
        return Some("has capitals, which names of buckets cannot have");
    }
    if !name.chars().all(known) {
        return Some("has characters other than `a` to `z`, `0` to `9`, `-` and `.`");
    }
    if !(3..=63).contains(&name.len()) {
        return Some("has not 3 to 63 characters");
    }
    if !name.starts_with(ends) || !name.ends_with(ends) {
        return Some("does not begin and end with a letter or a digit");
    }
    if name.contains("..") || name.parse::<std::net::Ipv4Addr>().is_ok() {
        return Some("is no name that a host can have");
    }
    None
}

/// An Amazon Resource Name in its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arn<'a> {
    /// `iam`, `kms`, `secretsmanager`, …
    pub service: &'a str,
    /// Region; empty for services that have none.
    pub region: &'a str,
    /// Account.
    pub account: &'a str,
    /// What follows: `role/recctl`.
    pub resource: &'a str,
}

impl<'a> Arn<'a> {
    /// Reads an ARN; `None` if the text is not one.
    /// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html>
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(6, ':');
        let mut next = || parts.next();
        (next()? == "arn" && next()?.starts_with("aws")).then_some(())?;
        let (service, region, account) = (next()?, next()?, next()?);
        let resource = next()?;
        let is_account = account.is_empty() || is_account(account);
        (!service.is_empty() && is_account && !resource.is_empty()).then_some(Self {
            service,
            region,
            account,
            resource,
        })
    }
}

/// Whether a text is the number of an account.
pub fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Says why a text is not the ARN of an IAM role; `None` if it is.
pub fn role_problem(text: &str) -> Option<String> {
    let Some(arn) = Arn::parse(text) else {
        return Some(format!("`{text}` is not an ARN"));
    };
    let name = arn.resource.strip_prefix("role/");
    match (arn.service, name) {
        ("iam", Some(name)) if !name.is_empty() && is_account(arn.account) => None,
        ("iam", Some(_)) if !is_account(arn.account) => {
            Some(format!("`{text}` has no account of 12 digits"))
        }
        (service, _) => {
            let kind = arn.resource.split(['/', ':']).next().unwrap_or_default();
            Some(format!("`{text}` names a `{kind}` of `{service}`, expected a role of `iam`"))
        }
    }
}

/// How a KMS key is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyForm {
    /// By its id or ARN.
    Key,
    /// By an alias, or the ARN of one.
    Alias,
}

/// How a text names a KMS key; `None` if it does not.
/// <https://docs.aws.amazon.com/kms/latest/developerguide/concepts.html#key-id>
pub fn key_form(text: &str) -> Option<KeyForm> {
    static ID: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new("^(mrk-[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$").ok()
    });
    let is_id = |text: &str| ID.as_ref().is_some_and(|id| id.is_match(text));
    let resource = match Arn::parse(text) {
        Some(Arn { service: "kms", resource, .. }) => resource,
        Some(_) => return None,
        None => text,
    };
    if let Some(name) = resource.strip_prefix("alias/") {
        return (!name.is_empty()).then_some(KeyForm::Alias);
    }
    let id = match Arn::parse(text) {
        Some(_) => resource.strip_prefix("key/")?,
        None => resource,
    };
    is_id(id).then_some(KeyForm::Key)
}

/// The parts of an image's URI that matter to SageMaker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image<'a> {
    /// The region of its registry.
    pub region: &'a str,
}

impl<'a> Image<'a> {
    /// The longest URI.
    /// <https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_AlgorithmSpecification.html>
    pub const BYTES: usize = 255;

    /// Reads the URI of an image in a private registry of ECR; `None` if it is none.
    pub fn parse(uri: &'a str) -> Option<Self> {
        static URI: LazyLock<Option<Regex>> = LazyLock::new(|| {
            Regex::new(concat!(
                r"^[0-9]{12}\.dkr[.-]ecr(-fips)?\.(?<region>[a-z0-9-]+)\.",
                r"(amazonaws\.com(\.cn)?|on\.aws|on\.amazonwebservices\.com\.cn)",
                r"/[a-z0-9][a-z0-9._/-]*(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(@sha256:[0-9a-f]{64})?$",
            ))
            .ok()
        });
        let found = URI.as_ref()?.captures(uri)?;
        found.name("region").map(|region| Self { region: region.as_str() })
    }
}

/// Whether a text looks like a region (`eu-central-1`).
pub fn is_region(text: &str) -> bool {
    let mut parts: Vec<&str> = text.split('-').collect();
    let number = parts
        .pop()
        .is_some_and(|last| last.len() == 1 && last.bytes().all(|byte| byte.is_ascii_digit()));
    let word = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase());
    number && parts.len() >= 2 && parts.iter().all(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_have_the_names_that_hosts_have() {
        for name in ["abc", "acme-rec.eu", "1a2", &"x".repeat(63)] {
            assert_eq!(bucket_problem(name), None, "{name}");
        }
        for name in
            ["ab", "Acme", "acme_rec", "-acme", "acme-", "a..b", "10.0.0.1", "réc", &"x".repeat(64)]
        {
            assert!(bucket_problem(name).is_some(), "{name}");
        }
    }

    #[test]
    fn roles_are_told_from_other_things() {
        for role in [
            "arn:aws:iam::123456789012:role/jobs",
            "arn:aws-us-gov:iam::123456789012:role/service-role/jobs",
        ] {
            assert_eq!(role_problem(role), None, "{role}");
        }
        for (text, told) in [
            ("jobs", "is not an ARN"),
            ("arn:aws:iam::1234:role/jobs", "is not an ARN"),
            ("arn:aws:iam:::role/jobs", "no account"),
            ("arn:aws:iam::123456789012:user/jobs", "a `user` of `iam`"),
            ("arn:aws:s3:::bucket", "a `bucket` of `s3`"),
            ("arn:aws:iam::123456789012:instance-profile/x", "`instance-profile`"),
        ] {
            let problem = role_problem(text).unwrap();
            assert!(problem.contains(told), "{problem}");
        }
    }

    #[test]
    fn keys_are_named_in_four_ways() {
        let id = "1234abcd-12ab-34cd-56ef-1234567890ab";
        let arn = |what: &str| format!("arn:aws:kms:eu-central-1:123456789012:{what}");
        for key in [id, &arn(&format!("key/{id}")), "mrk-1234abcd12ab34cd56ef1234567890ab"] {
            assert_eq!(key_form(key), Some(KeyForm::Key), "{key}");
        }
        for key in ["alias/lake", &arn("alias/lake")] {
            assert_eq!(key_form(key), Some(KeyForm::Alias), "{key}");
        }
        for text in ["lake", "alias/", "arn:aws:iam::123456789012:role/x", &arn("key/lake")] {
            assert_eq!(key_form(text), None, "{text}");
        }
    }

    #[test]
    fn images_lie_in_a_registry_of_a_region() {
        let image = Image::parse("123456789012.dkr.ecr.eu-central-1.amazonaws.com/rec/ctl:0.1.0");
        assert_eq!(image, Some(Image { region: "eu-central-1" }));
        let digest =
            format!("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/x@sha256:{:064x}", 1);
        assert_eq!(Image::parse(&digest), Some(Image { region: "cn-north-1" }));
        for uri in [
            "recctl:latest",
            "public.ecr.aws/x/recctl:1",
            "123456789012.dkr.ecr.amazonaws.com/recctl:1",
            "123456789012.dkr.ecr.eu-central-1.amazonaws.com/Recctl:1",
            "https://123456789012.dkr.ecr.eu-central-1.amazonaws.com/recctl:1",
        ] {
            assert_eq!(Image::parse(uri), None, "{uri}");
        }
    }

    #[test]
    fn regions_have_a_number() {
        for region in ["eu-central-1", "us-gov-west-1", "ap-southeast-2"] {
            assert!(is_region(region), "{region}");
        }
        for text in ["eu-central", "eucentral1", "eu-central-1a", "EU-CENTRAL-1", "", "eu-1"] {
            assert!(!is_region(text), "{text}");
        }
    }
}
