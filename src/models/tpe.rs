//! Tree-structured Parzen estimator.
//!
//! J. Bergstra, R. Bardenet, Y. Bengio, B. Kégl, "Algorithms for Hyper-Parameter Optimization",
//! NeurIPS 2011, section 4: split the trials into the best share γ and the rest, estimate the
//! density of each, l and g, and try the candidate drawn from l with the largest l / g, to which
//! expected improvement is monotone. Written here because it is a page of code, and the crates that
//! have it bring a study, storage and sampling framework along.
//!
//! Parameters are taken as independent, each on [0, 1] after its scale.

use rand::{Rng, RngExt};

use super::tuning::{Observation, at, place};
use crate::pipeline::job::{Direction, Hyperparameters, ParameterRange, Tuning};

/// Share of trials counted as good. The paper's 0.15 is for hundreds of trials; a pipeline runs
/// dozens.
const GOOD_SHARE: f64 = 0.25;

/// Most trials counted as good, as in the paper's own implementation (hyperopt).
const GOOD_MOST: usize = 25;

/// Candidates drawn per proposal, as in hyperopt and Optuna.
const CANDIDATES: usize = 24;

/// Returns how many trials with a value are awaited before the estimator says anything.
fn startup(trials: usize) -> usize {
    (trials / 4).clamp(3, 10)
}

/// Proposes the most promising new combination; `None` while there are too few values, or when
/// every candidate drawn has been tried.
pub(crate) fn propose(
    tuning: &Tuning,
    direction: Direction,
    observations: &[Observation],
    random: &mut impl Rng,
    is_new: &dyn Fn(&Hyperparameters) -> bool,
) -> Option<Hyperparameters> {
    let value = |seen: &Observation| seen.value.filter(|value| value.is_finite());
    let mut ranked: Vec<&Observation> =
        observations.iter().filter(|seen| value(seen).is_some()).collect();
    if ranked.len() < startup(tuning.trials) {
        return None;
    }
    // Where values tie, the hyperparameters decide, so that the order of observations does not.
    ranked.sort_by(|a, b| {
        let (a_value, b_value) = (value(a).unwrap_or(0.0), value(b).unwrap_or(0.0));
        let order = match direction {
            Direction::Maximize => b_value.total_cmp(&a_value),
            Direction::Minimize => a_value.total_cmp(&b_value),
        };
        order.then_with(|| a.hyperparameters.cmp(&b.hyperparameters))
    });
    let good = ((GOOD_SHARE * ranked.len() as f64).ceil() as usize).min(GOOD_MOST);
    let mut rest = ranked.split_off(good);
    // Running and failed trials count as bad: it keeps parallel trials apart and the search away
    // from failures.
    rest.extend(observations.iter().filter(|seen| value(seen).is_none()));

    let axes: Vec<Axis<'_>> = tuning
        .ranges
        .iter()
        .map(|(name, range)| {
            let density = |trials: &[&Observation]| {
                let values = trials.iter().filter_map(|seen| seen.hyperparameters.get(name));
                Density::new(range, values.filter_map(|value| place(range, value)).collect())
            };
            Axis { name, range, good: density(&ranked), rest: density(&rest) }
        })
        .collect();
    let mut best: Option<(f64, Hyperparameters)> = None;
    for _ in 0..CANDIDATES {
        let mut candidate = Hyperparameters::new();
        let mut gain = 0.0;
        for axis in &axes {
            let value = at(axis.range, axis.good.draw(random));
            // Judged where the value ended up after rounding, not where the draw was.
            let place = place(axis.range, &value).unwrap_or(0.5);
            gain += axis.good.at(place).ln() - axis.rest.at(place).ln();
            candidate.insert(axis.name.clone(), value);
        }
        if is_new(&candidate) && best.as_ref().is_none_or(|(most, _)| gain > *most) {
            best = Some((gain, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

struct Axis<'a> {
    name: &'a String,
    range: &'a ParameterRange,
    good: Density,
    rest: Density,
}

/// A density over the places [0, 1] of one parameter.
enum Density {
    /// Shares of equally wide classes.
    Classes(Vec<f64>),
    /// Equally heavy bells (centre, width), cut off at the ends.
    Bells(Vec<(f64, f64)>),
}

impl Density {
    fn new(range: &ParameterRange, mut places: Vec<f64>) -> Self {
        match range {
            ParameterRange::Categorical { values } => {
                let count = values.len();
                // One more of each class as the prior.
                let mut shares = vec![1.0; count];
                for place in &places {
                    shares[class(*place, count)] += 1.0;
                }
                let all = (places.len() + count) as f64;
                shares.iter_mut().for_each(|share| *share /= all);
                Self::Classes(shares)
            }
            ParameterRange::Integer { .. } | ParameterRange::Continuous { .. } => {
                // The prior is one bell as wide as the range.
                places.push(0.5);
                places.sort_unstable_by(f64::total_cmp);
                let narrowest = 1.0 / (1.0 + places.len() as f64).min(100.0);
                let bell = |at: usize| {
                    let centre = places[at];
                    let left = if at == 0 { centre } else { centre - places[at - 1] };
                    let right = places.get(at + 1).map_or(1.0 - centre, |next| next - centre);
                    (centre, left.max(right).clamp(narrowest, 1.0))
                };
                let mut bells: Vec<(f64, f64)> = (0..places.len()).map(bell).collect();
                if let Some(prior) = bells.iter_mut().find(|(centre, _)| *centre == 0.5) {
                    prior.1 = 1.0;
                }
                Self::Bells(bells)
            }
        }
    }

    fn draw(&self, random: &mut impl Rng) -> f64 {
        match self {
            Self::Classes(shares) => {
                let mut rest: f64 = random.random();
                for (number, share) in shares.iter().enumerate() {
                    rest -= share;
                    if rest < 0.0 {
                        return (number as f64 + 0.5) / shares.len() as f64;
                    }
                }
                1.0
            }
            Self::Bells(bells) => {
                let (centre, width) = bells[random.random_range(0..bells.len())];
                // Drawing again beyond the ends: even the widest bell, centred at an end, has a
                // third inside.
                for _ in 0..100 {
                    let normal: f64 = random.sample(rand_distr::StandardNormal);
                    let place = centre + width * normal;
                    if (0.0..=1.0).contains(&place) {
                        return place;
                    }
                }
                centre
            }
        }
    }

    fn at(&self, place: f64) -> f64 {
        match self {
            Self::Classes(shares) => shares[class(place, shares.len())],
            Self::Bells(bells) => {
                let bell = |(centre, width): &(f64, f64)| {
                    let distance = (place - centre) / width;
                    (-0.5 * distance * distance).exp() / (width * inside(*centre, *width))
                };
                bells.iter().map(bell).sum::<f64>() / bells.len() as f64
            }
        }
    }
}

fn class(place: f64, classes: usize) -> usize {
    ((place * classes as f64) as usize).min(classes.saturating_sub(1))
}

/// Returns the share of a bell that lies within [0, 1].
fn inside(centre: f64, width: f64) -> f64 {
    (normal_below((1.0 - centre) / width) - normal_below(-centre / width)).max(1e-12)
}

/// Approximates the standard normal distribution function by the logistic curve of S. Bowling et
/// al., "A logistic approximation to the cumulative normal distribution", 2009: off by 0.00014 at
/// most, plenty to compare densities.
fn normal_below(x: f64) -> f64 {
    1.0 / (1.0 + (-(0.07056 * x.powi(3) + 1.5976 * x)).exp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::job::Scale;

    #[test]
    fn densities_are_densities() {
        let range = ParameterRange::Continuous { min: 0.0, max: 1.0, scale: Scale::Linear };
        let density = Density::new(&range, vec![0.1, 0.15, 0.9]);
        // The bells leave out 1/sqrt(2 pi), which every quotient of two of them does as well.
        let whole: f64 =
            (0..1000).map(|at| density.at((f64::from(at) + 0.5) / 1000.0)).sum::<f64>() / 1000.0;
        assert!((whole / (2.0 * std::f64::consts::PI).sqrt() - 1.0).abs() < 0.01, "{whole}");
        assert!(density.at(0.12) > density.at(0.4));
        let words = ParameterRange::Categorical { values: vec!["x".into(), "y".into()] };
        let classes = Density::new(&words, vec![0.25, 0.25]);
        assert_eq!((classes.at(0.25), classes.at(0.75)), (0.75, 0.25));
    }

    #[test]
    fn the_normal_approximation_is_close() {
        for (x, expected) in [(0.0, 0.5), (1.0, 0.841345), (-1.96, 0.024998), (3.0, 0.998650)] {
            assert!((normal_below(x) - expected).abs() < 2e-4, "{x}");
        }
    }
}
