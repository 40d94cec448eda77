use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::error::ModelError;
use super::parallel::map_ranges;
use crate::pipeline::estimate::Estimate;

/// Estimates the mean of `a - b` over users with a 95 % interval, by the percentile bootstrap over
/// users.
///
/// Both hold one value per user in the same order. Pairing is what makes it sharp: that some users
/// are harder than others cancels out. An interval above zero says that `a` is better, if higher is
/// better.
///
/// # Errors
/// `Evaluation` when the lengths differ or there is no user.
pub fn paired_difference(
    a: &[f64],
    b: &[f64],
    seed: u64,
    resamples: usize,
) -> Result<Estimate, ModelError> {
    if a.len() != b.len() {
        return Err(ModelError::Evaluation {
            what: format!("cannot pair {} users with {} users", a.len(), b.len()),
        });
    }
    let difference: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    let estimates = means(&[&difference], seed, resamples, 0.95);
    estimates
        .first()
        .copied()
        .ok_or_else(|| ModelError::Evaluation { what: "no users to compare".to_owned() })
}

/// Estimates the mean of every column by the percentile bootstrap (B. Efron, R. Tibshirani, "An
/// Introduction to the Bootstrap", 1993, chapter 13); columns hold one value per user and share the
/// resamples. Without users there is nothing to estimate, and the result is empty.
///
/// Each resample has its own random stream, so the result does not depend on the number of threads.
pub(crate) fn means(
    columns: &[&[f64]],
    seed: u64,
    resamples: usize,
    confidence: f64,
) -> Vec<Estimate> {
    let users = columns.first().map_or(0, |column| column.len());
    if users == 0 {
        return Vec::new();
    }
    let drawn: Vec<Vec<f64>> = map_ranges(resamples, 16, |range| {
        range
            .map(|resample| resample_means(columns, users, seed, resample as u64))
            .collect::<Vec<_>>()
    })
    .into_iter()
    .flatten()
    .collect();
    let estimate = |at: usize, column: &&[f64]| {
        let value = column.iter().sum::<f64>() / users as f64;
        let mut sorted: Vec<f64> = drawn.iter().map(|means| means[at]).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let tail = (1.0 - confidence) / 2.0;
        Estimate {
            value,
            low: quantile(&sorted, tail).unwrap_or(value),
            high: quantile(&sorted, 1.0 - tail).unwrap_or(value),
        }
    };
    columns.iter().enumerate().map(|(at, column)| estimate(at, column)).collect()
}

fn resample_means(columns: &[&[f64]], users: usize, seed: u64, resample: u64) -> Vec<f64> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(resample);
    let mut sums = vec![0.0; columns.len()];
    for _ in 0..users {
        let user = random.random_range(0..users);
        for (sum, column) in sums.iter_mut().zip(columns) {
            *sum += column[user];
        }
    }
    sums.into_iter().map(|sum| sum / users as f64).collect()
}

/// Interpolates between the two nearest order statistics (R. Hyndman, Y. Fan 1996, definition 7).
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let place = share.clamp(0.0, 1.0) * sorted.len().checked_sub(1)? as f64;
    let (below, above) = (sorted.get(place.floor() as usize)?, sorted.get(place.ceil() as usize)?);
    Some(below + (above - below) * place.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate() {
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.75), Some(3.0));
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 1.0), Some(4.0));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn the_interval_is_near_the_normal_one_and_repeatable() {
        // 400 values with mean 0.25 and standard deviation 0.433: the mean's standard error is
        // 0.02165.
        let values: Vec<f64> = (0..400).map(|at| f64::from(u8::from(at % 4 == 0))).collect();
        let first = means(&[&values], 7, 1000, 0.95);
        assert_eq!(first, means(&[&values], 7, 1000, 0.95));
        assert_ne!(first, means(&[&values], 8, 1000, 0.95));
        let Estimate { value, low, high } = first[0];
        assert_eq!(value, 0.25);
        assert!((low - (0.25 - 1.96 * 0.02165)).abs() < 0.006, "{low}");
        assert!((high - (0.25 + 1.96 * 0.02165)).abs() < 0.006, "{high}");
    }

    #[test]
    fn pairing_cancels_what_users_have_in_common() {
        let b: Vec<f64> = (0..200).map(|at| f64::from(at % 10)).collect();
        let a: Vec<f64> = b.iter().map(|value| value + 0.1).collect();
        let Estimate { value, low, high } = paired_difference(&a, &b, 1, 500).unwrap();
        assert!(
            (value - 0.1).abs() < 1e-9 && (low - 0.1).abs() < 1e-9 && (high - 0.1).abs() < 1e-9
        );
        assert_eq!(
            paired_difference(&a, &b[1..], 1, 500).unwrap_err().to_string(),
            "evaluation: cannot pair 200 users with 199 users"
        );
        assert_eq!(
            paired_difference(&[], &[], 1, 9).unwrap_err().to_string(),
            "evaluation: no users to compare"
        );
    }
}
