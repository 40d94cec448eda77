//! Chooses the hyperparameters of the next trial (ask and tell).

use std::collections::HashSet;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::error::ModelError;
use super::tpe;
use crate::pipeline::job::{Direction, Hyperparameters, ParameterRange, Scale, Strategy, Tuning};

/// Longest integer range that a grid walks value by value.
const GRID_INTEGERS: u64 = 100;

/// Draws that may hit combinations already tried before the rest is counted out one by one.
const DRAWS: usize = 200;

/// Combinations up to which counting out is worth it.
const COUNTED_OUT: u64 = 10_000;

/// Holds a trial that has been started and, if it has one, its objective value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    pub hyperparameters: Hyperparameters,
    /// `None` while the trial runs and when it failed: either way nobody should go there again.
    pub value: Option<f64>,
}

/// Proposes trials; keeps no state but the description, so a search goes on from its observations
/// alone.
#[derive(Debug, Clone)]
pub struct Tuner {
    tuning: Tuning,
    direction: Direction,
}

impl Tuner {
    /// Checks that the search can be carried out.
    ///
    /// # Errors
    /// `Tuning` for an unusable range, and for a grid over a continuous or a long integer range.
    pub fn new(tuning: &Tuning, direction: Direction) -> Result<Self, ModelError> {
        for (name, range) in &tuning.ranges {
            if let Some(what) = range.problem() {
                return Err(ModelError::Tuning { what: format!("range of `{name}` {what}") });
            }
            if tuning.strategy == Strategy::Grid {
                match range.cardinality() {
                    None => {
                        return Err(ModelError::Tuning {
                            what: format!(
                                "a grid cannot walk the continuous range of `{name}`, give `categorical` values"
                            ),
                        });
                    }
                    Some(count)
                        if count > GRID_INTEGERS
                            && matches!(range, ParameterRange::Integer { .. }) =>
                    {
                        return Err(ModelError::Tuning {
                            what: format!(
                                "a grid would try {count} values of `{name}`, at most {GRID_INTEGERS} are walked"
                            ),
                        });
                    }
                    Some(_) => {}
                }
            }
        }
        Ok(Self { tuning: tuning.clone(), direction })
    }

    /// Proposes the next trial, given every trial started so far; `None` when the budget or the
    /// space is used up.
    ///
    /// Never proposes a combination that is among the observations. Equal observations give equal
    /// proposals; the number of observations is part of the random stream, so order matters to
    /// nothing else.
    pub fn suggest(&self, observations: &[Observation]) -> Option<Hyperparameters> {
        if observations.len() >= self.tuning.trials {
            return None;
        }
        let tried: HashSet<&Hyperparameters> =
            observations.iter().map(|seen| &seen.hyperparameters).collect();
        let is_new = |candidate: &Hyperparameters| !tried.contains(candidate);
        let mut random = ChaCha8Rng::seed_from_u64(self.tuning.seed);
        random.set_stream(observations.len() as u64);
        match self.tuning.strategy {
            Strategy::Grid => self.grid().find(is_new),
            // Ending trials early takes a service that can; without one, hyperband is random.
            Strategy::Random | Strategy::Hyperband { .. } => self.draw(&mut random, &is_new),
            // One in five is a plain draw: the estimator alone may settle on a category after a few
            // lucky trials and never learn what the others are worth.
            Strategy::Bayesian if observations.len() % 5 == 4 => self.draw(&mut random, &is_new),
            Strategy::Bayesian => {
                let proposal =
                    tpe::propose(&self.tuning, self.direction, observations, &mut random, &is_new);
                proposal.or_else(|| self.draw(&mut random, &is_new))
            }
        }
    }

    fn draw(
        &self,
        random: &mut ChaCha8Rng,
        is_new: &dyn Fn(&Hyperparameters) -> bool,
    ) -> Option<Hyperparameters> {
        let mut draw = || {
            let values = self.tuning.ranges.iter();
            values
                .map(|(name, range)| (name.clone(), at(range, random.random())))
                .collect::<Hyperparameters>()
        };
        (0..DRAWS).map(|_| draw()).find(is_new).or_else(|| {
            let mut counts = self.tuning.ranges.values().map(ParameterRange::cardinality);
            let size = counts.try_fold(1_u64, |all, count| Some(all.saturating_mul(count?)));
            size.filter(|size| *size <= COUNTED_OUT).and_then(|_| self.grid().find(is_new))
        })
    }

    /// Walks all combinations; the last name in order changes fastest. Continuous ranges must be
    /// single points.
    fn grid(&self) -> impl Iterator<Item = Hyperparameters> + '_ {
        let axes: Vec<(&String, Vec<String>)> =
            self.tuning.ranges.iter().map(|(name, range)| (name, all(range))).collect();
        let size = axes.iter().fold(1_usize, |size, (_, values)| size.saturating_mul(values.len()));
        (0..size).map(move |number| {
            let mut rest = number;
            let pick = axes.iter().rev().map(|(name, values)| {
                let value = values[rest % values.len()].clone();
                rest /= values.len();
                ((*name).clone(), value)
            });
            pick.collect()
        })
    }
}

fn all(range: &ParameterRange) -> Vec<String> {
    match range {
        ParameterRange::Categorical { values } => values.clone(),
        ParameterRange::Integer { min, max, .. } => {
            (*min..=*max).map(|value| value.to_string()).collect()
        }
        ParameterRange::Continuous { min, .. } => vec![min.to_string()],
    }
}

/// Returns the value at `place` in [0, 1) of a range, as text.
pub(crate) fn at(range: &ParameterRange, place: f64) -> String {
    let place = place.clamp(0.0, 1.0);
    match range {
        ParameterRange::Categorical { values } => {
            let number =
                ((place * values.len() as f64) as usize).min(values.len().saturating_sub(1));
            values.get(number).cloned().unwrap_or_default()
        }
        ParameterRange::Integer { min, max, scale } => {
            // Half a step beyond either end, so that the ends are drawn as often as the others.
            let (low, high) = (*min as f64 - 0.5, *max as f64 + 0.5);
            (between(low, high, *scale, place).round() as i64).clamp(*min, *max).to_string()
        }
        ParameterRange::Continuous { min, max, scale } => {
            let value = between(*min, *max, *scale, place);
            // Six digits are more than a tuner can know, and they read well in logs.
            let short: f64 = format!("{value:.5e}").parse().unwrap_or(value);
            short.clamp(*min, *max).to_string()
        }
    }
}

/// Returns the place in [0, 1] of a value, the inverse of [`at`]; `None` when the value is not of
/// the range.
pub(crate) fn place(range: &ParameterRange, value: &str) -> Option<f64> {
    let relative = |low: f64, high: f64, scale: Scale, value: f64| {
        let place = match scale {
            Scale::Linear => (value - low) / (high - low),
            Scale::Log => (value / low).ln() / (high / low).ln(),
        };
        // A single-point range divides zero by zero; its middle is as good a place as any.
        if place.is_nan() { 0.5 } else { place.clamp(0.0, 1.0) }
    };
    match range {
        ParameterRange::Categorical { values } => {
            let number = values.iter().position(|known| known == value)?;
            Some((number as f64 + 0.5) / values.len() as f64)
        }
        ParameterRange::Integer { min, max, scale } => {
            let value = value.parse::<i64>().ok()?;
            Some(relative(*min as f64 - 0.5, *max as f64 + 0.5, *scale, value as f64))
        }
        ParameterRange::Continuous { min, max, scale } => {
            Some(relative(*min, *max, *scale, value.parse().ok()?))
        }
    }
}

fn between(low: f64, high: f64, scale: Scale, place: f64) -> f64 {
    match scale {
        Scale::Linear => low + (high - low) * place,
        Scale::Log => (low.ln() + (high.ln() - low.ln()) * place).exp(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn tuning(strategy: Strategy, trials: usize, ranges: &[(&str, ParameterRange)]) -> Tuning {
        let ranges = ranges.iter().map(|(name, range)| ((*name).to_owned(), range.clone()));
        Tuning {
            strategy,
            trials,
            parallel: 1,
            seed: 3,
            ranges: ranges.collect::<BTreeMap<_, _>>(),
            early_stopping: false,
            warm_start: false,
        }
    }

    fn words(values: &[&str]) -> ParameterRange {
        ParameterRange::Categorical {
            values: values.iter().map(|value| (*value).to_owned()).collect(),
        }
    }

    const FACTORS: ParameterRange =
        ParameterRange::Integer { min: 1, max: 1000, scale: Scale::Log };
    const ALPHA: ParameterRange =
        ParameterRange::Continuous { min: 0.01, max: 100.0, scale: Scale::Log };

    fn run(tuner: &Tuner, objective: impl Fn(&Hyperparameters) -> Option<f64>) -> Vec<Observation> {
        let mut observations: Vec<Observation> = Vec::new();
        while let Some(hyperparameters) = tuner.suggest(&observations) {
            assert!(
                observations.iter().all(|seen| seen.hyperparameters != hyperparameters),
                "tried twice"
            );
            let value = objective(&hyperparameters);
            observations.push(Observation { hyperparameters, value });
        }
        observations
    }

    #[test]
    fn a_grid_walks_every_combination_once() {
        let ranges = [
            ("a", words(&["x", "y"])),
            ("b", ParameterRange::Integer { min: 1, max: 3, scale: Scale::Linear }),
        ];
        let tuner = Tuner::new(&tuning(Strategy::Grid, 100, &ranges), Direction::Maximize).unwrap();
        let tried: Vec<String> = run(&tuner, |_| None)
            .iter()
            .map(|seen| seen.hyperparameters.values().cloned().collect::<String>())
            .collect();
        assert_eq!(tried, ["x1", "x2", "x3", "y1", "y2", "y3"]);
        let short = Tuner::new(&tuning(Strategy::Grid, 4, &ranges), Direction::Maximize).unwrap();
        assert_eq!(run(&short, |_| None).len(), 4);
    }

    #[test]
    fn unusable_searches_are_refused() {
        let text = |strategy, range: ParameterRange| {
            Tuner::new(&tuning(strategy, 5, &[("p", range)]), Direction::Maximize)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            text(Strategy::Grid, ALPHA),
            "tuning: a grid cannot walk the continuous range of `p`, give `categorical` values"
        );
        assert_eq!(
            text(Strategy::Grid, FACTORS),
            "tuning: a grid would try 1000 values of `p`, at most 100 are walked"
        );
        assert_eq!(text(Strategy::Random, words(&[])), "tuning: range of `p` has no values");
    }

    #[test]
    fn random_is_repeatable_without_repeats_and_ends_with_the_space() {
        let ranges = [("a", words(&["x", "y", "z"])), ("b", words(&["1", "2"]))];
        let tuner =
            Tuner::new(&tuning(Strategy::Random, 100, &ranges), Direction::Maximize).unwrap();
        let tried = run(&tuner, |_| Some(1.0));
        assert_eq!(tried.len(), 6);
        assert_eq!(tried, run(&tuner, |_| Some(1.0)));
        let mut other = tuning(Strategy::Random, 100, &ranges);
        other.seed = 4;
        assert_ne!(tried, run(&Tuner::new(&other, Direction::Maximize).unwrap(), |_| Some(1.0)));
    }

    #[test]
    fn log_draws_spread_over_orders_of_magnitude() {
        let tuner =
            Tuner::new(&tuning(Strategy::Random, 300, &[("p", ALPHA)]), Direction::Maximize)
                .unwrap();
        let below_one = run(&tuner, |_| None)
            .iter()
            .filter(|seen| seen.hyperparameters["p"].parse::<f64>().unwrap() < 1.0)
            .count();
        // Half of the decades, where a linear draw would put one in a hundred.
        assert!((110..190).contains(&below_one), "{below_one}");
    }

    #[test]
    fn places_are_the_inverse_of_values() {
        for range in [FACTORS, ALPHA, words(&["x", "y", "z"])] {
            for step in 0..20 {
                let value = at(&range, f64::from(step) / 20.0);
                assert_eq!(at(&range, place(&range, &value).unwrap()), value);
            }
        }
        assert_eq!((at(&FACTORS, 0.0), at(&FACTORS, 1.0)), ("1".to_owned(), "1000".to_owned()));
        assert_eq!(place(&words(&["x"]), "y"), None);
    }

    /// Best at factors 100 and alpha 1; the kind does not matter.
    fn bowl(given: &Hyperparameters) -> Option<f64> {
        let number = |name: &str| given[name].parse::<f64>().unwrap().log10();
        Some((number("factors") - 2.0).powi(2) + number("alpha").powi(2))
    }

    #[test]
    fn bayesian_is_repeatable_and_better_than_random() {
        let ranges = [("factors", FACTORS), ("alpha", ALPHA), ("kind", words(&["x", "y", "z"]))];
        let best = |strategy, seed| {
            let mut tuning = tuning(strategy, 40, &ranges);
            tuning.seed = seed;
            let tuner = Tuner::new(&tuning, Direction::Minimize).unwrap();
            let observations = run(&tuner, bowl);
            assert_eq!(observations, run(&tuner, bowl));
            observations.iter().filter_map(|seen| seen.value).fold(f64::INFINITY, f64::min)
        };
        let mean = |strategy| (0..20).map(|seed| best(strategy, seed)).sum::<f64>() / 20.0;
        let (random, bayesian) = (mean(Strategy::Random), mean(Strategy::Bayesian));
        assert!(bayesian < random / 2.0, "{bayesian} against {random}");
    }

    #[test]
    fn running_and_failed_trials_do_not_stop_a_bayesian_search() {
        let ranges = [("factors", FACTORS), ("alpha", ALPHA), ("kind", words(&["x", "y"]))];
        let tuner =
            Tuner::new(&tuning(Strategy::Bayesian, 30, &ranges), Direction::Maximize).unwrap();
        assert_eq!(run(&tuner, |_| None).len(), 30);
        let half = |given: &Hyperparameters| bowl(given).filter(|value| *value > 1.0);
        assert_eq!(run(&tuner, half).len(), 30);
        assert_eq!(run(&tuner, |_| Some(f64::NAN)).len(), 30);
    }
}
