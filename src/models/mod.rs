//! Recommenders, their evaluation and tuning, and the training container around them.
//!
//! Everything here is deterministic: users and items are numbered in id order, floating-point sums
//! have a fixed order whatever the number of threads, and ties are broken by item id.

mod als;
mod archive;
mod arrays;
mod artifact;
mod bootstrap;
mod buy_again;
mod channel;
mod container;
mod error;
mod evaluation;
mod interactions;
mod item_knn;
mod judge;
pub mod lines;
mod metrics;
mod model;
mod parallel;
mod popularity;
mod score;
mod segments;
mod settings;
mod sparse;
mod top;
mod tpe;
mod tuning;
mod vocabulary;

pub use archive::{pack, unpack};
pub use bootstrap::paired_difference;
pub use container::{peak_bytes, report_peak_memory, train};
pub use error::ModelError;
pub use evaluation::{Evaluation, EvaluationOptions, PerUser, evaluate};
pub use interactions::Interactions;
pub use model::{Epoch, Model, Seen};
pub use score::{ScoreOptions, ScoreSummary, score};
pub use segments::{Segment, SegmentWeights};
pub use sparse::SparseRows;
pub use top::Scored;
pub use tuning::{Observation, Tuner};
pub use vocabulary::Vocabulary;

#[cfg(test)]
pub(crate) mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::Interactions;

    /// Draws users who keep to the items of their own half, a few strays apart. Every item has a
    /// user.
    pub(crate) fn planted(users: usize, items: usize, seed: u64) -> Interactions {
        planted_rows(users, items, 5, seed).0
    }

    /// As [`planted`] with `each` items drawn per user; the second part holds out one more item of
    /// each user's half.
    pub(crate) fn planted_rows(
        users: usize,
        items: usize,
        each: usize,
        seed: u64,
    ) -> (Interactions, Interactions) {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let (mut train, mut test) = (Vec::new(), Vec::new());
        for user in 0..users {
            let half = (user % 2) * (items / 2);
            let id = format!("u{user:04}");
            let mut own = vec![format!("i{:04}", user % items)];
            for _ in 0..each {
                own.push(format!("i{:04}", half + random.random_range(0..items / 2)));
            }
            let held_out = (0..items / 2)
                .map(|at| format!("i{:04}", half + at))
                .filter(|item| !own.contains(item));
            let held_out: Vec<String> = held_out.collect();
            if !held_out.is_empty() {
                test.push((
                    id.clone(),
                    held_out[random.random_range(0..held_out.len())].clone(),
                    1.0,
                ));
            }
            train.extend(
                own.into_iter()
                    .map(|item| (id.clone(), item, f64::from(random.random_range(1..4_u32)))),
            );
        }
        let build = |rows: &[(String, String, f64)]| {
            Interactions::from_rows(
                rows.iter()
                    .map(|(user, item, weight)| (user.as_str(), item.as_str(), *weight, None)),
            )
        };
        (build(&train), build(&test))
    }
}
