//! S3, the keys that encrypt it, and DynamoDB.

use super::place::{Place, lake_key};
use super::uses::{Uses, objects};
use super::{Grants, Subject, changing, condition, tagging};
use crate::pipeline::target::{AwsTarget, Removal};

/// What tags a table as it is created.
const TAG: &str = "dynamodb:TagResource";
/// Folders of the lake that a run writes into. Raw input is not among them.
fn written(uses: &Uses<'_>, target: &AwsTarget) -> Vec<String> {
    let has_jobs = !uses.jobs.is_empty();
    let scores = uses.jobs.iter().any(|step| step.job.is_none());
    let registry = target.trainer.as_ref().is_some_and(|trainer| trainer.registry.is_some());
    let folders = [
        ("tables", !uses.tables.is_empty()),
        // What the catalog notes down, and the definitions of runs.
        ("_recctl", true),
        ("datasets", has_jobs),
        ("models", has_jobs),
        // What jobs leave.
        ("sagemaker", has_jobs),
        ("scored", scores),
        ("registry", registry && !uses.selections.is_empty()),
        // Lists of files for COPY.
        ("manifests", uses.warehouse),
    ];
    let used = folders.into_iter().filter(|(_, used)| *used);
    used.map(|(folder, _)| format!("{}/*", target.lake.key(folder))).collect()
}

/// Objects of the lake and of sources.
pub(super) fn lake(grants: &mut Grants, uses: &Uses<'_>, target: &AwsTarget, place: &Place) {
    let written = written(uses, target);
    let objects_of = |keys: &[String]| -> Vec<String> {
        keys.iter().map(|key| place.bucket(&format!("{}/{key}", target.lake.bucket))).collect()
    };
    let sources: Vec<(String, String)> =
        uses.sources.iter().filter_map(|source| objects(&source.path, target)).collect();
    let raw = sources.iter().map(|(bucket, key)| place.bucket(&format!("{bucket}/{key}")));
    grants.add(
        "S3Read",
        "raw input of the pipelines' sources",
        &["s3:GetObject"],
        raw.collect(),
        vec![],
    );
    grants.add(
        "S3Write",
        "tables, data sets, models and what they recommend, in the lake",
        &changing(Subject::Lake, &["s3:GetObject"]),
        objects_of(&written),
        vec![],
    );
    let mut buckets = vec![target.lake.bucket.clone()];
    buckets.extend(uses.buckets(target));
    for (at, bucket) in buckets.into_iter().enumerate() {
        let own: &[String] = if at == 0 { &written } else { &[] };
        let prefixes = prefixes(&bucket, &sources, own);
        if prefixes.is_empty() {
            continue;
        }
        let sid = if at == 0 { "S3List".to_owned() } else { format!("S3ListSource{at}") };
        grants.add(
            &sid,
            "the files of a day; S3 says that an object is missing only to those who may list",
            &["s3:ListBucket"],
            vec![place.bucket(&bucket)],
            // A request for an object carries no prefix, and without `IfExists` S3 would answer
            // "denied" instead of "missing".
            vec![condition("StringLikeIfExists", "s3:prefix", prefixes)],
        );
    }
    if let Some(key) = lake_key(target) {
        let (key, alias) = place.key(key);
        let mut conditions = vec![condition("StringEquals", "kms:ViaService", [via(place, "s3")])];
        conditions.extend(alias);
        grants.add(
            "KmsLake",
            "the key that the lake's objects are written with",
            &["kms:Decrypt", "kms:GenerateDataKey"],
            vec![key],
            conditions,
        );
    }
}

/// Prefixes that are listed in a bucket.
fn prefixes(bucket: &str, sources: &[(String, String)], own: &[String]) -> Vec<String> {
    let mut prefixes = own.to_vec();
    for (_, key) in sources.iter().filter(|(of, _)| of == bucket) {
        if !prefixes.contains(key) {
            prefixes.push(key.clone());
        }
    }
    prefixes
}

/// The host by which a service uses a key for somebody.
pub(super) fn via(place: &Place, service: &str) -> String {
    format!("{service}.{}.{}", place.region(), place.domain())
}

/// State and served lists.
pub(super) fn tables(grants: &mut Grants, uses: &Uses<'_>, target: &AwsTarget, place: &Place) {
    grants.add(
        "DynamoDbState",
        "runs, ledger, decisions and the lease; transactions are allowed by what they hold",
        &tagging(
            &changing(
                Subject::State,
                &["dynamodb:DescribeTable", "dynamodb:GetItem", "dynamodb:Query"],
            ),
            TAG,
            target,
        ),
        vec![place.arn("dynamodb", &format!("table/{}", target.state.table))],
        vec![],
    );
    let Some(serving) = &target.serving else { return };
    let served: Vec<String> = served(uses, target, place);
    grants.add(
        "DynamoDbServing",
        "generations of recommendations",
        &tagging(
            &changing(
                Subject::Served,
                &[
                    "dynamodb:BatchGetItem",
                    "dynamodb:DescribeTable",
                    "dynamodb:GetItem",
                    "dynamodb:Query",
                    "dynamodb:Scan",
                ],
            ),
            TAG,
            target,
        ),
        served.clone(),
        vec![],
    );
    if serving.removal == Removal::Expire {
        grants.add(
            "DynamoDbExpiry",
            "items of old generations expire",
            &changing(Subject::Expiry, &["dynamodb:DescribeTimeToLive"]),
            served.clone(),
            vec![],
        );
    }
}

/// ARNs of the tables of served lists.
fn served(uses: &Uses<'_>, target: &AwsTarget, place: &Place) -> Vec<String> {
    let Some(serving) = &target.serving else { return Vec::new() };
    let table = |load: &&crate::pipeline::step::LoadStep| {
        place.arn("dynamodb", &format!("table/{}{}", serving.table_prefix, load.table))
    };
    uses.served.iter().map(table).collect()
}

/// What `recctl doctor` reads beside.
pub(super) fn for_doctor(grants: &mut Grants, uses: &Uses<'_>, target: &AwsTarget, place: &Place) {
    let mut buckets = vec![place.bucket(&target.lake.bucket)];
    buckets.extend(uses.buckets(target).iter().map(|bucket| place.bucket(bucket)));
    grants.add(
        "S3Doctor",
        "region, encryption and rules of the buckets",
        &[
            "s3:GetBucketLocation",
            "s3:GetBucketRequestPayment",
            "s3:GetBucketVersioning",
            "s3:GetEncryptionConfiguration",
            "s3:GetLifecycleConfiguration",
        ],
        buckets,
        vec![],
    );
    let mut tables = vec![place.arn("dynamodb", &format!("table/{}", target.state.table))];
    tables.extend(served(uses, target, place));
    grants.add(
        "DynamoDbDoctor",
        "mode and backups of the tables",
        &[
            "dynamodb:DescribeContinuousBackups",
            "dynamodb:DescribeTable",
            "dynamodb:DescribeTimeToLive",
        ],
        tables,
        vec![],
    );
}
