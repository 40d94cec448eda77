//! `jobs/<job>.yaml` as written, and its compilation.

use serde::Deserialize;

use super::problems::Problems;
use super::yaml::{Entries, Scalar, Spanned, read};
use crate::pipeline::job::{
    Algorithm, Direction, HyperparameterProblem, Hyperparameters, Job, MetricDefinition, Objective,
    ParameterRange, Strategy, Tuning,
};

/// A job's file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct JobSpec {
    /// What it is, for people.
    #[serde(default)]
    #[expect(dead_code, reason = "documentation in the file, checked to be text")]
    description: Option<String>,
    /// The built-in recommender.
    algorithm: Spanned<String>,
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
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct MetricSpec {
    name: Spanned<String>,
    regex: Spanned<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ObjectiveSpec {
    metric: String,
    #[serde(default)]
    direction: Direction,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct TuningSpec {
    strategy: Strategy,
    trials: Spanned<usize>,
    #[serde(default)]
    parallel: Option<Spanned<usize>>,
    #[serde(default)]
    seed: Option<u64>,
    ranges: Entries<Spanned<ParameterRange>>,
}

/// Reads a job's file. What is wrong goes to `problems`.
pub fn compile(file: &str, text: &str, problems: &mut Problems) -> Option<Job> {
    let spec: JobSpec = match read(file, text) {
        Ok(spec) => spec,
        Err(problem) => {
            problems.push(*problem);
            return None;
        }
    };
    let algorithm: Algorithm = match spec.algorithm.value.parse() {
        Ok(algorithm) => algorithm,
        Err(error) => {
            let error: crate::pipeline::job::UnknownAlgorithm = error;
            problems.at(file, &spec.algorithm, error.to_string(), None);
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
                file,
                &metric.regex,
                format!("the regex has {} groups, expected exactly one", regex.captures_len() - 1),
                Some("put the number in parentheses: `recall@10=([0-9.]+)`".to_owned()),
            ),
            Err(error) => {
                let text = error.to_string();
                let what = text.lines().last().unwrap_or_default();
                let what = what.trim().trim_start_matches("error: ").to_owned();
                problems.at(file, &metric.regex, format!("not a regex: {what}"), None);
            }
        }
    }
    let objective = spec.objective.map(|objective| {
        if !named.contains(&objective.value.metric) {
            problems.at(
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
                problems.at(file, name, text, Some("keep one of the two".to_owned()));
            }
        }
        for (name, range) in &tuning.value.ranges.0 {
            if tuning.value.strategy == Strategy::Grid && range.value.cardinality().is_none() {
                let text = format!("a grid cannot walk the continuous range of `{}`", name.value);
                let hint = "give `categorical` values, or choose another strategy".to_owned();
                problems.at(file, range, text, Some(hint));
            }
        }
        if tuning.value.trials.value == 0 || tuning.value.trials.value > 750 {
            let text = "expected 1 to 750 trials".to_owned();
            problems.at(file, &tuning.value.trials, text, None);
        }
        Tuning {
            strategy: tuning.value.strategy,
            trials: tuning.value.trials.value,
            parallel: tuning.value.parallel.map_or(1, |parallel| parallel.value.max(1)),
            seed: tuning.value.seed.unwrap_or(1),
            ranges: tuning
                .value
                .ranges
                .0
                .into_iter()
                .map(|(name, range)| (name.value, range.value))
                .collect(),
        }
    });
    let name = file.rsplit('/').next().unwrap_or(file);
    let name = name.split('.').next().unwrap_or(name).to_owned();
    (problems.count() == before).then_some(Job {
        name,
        algorithm,
        hyperparameters,
        metrics,
        objective,
        tuning,
    })
}

fn report(
    checked: Result<(), Vec<HyperparameterProblem>>,
    file: &str,
    name: &Spanned<String>,
    problems: &mut Problems,
) {
    for problem in checked.err().unwrap_or_default() {
        problems.at(file, name, problem.to_string(), None);
    }
}
