//! Figures of a table, added up while it is written, and how they compare with those before.

use std::collections::BTreeMap;

use datafusion::arrow::array::{Array, ArrayRef, Float64Array, Int64Array, RecordBatch};
use datafusion::arrow::compute::{cast, max, sum};
use datafusion::arrow::datatypes::{DataType, Schema, TimeUnit};
use datafusion::arrow::error::ArrowError;

use crate::pipeline::check::{Check, CheckRule, Figure, Tolerance};

/// Fewer runs before than these say nothing of what is usual.
pub const FEWEST_RUNS: usize = 3;
/// How far two equal figures may be apart, as a share: sums of parts are added in any order.
const ROUNDING: f64 = 1e-9;

/// A column of which something is added up.
#[derive(Debug, Clone)]
pub struct Wanted {
    column: String,
    index: usize,
    has_sum: bool,
    has_latest: bool,
}

/// What the checks want of columns, apart from what needs all rows at once.
pub fn wanted(checks: &[Check], schema: &Schema) -> Vec<Wanted> {
    let mut wanted: Vec<Wanted> = Vec::new();
    for check in checks {
        let (column, has_sum, has_latest) = match &check.rule {
            CheckRule::Freshness { column, .. } => (column, false, true),
            CheckRule::Distribution(distribution) => match &distribution.figure {
                Figure::Mean(column) => (column, true, false),
                Figure::NullShare(column) => (column, false, false),
                Figure::Rows | Figure::Distinct(_) => continue,
            },
            CheckRule::NotNull(_)
            | CheckRule::Unique(_)
            | CheckRule::AcceptedValues { .. }
            | CheckRule::Range { .. }
            | CheckRule::Rows { .. }
            | CheckRule::References { .. }
            | CheckRule::Expression(_)
            | CheckRule::Statement(_) => continue,
        };
        let Ok(index) = schema.index_of(column) else { continue };
        match wanted.iter_mut().find(|known| known.column == *column) {
            Some(known) => {
                known.has_sum |= has_sum;
                known.has_latest |= has_latest;
            }
            None => wanted.push(Wanted { column: column.clone(), index, has_sum, has_latest }),
        }
    }
    wanted
}

/// What is added up of a column.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sums {
    /// Rows in which it is NULL.
    pub nulls: u64,
    /// Rows in which it is not.
    pub values: u64,
    /// The sum of its values.
    pub sum: f64,
    /// Its latest time, in microseconds since 1970.
    pub latest: Option<i64>,
}

impl Sums {
    /// Adds those of other rows.
    pub fn add(&mut self, other: &Self) {
        self.nulls += other.nulls;
        self.values += other.values;
        self.sum += other.sum;
        self.latest = self.latest.max(other.latest);
    }
}

/// Adds up a batch.
pub fn add_up(
    wanted: &[Wanted],
    batch: &RecordBatch,
    sums: &mut BTreeMap<String, Sums>,
) -> Result<(), ArrowError> {
    for one in wanted {
        let column = batch.column(one.index);
        let nulls = column.logical_null_count() as u64;
        let added = Sums {
            nulls,
            values: batch.num_rows() as u64 - nulls,
            sum: if one.has_sum { total(column)? } else { 0.0 },
            latest: if one.has_latest { latest(column)? } else { None },
        };
        sums.entry(one.column.clone()).or_default().add(&added);
    }
    Ok(())
}

fn total(column: &ArrayRef) -> Result<f64, ArrowError> {
    let numbers = cast(column, &DataType::Float64)?;
    let numbers = numbers.as_any().downcast_ref::<Float64Array>();
    Ok(numbers.and_then(sum).unwrap_or(0.0))
}

fn latest(column: &ArrayRef) -> Result<Option<i64>, ArrowError> {
    let times = cast(column, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
    let times = cast(&times, &DataType::Int64)?;
    Ok(times.as_any().downcast_ref::<Int64Array>().and_then(max))
}

/// How a figure compares with those before.
#[derive(Debug, Clone, PartialEq)]
pub enum Comparison {
    /// It is as they were.
    Like,
    /// It is not, and how far off.
    Unlike(String),
    /// There are too few to say so.
    TooFew,
}

/// Compares a figure with those of the runs before, of which `runs` are asked for.
pub fn compare(value: f64, before: &[f64], runs: u32, within: Tolerance) -> Comparison {
    let needed = FEWEST_RUNS.min(usize::try_from(runs).unwrap_or(FEWEST_RUNS));
    if before.len() < needed.max(1) {
        return Comparison::TooFew;
    }
    #[expect(clippy::cast_precision_loss, reason = "a number of runs")]
    let number = before.len() as f64;
    let mean = before.iter().sum::<f64>() / number;
    let squares: f64 = before.iter().map(|one| (one - mean).powi(2)).sum();
    let deviation = if before.len() > 1 { (squares / (number - 1.0)).sqrt() } else { 0.0 };
    let rounding = ROUNDING * mean.abs().max(1.0);
    let off = (value - mean).abs();
    let is_like = match within {
        Tolerance::Sigma(sigma) => off <= sigma * deviation + rounding,
        Tolerance::Share(share) => off <= share * mean.abs() + rounding,
        Tolerance::Absolute(number) => off <= number + rounding,
        Tolerance::Factor(factor) if mean.abs() > rounding => {
            let ratio = value / mean;
            ratio <= factor + ROUNDING && ratio >= 1.0 / factor - ROUNDING
        }
        Tolerance::Factor(_) => off <= rounding,
    };
    if is_like {
        return Comparison::Like;
    }
    let far = match within {
        Tolerance::Sigma(_) if deviation > 0.0 => {
            format!(" ({:.1} sigma off)", off / deviation)
        }
        _ => String::new(),
    };
    Comparison::Unlike(format!(
        "is {}, and of the last {} it was {} on average{far}",
        short(value),
        before.len(),
        short(mean)
    ))
}

/// A figure with as many digits as people read.
pub fn short(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        return format!("{value:.0}");
    }
    let digits = if value.abs() >= 100.0 { 1 } else { 4 };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_at_the_borders_of_their_tolerance() {
        let before = [10.0, 12.0, 14.0];
        let is_like = |value, within| compare(value, &before, 7, within) == Comparison::Like;
        // The mean is 12, the sample's standard deviation 2.
        assert!(is_like(18.0, Tolerance::Sigma(3.0)) && !is_like(18.1, Tolerance::Sigma(3.0)));
        assert!(is_like(9.6, Tolerance::Share(0.2)) && !is_like(9.5, Tolerance::Share(0.2)));
        assert!(is_like(24.0, Tolerance::Factor(2.0)) && !is_like(24.1, Tolerance::Factor(2.0)));
        assert!(is_like(6.0, Tolerance::Factor(2.0)) && !is_like(5.9, Tolerance::Factor(2.0)));
        assert!(
            is_like(13.0, Tolerance::Absolute(1.0)) && !is_like(13.1, Tolerance::Absolute(1.0))
        );
        for within in [Tolerance::Sigma(3.0), Tolerance::Share(1.0), Tolerance::Factor(9.0)] {
            assert!(!is_like(f64::NAN, within), "{within}");
        }
    }

    #[test]
    fn too_few_runs_are_not_judged() {
        let sigma = Tolerance::Sigma(3.0);
        assert_eq!(compare(1.0, &[], 7, sigma), Comparison::TooFew);
        assert_eq!(compare(1.0, &[1.0, 1.0], 7, sigma), Comparison::TooFew);
        assert_eq!(compare(1.0, &[1.0, 1.0, 1.0], 7, sigma), Comparison::Like);
        assert_eq!(compare(1.0, &[1.0], 1, Tolerance::Factor(2.0)), Comparison::Like);
        assert_eq!(compare(1.0, &[], 1, Tolerance::Factor(2.0)), Comparison::TooFew);
    }

    #[test]
    fn a_figure_that_never_changed_may_not_change() {
        let before = [0.0; 7];
        assert_eq!(compare(0.0, &before, 7, Tolerance::Sigma(3.0)), Comparison::Like);
        assert_eq!(compare(0.0, &before, 7, Tolerance::Factor(2.0)), Comparison::Like);
        for within in [Tolerance::Sigma(3.0), Tolerance::Factor(2.0), Tolerance::Share(0.5)] {
            assert!(matches!(compare(0.1, &before, 7, within), Comparison::Unlike(_)), "{within}");
        }
    }
}
