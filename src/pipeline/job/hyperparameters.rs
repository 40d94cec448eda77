//! Which hyperparameters each algorithm takes, and whether given ones would be accepted.

use std::collections::BTreeMap;

use super::{Algorithm, Hyperparameters, ParameterRange};
use crate::pipeline::nearest::nearest;

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
                format!(
                    "one of {}",
                    values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", ")
                )
            }
        }
    }

    fn refusal(self, value: &str) -> Option<String> {
        let accepted = match self {
            Self::Integer { min, max } => {
                value.parse::<i64>().is_ok_and(|number| (min..=max).contains(&number))
            }
            // A NaN is in no range, so it is refused here as well.
            Self::Float { min, max } => {
                value.parse::<f64>().is_ok_and(|number| (min..=max).contains(&number))
            }
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

impl Algorithm {
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

    /// Checks that every value a tuning range can produce would be accepted, and returns every
    /// problem at once.
    pub fn check_ranges(
        self,
        ranges: &BTreeMap<String, ParameterRange>,
    ) -> Result<(), Vec<HyperparameterProblem>> {
        collect(ranges.iter().filter_map(|(name, range)| {
            let spec = match self.spec(name) {
                Ok(spec) => spec,
                Err(problem) => return Some(problem),
            };
            let invalid = |value: String, expected| HyperparameterProblem::Invalid {
                name: name.clone(),
                value,
                expected,
            };
            if let Some(problem) = range.problem() {
                return Some(HyperparameterProblem::Range { name: name.clone(), what: problem });
            }
            // The bounds of a kind are an interval, so the two ends stand for everything in
            // between.
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
            values.into_iter().find_map(|value| {
                spec.kind.refusal(&value).map(|expected| invalid(value, expected))
            })
        }))
    }

    /// Returns `given` completed with the default of every hyperparameter that it leaves out.
    pub fn with_defaults(self, given: &Hyperparameters) -> Hyperparameters {
        let mut all: Hyperparameters = self
            .hyperparameters()
            .iter()
            .map(|spec| (spec.name.to_owned(), spec.default.to_owned()))
            .collect();
        all.extend(given.iter().map(|(name, value)| (name.clone(), value.clone())));
        all
    }

    fn spec(self, name: &str) -> Result<&'static HyperparameterSpec, HyperparameterProblem> {
        let specs = self.hyperparameters();
        specs.iter().find(|spec| spec.name == name).ok_or_else(|| HyperparameterProblem::Unknown {
            name: name.to_owned(),
            algorithm: self,
            suggestion: nearest(name, specs.iter().map(|spec| spec.name)).map(str::to_owned),
        })
    }
}

fn collect(
    problems: impl Iterator<Item = HyperparameterProblem>,
) -> Result<(), Vec<HyperparameterProblem>> {
    let problems: Vec<_> = problems.collect();
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::job::Scale;

    fn given(pairs: &[(&str, &str)]) -> Hyperparameters {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
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
            .check(&given(&[
                ("alpha", "NaN"),
                ("factor", "8"),
                ("factors", "0"),
                ("seed", "7"),
                ("zzz", "1"),
            ]))
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
            (
                "factors".to_owned(),
                ParameterRange::Integer { min: 0, max: 64, scale: Scale::Linear },
            ),
            (
                "alpha".to_owned(),
                ParameterRange::Continuous { min: 0.0, max: 5.0, scale: Scale::Log },
            ),
            (
                "iterations".to_owned(),
                ParameterRange::Continuous { min: 1.0, max: 5.0, scale: Scale::Linear },
            ),
            (
                "regularization".to_owned(),
                ParameterRange::Continuous { min: 0.1, max: 5.0, scale: Scale::Log },
            ),
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
}
