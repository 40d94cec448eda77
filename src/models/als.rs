use std::cell::{Cell, RefCell};

use discorec::RecommenderBuilder;

use super::Epoch;
use super::error::ModelError;
use super::interactions::Interactions;
use super::settings::Settings;
use super::top::{Scored, Top};
use crate::pipeline::job::Algorithm;

/// Items whose vectors are scored against a batch of users before the next ones are fetched: 256
/// vectors of 64 f32 are 64 KiB, which stays in a second-level cache while every user of the batch
/// passes over it.
const ITEMS_PER_BLOCK: usize = 256;

/// Recommends by the inner product of user and item vectors, fitted with implicit alternating least
/// squares.
///
/// Y. Hu, Y. Koren, C. Volinsky, "Collaborative Filtering for Implicit Feedback Datasets", ICDM
/// 2008; solved by conjugate gradients in the crate `discorec`. Confidence is 1 + alpha x weight.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Als {
    factors: usize,
    /// Users x factors, row by row.
    users: Vec<f32>,
    /// Items x factors, row by row.
    items: Vec<f32>,
}

impl Als {
    /// Fits the vectors on one thread and reports each pass over the data.
    ///
    /// # Errors
    /// `Fit` when the factors do not stay finite.
    pub fn fit(
        interactions: &Interactions,
        settings: &Settings,
        on_epoch: &mut dyn FnMut(Epoch),
    ) -> Result<Self, ModelError> {
        let factors: u32 = settings.number("factors")?;
        let rows = (0..interactions.by_user().rows()).flat_map(|user| {
            interactions.by_user().row(user).map(move |(item, weight)| (user as u32, item, weight))
        });
        let started = Cell::new(std::time::Instant::now());
        // The builder wants a `Fn`.
        let on_epoch = RefCell::new(on_epoch);
        let fitted = RecommenderBuilder::new()
            .factors(factors)
            .iterations(settings.number("iterations")?)
            .regularization(settings.number("regularization")?)
            .alpha(settings.number("alpha")?)
            .seed(settings.number("seed")?)
            .callback(|info| {
                let seconds = started.replace(std::time::Instant::now()).elapsed().as_secs_f64();
                (on_epoch.borrow_mut())(Epoch { number: info.iteration, seconds });
            })
            .fit_implicit(rows);
        let factors = factors as usize;
        // discorec numbers items in the order it meets them; here they go back under our own
        // numbers.
        let mut users = vec![0.0; interactions.users().len() * factors];
        for (user, row) in (0_u32..).zip(users.chunks_exact_mut(factors)) {
            row.copy_from_slice(fitted.user_factors(&user).unwrap_or(&vec![0.0; factors]));
        }
        let mut items = vec![0.0; interactions.items().len() * factors];
        for (item, row) in (0_u32..).zip(items.chunks_exact_mut(factors)) {
            row.copy_from_slice(fitted.item_factors(&item).unwrap_or(&vec![0.0; factors]));
        }
        if users.iter().chain(&items).any(|value| !value.is_finite()) {
            return Err(ModelError::Fit {
                algorithm: Algorithm::Als,
                what: "ran out of the numbers' range, try more `regularization` or less `alpha`"
                    .to_owned(),
            });
        }
        Ok(Self { factors, users, items })
    }

    /// Takes vectors as stored; `None` when their lengths are not multiples of `factors`.
    pub fn from_parts(factors: usize, users: Vec<f32>, items: Vec<f32>) -> Option<Self> {
        (factors > 0 && users.len().is_multiple_of(factors) && items.len().is_multiple_of(factors))
            .then_some(Self { factors, users, items })
    }

    pub fn users(&self) -> &[f32] {
        &self.users
    }

    pub fn items(&self) -> &[f32] {
        &self.items
    }

    pub fn recommend(
        &self,
        users: &[u32],
        n: usize,
        exclude: &(dyn Fn(u32, u32) -> bool + Sync),
    ) -> Vec<Vec<Scored>> {
        let mut tops: Vec<Top> = users.iter().map(|_| Top::new(n)).collect();
        for (number, block) in self.items.chunks(ITEMS_PER_BLOCK * self.factors).enumerate() {
            let first = (number * ITEMS_PER_BLOCK) as u32;
            for (user, top) in users.iter().zip(&mut tops) {
                let from = *user as usize * self.factors;
                let vector = &self.users[from..from + self.factors];
                for (item, row) in (first..).zip(block.chunks_exact(self.factors)) {
                    let score = f64::from(dot(vector, row));
                    if top.admits(item, score) && !exclude(*user, item) {
                        top.push(item, score);
                    }
                }
            }
        }
        tops.into_iter().map(Top::into_ranked).collect()
    }
}

/// Multiplies in eight lanes that are added up at the end: a fixed order of additions, so the same
/// bits on every run, and one that the compiler can vectorise without leave to reorder.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; 8];
    let (a_chunks, b_chunks) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in a_chunks.zip(b_chunks) {
        for lane in 0..8 {
            lanes[lane] += x[lane] * y[lane];
        }
    }
    lanes.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::tests::planted;
    use crate::pipeline::job::Hyperparameters;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        let given: Hyperparameters =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Settings::new(Algorithm::Als, &given).unwrap()
    }

    #[test]
    fn equal_seeds_give_equal_bits_and_other_seeds_do_not() {
        let interactions = planted(40, 20, 1);
        let fit = |seed: &str| {
            let settings = settings(&[("factors", "6"), ("iterations", "3"), ("seed", seed)]);
            Als::fit(&interactions, &settings, &mut |_| {}).unwrap()
        };
        assert_eq!(fit("1"), fit("1"));
        assert_ne!(fit("1"), fit("2"));
    }

    #[test]
    fn every_pass_is_reported() {
        let mut epochs = Vec::new();
        let settings = settings(&[("factors", "4"), ("iterations", "3")]);
        Als::fit(&planted(10, 8, 1), &settings, &mut |epoch| epochs.push(epoch.number)).unwrap();
        assert_eq!(epochs, [1, 2, 3]);
    }

    #[test]
    fn blocks_score_like_one_plain_product() {
        // 600 items make three blocks, the last of them short; 11 factors leave a remainder of the
        // lanes.
        let value = |at: usize| ((at * 7919) % 1000) as f32 / 500.0 - 1.0;
        let model = Als::from_parts(
            11,
            (0..3 * 11).map(value).collect(),
            (0..600 * 11).map(value).collect(),
        )
        .unwrap();
        let lists = model.recommend(&[0, 2], 20, &|user, item| user == 2 && item % 2 == 0);
        for (user, list) in [0_usize, 2].into_iter().zip(lists) {
            let mut plain: Vec<(u32, f64)> = (0..600_u32)
                .filter(|item| user != 2 || item % 2 == 1)
                .map(|item| {
                    let score = (0..11)
                        .map(|f| {
                            f64::from(model.users[user * 11 + f])
                                * f64::from(model.items[item as usize * 11 + f])
                        })
                        .sum();
                    (item, score)
                })
                .collect();
            plain.sort_by(|a, b| b.1.total_cmp(&a.1));
            assert_eq!(list.len(), 20);
            for (scored, (_, score)) in list.iter().zip(&plain) {
                assert!((scored.score - score).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn numbers_out_of_range_are_an_error() {
        let interactions =
            Interactions::from_rows([("u", "a", 1e38, None), ("v", "a", 1e38, None)]);
        let error =
            Als::fit(&interactions, &settings(&[("alpha", "1000")]), &mut |_| {}).unwrap_err();
        assert!(error.to_string().starts_with("training `als` ran out of"), "{error}");
    }
}
