//! `jobs/<job>.yaml` as written, and its compilation.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::problems::Problems;
use super::schema;
use super::yaml::{Entries, Reading, Scalar, Spanned, read};
use crate::pipeline::job::{
    Algorithm, Direction, HyperparameterProblem, Hyperparameters, Job, MetricDefinition, Objective,
    OnCancel, ParameterRange, Resources, Strategy, Tuning,
};
use crate::run::failure::{Problem, Rule};

/// A job's file.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct JobSpec {
    /// What it is, for people.
    #[serde(default)]
    #[expect(dead_code, reason = "documentation in the file, checked to be text")]
    description: Option<String>,
    /// The built-in recommender. Needed: that it is missing is told with all else.
    #[serde(default)]
    #[schemars(extend("enum" = Algorithm::ALL.map(Algorithm::name)))]
    algorithm: Option<Spanned<String>>,
    /// Fixed hyperparameters.
    #[serde(default)]
    hyperparameters: Entries<Spanned<Scalar>>,
    /// What to read from its output.
    #[serde(default)]
    metrics: Vec<MetricSpec>,
    /// What trials are compared by.
    #[serde(default)]
    objective: Option<Spanned<ObjectiveSpec>>,
    /// How to search.
    #[serde(default)]
    tuning: Option<Spanned<TuningSpec>>,
    /// Lines such as the job prints, for a program that is not recctl's: every metric has to find a
    /// number in one of them.
    #[serde(default)]
    sample_log: Vec<String>,
    /// What it runs on, where that is not this machine.
    #[serde(default)]
    resources: ResourcesSpec,
    /// What becomes of it when its run is stopped.
    #[serde(default)]
    #[schemars(extend("default" = "stop"))]
    on_cancel: OnCancel,
}

/// A metric, read from the job's output.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct MetricSpec {
    /// Its name.
    name: Spanned<String>,
    /// The expression that finds it, with one group around the number; the last match counts.
    regex: Spanned<String>,
}

/// What trials are compared by.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ObjectiveSpec {
    /// One of the metrics.
    metric: String,
    /// Whether more or less of it is better.
    #[serde(default)]
    #[schemars(extend("default" = "maximize"))]
    direction: Direction,
}

/// A search over hyperparameters.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TuningSpec {
    /// How the next trial is chosen.
    strategy: Spanned<StrategySpec>,
    /// Trials in all.
    #[schemars(range(min = 1, max = 750))]
    trials: Spanned<usize>,
    /// Trials at once.
    #[serde(default)]
    #[schemars(range(min = 1), extend("default" = 1))]
    parallel: Option<Spanned<usize>>,
    /// Seed of what is drawn.
    #[serde(default)]
    #[schemars(extend("default" = 1))]
    seed: Option<u64>,
    /// Whether SageMaker ends trials early that do badly.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    early_stopping: Option<Spanned<bool>>,
    /// Whether SageMaker begins with what earlier searches learned.
    #[serde(default)]
    warm_start: bool,
    /// For `hyperband`: least resource (usually epochs) of a trial.
    #[serde(default)]
    min_resource: Option<Spanned<u32>>,
    /// For `hyperband`: most resource of a trial.
    #[serde(default)]
    max_resource: Option<Spanned<u32>>,
    /// What is searched, by hyperparameter.
    ranges: Entries<Spanned<ParameterRange>>,
}

/// A strategy's name; what belongs to one of them only is written beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum StrategySpec {
    /// Every combination, in order.
    Grid,
    /// Independent draws.
    Random,
    /// Draws near what has worked.
    Bayesian,
    /// Many short trials, of which the best go on; on SageMaker only.
    Hyperband,
}

/// What remote jobs run on.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ResourcesSpec {
    /// The container's image.
    #[serde(default)]
    image: Option<Spanned<String>>,
    /// The instance type.
    #[serde(default)]
    instance: Option<Spanned<String>>,
    /// Instance types to fall back to where capacity is short, in order.
    #[serde(default)]
    fallback_instances: Vec<Spanned<String>>,
    /// Number of instances.
    #[serde(default)]
    count: Option<Spanned<u32>>,
    /// Size of the volume in GB.
    #[serde(default)]
    volume_gb: Option<Spanned<u32>>,
    /// Whether it runs on spot capacity.
    #[serde(default)]
    spot: Option<Spanned<bool>>,
    /// The longest that a job may run (`6h`).
    #[serde(default)]
    #[schemars(extend("pattern" = schema::TIME), extend("default" = "6h"))]
    max_runtime: Option<Spanned<String>>,
    /// The longest that a job on spot capacity may take with its waiting.
    #[serde(default)]
    #[schemars(extend("pattern" = schema::TIME))]
    max_wait: Option<Spanned<String>>,
}

/// A job's file as meant.
pub struct JobFile {
    /// The job.
    pub job: Job,
    /// Lines that it prints, for a program that recctl does not know.
    pub sample_log: Vec<String>,
}

/// Reads a job's file. What is wrong goes to `problems`; a job that is not wholly right is none.
pub fn compile(file: &str, text: &str, problems: &mut Problems) -> Option<JobFile> {
    let Reading { value: spec, lost } = read(file, text, problems)?;
    if lost.is_empty() {
        return meant(file, spec, problems);
    }
    // What is lost may be what the rest is said to lack.
    let told = problems.count();
    let _ = meant(file, spec, problems);
    problems.keep_since(told, |problem| {
        !matches!(problem.rule, Rule::MissingField | Rule::Tuning | Rule::Metric)
    });
    None
}

/// Makes a job of what is written.
fn meant(file: &str, spec: JobSpec, problems: &mut Problems) -> Option<JobFile> {
    let Some(algorithm) = spec.algorithm else {
        let message = "missing field `algorithm`";
        let problem = Problem::new(Rule::MissingField, file, 1, 1, 1, message);
        let hint = format!("say which: `{}`", Algorithm::ALL.map(|it| it.name()).join("`, `"));
        problems.push(problem.with_hint(hint));
        return None;
    };
    let algorithm: Algorithm = match algorithm.value.parse() {
        Ok(known) => known,
        Err(error) => {
            let error: crate::pipeline::job::UnknownAlgorithm = error;
            problems.at(Rule::UnknownAlgorithm, file, &algorithm, error.to_string(), None);
            return None;
        }
    };
    let before = problems.count();
    let mut hyperparameters = Hyperparameters::new();
    for (name, value) in &spec.hyperparameters.0 {
        let one = Hyperparameters::from([(name.value.clone(), value.value.0.to_string())]);
        report(algorithm.check(&one), file, name, problems);
        hyperparameters.extend(one);
    }
    let mut metrics = Vec::new();
    let named: Vec<String> = spec.metrics.iter().map(|metric| metric.name.value.clone()).collect();
    for metric in spec.metrics {
        match regex::Regex::new(&metric.regex.value) {
            Ok(regex) if regex.captures_len() == 2 => metrics
                .push(MetricDefinition { name: metric.name.value, regex: metric.regex.value }),
            Ok(regex) => problems.at(
                Rule::Metric,
                file,
                &metric.regex,
                format!("the regex has {} groups, expected exactly one", regex.captures_len() - 1),
                Some("put the number in parentheses: `recall@10=([0-9.]+)`".to_owned()),
            ),
            Err(error) => {
                let text = error.to_string();
                let what = text.lines().last().unwrap_or_default();
                let what = what.trim().trim_start_matches("error: ").to_owned();
                problems.at(
                    Rule::Metric,
                    file,
                    &metric.regex,
                    format!("not a regex: {what}"),
                    None,
                );
            }
        }
    }
    let objective = spec.objective.map(|objective| {
        if !named.contains(&objective.value.metric) {
            problems.at(
                Rule::Metric,
                file,
                &objective,
                format!(
                    "the objective `{}` is not among the job's metrics",
                    objective.value.metric
                ),
                Some("add it under `metrics` with the regex that reads it".to_owned()),
            );
        }
        Objective { metric: objective.value.metric, direction: objective.value.direction }
    });
    let tuning = spec.tuning.map(|tuning| {
        for (name, range) in &tuning.value.ranges.0 {
            let one = [(name.value.clone(), range.value.clone())].into();
            report(algorithm.check_ranges(&one), file, name, problems);
            if hyperparameters.contains_key(&name.value) {
                let text = format!("`{}` has a fixed value and a range", name.value);
                problems.at(Rule::Tuning, file, name, text, Some("keep one of the two".to_owned()));
            }
        }
        for (name, range) in &tuning.value.ranges.0 {
            if tuning.value.strategy.value == StrategySpec::Grid
                && range.value.cardinality().is_none()
            {
                let text = format!("a grid cannot walk the continuous range of `{}`", name.value);
                let hint = "give `categorical` values, or choose another strategy".to_owned();
                problems.at(Rule::Tuning, file, range, text, Some(hint));
            }
        }
        if tuning.value.trials.value == 0 || tuning.value.trials.value > 750 {
            let text = "expected 1 to 750 trials".to_owned();
            problems.at(Rule::Tuning, file, &tuning.value.trials, text, None);
        }
        Tuning {
            strategy: strategy(file, &tuning.value, problems),
            trials: tuning.value.trials.value,
            parallel: tuning.value.parallel.map_or(1, |parallel| parallel.value.max(1)),
            seed: tuning.value.seed.unwrap_or(1),
            early_stopping: tuning.value.early_stopping.as_ref().is_some_and(|early| early.value),
            warm_start: tuning.value.warm_start,
            ranges: tuning
                .value
                .ranges
                .0
                .into_iter()
                .map(|(name, range)| (name.value, range.value))
                .collect(),
        }
    });
    let resources = resources(file, spec.resources, problems);
    let name = file.rsplit('/').next().unwrap_or(file);
    let name = name.split('.').next().unwrap_or(name).to_owned();
    let on_cancel = spec.on_cancel;
    (problems.count() == before).then_some(JobFile {
        job: Job {
            name,
            algorithm,
            hyperparameters,
            metrics,
            objective,
            tuning,
            resources,
            on_cancel,
        },
        sample_log: spec.sample_log,
    })
}

/// Puts a strategy and what belongs to it together.
fn strategy(file: &str, tuning: &TuningSpec, problems: &mut Problems) -> Strategy {
    let early = tuning.early_stopping.as_ref().filter(|early| early.value);
    let resource = tuning.min_resource.as_ref().or(tuning.max_resource.as_ref());
    match (tuning.strategy.value, resource) {
        (StrategySpec::Hyperband, _) => {
            if let Some(early) = early {
                let hint = "leave `early_stopping` out".to_owned();
                let message = "hyperband stops trials early by itself";
                problems.at(Rule::Tuning, file, early, message, Some(hint));
            }
            let (Some(min), Some(max)) = (&tuning.min_resource, &tuning.max_resource) else {
                let message = "hyperband needs the least and the most resource of a trial";
                let hint = "add `min_resource: 1` and `max_resource: 27`".to_owned();
                problems.at(Rule::Tuning, file, &tuning.strategy, message, Some(hint));
                return Strategy::Hyperband { min_resource: 1, max_resource: 1 };
            };
            if min.value == 0 || min.value >= max.value {
                let message = format!(
                    "expected `min_resource` from 1 to below `max_resource`, {}",
                    max.value
                );
                problems.at(Rule::Tuning, file, min, message, None);
            }
            Strategy::Hyperband { min_resource: min.value, max_resource: max.value }
        }
        (other, Some(resource)) => {
            let message = "resources of trials are for `strategy: hyperband`";
            problems.at(Rule::Tuning, file, resource, message, None);
            plain(other)
        }
        (other, None) => plain(other),
    }
}

fn plain(strategy: StrategySpec) -> Strategy {
    match strategy {
        StrategySpec::Grid => Strategy::Grid,
        StrategySpec::Random | StrategySpec::Hyperband => Strategy::Random,
        StrategySpec::Bayesian => Strategy::Bayesian,
    }
}

fn resources(file: &str, spec: ResourcesSpec, problems: &mut Problems) -> Resources {
    let mut time = |text: Option<Spanned<String>>| -> Option<Duration> {
        let text = text?;
        let time = parse_time(&text.value);
        if time.is_none() {
            let message = format!("`{}` is not a length of time", text.value);
            problems.at(
                Rule::InvalidValue,
                file,
                &text,
                message,
                Some("expected `6h` or `90m`".to_owned()),
            );
        }
        time
    };
    Resources {
        image: spec.image.map(|image| image.value),
        instances: spec
            .instance
            .into_iter()
            .chain(spec.fallback_instances)
            .map(|instance| instance.value)
            .collect(),
        count: spec.count.map(|count| count.value.max(1)),
        volume_gb: spec.volume_gb.map(|size| size.value.max(1)),
        spot: spec.spot.map(|spot| spot.value),
        max_runtime: time(spec.max_runtime),
        max_wait: time(spec.max_wait),
    }
}

/// Reads a whole number of hours, minutes or seconds.
pub(super) fn parse_time(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
    let seconds = match unit {
        'h' => number.checked_mul(3_600)?,
        'm' => number.checked_mul(60)?,
        's' => number,
        _ => return None,
    };
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

fn report(
    checked: Result<(), Vec<HyperparameterProblem>>,
    file: &str,
    name: &Spanned<String>,
    problems: &mut Problems,
) {
    for problem in checked.err().unwrap_or_default() {
        problems.at(Rule::Hyperparameter, file, name, problem.to_string(), None);
    }
}
