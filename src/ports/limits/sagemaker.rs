//! What SageMaker takes of a job and of a search.

use std::time::Duration;

use regex::Regex;

use crate::pipeline::fingerprint::digest;
use crate::pipeline::job::{
    Hyperparameters, MetricDefinition, ParameterRange, Resources, Strategy, Tuning,
};

/// The longest name of a training or processing job.
/// <https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateTrainingJob.html>
pub const JOB_NAME: usize = 63;
/// The longest name of a tuning job.
/// <https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateHyperParameterTuningJob.html>
pub const TUNING_NAME: usize = 32;
/// The longest name of a model package group.
/// <https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateModelPackageGroup.html>
pub const GROUP_NAME: usize = 63;

/// The name of a group with a prefix before it; what is too long ends with a digest of all of it.
pub fn group_name(prefix: &str, group: &str) -> String {
    let name = format!("{prefix}{group}");
    if name.len() <= GROUP_NAME {
        return name;
    }
    let digest = digest(name.as_bytes());
    let (digest, _) = digest.split_at(8);
    let head: String = name.chars().take(GROUP_NAME - 9).collect();
    format!("{}-{digest}", head.trim_end_matches('-'))
}

/// Metrics of a job.
/// <https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_AlgorithmSpecification.html>
const MOST_METRICS: usize = 40;
/// Metrics of a search's trials; and hyperparameters that one search may vary, which is also how
/// many values a categorical one may have.
/// <https://docs.aws.amazon.com/sagemaker/latest/dg/automatic-model-tuning-limits.html>
const MOST_SEARCH_METRICS: usize = 20;
const MOST_RANGES: usize = 30;
/// Trials of a search; same source.
const MOST_TRIALS: u64 = 750;
/// Trials at once where the quota is raised as far as it goes; same source.
pub const MOST_PARALLEL: usize = 100;
/// Trials at once where nobody has raised the quota; same source.
pub const DEFAULT_PARALLEL: usize = 10;
/// The longest name and regex of a metric.
/// <https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_MetricDefinition.html>
const METRIC_NAME: usize = 255;
const METRIC_REGEX: usize = 500;
/// Hyperparameters of a job, and the longest name and value of one.
/// <https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateTrainingJob.html>
const MOST_HYPERPARAMETERS: usize = 100;
const HYPERPARAMETER_NAME: usize = 256;
const HYPERPARAMETER_VALUE: usize = 2_500;
/// The longest value of a range.
/// <https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CategoricalParameterRange.html>
const RANGE_VALUE: usize = 256;
/// Days that a job may run.
/// <https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_StoppingCondition.html>
const LONGEST_DAYS: u64 = 28;
/// The largest volume in GB, and the most instances.
/// <https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ResourceConfig.html>
const LARGEST_VOLUME: u32 = 16_384;
/// Instances that recctl asks for at most; quotas end far below.
const MOST_INSTANCES: u32 = 100;

/// Something that SageMaker would refuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What of the job it is.
    pub part: Part,
    /// Why: a lower-case fragment.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// A part of a job's description, which a file has a place for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// The list of metrics.
    Metrics,
    /// A metric by its position.
    Metric(usize),
    /// The fixed hyperparameters.
    Hyperparameters,
    /// A fixed hyperparameter by its name.
    Hyperparameter(String),
    /// The ranges of a search.
    Ranges,
    /// The range of a hyperparameter.
    Range(String),
    /// The number of trials.
    Trials,
    /// The number of trials at once.
    Parallel,
    /// An instance type by its position.
    Instance(usize),
    /// The number of instances.
    Count,
    /// The size of the volume.
    Volume,
    /// The longest that a job may run.
    MaxRuntime,
    /// The longest that it may take on spot capacity.
    MaxWait,
}

fn refusal(part: Part, message: impl Into<String>) -> Refusal {
    Refusal { part, message: message.into(), hint: None }
}

impl Refusal {
    fn hint(mut self, hint: &str) -> Self {
        self.hint = Some(hint.to_owned());
        self
    }
}

/// What of a job's metrics would be refused; `search` says that they are those of trials.
pub fn check_metrics(metrics: &[MetricDefinition], search: bool) -> Vec<Refusal> {
    let mut refused = Vec::new();
    let (most, what) =
        if search { (MOST_SEARCH_METRICS, "a search") } else { (MOST_METRICS, "a job") };
    if metrics.len() > most {
        let count = metrics.len();
        let text = format!("{count} metrics, and SageMaker takes {most} of {what}");
        refused.push(refusal(Part::Metrics, text));
    }
    for (at, metric) in metrics.iter().enumerate() {
        let name = &metric.name;
        if name.is_empty() || name.len() > METRIC_NAME {
            let text = format!("SageMaker takes names of metrics of 1 to {METRIC_NAME} characters");
            refused.push(refusal(Part::Metric(at), text));
        }
        if metric.regex.len() > METRIC_REGEX {
            let length = metric.regex.len();
            let text = format!(
                "the regex of metric `{name}` has {length} characters, and SageMaker takes {METRIC_REGEX}"
            );
            refused.push(refusal(Part::Metric(at), text));
        }
        match Regex::new(&metric.regex) {
            Ok(regex) if regex.captures_len() > 1 => {}
            Ok(_) => {
                let text = format!("the regex of metric `{name}` has no group");
                let hint = "put the number in parentheses, as in `ndcg=([0-9.]+)`";
                refused.push(refusal(Part::Metric(at), text).hint(hint));
            }
            Err(error) => {
                let text = format!("the regex of metric `{name}`: {error}");
                refused.push(refusal(Part::Metric(at), text));
            }
        }
    }
    refused
}

/// What of a job's hyperparameters would be refused.
pub fn check_hyperparameters(all: &Hyperparameters) -> Vec<Refusal> {
    let mut refused = Vec::new();
    if all.len() > MOST_HYPERPARAMETERS {
        let text = format!(
            "{} hyperparameters, and SageMaker takes {MOST_HYPERPARAMETERS} of a job",
            all.len()
        );
        refused.push(refusal(Part::Hyperparameters, text));
    }
    for (name, value) in all {
        let part = Part::Hyperparameter(name.clone());
        if name.chars().count() > HYPERPARAMETER_NAME {
            let text = format!(
                "a hyperparameter's name has more than the {HYPERPARAMETER_NAME} characters that SageMaker takes"
            );
            refused.push(refusal(part, text));
        } else if value.chars().count() > HYPERPARAMETER_VALUE {
            let text = format!(
                "hyperparameter `{name}` has {} characters, and SageMaker takes {HYPERPARAMETER_VALUE}",
                value.chars().count()
            );
            let hint = "put long lists into a file of the training data, and name the file";
            refused.push(refusal(part, text).hint(hint));
        }
    }
    refused
}

/// What of a search would be refused.
pub fn check_search(tuning: &Tuning) -> Vec<Refusal> {
    let mut refused = Vec::new();
    let count = tuning.ranges.len();
    if !(1..=MOST_RANGES).contains(&count) {
        let text = format!("{count} hyperparameters vary, and SageMaker takes 1 to {MOST_RANGES}");
        refused.push(refusal(Part::Ranges, text));
    }
    if tuning.parallel > MOST_PARALLEL {
        let text = format!(
            "{} trials at once, and SageMaker runs {MOST_PARALLEL} at most",
            tuning.parallel
        );
        refused.push(refusal(Part::Parallel, text));
    }
    let is_grid = tuning.strategy == Strategy::Grid;
    for (name, range) in &tuning.ranges {
        if let Some(what) = range_problem(range, is_grid) {
            let text = format!("the range of `{name}` {what}");
            refused.push(refusal(Part::Range(name.clone()), text));
        }
    }
    if !refused.is_empty() {
        return refused;
    }
    let mut sizes = tuning.ranges.values().map(ParameterRange::cardinality);
    let Some(combinations) = sizes.try_fold(1_u64, |all, one| Some(all.saturating_mul(one?)))
    else {
        return refused;
    };
    let trials = tuning.trials as u64;
    if is_grid {
        if combinations > MOST_TRIALS {
            let text = format!(
                "the grid has {combinations} combinations, and SageMaker runs {MOST_TRIALS} at most"
            );
            refused.push(refusal(Part::Ranges, text).hint("take `random` or `bayesian`"));
        } else if combinations > trials {
            let text =
                format!("the grid has {combinations} combinations, more than its {trials} trials");
            let hint = "SageMaker walks a grid whole; raise `trials` or take `random`";
            refused.push(refusal(Part::Trials, text).hint(hint));
        }
    } else if combinations < trials {
        let text = format!(
            "{trials} trials of {combinations} combinations: SageMaker takes no more trials than there are"
        );
        let hint = format!("set `trials: {combinations}`, or widen the ranges");
        refused.push(refusal(Part::Trials, text).hint(&hint));
    }
    refused
}

fn range_problem(range: &ParameterRange, is_grid: bool) -> Option<String> {
    if let Some(problem) = range.problem() {
        return Some(problem);
    }
    let values = match range {
        ParameterRange::Categorical { values } => {
            if let Some(long) = values.iter().find(|value| value.chars().count() > RANGE_VALUE) {
                let start: String = long.chars().take(20).collect();
                return Some(format!(
                    "has a value of more than {RANGE_VALUE} characters, `{start}…`, which SageMaker does not take"
                ));
            }
            values.len() as u64
        }
        ParameterRange::Integer { .. } if is_grid => range.cardinality()?,
        ParameterRange::Continuous { min, max, .. } if is_grid && min != max => {
            return Some("has no end of values, which a grid cannot walk".to_owned());
        }
        ParameterRange::Continuous { min, max, .. } => {
            let long = [min, max].into_iter().any(|end| end.to_string().len() > RANGE_VALUE);
            return long.then(|| {
                format!(
                    "has an end of more than {RANGE_VALUE} digits, which SageMaker does not take"
                )
            });
        }
        ParameterRange::Integer { .. } => return None,
    };
    (values > MOST_RANGES as u64)
        .then(|| format!("has {values} values, and SageMaker takes {MOST_RANGES} of a category"))
}

/// What of a job's machines would be refused. `default_runtime` is what a job may run that says
/// nothing of it.
pub fn check_resources(resources: &Resources, default_runtime: Duration) -> Vec<Refusal> {
    let mut refused = Vec::new();
    for (at, instance) in resources.instances.iter().enumerate() {
        if let Some(problem) = instance_problem(instance) {
            refused.push(problem_of(Part::Instance(at), problem));
        }
    }
    if let Some(count) = resources.count.filter(|count| *count > MOST_INSTANCES) {
        let text = format!("{count} instances, and a job takes {MOST_INSTANCES} at most");
        refused.push(refusal(Part::Count, text));
    }
    if let Some(volume) = resources.volume_gb.and_then(volume_problem) {
        refused.push(refusal(Part::Volume, volume));
    }
    let runtime = resources.max_runtime.unwrap_or(default_runtime);
    let longest = Duration::from_secs(LONGEST_DAYS * 86_400);
    if runtime > longest {
        let hours = LONGEST_DAYS * 24;
        let text = format!("SageMaker runs a job for {LONGEST_DAYS} days at most");
        refused.push(refusal(Part::MaxRuntime, text).hint(&format!("expected at most `{hours}h`")));
    }
    if let Some(wait) = resources.max_wait.filter(|wait| *wait < runtime) {
        let text = format!(
            "a job that may run {} s cannot end within {} s of waiting and running",
            runtime.as_secs(),
            wait.as_secs()
        );
        let hint = "`max_wait` is both together: make it longer than `max_runtime`";
        refused.push(refusal(Part::MaxWait, text).hint(hint));
    }
    refused
}

fn problem_of(part: Part, problem: String) -> Refusal {
    refusal(part, problem).hint("for example `ml.m5.xlarge`")
}

/// Says why a text is not the name of an instance type; `None` if it may be.
pub fn instance_problem(text: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let parts: Vec<&str> = text.split('.').collect();
    let valid = match parts.as_slice() {
        ["ml", family, size] => {
            let whole = |part: &&str| !part.is_empty() && part.chars().all(plain);
            whole(family) && whole(size)
        }
        _ => false,
    };
    (!valid).then(|| format!("`{text}` is not an instance type of SageMaker"))
}

/// Says why a volume of so many GB cannot be had.
pub fn volume_problem(size: u32) -> Option<String> {
    (!(1..=LARGEST_VOLUME).contains(&size))
        .then(|| format!("a volume of {size} GB, and SageMaker takes 1 to {LARGEST_VOLUME}"))
}

/// Says why a text cannot begin the names of model package groups.
/// <https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateModelPackageGroup.html>
pub fn group_prefix_problem(prefix: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let valid = prefix.chars().all(plain) && !prefix.starts_with('-') && prefix.len() < GROUP_NAME;
    (!valid).then(|| {
        format!("`{prefix}` cannot begin the name of a model package group, which has letters, digits and `-` and at most {GROUP_NAME} characters")
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn long_names_of_groups_stay_within_the_limit_and_apart() {
        assert_eq!(group_name("rec-", "daily-winner"), "rec-daily-winner");
        let long = "x".repeat(GROUP_NAME);
        let (one, other) = (group_name("rec-", &long), group_name("rec-", &format!("{long}y")));
        assert!(one.len() == GROUP_NAME && other.len() == GROUP_NAME, "{one} {other}");
        assert_ne!(one, other);
    }
    use crate::pipeline::job::Scale;

    fn words(count: usize) -> ParameterRange {
        ParameterRange::Categorical { values: (0..count).map(|at| at.to_string()).collect() }
    }

    fn tuning(strategy: Strategy, trials: usize, ranges: Vec<ParameterRange>) -> Tuning {
        let named = ranges.into_iter().enumerate().map(|(at, range)| (format!("p{at}"), range));
        Tuning {
            strategy,
            trials,
            parallel: 2,
            seed: 1,
            ranges: named.collect::<BTreeMap<_, _>>(),
            early_stopping: false,
            warm_start: false,
        }
    }

    fn told(tuning: &Tuning) -> String {
        let refused = check_search(tuning);
        refused.into_iter().map(|one| one.message).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn searches_have_the_sizes_that_sagemaker_takes() {
        let integers = ParameterRange::Integer { min: 1, max: 3, scale: Scale::Linear };
        let open = ParameterRange::Continuous { min: 0.1, max: 1.0, scale: Scale::Log };
        for fine in [
            tuning(Strategy::Grid, 90, vec![words(30), integers.clone()]),
            tuning(Strategy::Random, 3, vec![integers.clone()]),
            tuning(Strategy::Bayesian, 750, vec![words(2), open.clone()]),
        ] {
            assert_eq!(check_search(&fine), [], "{fine:?}");
        }
        for (search, expected) in [
            (tuning(Strategy::Random, 1, vec![words(31)]), "has 31 values"),
            (tuning(Strategy::Random, 1, vec![]), "0 hyperparameters vary"),
            (tuning(Strategy::Random, 1, vec![words(2); 31]), "31 hyperparameters vary"),
            (
                tuning(Strategy::Grid, 9, vec![words(5), words(2)]),
                "10 combinations, more than its 9",
            ),
            (tuning(Strategy::Grid, 750, vec![words(30), words(30)]), "900 combinations, and"),
            (tuning(Strategy::Grid, 5, vec![open]), "no end of values"),
            (tuning(Strategy::Random, 4, vec![integers]), "4 trials of 3 combinations"),
        ] {
            assert!(told(&search).contains(expected), "{}", told(&search));
        }
        let mut search = tuning(Strategy::Random, 2, vec![words(2)]);
        search.parallel = 101;
        assert_eq!(check_search(&search)[0].part, Part::Parallel);
    }

    #[test]
    fn metrics_of_trials_are_fewer_than_those_of_jobs() {
        let metric = |regex: &str| MetricDefinition { name: "m".into(), regex: regex.into() };
        let many = vec![metric("m=([0-9]+)"); 21];
        assert_eq!(check_metrics(&many, false), []);
        assert_eq!(check_metrics(&many, true)[0].part, Part::Metrics);
        for regex in ["m=[0-9]+", "m=(", &format!("m=([0-9]+){}", "x".repeat(500))] {
            assert_eq!(check_metrics(&[metric(regex)], true)[0].part, Part::Metric(0), "{regex}");
        }
    }

    #[test]
    fn machines_are_those_that_there_are() {
        let hour = Duration::from_secs(3_600);
        let refused = |change: &dyn Fn(&mut Resources)| {
            let mut resources = Resources::default();
            change(&mut resources);
            let refused = check_resources(&resources, hour);
            refused.into_iter().map(|one| one.part).collect::<Vec<_>>()
        };
        assert_eq!(refused(&|_| {}), []);
        let instances = |r: &mut Resources| {
            r.instances = vec!["ml.m5.xlarge".into(), "m5.xlarge".into(), "ml.m5".into()];
        };
        assert_eq!(refused(&instances), [Part::Instance(1), Part::Instance(2)]);
        assert_eq!(refused(&|r| r.volume_gb = Some(16_385)), [Part::Volume]);
        assert_eq!(refused(&|r| r.max_runtime = Some(hour * 673)), [Part::MaxRuntime]);
        assert_eq!(refused(&|r| r.max_wait = Some(hour / 2)), [Part::MaxWait]);
    }

    #[test]
    fn hyperparameters_are_texts_of_limited_length() {
        let of = |value: &str| Hyperparameters::from([("h".to_owned(), value.to_owned())]);
        assert_eq!(check_hyperparameters(&of(&"x".repeat(2_500))), []);
        let refused = check_hyperparameters(&of(&"x".repeat(2_501)));
        assert_eq!(refused[0].part, Part::Hyperparameter("h".to_owned()));
    }
}
