//! Targets as written, and their compilation.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::problems::Problems;
use super::schema;
use super::yaml::{Entries, Lost, Spanned};
use crate::pipeline::step::PROJECT_FILE;
use crate::pipeline::target::{
    AwsTarget, Encryption, GlueOptions, LOCAL, Network, RedshiftEndpoint, RedshiftOptions,
    RegistryOptions, Removal, S3Location, S3Options, SageMakerOptions, ServingOptions,
    StateOptions, Target,
};
use crate::run::failure::Rule;

/// The instance type of jobs where nobody says another.
const DEFAULT_INSTANCE: &str = "ml.m5.xlarge";
/// The volume of jobs in GB where nobody says another.
const DEFAULT_VOLUME_GB: u32 = 50;

/// A target; the embedded one has no settings.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TargetSpec {
    /// Region; the SDK's chain decides if not said.
    #[serde(default)]
    pub region: Option<Spanned<String>>,
    /// The lake, `s3://bucket/prefix`.
    #[serde(default)]
    #[schemars(extend("pattern" = "^s3://[^/]+"))]
    pub lake: Option<Spanned<String>>,
    /// How objects are written and reached.
    #[serde(default)]
    pub s3: S3Spec,
    /// The catalog.
    #[serde(default)]
    pub catalog: Option<CatalogSpec>,
    /// The warehouse.
    #[serde(default)]
    pub warehouse: Option<WarehouseSpec>,
    /// The trainer.
    #[serde(default)]
    pub trainer: Option<TrainerSpec>,
    /// The serving store.
    #[serde(default)]
    pub serving: Option<ServingSpec>,
    /// The state.
    #[serde(default)]
    pub state: Option<StateSpec>,
    /// Endpoints by service.
    #[serde(default)]
    #[schemars(extend("propertyNames" = schema::one_of(&SERVICES)))]
    pub endpoints: Entries<Spanned<String>>,
    /// Tags of everything that recctl creates.
    #[serde(default)]
    pub tags: Entries<Spanned<String>>,
}

/// How objects are written and reached.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct S3Spec {
    /// `s3` for S3's own keys, else a KMS key.
    #[serde(default)]
    pub encryption: Option<Spanned<String>>,
    /// Whether the requester pays for reads.
    #[serde(default)]
    pub requester_pays: bool,
    /// Whether buckets are named in the path.
    #[serde(default)]
    pub path_style: Option<bool>,
}

/// The catalog.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CatalogSpec {
    /// Glue Data Catalog.
    pub glue: GlueSpec,
}

/// Glue Data Catalog.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GlueSpec {
    /// Database.
    pub database: Spanned<String>,
    /// The account whose catalog it is.
    #[serde(default)]
    pub catalog_id: Option<Spanned<String>>,
}

/// The warehouse.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WarehouseSpec {
    /// Redshift.
    pub redshift: Spanned<RedshiftSpec>,
}

/// Redshift.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedshiftSpec {
    /// Serverless: its workgroup.
    #[serde(default)]
    pub workgroup: Option<Spanned<String>>,
    /// Provisioned: its cluster identifier.
    #[serde(default)]
    pub cluster: Option<Spanned<String>>,
    /// The database user, for a cluster without a secret.
    #[serde(default)]
    pub user: Option<Spanned<String>>,
    /// A secret with user and password.
    #[serde(default)]
    pub secret: Option<Spanned<String>>,
    /// Database.
    pub database: Spanned<String>,
    /// Schema of the loaded tables; `public` if not said.
    #[serde(default)]
    #[schemars(extend("default" = "public"))]
    pub schema: Option<Spanned<String>>,
    /// The role that Redshift takes to read the lake.
    pub copy_role: Spanned<String>,
    /// Schema of external tables; `<schema>_lake` if not said.
    #[serde(default)]
    pub external_schema: Option<Spanned<String>>,
}

/// The trainer.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrainerSpec {
    /// SageMaker.
    pub sagemaker: SageMakerSpec,
}

/// SageMaker.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SageMakerSpec {
    /// The role that jobs take.
    pub role: Spanned<String>,
    /// The image whose entry is recctl.
    pub image: Spanned<String>,
    /// The instance type.
    #[serde(default)]
    #[schemars(extend("default" = DEFAULT_INSTANCE))]
    pub instance: Option<Spanned<String>>,
    /// Instance types to fall back to where capacity is short, in order.
    #[serde(default)]
    pub fallback_instances: Vec<Spanned<String>>,
    /// Size of the volume in GB.
    #[serde(default)]
    #[schemars(range(min = 1, max = 16384), extend("default" = DEFAULT_VOLUME_GB))]
    pub volume_gb: Option<Spanned<u32>>,
    /// Whether jobs run on spot capacity.
    #[serde(default)]
    pub spot: bool,
    /// KMS key of volumes and outputs.
    #[serde(default)]
    pub kms_key: Option<Spanned<String>>,
    /// Subnets and security groups.
    #[serde(default)]
    pub network: Option<NetworkSpec>,
    /// Where winning models are registered.
    #[serde(default)]
    pub registry: Option<RegistrySpec>,
}

/// A VPC.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkSpec {
    /// Subnets.
    pub subnets: Vec<Spanned<String>>,
    /// Security groups.
    pub security_groups: Vec<Spanned<String>>,
}

/// Model package groups.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegistrySpec {
    /// What the names of groups begin with.
    #[serde(default)]
    pub group_prefix: Option<Spanned<String>>,
    /// Whether versions are approved at once.
    #[serde(default)]
    #[schemars(extend("default" = "automatic"))]
    pub approval: ApprovalSpec,
}

/// Who approves a model.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalSpec {
    /// It is approved as it wins.
    #[default]
    Automatic,
    /// A person approves it.
    Manual,
}

/// The serving store.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServingSpec {
    /// DynamoDB.
    pub dynamodb: ServingTableSpec,
}

/// DynamoDB tables of served lists.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServingTableSpec {
    /// What the names of tables begin with.
    #[serde(default)]
    pub table_prefix: Option<Spanned<String>>,
    /// Write units a second that a load may take at most.
    #[serde(default)]
    pub max_write_units: Option<Spanned<u32>>,
    /// How old generations go.
    #[serde(default)]
    #[schemars(extend("default" = "delete"))]
    pub removal: RemovalSpec,
}

/// How old generations go.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RemovalSpec {
    /// Deleted.
    #[default]
    Delete,
    /// Marked to expire.
    Expire,
}

/// The state.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StateSpec {
    /// DynamoDB.
    pub dynamodb: StateTableSpec,
}

/// The DynamoDB table of state.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StateTableSpec {
    /// Its name.
    pub table: Spanned<String>,
}

/// Compiles all targets; the embedded one is there whether it is written or not.
pub fn compile(
    specs: &Entries<TargetSpec>,
    lost: &Lost,
    problems: &mut Problems,
) -> BTreeMap<String, Target> {
    let mut targets = BTreeMap::from([(LOCAL.to_owned(), Target::Local)]);
    for (name, spec) in &specs.0 {
        let told = problems.count();
        if name.value == LOCAL {
            if spec.lake.is_some() || spec.state.is_some() || spec.catalog.is_some() {
                let hint = "it keeps everything below .recctl/; give an AWS target another name";
                let message = "the embedded target `local` has no settings";
                problems.at(
                    Rule::MisplacedField,
                    PROJECT_FILE,
                    name,
                    message,
                    Some(hint.to_owned()),
                );
            }
        } else if let Some(target) = aws(name, spec, problems) {
            targets.insert(name.value.clone(), Target::Aws(Box::new(target)));
        }
        if lost.inside(&["targets", &name.value]) {
            problems.keep_since(told, |problem| problem.rule != Rule::Target);
        }
    }
    targets
}

fn aws(name: &Spanned<String>, spec: &TargetSpec, problems: &mut Problems) -> Option<AwsTarget> {
    let before = problems.count();
    let mut missing = |field: &str, example: &str| {
        let message = format!("target `{}` has no `{field}`", name.value);
        problems.at(
            Rule::Target,
            PROJECT_FILE,
            name,
            message,
            Some(format!("for example `{field}: {example}`")),
        );
    };
    if spec.lake.is_none() {
        missing("lake", "s3://my-bucket/rec");
    }
    if spec.catalog.is_none() {
        missing("catalog", "{glue: {database: rec}}");
    }
    if spec.state.is_none() {
        missing("state", "{dynamodb: {table: recctl-state}}");
    }
    let lake = spec.lake.as_ref().and_then(|lake| {
        let place = S3Location::parse(&lake.value);
        if place.is_none() {
            let message = format!("`{}` is not a place in S3", lake.value);
            let hint = "expected `s3://bucket/prefix`".to_owned();
            problems.at(Rule::InvalidValue, PROJECT_FILE, lake, message, Some(hint));
        }
        place
    });
    for (service, url) in &spec.endpoints.0 {
        if !SERVICES.contains(&service.value.as_str()) {
            let hint = super::yaml::one_of(&service.value, &SERVICES);
            let message = format!("unknown service `{}`", service.value);
            problems.at(Rule::UnknownValue, PROJECT_FILE, service, message, hint);
        }
        if !url.value.starts_with("http://") && !url.value.starts_with("https://") {
            let message = format!("`{}` is not an endpoint", url.value);
            let hint = "expected a URL such as `https://vpce-….amazonaws.com`".to_owned();
            problems.at(Rule::InvalidValue, PROJECT_FILE, url, message, Some(hint));
        }
    }
    let warehouse = spec.warehouse.as_ref().and_then(|spec| redshift(&spec.redshift, problems));
    let trainer = spec.trainer.as_ref().map(|spec| sagemaker(&spec.sagemaker));
    if problems.count() > before {
        return None;
    }
    let catalog = &spec.catalog.as_ref()?.glue;
    Some(AwsTarget {
        name: name.value.clone(),
        region: text(spec.region.as_ref()),
        lake: lake?,
        s3: S3Options {
            encryption: spec.s3.encryption.as_ref().map(|key| match key.value.as_str() {
                "s3" => Encryption::S3,
                key => Encryption::Kms(key.to_owned()),
            }),
            requester_pays: spec.s3.requester_pays,
            path_style: spec.s3.path_style,
        },
        catalog: GlueOptions {
            database: catalog.database.value.clone(),
            catalog_id: text(catalog.catalog_id.as_ref()),
        },
        warehouse,
        trainer,
        serving: spec.serving.as_ref().map(|serving| ServingOptions {
            table_prefix: text(serving.dynamodb.table_prefix.as_ref()).unwrap_or_default(),
            max_write_units: serving.dynamodb.max_write_units.as_ref().map(|units| units.value),
            removal: match serving.dynamodb.removal {
                RemovalSpec::Delete => Removal::Delete,
                RemovalSpec::Expire => Removal::Expire,
            },
        }),
        state: StateOptions { table: spec.state.as_ref()?.dynamodb.table.value.clone() },
        endpoints: map(&spec.endpoints),
        tags: map(&spec.tags),
    })
}

/// The services that recctl talks to, as `endpoints` names them.
const SERVICES: [&str; 10] = [
    "cloudwatchlogs",
    "dynamodb",
    "ecr",
    "glue",
    "iam",
    "redshiftdata",
    "s3",
    "sagemaker",
    "servicequotas",
    "sts",
];

fn redshift(spec: &Spanned<RedshiftSpec>, problems: &mut Problems) -> Option<RedshiftOptions> {
    let redshift = &spec.value;
    let endpoint = match (&redshift.workgroup, &redshift.cluster) {
        (Some(workgroup), None) => RedshiftEndpoint::Workgroup(workgroup.value.clone()),
        (None, Some(cluster)) => {
            if redshift.user.is_none() && redshift.secret.is_none() {
                let message = "a cluster needs a database user";
                let hint = "add `user: loader`, or `secret` with the ARN of a secret".to_owned();
                problems.at(Rule::Target, PROJECT_FILE, cluster, message, Some(hint));
            }
            RedshiftEndpoint::Cluster {
                cluster: cluster.value.clone(),
                user: text(redshift.user.as_ref()),
            }
        }
        _ => {
            let message = "which Redshift is it?";
            let hint = "expected exactly one of `workgroup` (serverless) and `cluster`".to_owned();
            problems.at(Rule::Target, PROJECT_FILE, spec, message, Some(hint));
            return None;
        }
    };
    let schema = text(redshift.schema.as_ref()).unwrap_or_else(|| "public".to_owned());
    let external = text(redshift.external_schema.as_ref());
    Some(RedshiftOptions {
        endpoint,
        database: redshift.database.value.clone(),
        copy_role: redshift.copy_role.value.clone(),
        secret: text(redshift.secret.as_ref()),
        external_schema: external.unwrap_or_else(|| format!("{schema}_lake")),
        schema,
    })
}

fn sagemaker(spec: &SageMakerSpec) -> SageMakerOptions {
    let first = text(spec.instance.as_ref()).unwrap_or_else(|| DEFAULT_INSTANCE.to_owned());
    SageMakerOptions {
        role: spec.role.value.clone(),
        image: spec.image.value.clone(),
        instances: std::iter::once(first).chain(texts(&spec.fallback_instances)).collect(),
        volume_gb: spec.volume_gb.as_ref().map_or(DEFAULT_VOLUME_GB, |size| size.value),
        spot: spec.spot,
        kms_key: text(spec.kms_key.as_ref()),
        network: spec.network.as_ref().map(|network| Network {
            subnets: texts(&network.subnets).collect(),
            security_groups: texts(&network.security_groups).collect(),
        }),
        registry: spec.registry.as_ref().map(|registry| RegistryOptions {
            group_prefix: text(registry.group_prefix.as_ref()).unwrap_or_default(),
            approve: matches!(registry.approval, ApprovalSpec::Automatic),
        }),
    }
}

fn text(value: Option<&Spanned<String>>) -> Option<String> {
    value.map(|value| value.value.clone())
}

fn texts(values: &[Spanned<String>]) -> impl Iterator<Item = String> {
    values.iter().map(|value| value.value.clone())
}

fn map(entries: &Entries<Spanned<String>>) -> BTreeMap<String, String> {
    entries.0.iter().map(|(key, value)| (key.value.clone(), value.value.clone())).collect()
}
