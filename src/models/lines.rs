//! What a training job prints, line by line: what metrics are read from.

use super::evaluation::Evaluation;
use super::model::Epoch;
use crate::pipeline::job::Algorithm;

/// The metrics of a validation, each at every cut-off.
const VALIDATED: [&str; 6] =
    ["recall", "ndcg", "map", "coverage", "recall_with_repeats", "ndcg_with_repeats"];

/// After each pass of an iterative algorithm.
pub(super) fn epoch(Epoch { number, seconds }: Epoch) -> String {
    format!("epoch={number} seconds={seconds:.3}")
}

/// After the fit.
pub(super) fn fit(
    algorithm: Algorithm,
    (users, items): (usize, usize),
    interactions: usize,
    seconds: f64,
) -> String {
    format!(
        "fit: algorithm={algorithm} users={users} items={items} interactions={interactions} seconds={seconds:.3}"
    )
}

/// After the validation.
pub(super) fn validation(found: &Evaluation, ks: &[usize]) -> String {
    let value = |name: &str| found.metrics.get(name).map(|estimate| estimate.value);
    validated(value, ks, found.users, found.users_unknown)
}

fn validated(
    value: impl Fn(&str) -> Option<f64>,
    ks: &[usize],
    users: usize,
    unknown: usize,
) -> String {
    let names = ks.iter().flat_map(|k| VALIDATED.map(|name| format!("{name}@{k}")));
    let values = names.filter_map(|name| value(&name).map(|value| format!("{name}={value:.6} ")));
    let values: String = values.collect();
    format!("validation: {values}users={users} unknown={unknown}")
}

/// At the end.
pub(super) fn memory(bytes: u64) -> String {
    format!("memory: peak_bytes={bytes}")
}

/// Lines such as a job of `algorithm` prints that is validated at the cut-offs `ks`: one of each
/// kind, with figures made up.
pub fn sample(algorithm: Algorithm, ks: &[usize]) -> Vec<String> {
    let iterates = match algorithm {
        Algorithm::Als => true,
        Algorithm::Popularity | Algorithm::BuyAgain | Algorithm::ItemKnn => false,
    };
    let epoch = iterates.then(|| epoch(Epoch { number: 1, seconds: 0.125 }));
    let fit = fit(algorithm, (1_204, 310), 20_551, 1.5);
    let validation = validated(|_| Some(0.125), ks, 467, 12);
    epoch.into_iter().chain([fit, validation, memory(123_456_789)]).collect()
}
