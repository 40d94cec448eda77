//! Quotas of SageMaker: how many instances of a type jobs may have at once.

use std::collections::BTreeMap;

use super::super::session::AwsSession;
use super::unread;
use crate::ports::preflight::{Finding, JobClass, JobNeeds};

/// What is asked of a quota.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Wanted {
    instances: u32,
    /// Whether it is somebody's first choice.
    first: bool,
}

/// Looks the quotas up by their names, in as few pages as hold them.
pub async fn check(session: &AwsSession, jobs: &[JobNeeds]) -> Vec<Finding> {
    let wanted = wanted(jobs);
    if wanted.is_empty() {
        return Vec::new();
    }
    let mut values: BTreeMap<String, f64> = BTreeMap::new();
    let client = session.quotas();
    let mut pages = client
        .list_service_quotas()
        .service_code("sagemaker")
        // The most that it takes; SageMaker has thousands.
        .max_results(100)
        .into_paginator()
        .items()
        .send();
    while values.len() < wanted.len() {
        let quota = match pages.next().await {
            None => break,
            Some(Ok(quota)) => quota,
            Some(Err(error)) => {
                let action = "servicequotas:ListServiceQuotas";
                return vec![unread("quotas", "read the quotas of SageMaker", action, &error)];
            }
        };
        if let (Some(name), Some(value)) = (quota.quota_name(), quota.value())
            && wanted.contains_key(name)
        {
            values.insert(name.to_owned(), value);
        }
    }
    wanted
        .into_iter()
        .map(|(name, wanted)| told(&name, wanted, values.get(&name).copied()))
        .collect()
}

/// Quotas by name.
fn wanted(jobs: &[JobNeeds]) -> BTreeMap<String, Wanted> {
    let mut all: BTreeMap<String, Wanted> = BTreeMap::new();
    for job in jobs {
        let usage = match job.kind {
            JobClass::Training => "training job usage",
            JobClass::SpotTraining => "spot training job usage",
            JobClass::Processing => "processing job usage",
        };
        for (at, instance) in job.instances.iter().enumerate() {
            let wanted = all.entry(format!("{instance} for {usage}")).or_default();
            wanted.instances = wanted.instances.max(job.count);
            wanted.first |= at == 0;
        }
    }
    all
}

fn told(name: &str, wanted: Wanted, value: Option<f64>) -> Finding {
    let subject = format!("quota {name}");
    let Some(value) = value else {
        return Finding::unknown(subject, "Service Quotas does not list it");
    };
    let hint = "ask for more under Service Quotas, Amazon SageMaker, or choose another `instance`";
    match value {
        value if value < 1.0 && wanted.first => {
            Finding::fail(subject, "is 0: no such job starts").hint(hint)
        }
        value if value < f64::from(wanted.instances) => {
            let text = format!("is {value}, a step may use {} at once", wanted.instances);
            Finding::warn(subject, text).hint(hint)
        }
        value => Finding::ok(subject, format!("is {value}, a step uses {}", wanted.instances)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_follow_from_jobs() {
        let job = |kind, instances: &[&str], count| JobNeeds {
            step: "als".to_owned(),
            kind,
            image: String::new(),
            instances: instances.iter().map(|&it| it.to_owned()).collect(),
            count,
        };
        let jobs = [
            job(JobClass::SpotTraining, &["ml.m5.xlarge", "ml.m5.2xlarge"], 2),
            job(JobClass::SpotTraining, &["ml.m5.2xlarge"], 1),
            job(JobClass::Processing, &["ml.m5.xlarge"], 1),
        ];
        let found = wanted(&jobs).into_iter().collect::<Vec<_>>();
        let expected = [
            ("ml.m5.2xlarge for spot training job usage", 2, true),
            ("ml.m5.xlarge for processing job usage", 1, true),
            ("ml.m5.xlarge for spot training job usage", 2, true),
        ];
        let expected =
            expected.map(|(name, instances, first)| (name.to_owned(), Wanted { instances, first }));
        assert_eq!(found, expected);
        let state = |wanted, value| told("q", wanted, value).state.word();
        let one = Wanted { instances: 1, first: true };
        assert_eq!(state(one, Some(0.0)), "fail");
        assert_eq!(state(Wanted { first: false, ..one }, Some(0.0)), "warn");
        assert_eq!(state(Wanted { instances: 4, ..one }, Some(2.0)), "warn");
        assert_eq!(state(one, Some(1.0)), "ok");
        assert_eq!(state(one, None), "unknown");
    }
}
