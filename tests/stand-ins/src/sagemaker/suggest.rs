//! What a tuning job tries next.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::text;

/// Chooses the hyperparameters of the next child; `None` ends the search. It gets what was tried so
/// far, in the order in which it was started.
pub type Suggest = Arc<
    dyn Fn(&TuningRequestView, &[Observation]) -> Option<BTreeMap<String, String>> + Send + Sync,
>;

/// What a tuning job searches.
#[derive(Debug, Clone, PartialEq)]
pub struct TuningRequestView {
    /// Name of the tuning job.
    pub name: String,
    /// `Bayesian`, `Random`, `Grid` or `Hyperband`.
    pub strategy: String,
    /// The objective metric.
    pub metric: String,
    /// Whether more is better.
    pub maximize: bool,
    /// Children in all.
    pub max_jobs: usize,
    /// Children at a time.
    pub parallel: usize,
    /// Seed; 0 where the request has none.
    pub seed: u64,
    /// The space.
    pub ranges: BTreeMap<String, Range>,
    /// What the parents of a warm start have tried.
    pub inherited: Vec<Observation>,
}

/// The values of one hyperparameter; ends are included.
#[derive(Debug, Clone, PartialEq)]
pub enum Range {
    Integer { min: i64, max: i64, logarithmic: bool },
    Continuous { min: f64, max: f64, logarithmic: bool },
    Categorical { values: Vec<String> },
}

/// What was tried, and what came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    pub hyperparameters: BTreeMap<String, String>,
    /// The objective; `None` while it runs, and if it failed.
    pub value: Option<f64>,
}

impl TuningRequestView {
    /// The ranges of a request, or what is wrong with them.
    pub(super) fn new(request: &Value) -> Result<Self, String> {
        let config = &request["HyperParameterTuningJobConfig"];
        let objective = &config["HyperParameterTuningJobObjective"];
        let limit = |member: &str| {
            let number = config["ResourceLimits"].get(member).and_then(Value::as_u64);
            number.and_then(|number| usize::try_from(number).ok())
        };
        let ranges = ranges(&config["ParameterRanges"])?;
        let strategy = text(config, "Strategy").to_owned();
        let product = ranges.values().try_fold(1, |product: usize, range| match range {
            Range::Categorical { values } => product.checked_mul(values.len()),
            Range::Integer { .. } | Range::Continuous { .. } => None,
        });
        let mut max_jobs = limit("MaxNumberOfTrainingJobs");
        if strategy == "Grid" {
            let Some(product) = product else {
                return Err("Grid search supports only categorical parameter ranges".to_owned());
            };
            if max_jobs.is_some_and(|given| given != product) {
                return Err(format!(
                    "MaxNumberOfTrainingJobs must be the number of combinations ({product}) or be \
                     left out for Grid search"
                ));
            }
            max_jobs = Some(product);
        }
        Ok(Self {
            name: text(request, "HyperParameterTuningJobName").to_owned(),
            strategy,
            metric: text(objective, "MetricName").to_owned(),
            maximize: text(objective, "Type") == "Maximize",
            max_jobs: max_jobs.ok_or("MaxNumberOfTrainingJobs must be given")?,
            parallel: limit("MaxParallelTrainingJobs").unwrap_or(1).max(1),
            seed: config.get("RandomSeed").and_then(Value::as_u64).unwrap_or(0),
            ranges,
            inherited: Vec::new(),
        })
    }
}

fn ranges(given: &Value) -> Result<BTreeMap<String, Range>, String> {
    let mut ranges = BTreeMap::new();
    for (list, kind) in [
        ("IntegerParameterRanges", 'i'),
        ("ContinuousParameterRanges", 'c'),
        ("CategoricalParameterRanges", 's'),
    ] {
        for range in given.get(list).and_then(Value::as_array).into_iter().flatten() {
            let name = text(range, "Name");
            let wrong = || format!("the range of `{name}` is not valid");
            let (min, max) = (text(range, "MinValue"), text(range, "MaxValue"));
            let logarithmic = match text(range, "ScalingType") {
                "" | "Auto" | "Linear" => false,
                "Logarithmic" => true,
                "ReverseLogarithmic" if kind == 'c' => false,
                _ => return Err(wrong()),
            };
            let parsed = match kind {
                'i' => Range::Integer {
                    min: min.parse().map_err(|_| wrong())?,
                    max: max.parse().map_err(|_| wrong())?,
                    logarithmic,
                },
                'c' => Range::Continuous {
                    min: min.parse().map_err(|_| wrong())?,
                    max: max.parse().map_err(|_| wrong())?,
                    logarithmic,
                },
                _ => {
                    let values = range.get("Values").and_then(Value::as_array);
                    let values = values.into_iter().flatten().filter_map(Value::as_str);
                    Range::Categorical { values: values.map(str::to_owned).collect() }
                }
            };
            let valid = match &parsed {
                Range::Integer { min, max, logarithmic } => {
                    min <= max && (!logarithmic || *min >= 1)
                }
                Range::Continuous { min, max, logarithmic } => {
                    min <= max && (!logarithmic || *min > 0.0)
                }
                Range::Categorical { values } => (1..=30).contains(&values.len()),
            };
            if name.is_empty() || !valid || ranges.insert(name.to_owned(), parsed).is_some() {
                return Err(wrong());
            }
        }
    }
    match ranges.len() {
        1..=30 => Ok(ranges),
        n => Err(format!("there are {n} parameter ranges, expected 1 to 30")),
    }
}

/// A grid in order, and seeded draws for every other strategy.
pub(super) fn by_strategy() -> Suggest {
    Arc::new(|view, tried| {
        let mut index = tried.len() as u64;
        if index >= view.max_jobs as u64 {
            return None;
        }
        let mut random = Random(view.seed.wrapping_add(index.wrapping_mul(0x9e37_79b9)));
        let draw = |(name, range): (&String, &Range)| {
            let value = match range {
                Range::Categorical { values } => {
                    let count = values.len() as u64;
                    let at = if view.strategy == "Grid" {
                        let at = index % count;
                        index /= count;
                        at
                    } else {
                        random.next() % count
                    };
                    usize::try_from(at).ok().and_then(|at| values.get(at)).cloned()
                }
                Range::Integer { min, max, logarithmic } => {
                    #[expect(clippy::cast_precision_loss, reason = "ranges of tests are small")]
                    let drawn = random.between(*min as f64, *max as f64 + 1.0, *logarithmic);
                    #[expect(clippy::cast_possible_truncation, reason = "inside of the range")]
                    let drawn = (drawn.floor() as i64).clamp(*min, *max);
                    Some(drawn.to_string())
                }
                Range::Continuous { min, max, logarithmic } => {
                    Some(random.between(*min, *max, *logarithmic).to_string())
                }
            };
            (name.clone(), value.unwrap_or_default())
        };
        Some(view.ranges.iter().map(draw).collect())
    })
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn between(&mut self, min: f64, max: f64, logarithmic: bool) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "53 bits")]
        let unit = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        if logarithmic {
            (min.ln() + unit * (max.ln() - min.ln())).exp()
        } else {
            min + unit * (max - min)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn view(
        strategy: &str,
        jobs: Option<usize>,
        ranges: Value,
    ) -> Result<TuningRequestView, String> {
        TuningRequestView::new(&json!({
            "HyperParameterTuningJobName": "t",
            "HyperParameterTuningJobConfig": {
                "Strategy": strategy,
                "HyperParameterTuningJobObjective": { "Type": "Maximize", "MetricName": "m" },
                "ResourceLimits": { "MaxNumberOfTrainingJobs": jobs, "MaxParallelTrainingJobs": 2 },
                "ParameterRanges": ranges,
                "RandomSeed": 7,
            },
        }))
    }

    fn all(view: &TuningRequestView) -> Vec<String> {
        let suggest = by_strategy();
        let mut tried: Vec<Observation> = Vec::new();
        while let Some(hyperparameters) = suggest(view, &tried) {
            tried.push(Observation { hyperparameters, value: None });
        }
        tried.iter().map(|tried| format!("{:?}", tried.hyperparameters)).collect()
    }

    #[test]
    fn a_grid_is_walked_whole_and_its_count_is_the_product() {
        let ranges = json!({ "CategoricalParameterRanges": [
            { "Name": "a", "Values": ["1", "2"] }, { "Name": "b", "Values": ["x", "y", "z"] },
        ]});
        let tried = all(&view("Grid", None, ranges.clone()).unwrap());
        assert_eq!(tried.len(), 6);
        assert_eq!(tried.iter().collect::<std::collections::BTreeSet<_>>().len(), 6);
        assert!(view("Grid", Some(6), ranges.clone()).is_ok());
        assert!(view("Grid", Some(5), ranges).unwrap_err().contains("combinations (6)"));
        let integer = json!({ "IntegerParameterRanges": [{ "Name": "n", "MinValue": "1", "MaxValue": "2" }] });
        assert!(view("Grid", None, integer).is_err());
    }

    #[test]
    fn draws_stay_inside_and_come_again() {
        let ranges = json!({
            "IntegerParameterRanges":
                [{ "Name": "n", "MinValue": "8", "MaxValue": "9", "ScalingType": "Logarithmic" }],
            "ContinuousParameterRanges": [{ "Name": "x", "MinValue": "0.5", "MaxValue": "0.75" }],
        });
        let view = view("Bayesian", Some(20), ranges).unwrap();
        let tried = all(&view);
        assert_eq!((tried.len(), &tried), (20, &all(&view)));
        assert!(tried.iter().any(|t| t.contains(r#""n": "8""#)));
        assert!(tried.iter().any(|t| t.contains(r#""n": "9""#)));
        assert!(tried.iter().all(|t| t.contains(r#""x": "0.5"#)
            || t.contains(r#""x": "0.6"#)
            || t.contains(r#""x": "0.7"#)));
    }

    #[test]
    fn ranges_that_cannot_be_are_refused() {
        for (min, max, scale) in [("2", "1", "Auto"), ("0", "1", "Logarithmic"), ("x", "1", "Auto")]
        {
            let range =
                json!([{ "Name": "n", "MinValue": min, "MaxValue": max, "ScalingType": scale }]);
            assert!(view("Random", Some(1), json!({ "IntegerParameterRanges": range })).is_err());
        }
        assert!(view("Random", Some(1), json!({})).is_err());
        assert!(
            view(
                "Random",
                None,
                json!({ "CategoricalParameterRanges": [{ "Name": "a", "Values": ["1"] }] })
            )
            .is_err()
        );
    }
}
