//! Glue, Redshift and SageMaker.

use super::place::Place;
use super::uses::Uses;
use super::{Grants, Subject, changing, condition, tagging};
use crate::pipeline::target::{AwsTarget, RedshiftEndpoint, RedshiftOptions};
use crate::ports::limits::sagemaker::group_name;
use crate::ports::preflight::TASK_ROLE;
use crate::steps::registry_group;

/// What tags a model as it is created; jobs are always tagged with what they are attempts of.
const TAG: &str = "sagemaker:AddTags";

/// Database and tables of the Data Catalog. Every call needs what it names and all above it.
pub(super) fn catalog(grants: &mut Grants, uses: &Uses<'_>, target: &AwsTarget, place: &Place) {
    // A database that is made with tags takes the permission to tag as well.
    grants.add(
        "GlueDatabase",
        "the database of the tables; it is made where it is missing",
        &tagging(&changing(Subject::Database, &["glue:GetDatabase"]), "glue:TagResource", target),
        database(target, place),
        vec![],
    );
    grants.add(
        "GlueTables",
        "entries and partitions of the pipelines' tables",
        &changing(
            Subject::Tables,
            &["glue:BatchGetPartition", "glue:GetPartitions", "glue:GetTable", "glue:GetTables"],
        ),
        tables(uses, target, place),
        vec![],
    );
}

/// The catalog and the database.
fn database(target: &AwsTarget, place: &Place) -> Vec<String> {
    let account = target.catalog.catalog_id.as_deref().unwrap_or(place.account());
    let arn = |resource: &str| place.arn_of("glue", account, resource);
    vec![arn("catalog"), arn(&format!("database/{}", target.catalog.database))]
}

/// The catalog, the database and the tables.
pub(super) fn tables(uses: &Uses<'_>, target: &AwsTarget, place: &Place) -> Vec<String> {
    if uses.tables.is_empty() {
        return Vec::new();
    }
    let account = target.catalog.catalog_id.as_deref().unwrap_or(place.account());
    let table = |name: &String| {
        place.arn_of("glue", account, &format!("table/{}/{name}", target.catalog.database))
    };
    let mut resources = database(target, place);
    resources.extend(uses.tables.iter().map(table));
    resources
}

/// Statements of the Redshift Data API, and as whom they are sent.
pub(super) fn warehouse(grants: &mut Grants, uses: &Uses<'_>, target: &AwsTarget, place: &Place) {
    let Some(redshift) = target.warehouse.as_ref().filter(|_| uses.warehouse) else { return };
    grants.add(
        "RedshiftStatements",
        "loads into the warehouse",
        &changing(Subject::Warehouse, &[]),
        vec![endpoint(redshift, place)],
        vec![],
    );
    grants.add(
        "RedshiftResults",
        // The condition `statement-owner-iam-userid` would name the session too, and a task could
        // not take up the statement of the one before it.
        "how statements went, and stopping those of runs that died; AWS knows no resource for these",
        &[
            "redshift-data:CancelStatement",
            "redshift-data:DescribeStatement",
            "redshift-data:GetStatementResult",
            "redshift-data:ListStatements",
        ],
        vec!["*".to_owned()],
        vec![],
    );
    login(grants, redshift, place);
}

/// How the Data API logs in: with a secret, or with credentials that it makes for the caller.
fn login(grants: &mut Grants, redshift: &RedshiftOptions, place: &Place) {
    let why = "credentials for the warehouse";
    match (&redshift.secret, &redshift.endpoint) {
        (Some(secret), _) => {
            // A secret's ARN ends in six letters that its name does not tell.
            let secret = match secret.starts_with("arn:") {
                true => secret.clone(),
                false => place.arn("secretsmanager", &format!("secret:{secret}-??????")),
            };
            let actions = &["secretsmanager:GetSecretValue"];
            grants.add("SecretsManagerLogin", why, actions, vec![secret], vec![]);
        }
        (None, RedshiftEndpoint::Workgroup(_)) => {
            let actions = &["redshift-serverless:GetCredentials"];
            grants.add("RedshiftLogin", why, actions, vec![workgroup(place)], vec![]);
        }
        (None, RedshiftEndpoint::Cluster { cluster, user }) => {
            let database = format!("dbname:{cluster}/{}", redshift.database);
            let database = place.arn("redshift", &database);
            match user {
                Some(user) => {
                    let user = place.arn("redshift", &format!("dbuser:{cluster}/{user}"));
                    let actions = &["redshift:GetClusterCredentials"];
                    grants.add("RedshiftLogin", why, actions, vec![user, database], vec![]);
                }
                None => {
                    let actions = &["redshift:GetClusterCredentialsWithIAM"];
                    grants.add("RedshiftLogin", why, actions, vec![database], vec![]);
                }
            }
        }
    }
}

/// The workgroup or the cluster.
fn endpoint(redshift: &RedshiftOptions, place: &Place) -> String {
    match &redshift.endpoint {
        RedshiftEndpoint::Workgroup(_) => workgroup(place),
        RedshiftEndpoint::Cluster { cluster, .. } => {
            place.arn("redshift", &format!("cluster:{cluster}"))
        }
    }
}

fn workgroup(place: &Place) -> String {
    place.arn("redshift-serverless", &format!("workgroup/{}", place.workgroup()))
}

/// Jobs, their logs, and the registry of models.
pub(super) fn jobs(grants: &mut Grants, uses: &Uses<'_>, target: &AwsTarget, place: &Place) {
    let Some(trainer) = &target.trainer else { return };
    let arn = |kind: &str, name: &str| place.arn("sagemaker", &format!("{kind}/{name}"));
    let mut training: Vec<String> = Vec::new();
    let mut tuning: Vec<String> = Vec::new();
    let mut trials: Vec<String> = Vec::new();
    let mut processing: Vec<String> = Vec::new();
    let mut streams: Vec<String> = Vec::new();
    let stream = |group: &str, name: &str| {
        place.arn("logs", &format!("log-group:/aws/sagemaker/{group}:log-stream:{name}"))
    };
    for step in &uses.jobs {
        if step.job.is_none() {
            processing.push(arn("processing-job", &step.jobs()));
            streams.push(stream("ProcessingJobs", &step.jobs()));
            continue;
        }
        training.push(arn("training-job", &step.jobs()));
        streams.push(stream("TrainingJobs", &step.jobs()));
        if step.tuned {
            tuning.push(arn("hyper-parameter-tuning-job", &step.searches()));
            trials.push(arn("training-job", &step.searches()));
            streams.push(stream("TrainingJobs", &step.searches()));
        }
    }
    // Names of short steps begin alike.
    trials.retain(|trial| !training.contains(trial));
    let groups = [("TrainingJobs", &training), ("ProcessingJobs", &processing)];
    let groups: Vec<String> = groups
        .into_iter()
        .filter(|(_, jobs)| !jobs.is_empty())
        .map(|(group, _)| place.arn("logs", &format!("log-group:/aws/sagemaker/{group}:*")))
        .collect();
    grants.add(
        "SageMakerTraining",
        "models are fitted",
        &changing(Subject::Training, &["sagemaker:DescribeTrainingJob"]),
        training,
        vec![],
    );
    grants.add(
        "SageMakerTuning",
        "hyperparameters are searched",
        &changing(
            Subject::Search,
            &[
                "sagemaker:DescribeHyperParameterTuningJob",
                "sagemaker:ListTrainingJobsForHyperParameterTuningJob",
            ],
        ),
        tuning,
        vec![],
    );
    grants.add(
        "SageMakerTrials",
        "trials of searches are looked at",
        &["sagemaker:DescribeTrainingJob"],
        trials,
        vec![],
    );
    grants.add(
        "SageMakerProcessing",
        "users are scored",
        &changing(Subject::Processing, &["sagemaker:DescribeProcessingJob"]),
        processing,
        vec![],
    );
    let has_jobs = !uses.jobs.is_empty();
    if has_jobs {
        // Lists know no resources.
        grants.add(
            "SageMakerJobs",
            "jobs that a run left when it died are found",
            &[
                "sagemaker:ListHyperParameterTuningJobs",
                "sagemaker:ListProcessingJobs",
                "sagemaker:ListTrainingJobs",
            ],
            vec!["*".to_owned()],
            vec![],
        );
    }
    if let Some(registry) = trainer.registry.as_ref().filter(|_| has_jobs) {
        let mut groups_and_versions = Vec::new();
        for (pipeline, step) in &uses.selections {
            let group = group_name(&registry.group_prefix, &registry_group(pipeline, step));
            groups_and_versions.push(arn("model-package-group", &group));
            groups_and_versions.push(arn("model-package", &format!("{group}/*")));
        }
        grants.add(
            "SageMakerRegistry",
            "winners are registered",
            &tagging(
                &changing(
                    Subject::Registry,
                    &[
                        "sagemaker:DescribeModelPackage",
                        "sagemaker:DescribeModelPackageGroup",
                        "sagemaker:ListModelPackages",
                    ],
                ),
                TAG,
                target,
            ),
            groups_and_versions,
            vec![],
        );
    }
    if !has_jobs {
        return;
    }
    grants.add(
        "IamPassRole",
        "jobs take the target's role",
        &["iam:PassRole"],
        vec![trainer.role.clone()],
        vec![condition(
            "StringEquals",
            "iam:PassedToService",
            [format!("sagemaker.{}", place.domain())],
        )],
    );
    if let Some(key) = &trainer.kms_key {
        let (key, alias) = place.key(key);
        let mut conditions = vec![condition("Bool", "kms:GrantIsForAWSResource", ["true"])];
        conditions.extend(alias);
        let why = "volumes of jobs are encrypted";
        grants.add("KmsJobs", why, &["kms:CreateGrant"], vec![key], conditions);
    }
    let why = "the last lines of a job that failed";
    grants.add("LogsStreams", why, &["logs:DescribeLogStreams"], groups, vec![]);
    grants.add("LogsEvents", why, &["logs:GetLogEvents"], streams, vec![]);
}

/// What `recctl doctor` reads beside.
pub(super) fn for_doctor(grants: &mut Grants, uses: &Uses<'_>, target: &AwsTarget, place: &Place) {
    let task = place.role(TASK_ROLE);
    let trainer = target.trainer.as_ref().filter(|_| !uses.jobs.is_empty());
    let warehouse = target.warehouse.as_ref().filter(|_| uses.warehouse);
    let mut roles = vec![task];
    roles.extend(trainer.map(|trainer| trainer.role.clone()));
    roles.extend(warehouse.map(|warehouse| warehouse.copy_role.clone()));
    roles.retain(|role| role.starts_with("arn:"));
    grants.add(
        "IamDoctor",
        "what the roles are allowed, and whom they trust",
        &["iam:GetRole", "iam:SimulatePrincipalPolicy"],
        roles,
        vec![],
    );
    if let Some(redshift) = warehouse {
        let why = "`SELECT 1`, with --deep";
        let actions = &["redshift-data:ExecuteStatement"];
        grants.add("RedshiftDoctor", why, actions, vec![endpoint(redshift, place)], vec![]);
    }
    if trainer.is_none() {
        return;
    }
    let why = "how many instances jobs may have; AWS knows no resource for this";
    let every = vec!["*".to_owned()];
    grants.add("QuotasDoctor", why, &["servicequotas:ListServiceQuotas"], every, vec![]);
    let repositories = super::roles::repositories(uses, target, place);
    let why = "whether the images of jobs are there";
    grants.add("EcrDoctor", why, &["ecr:DescribeImages"], repositories, vec![]);
}
