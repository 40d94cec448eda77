//! Whether the policy that `recctl iam` prints allows what a run really asked for.

use std::collections::BTreeSet;

use serde_json::Value;

use super::cloud::Cloud;
use super::doctor::matches;

/// Holds every request to the services against the policy of the task.
pub fn everything_that_was_asked(cloud: &Cloud) {
    let arguments = ["iam", "daily", "--target", "aws", "--json", "--region", "eu-central-1"];
    let printed = cloud.sandbox.run(&arguments).ends_with(0).stdout;
    let whole: Value = serde_json::from_str(&printed).unwrap();
    let grants = whole["grants"].as_array().unwrap();
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|it| it.as_str().unwrap().to_owned()).collect()
    };
    let allows = |action: &str, resource: Option<&str>| {
        grants.iter().any(|grant| {
            texts(&grant["actions"]).iter().any(|it| it == action)
                && resource.is_none_or(|resource| {
                    texts(&grant["resources"]).iter().any(|pattern| matches(pattern, resource))
                })
        })
    };
    let mut denied = BTreeSet::new();
    let mut asked = 0;
    for call in cloud.recorder.requests() {
        let Some(action) = action(&call.service, &call.operation) else { continue };
        asked += 1;
        let resource = call.resource.as_deref().and_then(|it| resource(&call.service, &action, it));
        if !allows(&action, resource.as_deref()) {
            denied.insert(format!("{action} on {resource:?}"));
        }
    }
    let others = cloud.sagemaker.requests().into_iter().map(|call| ("sagemaker", call.operation));
    let others = others
        .chain(cloud.redshift.requests().into_iter().map(|call| ("redshift-data", call.operation)));
    for (service, operation) in others {
        // The stand-in of SageMaker answers for its logs too.
        let service = match operation.as_str() {
            "DescribeLogStreams" | "GetLogEvents" => "logs",
            _ => service,
        };
        let Some(action) = action(service, &operation) else { continue };
        asked += 1;
        if !allows(&action, None) {
            denied.insert(action);
        }
    }
    assert!(asked > 100, "{asked} requests");
    assert!(denied.is_empty(), "a run asked for what the policy does not allow: {denied:#?}");
}

/// The action that allows an operation; none where no permission is needed, or where the permissions
/// are those of what the request holds.
fn action(service: &str, operation: &str) -> Option<String> {
    let name = match (service, operation) {
        ("sts", "GetCallerIdentity") => return None,
        ("dynamodb", "TransactWriteItems" | "TransactGetItems") => return None,
        (
            "s3",
            "CreateMultipartUpload"
            | "UploadPart"
            | "UploadPartCopy"
            | "CompleteMultipartUpload"
            | "CopyObject",
        ) => "PutObject",
        ("s3", "HeadObject") => "GetObject",
        ("s3", "DeleteObjects") => "DeleteObject",
        ("s3", "ListObjects" | "ListObjectsV2" | "HeadBucket") => "ListBucket",
        ("redshift-data", "GetStatementResultV2") => "GetStatementResult",
        (_, operation) => operation,
    };
    Some(format!("{service}:{name}"))
}

/// The ARN of what a request is about, where that is told.
fn resource(service: &str, action: &str, told: &str) -> Option<String> {
    let region = "eu-central-1:123456789012";
    match (service, action) {
        ("s3", "s3:ListBucket" | "s3:DeleteObject") => {
            let bucket = told.split('/').next()?;
            (action == "s3:ListBucket").then(|| format!("arn:aws:s3:::{bucket}"))
        }
        ("s3", _) => Some(format!("arn:aws:s3:::{told}")),
        ("dynamodb", _) => Some(format!("arn:aws:dynamodb:{region}:table/{told}")),
        ("glue", _) => {
            let (database, table) = told.split_once('.')?;
            Some(format!("arn:aws:glue:{region}:table/{database}/{table}"))
        }
        _ => None,
    }
}
