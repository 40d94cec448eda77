//! What a training job is made of: algorithm, hyperparameters, tuning and metric definitions.
//!
//! Plain values without I/O, so that a pipeline file can be checked against the algorithm's own declarations long
//! before anything is trained.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Holds hyperparameters by name; every value is text because the training container contract passes nothing else.
pub type Hyperparameters = BTreeMap<String, String>;

/// Names a recommender that recctl can train by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// The most popular items, overall and per visitor segment.
    Popularity,
    /// The user's own items again, the heaviest first.
    BuyAgain,
    /// Items that share users with the user's items.
    ItemKnn,
    /// Implicit-feedback matrix factorisation by alternating least squares.
    Als,
}

impl Algorithm {
    pub const ALL: [Self; 4] = [Self::Popularity, Self::BuyAgain, Self::ItemKnn, Self::Als];

    /// Returns the name used in pipeline files, hyperparameters and artifacts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Popularity => "popularity",
            Self::BuyAgain => "buy_again",
            Self::ItemKnn => "item_knn",
            Self::Als => "als",
        }
    }

    /// Lists the hyperparameters this algorithm takes, with kinds, defaults and bounds.
    pub const fn hyperparameters(self) -> &'static [HyperparameterSpec] {
        match self {
            Self::Popularity => POPULARITY,
            Self::BuyAgain => &[],
            Self::ItemKnn => ITEM_KNN,
            Self::Als => ALS,
        }
    }

    /// Checks names and values and returns every problem at once, in name order.
    pub fn check(self, given: &Hyperparameters) -> Result<(), Vec<HyperparameterProblem>> {
        collect(given.iter().filter_map(|(name, value)| match self.spec(name) {
            Ok(spec) => spec.kind.refusal(value).map(|expected| HyperparameterProblem::Invalid {
                name: name.clone(),
                value: value.clone(),
                expected,
            }),
            Err(problem) => Some(problem),
        }))
    }

    /// Checks that every value a tuning range can produce would be accepted, and returns every problem at once.
    pub fn check_ranges(
        self,
        ranges: &BTreeMap<String, ParameterRange>,
    ) -> Result<(), Vec<HyperparameterProblem>> {
        collect(ranges.iter().filter_map(|(name, range)| {
            let spec = match self.spec(name) {
                Ok(spec) => spec,
                Err(problem) => return Some(problem),
            };
            let invalid = |value: String, expected| HyperparameterProblem::Invalid { name: name.clone(), value, expected };
            if let Some(problem) = range.problem() {
                return Some(HyperparameterProblem::Range { name: name.clone(), what: problem });
            }
            // The bounds of a kind are an interval, so the two ends stand for everything in between.
            let values: Vec<String> = match range {
                ParameterRange::Categorical { values } => values.clone(),
                ParameterRange::Integer { min, max, .. } => vec![min.to_string(), max.to_string()],
                ParameterRange::Continuous { min, max, .. } => {
                    if matches!(spec.kind, HyperparameterKind::Integer { .. }) {
                        return Some(invalid("a continuous range".into(), spec.kind.expectation()));
                    }
                    vec![min.to_string(), max.to_string()]
                }
            };
            values.into_iter().find_map(|value| spec.kind.refusal(&value).map(|expected| invalid(value, expected)))
        }))
    }

    /// Returns `given` completed with the default of every hyperparameter that it leaves out.
    pub fn with_defaults(self, given: &Hyperparameters) -> Hyperparameters {
        let mut all: Hyperparameters =
            self.hyperparameters().iter().map(|spec| (spec.name.to_owned(), spec.default.to_owned())).collect();
        all.extend(given.iter().map(|(name, value)| (name.clone(), value.clone())));
        all
    }

    fn spec(self, name: &str) -> Result<&'static HyperparameterSpec, HyperparameterProblem> {
        let specs = self.hyperparameters();
        specs.iter().find(|spec| spec.name == name).ok_or_else(|| HyperparameterProblem::Unknown {
            name: name.to_owned(),
            algorithm: self,
            suggestion: nearest(name, specs.iter().map(|spec| spec.name)),
        })
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Says that a name is not one of the algorithms.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown algorithm `{name}`, expected one of {}", names())]
pub struct UnknownAlgorithm {
    pub name: String,
    /// The algorithm that was probably meant.
    pub suggestion: Option<String>,
}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(name: &str) -> Result<Self, UnknownAlgorithm> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name).ok_or_else(|| UnknownAlgorithm {
            name: name.to_owned(),
            suggestion: nearest(name, Self::ALL.into_iter().map(Self::name)),
        })
    }
}

fn names() -> String {
    Algorithm::ALL.map(|algorithm| format!("`{algorithm}`")).join(", ")
}

/// Picks the likeliest spelling; 0.75 Jaro-Winkler catches one wrong letter without offering strangers.
fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<String> {
    let lower = name.to_lowercase();
    candidates
        .map(|candidate| (strsim::jaro_winkler(&lower, candidate), candidate))
        .filter(|(similarity, _)| *similarity >= 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate.to_owned())
}

fn collect(problems: impl Iterator<Item = HyperparameterProblem>) -> Result<(), Vec<HyperparameterProblem>> {
    let problems: Vec<_> = problems.collect();
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Declares one hyperparameter of an algorithm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HyperparameterSpec {
    pub name: &'static str,
    pub kind: HyperparameterKind,
    pub default: &'static str,
    /// One line for reference pages and error hints.
    pub doc: &'static str,
}

/// Says which text a hyperparameter accepts; bounds are inclusive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum HyperparameterKind {
    Integer { min: i64, max: i64 },
    Float { min: f64, max: f64 },
    Choice(&'static [&'static str]),
}

impl HyperparameterKind {
    /// Describes the accepted values, to follow the word "expected".
    pub fn expectation(self) -> String {
        match self {
            Self::Integer { min, max } => format!("a whole number from {min} to {max}"),
            Self::Float { min, max } => format!("a number from {min} to {max}"),
            Self::Choice(values) => {
                format!("one of {}", values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", "))
            }
        }
    }

    fn refusal(self, value: &str) -> Option<String> {
        let accepted = match self {
            Self::Integer { min, max } => value.parse::<i64>().is_ok_and(|number| (min..=max).contains(&number)),
            // A NaN is in no range, so it is refused here as well.
            Self::Float { min, max } => value.parse::<f64>().is_ok_and(|number| (min..=max).contains(&number)),
            Self::Choice(values) => values.contains(&value),
        };
        (!accepted).then(|| self.expectation())
    }
}

/// Says why a hyperparameter or a tuning range is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HyperparameterProblem {
    #[error("unknown hyperparameter `{name}` of `{algorithm}`{}", did_you_mean(suggestion.as_deref()))]
    Unknown { name: String, algorithm: Algorithm, suggestion: Option<String> },
    #[error("hyperparameter `{name}` is `{value}`, expected {expected}")]
    Invalid { name: String, value: String, expected: String },
    #[error("range of `{name}` {what}")]
    Range { name: String, what: String },
}

fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map(|name| format!(", did you mean `{name}`?")).unwrap_or_default()
}

const POPULARITY: &[HyperparameterSpec] = &[HyperparameterSpec {
    name: "measure",
    kind: HyperparameterKind::Choice(&["weight", "users"]),
    default: "users",
    doc: "what makes an item popular overall: its summed weight or how many users it has",
}];

const ITEM_KNN: &[HyperparameterSpec] = &[
    HyperparameterSpec {
        name: "weighting",
        kind: HyperparameterKind::Choice(&["cosine", "bm25"]),
        default: "bm25",
        doc: "how interactions are weighted before items are compared",
    },
    HyperparameterSpec {
        name: "neighbours",
        kind: HyperparameterKind::Integer { min: 1, max: 10_000 },
        default: "50",
        doc: "how many similar items are kept per item, besides the item itself",
    },
    HyperparameterSpec {
        name: "shrinkage",
        kind: HyperparameterKind::Float { min: 0.0, max: 1e6 },
        default: "0",
        doc: "pulls similarities that rest on few common users towards zero; 0 is off",
    },
    HyperparameterSpec {
        name: "k1",
        kind: HyperparameterKind::Float { min: 0.0, max: 1e6 },
        default: "1.2",
        doc: "bm25: how slowly a repeated interaction stops counting more",
    },
    HyperparameterSpec {
        name: "b",
        kind: HyperparameterKind::Float { min: 0.0, max: 1.0 },
        default: "0.75",
        doc: "bm25: how strongly popular items are discounted",
    },
];

const ALS: &[HyperparameterSpec] = &[
    HyperparameterSpec {
        name: "factors",
        kind: HyperparameterKind::Integer { min: 1, max: 1024 },
        default: "64",
        doc: "length of the user and item vectors",
    },
    HyperparameterSpec {
        name: "iterations",
        kind: HyperparameterKind::Integer { min: 1, max: 1000 },
        default: "15",
        doc: "passes over users and items",
    },
    HyperparameterSpec {
        name: "regularization",
        kind: HyperparameterKind::Float { min: 0.0, max: 1e6 },
        default: "0.01",
        doc: "weight of the penalty on long vectors",
    },
    HyperparameterSpec {
        name: "alpha",
        kind: HyperparameterKind::Float { min: 0.0, max: 1e6 },
        default: "1",
        doc: "confidence per unit of weight: confidence = 1 + alpha * weight",
    },
    HyperparameterSpec {
        name: "seed",
        kind: HyperparameterKind::Integer { min: 0, max: i64::MAX },
        default: "42",
        doc: "seed of the first, random vectors",
    },
];

/// Bounds one hyperparameter of a tuning job; both ends are included.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ParameterRange {
    Categorical { values: Vec<String> },
    Integer { min: i64, max: i64, #[serde(default)] scale: Scale },
    Continuous { min: f64, max: f64, #[serde(default)] scale: Scale },
}

impl ParameterRange {
    /// Says what makes the range unusable, to follow "the range of `x`"; `None` when it is fine.
    pub fn problem(&self) -> Option<String> {
        match self {
            Self::Categorical { values } if values.is_empty() => Some("has no values".into()),
            Self::Categorical { values } => {
                let repeated = values.iter().enumerate().find(|(at, value)| values[..*at].contains(value));
                repeated.map(|(_, value)| format!("repeats `{value}`"))
            }
            Self::Integer { min, max, .. } if min > max => Some(format!("is empty: min {min} is above max {max}")),
            Self::Integer { min, scale: Scale::Log, .. } if *min < 1 => {
                Some(format!("starts at {min}, but a log scale needs a min of at least 1"))
            }
            Self::Integer { .. } => None,
            Self::Continuous { min, max, .. } if !(min.is_finite() && max.is_finite()) => {
                Some("needs finite ends".into())
            }
            Self::Continuous { min, max, .. } if min > max => Some(format!("is empty: min {min} is above max {max}")),
            Self::Continuous { min, scale: Scale::Log, .. } if *min <= 0.0 => {
                Some(format!("starts at {min}, but a log scale needs a min above 0"))
            }
            Self::Continuous { .. } => None,
        }
    }

    /// Counts the values in the range; `None` when there is no end to them.
    pub fn cardinality(&self) -> Option<u64> {
        match self {
            Self::Categorical { values } => Some(values.len() as u64),
            Self::Integer { min, max, .. } => Some(max.abs_diff(*min).saturating_add(1)),
            Self::Continuous { min, max, .. } => (min == max).then_some(1),
        }
    }
}

/// Says how a numeric range is walked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    #[default]
    Linear,
    /// Equal ratios are equal steps.
    Log,
}

/// Says which way a metric gets better.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    #[default]
    Maximize,
    Minimize,
}

impl Direction {
    /// Tells whether `a` is strictly better than `b`.
    pub fn better(self, a: f64, b: f64) -> bool {
        match self {
            Self::Maximize => a > b,
            Self::Minimize => a < b,
        }
    }
}

/// Names the metric a tuning job or a selection is after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Objective {
    pub metric: String,
    #[serde(default)]
    pub direction: Direction,
}

/// Says how the next trial is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Every combination, in order.
    Grid,
    /// Independent draws.
    Random,
    /// Draws near what has worked (tree-structured Parzen estimator).
    Bayesian,
}

/// Describes a search over hyperparameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tuning {
    pub strategy: Strategy,
    /// Trials in all.
    pub trials: usize,
    /// Trials that may run at the same time.
    pub parallel: usize,
    pub seed: u64,
    pub ranges: BTreeMap<String, ParameterRange>,
}

/// Says how a metric is read off a training job's output: one regular expression with one capture group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricDefinition {
    pub name: String,
    pub regex: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(pairs: &[(&str, &str)]) -> Hyperparameters {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn algorithm_names_round_trip_and_match_serde() {
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm.to_string().parse(), Ok(algorithm));
            assert_eq!(serde_json::to_string(&algorithm).unwrap(), format!("\"{algorithm}\""));
        }
    }

    #[test]
    fn unknown_algorithm_lists_the_names() {
        let error = "item_nn".parse::<Algorithm>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown algorithm `item_nn`, expected one of `popularity`, `buy_again`, `item_knn`, `als`"
        );
        assert_eq!(error.suggestion.as_deref(), Some("item_knn"));
    }

    #[test]
    fn every_default_passes_its_own_check() {
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm.check(&algorithm.with_defaults(&given(&[]))), Ok(()));
        }
    }

    #[test]
    fn check_reports_every_problem_with_a_suggestion() {
        let problems = Algorithm::Als
            .check(&given(&[("alpha", "NaN"), ("factor", "8"), ("factors", "0"), ("seed", "7"), ("zzz", "1")]))
            .unwrap_err();
        let text: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            text,
            [
                "hyperparameter `alpha` is `NaN`, expected a number from 0 to 1000000",
                "unknown hyperparameter `factor` of `als`, did you mean `factors`?",
                "hyperparameter `factors` is `0`, expected a whole number from 1 to 1024",
                "unknown hyperparameter `zzz` of `als`",
            ]
        );
    }

    #[test]
    fn ranges_are_checked_against_the_declarations() {
        let ranges = BTreeMap::from([
            ("factors".to_owned(), ParameterRange::Integer { min: 0, max: 64, scale: Scale::Linear }),
            ("alpha".to_owned(), ParameterRange::Continuous { min: 0.0, max: 5.0, scale: Scale::Log }),
            ("iterations".to_owned(), ParameterRange::Continuous { min: 1.0, max: 5.0, scale: Scale::Linear }),
            ("regularization".to_owned(), ParameterRange::Continuous { min: 0.1, max: 5.0, scale: Scale::Log }),
        ]);
        let problems = Algorithm::Als.check_ranges(&ranges).unwrap_err();
        let text: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            text,
            [
                "range of `alpha` starts at 0, but a log scale needs a min above 0",
                "hyperparameter `factors` is `0`, expected a whole number from 1 to 1024",
                "hyperparameter `iterations` is `a continuous range`, expected a whole number from 1 to 1000",
            ]
        );
    }

    #[test]
    fn ranges_refuse_what_cannot_be_drawn_from() {
        let repeated = ParameterRange::Categorical { values: vec!["a".into(), "b".into(), "a".into()] };
        assert_eq!(repeated.problem().as_deref(), Some("repeats `a`"));
        let empty = ParameterRange::Integer { min: 3, max: 2, scale: Scale::Linear };
        assert_eq!(empty.problem().as_deref(), Some("is empty: min 3 is above max 2"));
        assert_eq!(ParameterRange::Integer { min: -1, max: 2, scale: Scale::Linear }.cardinality(), Some(4));
        assert_eq!(ParameterRange::Continuous { min: 0.0, max: 1.0, scale: Scale::Linear }.cardinality(), None);
    }

    #[test]
    fn tuning_survives_json() {
        let tuning = Tuning {
            strategy: Strategy::Bayesian,
            trials: 20,
            parallel: 2,
            seed: 7,
            ranges: BTreeMap::from([(
                "factors".to_owned(),
                ParameterRange::Integer { min: 8, max: 64, scale: Scale::Log },
            )]),
        };
        let text = serde_json::to_string(&tuning).unwrap();
        assert!(text.contains(r#""factors":{"integer":{"min":8,"max":64,"scale":"log"}}"#), "{text}");
        assert_eq!(serde_json::from_str::<Tuning>(&text).unwrap(), tuning);
    }
}

/// A training or tuning job, as `jobs/<name>.yaml` describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Name: that of its file.
    pub name: String,
    /// The built-in recommender.
    pub algorithm: Algorithm,
    /// Fixed hyperparameters.
    pub hyperparameters: Hyperparameters,
    /// What to read from its output.
    pub metrics: Vec<MetricDefinition>,
    /// What tuning compares trials by.
    pub objective: Option<Objective>,
    /// How to search, for `tune`.
    pub tuning: Option<Tuning>,
}
