//! Roles that services take for recctl: what they are allowed, and whom they trust.

use serde::Serialize;
use serde_json::{Value, json};

use super::place::{Place, lake_key};
use super::storage::via;
use super::uses::Uses;
use super::{Grants, Role, condition, services};
use crate::pipeline::target::{AwsTarget, RedshiftEndpoint};
use crate::plan::policy::VERSION;

/// What jobs do beside reading and writing the lake: pull the image, write logs and metrics.
/// <https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-roles.html>
pub(super) fn jobs(grants: &mut Grants, uses: &Uses<'_>, target: &AwsTarget, place: &Place) {
    let Some(trainer) = target.trainer.as_ref().filter(|_| !uses.jobs.is_empty()) else { return };
    let below = |folder: &str| {
        place.bucket(&format!("{}/{}/*", target.lake.bucket, target.lake.key(folder)))
    };
    grants.add(
        "S3Read",
        "data sets, models and settings that jobs are given, and their checkpoints",
        &["s3:GetObject"],
        vec![below("datasets"), below("models"), below("sagemaker")],
        vec![],
    );
    grants.add(
        "S3Write",
        "models and what they recommend",
        &["s3:AbortMultipartUpload", "s3:PutObject"],
        vec![below("sagemaker"), below("scored")],
        vec![],
    );
    let prefixes = ["datasets", "models", "sagemaker", "scored"]
        .map(|at| format!("{}/*", target.lake.key(at)));
    grants.add(
        "S3List",
        "the files of a channel",
        &["s3:ListBucket"],
        vec![place.bucket(&target.lake.bucket)],
        vec![condition("StringLikeIfExists", "s3:prefix", prefixes)],
    );
    key_of_the_lake(grants, target, place, &["kms:Decrypt", "kms:GenerateDataKey"]);
    if let Some(key) = &trainer.kms_key {
        let (key, alias) = place.key(key);
        let actions = &["kms:CreateGrant", "kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey"];
        let conditions = alias.into_iter().collect();
        grants.add("KmsJobs", "the key of volumes and outputs", actions, vec![key], conditions);
    }
    let every = || vec!["*".to_owned()];
    let why = "the image is pulled";
    grants.add("EcrLogin", why, &["ecr:GetAuthorizationToken"], every(), vec![]);
    grants.add(
        "EcrPull",
        why,
        &["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
        repositories(uses, target, place),
        vec![],
    );
    let groups = ["TrainingJobs", "ProcessingJobs"]
        .map(|group| place.arn("logs", &format!("log-group:/aws/sagemaker/{group}:*")));
    grants.add(
        "LogsWrite",
        "output of the jobs",
        &[
            "logs:CreateLogGroup",
            "logs:CreateLogStream",
            "logs:DescribeLogStreams",
            "logs:PutLogEvents",
        ],
        groups.to_vec(),
        vec![],
    );
    let namespaces = ["/aws/sagemaker/TrainingJobs", "/aws/sagemaker/ProcessingJobs"];
    grants.add(
        "CloudWatchMetrics",
        "metrics of the jobs",
        &["cloudwatch:PutMetricData"],
        every(),
        vec![condition("StringEquals", "cloudwatch:namespace", namespaces)],
    );
    if trainer.network.is_some() {
        grants.add(
            "Ec2Network",
            "network interfaces in the target's subnets; SageMaker names none before it makes them",
            &[
                "ec2:CreateNetworkInterface",
                "ec2:CreateNetworkInterfacePermission",
                "ec2:DeleteNetworkInterface",
                "ec2:DeleteNetworkInterfacePermission",
                "ec2:DescribeDhcpOptions",
                "ec2:DescribeNetworkInterfaces",
                "ec2:DescribeSecurityGroups",
                "ec2:DescribeSubnets",
                "ec2:DescribeVpcs",
            ],
            every(),
            vec![],
        );
    }
}

/// What Redshift reads: files of the lake, and for external tables the catalog.
pub(super) fn warehouse(grants: &mut Grants, uses: &Uses<'_>, target: &AwsTarget, place: &Place) {
    if !uses.warehouse {
        return;
    }
    let below = |folder: &str| {
        place.bucket(&format!("{}/{}/*", target.lake.bucket, target.lake.key(folder)))
    };
    grants.add(
        "S3Read",
        "files that are copied into the warehouse, and the lists that name them",
        &["s3:GetObject"],
        vec![below("manifests"), below("tables")],
        vec![],
    );
    let prefixes = ["manifests", "tables"].map(|folder| format!("{}/*", target.lake.key(folder)));
    grants.add(
        "S3List",
        "the files of a table",
        &["s3:ListBucket"],
        vec![place.bucket(&target.lake.bucket)],
        vec![condition("StringLikeIfExists", "s3:prefix", prefixes)],
    );
    key_of_the_lake(grants, target, place, &["kms:Decrypt"]);
    if uses.external {
        grants.add(
            "GlueRead",
            "external tables over the catalog",
            &[
                "glue:BatchGetPartition",
                "glue:GetDatabase",
                "glue:GetPartition",
                "glue:GetPartitions",
                "glue:GetTable",
                "glue:GetTables",
            ],
            services::tables(uses, target, place),
            vec![],
        );
    }
}

/// ARNs of the repositories that images of jobs come from; images outside of ECR have none.
pub(super) fn repositories(uses: &Uses<'_>, target: &AwsTarget, place: &Place) -> Vec<String> {
    let arns = uses.jobs(target).into_iter().filter_map(|job| {
        let (host, rest) = job.image.split_once('/')?;
        let mut labels = host.split('.');
        let (account, kind) = (labels.next()?, labels.nth(1)?);
        let repository = rest.split(['@', ':']).next()?;
        (kind == "ecr").then(|| place.arn_of("ecr", account, &format!("repository/{repository}")))
    });
    let mut unique: Vec<String> = Vec::new();
    for arn in arns {
        if !unique.contains(&arn) {
            unique.push(arn);
        }
    }
    unique
}

/// The services that take a role.
pub(super) fn principals(role: Role, target: &AwsTarget) -> Vec<&'static str> {
    let serverless = target
        .warehouse
        .as_ref()
        .is_some_and(|it| matches!(it.endpoint, RedshiftEndpoint::Workgroup(_)));
    match role {
        Role::Task => vec!["ecs-tasks.amazonaws.com"],
        Role::Jobs => vec!["sagemaker.amazonaws.com"],
        Role::Warehouse if serverless => {
            vec!["redshift-serverless.amazonaws.com", "redshift.amazonaws.com"]
        }
        Role::Warehouse => vec!["redshift.amazonaws.com"],
    }
}

/// A trust policy: who may take a role.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Trust {
    version: &'static str,
    statement: [TrustStatement; 1],
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
struct TrustStatement {
    effect: &'static str,
    principal: Value,
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<Value>,
}

/// The trust policy of a role. A service may take it for this account only, so that nobody else's
/// job or cluster can be given the role.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/confused-deputy.html>
pub fn trust(role: Role, target: &AwsTarget, place: &Place) -> Trust {
    let account = json!({"aws:SourceAccount": place.account()});
    let condition = match role {
        Role::Task => {
            let source = json!({"aws:SourceArn": place.arn("ecs", "*")});
            Some(json!({"ArnLike": source, "StringEquals": account}))
        }
        Role::Jobs => Some(json!({"StringEquals": account})),
        // Redshift documents no source account for the roles that COPY takes.
        Role::Warehouse => None,
    };
    let principal = match principals(role, target).as_slice() {
        [one] => json!({"Service": one}),
        several => json!({"Service": several}),
    };
    let statement =
        TrustStatement { effect: "Allow", principal, action: "sts:AssumeRole", condition };
    Trust { version: VERSION, statement: [statement] }
}

/// The key of the lake's objects, through S3 only.
fn key_of_the_lake(
    grants: &mut Grants,
    target: &AwsTarget,
    place: &Place,
    actions: &[&'static str],
) {
    let Some(key) = lake_key(target) else { return };
    let (key, alias) = place.key(key);
    let mut conditions = vec![condition("StringEquals", "kms:ViaService", [via(place, "s3")])];
    conditions.extend(alias);
    grants.add("KmsLake", "the key of the lake's objects", actions, vec![key], conditions);
}
