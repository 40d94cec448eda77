//! Where ARNs lead: partition, region and account, as far as they are known without asking.

use crate::pipeline::target::{AwsTarget, Encryption};
use crate::ports::preflight::{ACCOUNT, Condition, REGION, WORKGROUP};

/// Partition, region and account of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    partition: String,
    region: String,
    account: String,
    workgroup: String,
}

impl Place {
    /// Takes what is given, else what the target says, else a placeholder. The account of the
    /// SageMaker role is the target's: SageMaker takes no role of another account.
    pub fn new(target: &AwsTarget, account: Option<&str>, region: Option<&str>) -> Self {
        let roles = target.trainer.iter().map(|trainer| trainer.role.as_str());
        let copy_roles = target.warehouse.iter().map(|warehouse| warehouse.copy_role.as_str());
        let region = region.or(target.region.as_deref());
        let known = roles.clone().find_map(part(4));
        Self {
            partition: match region {
                Some(region) => of_region(region),
                None => roles.chain(copy_roles).find_map(part(1)).unwrap_or("aws"),
            }
            .to_owned(),
            region: region.unwrap_or(REGION).to_owned(),
            account: account.or(known).unwrap_or(ACCOUNT).to_owned(),
            workgroup: WORKGROUP.to_owned(),
        }
    }

    /// The same with the id of the serverless workgroup.
    #[must_use]
    pub fn with_workgroup(mut self, id: &str) -> Self {
        self.workgroup = id.to_owned();
        self
    }

    /// The account, or its placeholder.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// The region, or its placeholder.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The id of the serverless workgroup, or its placeholder.
    pub(super) fn workgroup(&self) -> &str {
        &self.workgroup
    }

    /// The end of the hosts of service endpoints.
    pub(super) fn domain(&self) -> &'static str {
        match self.partition.as_str() {
            "aws-cn" => "amazonaws.com.cn",
            _ => "amazonaws.com",
        }
    }

    /// The ARN of something that lies in a region.
    pub(super) fn arn(&self, service: &str, resource: &str) -> String {
        self.arn_of(service, &self.account, resource)
    }

    /// The same in another account.
    pub(super) fn arn_of(&self, service: &str, account: &str, resource: &str) -> String {
        format!("arn:{}:{service}:{}:{account}:{resource}", self.partition, self.region)
    }

    /// The ARN of a bucket, or of keys in it.
    pub(super) fn bucket(&self, resource: &str) -> String {
        format!("arn:{}:s3:::{resource}", self.partition)
    }

    /// The ARN of a role of this account.
    pub(super) fn role(&self, name: &str) -> String {
        format!("arn:{}:iam::{}:role/{name}", self.partition, self.account)
    }

    /// The ARN of a KMS key that is named by its ARN, id or alias. Policies take keys only, so an
    /// alias becomes a condition on all keys.
    pub(super) fn key(&self, key: &str) -> (String, Option<Condition>) {
        let alias = key.rsplit_once(":alias/").map(|(_, alias)| alias);
        match alias.or_else(|| key.strip_prefix("alias/")) {
            Some(alias) => {
                let condition = Condition {
                    operator: "ForAnyValue:StringEquals",
                    key: "kms:ResourceAliases",
                    values: vec![format!("alias/{alias}")],
                };
                (self.arn("kms", "key/*"), Some(condition))
            }
            None if key.starts_with("arn:") => (key.to_owned(), None),
            None => (self.arn("kms", &format!("key/{key}")), None),
        }
    }
}

/// The KMS key that the lake's objects are written with.
pub(super) fn lake_key(target: &AwsTarget) -> Option<&str> {
    match &target.s3.encryption {
        Some(Encryption::Kms(key)) => Some(key),
        Some(Encryption::S3) | None => None,
    }
}

/// A part of an ARN by its position; none if it is empty.
fn part<'a>(position: usize) -> impl Fn(&'a str) -> Option<&'a str> {
    move |arn| {
        let parts = arn.strip_prefix("arn:").map(|_| arn.splitn(6, ':'));
        parts?.nth(position).filter(|part| !part.is_empty())
    }
}

/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html>
fn of_region(region: &str) -> &'static str {
    match region {
        _ if region.starts_with("cn-") => "aws-cn",
        _ if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    }
}
