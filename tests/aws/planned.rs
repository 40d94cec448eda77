//! What a plan lists next to what its run asks of the services.

use std::collections::BTreeMap;

use serde_json::Value;

use super::cloud::Cloud;
use crate::e2e::planned::matches;

/// A plan that asks nobody: no credentials, no region, no network.
pub fn without_asking(cloud: &Cloud, date: &str) -> Value {
    let arguments =
        ["plan", "daily", "--date", date, "--target", "aws", "--threads", "2", "--format", "json"];
    let asked = cloud.recorder.requests().len();
    let ran = cloud.sandbox.run(&arguments).ends_with(0);
    assert_eq!(cloud.recorder.requests().len(), asked);
    serde_json::from_str(&ran.stdout).unwrap()
}

/// A plan that asks the services, and changes nothing there.
pub async fn asking(cloud: &Cloud, date: &str, more: &[&str]) -> Value {
    cloud.forget();
    let arguments =
        ["plan", "daily", "--date", date, "--online", "--threads", "2", "--format", "json"];
    let ran = cloud.run(&[&arguments, more].concat()).await.ends_with(0);
    assert_eq!(cloud.mutating(), BTreeMap::new());
    assert!(!cloud.recorder.requests().is_empty(), "it looked");
    serde_json::from_str(&ran.stdout).unwrap()
}

/// Holds the calls that changed something against those that were listed, in both directions and
/// with their counts where these are certain.
pub fn hold(cloud: &Cloud, plan: &Value) {
    let calls = plan["sum"]["calls"].as_array().unwrap();
    let mut made: Vec<u64> = vec![0; calls.len()];
    let mut unlisted: BTreeMap<String, u64> = BTreeMap::new();
    for (service, operation, resource) in changes(cloud) {
        let is_it = |call: &Value| {
            call["service"] == service.as_str()
                && call["operation"] == operation.as_str()
                && is_about(&service, call["resource"].as_str().unwrap(), &resource)
        };
        match calls.iter().position(is_it) {
            Some(at) => made[at] += 1,
            None => *unlisted.entry(format!("{service} {operation} {resource}")).or_default() += 1,
        }
    }
    assert!(unlisted.is_empty(), "made and not listed: {unlisted:#?}");
    let wrong: Vec<(&Value, u64)> = calls
        .iter()
        .zip(made)
        .filter(|(call, made)| {
            let count = &call["count"];
            let fits = match (count["exactly"].as_u64(), count["at_most"].as_u64()) {
                (Some(exactly), _) => *made == exactly,
                (_, Some(most)) => *made <= most,
                // A guess, or unknown.
                (None, None) => true,
            };
            !fits
        })
        .collect();
    assert!(wrong.is_empty(), "listed, and made another number of times: {wrong:#?}");
}

/// Service, operation and resource of everything that changed something.
fn changes(cloud: &Cloud) -> Vec<(String, String, String)> {
    let mut changes = Vec::new();
    for call in cloud.recorder.mutating() {
        if call.status.is_some_and(|status| status < 300) {
            changes.push((call.service, call.operation, call.resource.unwrap_or_default()));
        }
    }
    for call in cloud.sagemaker.requests() {
        if call.mutating && call.status < 300 {
            changes.push(("sagemaker".to_owned(), call.operation, call.name));
        }
    }
    for call in cloud.redshift.requests() {
        if call.mutating {
            changes.push(("redshift-data".to_owned(), call.operation, "dev".to_owned()));
        }
    }
    changes
}

fn is_about(service: &str, listed: &str, resource: &str) -> bool {
    match service {
        "s3" | "sagemaker" => listed.split(" or ").any(|pattern| matches(pattern, resource)),
        _ => listed == resource,
    }
}
