//! A job as it is meant, checked before anything is asked of AWS.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::json;

use super::lake::{is_channel, is_folder};
use super::names;
use crate::pipeline::fingerprint::digest;
use crate::pipeline::job::MetricDefinition;
use crate::pipeline::target::SageMakerOptions;
use crate::ports::limits::sagemaker::{self, Refusal};
use crate::ports::{JobKind, JobRequest};
use crate::run::failure::{Failure, FailureKind, Outcome};

/// Checks all of a request but its name. Errors: `Usage`.
pub(super) fn check(job: &JobRequest) -> Outcome<()> {
    let wrong = |text: String| Err(Failure::new(FailureKind::Usage, text));
    let name = &job.name;
    for folder in job.channels.values().chain([&job.output]) {
        if !is_folder(folder) {
            return wrong(format!("`{folder}` of job `{name}` is not a folder of the lake"));
        }
    }
    if let Some(channel) = job.channels.keys().find(|channel| !is_channel(channel)) {
        return wrong(format!("`{channel}` of job `{name}` cannot be the name of a channel"));
    }
    let refused = sagemaker::check_metrics(&job.metrics, false);
    let refused = refused.into_iter().chain(sagemaker::check_hyperparameters(&job.hyperparameters));
    accepted(refused).map_err(|failure| failure.while_doing(format!("job `{name}`")))
}

/// The first thing that SageMaker would refuse, as a failure.
pub(super) fn accepted(refused: impl IntoIterator<Item = Refusal>) -> Outcome<()> {
    let Some(refused) = refused.into_iter().next() else { return Ok(()) };
    let failure = Failure::new(FailureKind::Usage, refused.message);
    Err(match refused.hint {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    })
}

/// Checks a job with its name. Errors: `Usage`.
pub(super) fn check_named(job: &JobRequest) -> Outcome<()> {
    names::check(&job.name, names::JOB)?;
    check(job)
}

/// What reads the metrics off lines. Errors: `Usage`.
pub(super) fn regexes(job: &JobRequest) -> Outcome<Vec<(String, Regex)>> {
    accepted(sagemaker::check_metrics(&job.metrics, false))?;
    let regex = |metric: &MetricDefinition| {
        Regex::new(&metric.regex).ok().map(|regex| (metric.name.clone(), regex))
    };
    Ok(job.metrics.iter().filter_map(regex).collect())
}

/// Tells jobs apart that have one name. What a job runs on and how long it may is no part of what
/// it makes.
pub(super) fn identity(job: &JobRequest) -> String {
    let kind = match job.kind {
        JobKind::Train => "train",
        JobKind::Score => "score",
    };
    let metrics: BTreeMap<&str, &str> =
        job.metrics.iter().map(|metric| (metric.name.as_str(), metric.regex.as_str())).collect();
    let all =
        json!([kind, job.hyperparameters, job.channels, job.output, metrics, job.resources.image]);
    digest(all.to_string().as_bytes())
}

/// What a job runs on: its own choice, else the target's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Machine {
    pub(super) image: String,
    /// The first choice first; never empty.
    pub(super) instances: Vec<String>,
    pub(super) count: i32,
    pub(super) volume_gb: i32,
    pub(super) spot: bool,
    /// Seconds.
    pub(super) max_runtime: i32,
    /// Seconds; only on spot capacity.
    pub(super) max_wait: Option<i32>,
}

impl Machine {
    /// Errors: `Usage` if nobody names an instance type.
    pub(super) fn new(job: &JobRequest, options: &SageMakerOptions) -> Outcome<Self> {
        let own = &job.resources;
        let instances =
            if own.instances.is_empty() { &options.instances } else { &own.instances }.clone();
        if instances.is_empty() {
            let text = format!("job `{}` has no instance type", job.name);
            return Err(Failure::new(FailureKind::Usage, text)
                .with_hint("name one as `instance` of the target's trainer, or of the job"));
        }
        // Managed spot training is for training jobs only.
        let spot = job.kind == JobKind::Train && own.spot.unwrap_or(options.spot);
        let max_runtime = job.max_runtime.as_secs().max(1);
        let max_wait = own.max_wait.map_or(max_runtime.saturating_mul(2), |wait| wait.as_secs());
        Ok(Self {
            image: own.image.clone().unwrap_or_else(|| options.image.clone()),
            instances,
            count: whole(u64::from(own.count.unwrap_or(1))),
            volume_gb: whole(u64::from(own.volume_gb.unwrap_or(options.volume_gb))),
            spot,
            max_runtime: whole(max_runtime),
            max_wait: spot.then(|| whole(max_wait.max(max_runtime))),
        })
    }

    /// The place of the first instance type to ask for, when `failed` has no capacity: the one
    /// after it, else the first again.
    pub(super) fn after(&self, failed: Option<&str>) -> usize {
        let known = failed.and_then(|failed| self.instances.iter().position(|own| own == failed));
        known.map_or(0, |at| (at + 1) % self.instances.len())
    }
}

pub(super) fn whole(number: u64) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::pipeline::job::Resources;

    pub(crate) fn job() -> JobRequest {
        JobRequest {
            name: "als-20260302-fit-0".to_owned(),
            kind: JobKind::Train,
            hyperparameters: [("algorithm".to_owned(), "als".to_owned())].into(),
            channels: [("train".to_owned(), "cuts/train/".to_owned())].into(),
            output: "models/als/".to_owned(),
            metrics: vec![MetricDefinition {
                name: "ndcg@10".to_owned(),
                regex: "ndcg@10=([0-9.]+)".to_owned(),
            }],
            max_runtime: Duration::from_secs(3_600),
            resources: Resources::default(),
        }
    }

    pub(crate) fn options() -> SageMakerOptions {
        SageMakerOptions {
            role: "arn:aws:iam::123456789012:role/training".to_owned(),
            image: "123456789012.dkr.ecr.eu-central-1.amazonaws.com/recctl:1".to_owned(),
            instances: vec!["ml.m5.large".to_owned(), "ml.m5.xlarge".to_owned()],
            volume_gb: 30,
            spot: false,
            kms_key: None,
            network: None,
            registry: None,
        }
    }

    #[test]
    fn what_a_job_runs_on_is_no_part_of_what_it_is() {
        let job = job();
        let mut elsewhere = job.clone();
        elsewhere.resources.instances = vec!["ml.c5.large".to_owned()];
        elsewhere.max_runtime = Duration::from_secs(1);
        assert_eq!(identity(&job), identity(&elsewhere));
        elsewhere.hyperparameters.insert("factors".to_owned(), "8".to_owned());
        assert_ne!(identity(&job), identity(&elsewhere));
    }

    #[test]
    fn the_jobs_own_choice_goes_before_the_targets() {
        let mut job = job();
        let machine = Machine::new(&job, &options()).unwrap();
        assert_eq!((machine.volume_gb, machine.max_wait, machine.count), (30, None, 1));
        assert_eq!(machine.after(None), 0);
        assert_eq!(machine.after(Some("ml.m5.large")), 1);
        assert_eq!(machine.after(Some("ml.m5.xlarge")), 0);
        job.resources.spot = Some(true);
        job.resources.instances = vec!["ml.c5.large".to_owned()];
        let machine = Machine::new(&job, &options()).unwrap();
        assert_eq!((machine.max_runtime, machine.max_wait), (3_600, Some(7_200)));
        assert_eq!(machine.instances, ["ml.c5.large"]);
        job.resources.max_wait = Some(Duration::from_secs(1));
        assert_eq!(Machine::new(&job, &options()).unwrap().max_wait, Some(3_600));
        job.kind = JobKind::Score;
        assert!(!Machine::new(&job, &options()).unwrap().spot);
    }

    #[test]
    fn requests_that_cannot_be_are_told() {
        let told = |change: &dyn Fn(&mut JobRequest)| {
            let mut job = job();
            change(&mut job);
            let failure = check_named(&job).unwrap_err();
            assert_eq!(failure.kind, FailureKind::Usage);
            failure.message
        };
        assert!(told(&|job| job.output = "../x/".to_owned()).contains("not a folder of the lake"));
        assert!(told(&|job| job.output = "x".to_owned()).contains("not a folder of the lake"));
        assert!(told(&|job| job.metrics[0].regex = "x".to_owned()).contains("has no group"));
        assert!(told(&|job| job.metrics[0].regex = "(".to_owned()).contains("the regex of metric"));
        let path = |job: &mut JobRequest| {
            job.channels.insert("a/b".to_owned(), "x/".to_owned());
        };
        assert!(told(&path).contains("cannot be the name of a channel"));
    }
}
