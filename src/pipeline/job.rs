//! What a training job is made of: algorithm, hyperparameters, tuning and metric definitions.
//!
//! Plain values without I/O, so that a pipeline file can be checked against the algorithm's own
//! declarations long before anything is trained.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::nearest::nearest;

mod hyperparameters;

pub use hyperparameters::{HyperparameterKind, HyperparameterProblem, HyperparameterSpec};

/// Holds hyperparameters by name; every value is text because the training container contract
/// passes nothing else.
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
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name).ok_or_else(|| {
            UnknownAlgorithm {
                name: name.to_owned(),
                suggestion: nearest(name, Self::ALL.map(Self::name)).map(str::to_owned),
            }
        })
    }
}

fn names() -> String {
    Algorithm::ALL.map(|algorithm| format!("`{algorithm}`")).join(", ")
}

/// Bounds one hyperparameter of a tuning job; both ends are included.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ParameterRange {
    /// One of some words.
    Categorical {
        /// The words; numbers stand in quotes.
        values: Vec<String>,
    },
    /// A whole number.
    Integer {
        /// The smallest.
        min: i64,
        /// The largest.
        max: i64,
        /// How it is walked.
        #[serde(default)]
        scale: Scale,
    },
    /// Any number.
    Continuous {
        /// The smallest.
        min: f64,
        /// The largest.
        max: f64,
        /// How it is walked.
        #[serde(default)]
        scale: Scale,
    },
}

impl ParameterRange {
    /// Says what makes the range unusable, to follow "the range of `x`"; `None` when it is fine.
    pub fn problem(&self) -> Option<String> {
        match self {
            Self::Categorical { values } if values.is_empty() => Some("has no values".into()),
            Self::Categorical { values } => {
                let repeated =
                    values.iter().enumerate().find(|(at, value)| values[..*at].contains(value));
                repeated.map(|(_, value)| format!("repeats `{value}`"))
            }
            Self::Integer { min, max, .. } if min > max => {
                Some(format!("is empty: min {min} is above max {max}"))
            }
            Self::Integer { min, scale: Scale::Log, .. } if *min < 1 => {
                Some(format!("starts at {min}, but a log scale needs a min of at least 1"))
            }
            Self::Integer { .. } => None,
            Self::Continuous { min, max, .. } if !(min.is_finite() && max.is_finite()) => {
                Some("needs finite ends".into())
            }
            Self::Continuous { min, max, .. } if min > max => {
                Some(format!("is empty: min {min} is above max {max}"))
            }
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
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// Equal differences are equal steps.
    #[default]
    Linear,
    /// Equal ratios are equal steps.
    Log,
}

/// Says which way a metric gets better.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// More is better.
    #[default]
    Maximize,
    /// Less is better.
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
    /// Draws near what has worked (tree-structured Parzen estimator on the embedded target).
    Bayesian,
    /// Many short trials, of which the best go on; a service that tunes by itself only.
    Hyperband {
        /// Least resource (usually epochs) of a trial.
        min_resource: u32,
        /// Most resource of a trial.
        max_resource: u32,
    },
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
    /// Whether a service that tunes by itself ends trials early that do badly.
    #[serde(default)]
    pub early_stopping: bool,
    /// Whether a service that tunes by itself begins with what the last search learned.
    #[serde(default)]
    pub warm_start: bool,
}

/// Says how a metric is read off a training job's output: one regular expression with one capture
/// group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricDefinition {
    pub name: String,
    pub regex: String,
}

/// The longest that a job may run that says nothing of it.
pub const MAX_RUNTIME: Duration = Duration::from_secs(6 * 3_600);

/// The metric by which the container says how much memory it held at most.
pub const PEAK_MEMORY: &str = "memory:peak_bytes";

/// Reads how much memory the container held at most.
pub fn peak_memory_metric() -> MetricDefinition {
    MetricDefinition { name: PEAK_MEMORY.to_owned(), regex: r"memory: peak_bytes=(\d+)".to_owned() }
}

/// What remote jobs run on; what is absent is the target's choice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources {
    /// The container's image; the target's own if absent.
    pub image: Option<String>,
    /// Instance types, the first choice first; the others where capacity is short.
    pub instances: Vec<String>,
    /// Number of instances.
    pub count: Option<u32>,
    /// Size of the volume in GB.
    pub volume_gb: Option<u32>,
    /// Whether it runs on spot capacity.
    pub spot: Option<bool>,
    /// The longest that a job may run.
    pub max_runtime: Option<Duration>,
    /// The longest that a job on spot capacity may take with its waiting; twice `max_runtime` if
    /// absent.
    pub max_wait: Option<Duration>,
}

/// What becomes of a remote job when its run is stopped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnCancel {
    /// It is stopped.
    #[default]
    Stop,
    /// It goes on, and the next run finds it.
    Detach,
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
    /// What it runs on, where that is not this machine.
    pub resources: Resources,
    /// What becomes of it when its run is stopped.
    pub on_cancel: OnCancel,
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn ranges_refuse_what_cannot_be_drawn_from() {
        let repeated =
            ParameterRange::Categorical { values: vec!["a".into(), "b".into(), "a".into()] };
        assert_eq!(repeated.problem().as_deref(), Some("repeats `a`"));
        let empty = ParameterRange::Integer { min: 3, max: 2, scale: Scale::Linear };
        assert_eq!(empty.problem().as_deref(), Some("is empty: min 3 is above max 2"));
        assert_eq!(
            ParameterRange::Integer { min: -1, max: 2, scale: Scale::Linear }.cardinality(),
            Some(4)
        );
        assert_eq!(
            ParameterRange::Continuous { min: 0.0, max: 1.0, scale: Scale::Linear }.cardinality(),
            None
        );
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
            early_stopping: false,
            warm_start: false,
        };
        let text = serde_json::to_string(&tuning).unwrap();
        assert!(
            text.contains(r#""factors":{"integer":{"min":8,"max":64,"scale":"log"}}"#),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<Tuning>(&text).unwrap(), tuning);
    }
}
