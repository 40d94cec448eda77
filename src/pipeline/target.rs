//! Targets: where a pipeline may run, and with which services.

use std::collections::BTreeMap;

/// The embedded target's name.
pub const LOCAL: &str = "local";

/// Where a pipeline may run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Files and SQLite below one folder.
    Local,
    /// AWS services of one account and region.
    Aws(Box<AwsTarget>),
}

/// The services of an AWS target. A part that a project does not use may be absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsTarget {
    /// The target's name in `pipelines.yaml`.
    pub name: String,
    /// Region; where it is absent the SDK's chain (environment, profile) decides.
    pub region: Option<String>,
    /// Where raw input, tables, models and manifests lie.
    pub lake: S3Location,
    /// How objects are written and reached.
    pub s3: S3Options,
    /// Glue Data Catalog.
    pub catalog: GlueOptions,
    /// Redshift.
    pub warehouse: Option<RedshiftOptions>,
    /// SageMaker.
    pub trainer: Option<SageMakerOptions>,
    /// DynamoDB tables of served lists.
    pub serving: Option<ServingOptions>,
    /// The DynamoDB table of state.
    pub state: StateOptions,
    /// Endpoints by service (`s3`, `glue`, `dynamodb`, …), before `AWS_ENDPOINT_URL_…`.
    pub endpoints: BTreeMap<String, String>,
    /// Tags of everything that recctl creates.
    pub tags: BTreeMap<String, String>,
}

/// A place in S3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Location {
    /// Bucket.
    pub bucket: String,
    /// Prefix without slashes at its ends; empty for the bucket's root.
    pub prefix: String,
}

impl S3Location {
    /// Reads `s3://bucket/prefix`; `None` if it is not one.
    pub fn parse(url: &str) -> Option<Self> {
        let rest = url.strip_prefix("s3://")?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        (!bucket.is_empty()).then(|| Self {
            bucket: bucket.to_owned(),
            prefix: prefix.trim_matches('/').to_owned(),
        })
    }

    /// The key of a path below this place.
    pub fn key(&self, path: &str) -> String {
        match self.prefix.as_str() {
            "" => path.to_owned(),
            prefix => format!("{prefix}/{path}"),
        }
    }

    /// The URL of a path below this place.
    pub fn url(&self, path: &str) -> String {
        format!("s3://{}/{}", self.bucket, self.key(path))
    }

    /// The path below this place that a URL names; `None` if it lies elsewhere.
    pub fn path_of<'a>(&self, url: &'a str) -> Option<&'a str> {
        let key = url.strip_prefix("s3://")?.strip_prefix(self.bucket.as_str())?;
        let key = key.strip_prefix('/')?;
        match self.prefix.as_str() {
            "" => Some(key),
            prefix => key.strip_prefix(prefix)?.strip_prefix('/'),
        }
    }
}

/// How objects are written and reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct S3Options {
    /// Encryption asked for with each write; the bucket's own if absent.
    pub encryption: Option<Encryption>,
    /// Whether the requester pays for reads.
    pub requester_pays: bool,
    /// Whether buckets are named in the path; where absent, it is so for custom endpoints.
    pub path_style: Option<bool>,
}

/// Encryption of objects at rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encryption {
    /// S3's own keys (SSE-S3).
    S3,
    /// A KMS key (SSE-KMS) by its ARN, id or alias.
    Kms(String),
}

/// Glue Data Catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlueOptions {
    /// Database.
    pub database: String,
    /// The account whose catalog it is; the caller's own if absent.
    pub catalog_id: Option<String>,
}

/// Redshift.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedshiftOptions {
    /// Which one, and as whom.
    pub endpoint: RedshiftEndpoint,
    /// Database.
    pub database: String,
    /// Schema of the loaded tables.
    pub schema: String,
    /// The role that Redshift takes to read the lake.
    pub copy_role: String,
    /// A secret of Secrets Manager with user and password; temporary credentials if absent.
    pub secret: Option<String>,
    /// Schema of external tables, made over the Glue database where a step asks for it.
    pub external_schema: String,
}

/// A Redshift data warehouse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedshiftEndpoint {
    /// Serverless, by its workgroup.
    Workgroup(String),
    /// Provisioned, by its cluster and database user.
    Cluster {
        /// Cluster identifier.
        cluster: String,
        /// Database user; absent where a secret says it.
        user: Option<String>,
    },
}

/// SageMaker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SageMakerOptions {
    /// The role that jobs take.
    pub role: String,
    /// The image whose entry is recctl; a job may name another.
    pub image: String,
    /// Instance types, the first choice first; the others where capacity is short.
    pub instances: Vec<String>,
    /// Size of the volume in GB.
    pub volume_gb: u32,
    /// Whether jobs run on spot capacity.
    pub spot: bool,
    /// KMS key of volumes and outputs.
    pub kms_key: Option<String>,
    /// Network; SageMaker's own if absent.
    pub network: Option<Network>,
    /// Where the winning models are registered; nowhere if absent.
    pub registry: Option<RegistryOptions>,
}

/// A VPC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Subnets.
    pub subnets: Vec<String>,
    /// Security groups.
    pub security_groups: Vec<String>,
}

/// Model package groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryOptions {
    /// What the names of groups begin with; the pipeline's and the selecting step's names follow.
    pub group_prefix: String,
    /// Whether versions are approved at once; they wait for a person otherwise.
    pub approve: bool,
}

/// DynamoDB tables of served lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServingOptions {
    /// What the names of tables begin with.
    pub table_prefix: String,
    /// Write units a second that a load may take at most; as many as the table gives if absent.
    pub max_write_units: Option<u32>,
    /// How old generations go.
    pub removal: Removal,
}

/// How the items of old generations go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// They are deleted when a newer generation is loaded.
    Delete,
    /// They are marked to expire, and DynamoDB removes them for nothing within days.
    Expire,
}

/// The DynamoDB table of state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateOptions {
    /// Its name.
    pub table: String,
}

#[cfg(test)]
mod tests {
    use super::S3Location;

    #[test]
    fn places_in_s3_are_read_and_named() {
        let lake = S3Location::parse("s3://acme-rec/lake/").unwrap();
        assert_eq!((lake.bucket.as_str(), lake.prefix.as_str()), ("acme-rec", "lake"));
        assert_eq!(lake.key("a/b"), "lake/a/b");
        assert_eq!(lake.url("a/b"), "s3://acme-rec/lake/a/b");
        assert_eq!(lake.path_of("s3://acme-rec/lake/a/b"), Some("a/b"));
        assert_eq!(lake.path_of("s3://acme-rec/lakes/a/b"), None);
        assert_eq!(lake.path_of("s3://acme-recs/lake/a"), None);
        let root = S3Location::parse("s3://acme-rec").unwrap();
        assert_eq!(root.key("a"), "a");
        assert_eq!(root.path_of("s3://acme-rec/a/b"), Some("a/b"));
        assert_eq!(S3Location::parse("http://acme"), None);
        assert_eq!(S3Location::parse("s3://"), None);
    }
}
