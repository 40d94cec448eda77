//! Jobs and searches: what the services of a target would refuse of them.

use super::Subject;
use super::at::quoted;
use super::targets::IMAGE;
use crate::pipeline::job::{Job, MAX_RUNTIME, Strategy, peak_memory_metric};
use crate::pipeline::step::{StepKind, TrainStep};
use crate::ports::limits::place::Image;
use crate::ports::limits::sagemaker::{
    DEFAULT_PARALLEL, MOST_PARALLEL, Part, Refusal, check_hyperparameters, check_metrics,
    check_resources, check_search,
};
use crate::run::failure::{Problem, Rule};

/// Judges the jobs of all steps against the targets that train remotely.
pub(super) fn check(subject: &Subject<'_>) -> Vec<Problem> {
    let trainers: Vec<&str> = subject
        .aws()
        .filter(|target| target.trainer.is_some())
        .map(|target| target.name.as_str())
        .collect();
    let mut problems = Vec::new();
    for (_, step) in subject.steps() {
        let (train, search) = match &step.kind {
            StepKind::Train(train) => (train, false),
            StepKind::Tune(train) => (train, true),
            StepKind::Sql(_) | StepKind::Select(_) | StepKind::Score(_) | StepKind::Load(_) => {
                continue;
            }
        };
        let found = Found { subject, file: &train.file, job: &train.job };
        problems.extend(found.search_that_nobody_runs(search, &trainers));
        if !trainers.is_empty() {
            problems.extend(found.refused(train, search, &trainers));
            problems.extend(found.wasted(search));
            problems.extend(found.image());
        }
    }
    problems
}

struct Found<'a> {
    subject: &'a Subject<'a>,
    file: &'a str,
    job: &'a Job,
}

impl Found<'_> {
    fn at(&self, rule: Rule, path: &[&str], message: impl Into<String>) -> Problem {
        self.subject.problem(rule, self.file, path, message)
    }

    fn refused(&self, train: &TrainStep, search: bool, trainers: &[&str]) -> Vec<Problem> {
        let job = &train.job;
        let mut metrics = job.metrics.clone();
        metrics.push(peak_memory_metric());
        let mut hyperparameters = job.hyperparameters.clone();
        hyperparameters.insert("algorithm".to_owned(), job.algorithm.to_string());
        let mut refused = check_metrics(&metrics, search);
        refused.extend(check_hyperparameters(&hyperparameters));
        refused.extend(check_resources(&job.resources, MAX_RUNTIME));
        if let (true, Some(tuning)) = (search, &job.tuning) {
            refused.extend(check_search(tuning));
        }
        refused.into_iter().map(|one| self.problem(one, trainers)).collect()
    }

    fn problem(&self, refused: Refusal, trainers: &[&str]) -> Problem {
        let Refusal { part, message, hint } = refused;
        let text;
        let path: Vec<&str> = match &part {
            Part::Metrics => vec!["metrics"],
            Part::Metric(at) => {
                text = at.to_string();
                vec!["metrics", &text, "regex"]
            }
            Part::Hyperparameters => vec!["hyperparameters"],
            Part::Hyperparameter(name) => vec!["hyperparameters", name],
            Part::Ranges => vec!["tuning", "ranges"],
            Part::Range(name) => vec!["tuning", "ranges", name],
            Part::Trials => vec!["tuning", "trials"],
            Part::Parallel => vec!["tuning", "parallel"],
            Part::Instance(0) => vec!["resources", "instance"],
            Part::Instance(at) => {
                text = (at - 1).to_string();
                vec!["resources", "fallback_instances", &text]
            }
            Part::Count => vec!["resources", "count"],
            Part::Volume => vec!["resources", "volume_gb"],
            Part::MaxRuntime => vec!["resources", "max_runtime"],
            Part::MaxWait => vec!["resources", "max_wait"],
        };
        let message = format!("on {}: {message}", quoted(trainers.iter().copied()));
        self.at(Rule::ServiceLimit, &path, message).with_hint(hint)
    }

    /// Hyperband is a service's; the embedded trainer does not know it.
    fn search_that_nobody_runs(&self, search: bool, trainers: &[&str]) -> Option<Problem> {
        let tuning = self.job.tuning.as_ref().filter(|_| search)?;
        let is_band = matches!(tuning.strategy, Strategy::Hyperband { .. });
        (is_band && trainers.is_empty()).then(|| {
            let message = "no target has a trainer that searches by hyperband";
            self.at(Rule::Tuning, &["tuning", "strategy"], message)
                .with_hint("take `bayesian` or `random`: only SageMaker knows it".to_owned())
        })
    }

    /// What SageMaker takes, and does nothing good with.
    fn wasted(&self, search: bool) -> Vec<Problem> {
        let mut problems = Vec::new();
        let own_image = self.job.resources.image.is_some();
        if let Some(count) = self.job.resources.count.filter(|count| *count > 1 && !own_image) {
            let algorithm = self.job.algorithm;
            let message = format!(
                "`{algorithm}` trains on one instance; of {count} the others would be idle"
            );
            let hint = "leave `count` out, and take a larger instance".to_owned();
            let path = ["resources", "count"];
            problems.push(self.at(Rule::WastedResource, &path, message).with_hint(hint));
        }
        let Some(tuning) = self.job.tuning.as_ref().filter(|_| search) else { return problems };
        if (DEFAULT_PARALLEL + 1..=MOST_PARALLEL).contains(&tuning.parallel) {
            let message = format!(
                "{} trials at once, and accounts have a quota of {DEFAULT_PARALLEL} unless it was raised",
                tuning.parallel
            );
            let hint = "`recctl doctor` asks for quotas of instances".to_owned();
            let path = ["tuning", "parallel"];
            problems.push(self.at(Rule::ServiceQuota, &path, message).with_hint(hint));
        }
        let (is_early, field) = match tuning.strategy {
            Strategy::Hyperband { .. } => (true, "strategy"),
            Strategy::Grid | Strategy::Random | Strategy::Bayesian => {
                (tuning.early_stopping, "early_stopping")
            }
        };
        if is_early && !own_image {
            let message = format!(
                "trials are ended early by an objective of each epoch, and `{}` prints it once, at the end",
                self.job.algorithm
            );
            let hint = "it has no effect: leave it out, or take `bayesian`".to_owned();
            let path = ["tuning", field];
            problems.push(self.at(Rule::WastedResource, &path, message).with_hint(hint));
        }
        problems
    }

    fn image(&self) -> Option<Problem> {
        let uri = self.job.resources.image.as_ref()?;
        let path = ["resources", "image"];
        let Some(image) = Image::parse(uri) else {
            let message = format!("`{uri}` is no image that SageMaker can pull");
            return Some(self.at(Rule::TargetForm, &path, message).with_hint(IMAGE.to_owned()));
        };
        let elsewhere = self.subject.aws().find(|target| {
            target.trainer.is_some()
                && target.region.as_ref().is_some_and(|region| region != image.region)
        })?;
        let region = elsewhere.region.as_deref().unwrap_or_default();
        let message = format!(
            "the image lies in {}, and jobs of target `{}` run in {region}",
            image.region, elsewhere.name
        );
        let hint = "SageMaker pulls images of its own region only: replicate the repository";
        Some(self.at(Rule::TargetForm, &path, message).with_hint(hint.to_owned()))
    }
}
