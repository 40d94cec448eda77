use std::sync::Arc;

use super::als::Als;
use super::buy_again::BuyAgain;
use super::error::ModelError;
use super::interactions::Interactions;
use super::item_knn::ItemKnn;
use super::parallel::map_ranges;
use super::popularity::Popularity;
use super::segments::{Segment, SegmentWeights};
use super::settings::Settings;
use super::sparse::SparseRows;
use super::top::Scored;
use super::vocabulary::Vocabulary;
use crate::pipeline::job::{Algorithm, Hyperparameters};

/// Users scored in one go by a thread; see `Als` for why they go together.
const USERS_PER_BATCH: usize = 64;

/// Reports one finished pass of an iterative algorithm over the data.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Epoch {
    /// Counted from 1.
    pub number: u32,
    /// Seconds the pass took.
    pub seconds: f64,
}

/// Holds a fitted recommender with the names of its users and items.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    pub(crate) settings: Settings,
    pub(crate) algorithm: Algorithm,
    pub(crate) users: Arc<Vocabulary>,
    pub(crate) items: Arc<Vocabulary>,
    /// (user, item) pairs seen in training.
    pub(crate) interactions: usize,
    pub(crate) recommender: Recommender,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Recommender {
    Popularity(Popularity),
    BuyAgain(BuyAgain),
    ItemKnn(ItemKnn),
    Als(Als),
}

impl Model {
    /// Trains `algorithm` on `interactions`; `segments` matter to `popularity` only.
    ///
    /// `on_epoch` is called after each pass of the iterative algorithms. Equal input gives a
    /// bit-equal model.
    ///
    /// # Errors
    /// `Hyperparameter` before any work, `Fit` when training does not end in a usable model.
    pub fn fit(
        algorithm: Algorithm,
        interactions: &Interactions,
        segments: Option<&SegmentWeights>,
        hyperparameters: &Hyperparameters,
        on_epoch: &mut dyn FnMut(Epoch),
    ) -> Result<Self, ModelError> {
        let settings = Settings::new(algorithm, hyperparameters)?;
        if interactions.is_empty() {
            return Err(ModelError::Fit {
                algorithm,
                what: "needs at least one interaction".to_owned(),
            });
        }
        let mut items = Arc::clone(interactions.items());
        let recommender = match algorithm {
            Algorithm::Popularity => {
                if let Some(segments) = segments {
                    let extra = segments.weights.values().flat_map(|weights| weights.keys());
                    items = Arc::new(Vocabulary::new(
                        items.ids().iter().chain(extra).cloned().collect(),
                    ));
                }
                Recommender::Popularity(Popularity::fit(interactions, segments, &items, &settings))
            }
            Algorithm::BuyAgain => Recommender::BuyAgain(BuyAgain::fit(interactions)),
            Algorithm::ItemKnn => Recommender::ItemKnn(ItemKnn::fit(interactions, &settings)?),
            Algorithm::Als => Recommender::Als(Als::fit(interactions, &settings, on_epoch)?),
        };
        Ok(Self {
            settings,
            algorithm,
            users: Arc::clone(interactions.users()),
            items,
            interactions: interactions.len(),
            recommender,
        })
    }

    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns the hyperparameters it was trained with, defaults included.
    pub fn hyperparameters(&self) -> &Hyperparameters {
        self.settings.values()
    }

    /// Returns the ids of the users seen in training, ascending; a user's number is its place here.
    pub fn known_users(&self) -> &[String] {
        self.users.ids()
    }

    pub fn users(&self) -> &Vocabulary {
        &self.users
    }

    pub fn items(&self) -> &Vocabulary {
        &self.items
    }

    /// Counts the (user, item) pairs it was trained on.
    pub fn interactions(&self) -> usize {
        self.interactions
    }

    /// Returns up to `n` items for one user, best first, ties by item id; items for which `exclude`
    /// holds are left out. An unknown user gets an empty list: see [`Model::recommend_segment`].
    pub fn recommend(
        &self,
        user_id: &str,
        n: usize,
        exclude: &(dyn Fn(&str) -> bool + Sync),
    ) -> Vec<(&str, f64)> {
        let Some(user) = self.users.index(user_id) else { return Vec::new() };
        let lists = self.recommend_batch(&[user], n, &|_, item| exclude(self.items.id(item)));
        lists
            .into_iter()
            .flatten()
            .map(|scored| (self.items.id(scored.item), scored.score))
            .collect()
    }

    /// Returns up to `n` items for each of `users` (numbers in [`Model::known_users`]), across the
    /// machine's threads; lists come back in the order of `users` and are the same for any number
    /// of threads.
    pub fn recommend_users(&self, users: &[u32], n: usize, seen: &Seen) -> Vec<Vec<Scored>> {
        let batches = map_ranges(users.len(), USERS_PER_BATCH, |range| {
            self.recommend_batch(&users[range], n, &|user, item| seen.contains(user, item))
        });
        batches.into_iter().flatten().collect()
    }

    /// Returns up to `n` items for a visitor of whom only the segment is known, best first; `None`
    /// when the model is not a `popularity` model. Scores are comparable within one level of the
    /// back-off only.
    pub fn recommend_segment(&self, segment: &Segment, n: usize) -> Option<Vec<(&str, f64)>> {
        let list = self.popularity()?.for_segment(segment, n);
        Some(list.into_iter().map(|scored| (self.items.id(scored.item), scored.score)).collect())
    }

    pub(crate) fn popularity(&self) -> Option<&Popularity> {
        match &self.recommender {
            Recommender::Popularity(model) => Some(model),
            Recommender::BuyAgain(_) | Recommender::ItemKnn(_) | Recommender::Als(_) => None,
        }
    }

    fn recommend_batch(
        &self,
        users: &[u32],
        n: usize,
        exclude: &(dyn Fn(u32, u32) -> bool + Sync),
    ) -> Vec<Vec<Scored>> {
        match &self.recommender {
            Recommender::Popularity(model) => model.recommend(users, n, exclude),
            Recommender::BuyAgain(model) => model.recommend(users, n, exclude),
            Recommender::ItemKnn(model) => model.recommend(users, n, exclude),
            Recommender::Als(model) => model.recommend(users, n, exclude),
        }
    }
}

/// Holds which items each of a model's users has already had, under the model's own numbers.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Users x items; no rows at all when nothing is excluded.
    items: SparseRows,
}

impl Seen {
    /// Excludes nothing.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// Translates `interactions` to the numbers of `model`; users and items that the model lacks
    /// are passed over.
    pub fn new(model: &Model, interactions: &Interactions) -> Self {
        let users = model.users.mapping_to(interactions.users());
        let items = interactions.items().mapping_to(&model.items);
        let rows = users.into_iter().map(|row| {
            // Both vocabularies are in id order, so the translated rows stay ascending.
            let columns =
                row.map(|row| interactions.by_user().row_columns(row as usize)).unwrap_or_default();
            columns
                .iter()
                .filter_map(|item| items[*item as usize])
                .map(|item| (item, 1.0))
                .collect::<Vec<_>>()
        });
        Self { items: SparseRows::from_rows(rows) }
    }

    pub fn contains(&self, user: u32, item: u32) -> bool {
        (user as usize) < self.items.rows()
            && self.items.row_columns(user as usize).binary_search(&item).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::tests::planted;

    fn fit(algorithm: Algorithm, interactions: &Interactions) -> Model {
        Model::fit(algorithm, interactions, None, &Hyperparameters::new(), &mut |_| {}).unwrap()
    }

    #[test]
    fn one_user_and_all_users_agree_for_every_algorithm() {
        let interactions = planted(150, 30, 1);
        for algorithm in Algorithm::ALL {
            let model = fit(algorithm, &interactions);
            let seen = Seen::new(&model, &interactions);
            let users: Vec<u32> = (0..150).collect();
            let lists = model.recommend_users(&users, 7, &seen);
            assert_eq!(lists.len(), 150);
            for user in [0, 70, 149] {
                let own = interactions.by_user().row_columns(user);
                let exclude =
                    |item: &str| own.iter().any(|known| interactions.items().id(*known) == item);
                let single = model.recommend(&model.known_users()[user], 7, &exclude);
                let bulk: Vec<_> =
                    lists[user].iter().map(|s| (model.items().id(s.item), s.score)).collect();
                assert_eq!(single, bulk, "{algorithm}");
                assert!(single.iter().all(|(item, _)| !exclude(item)));
                assert_eq!(single.is_empty(), algorithm == Algorithm::BuyAgain, "{algorithm}");
            }
        }
    }

    #[test]
    fn unknown_users_and_non_popularity_segments_get_nothing() {
        let interactions = planted(10, 8, 1);
        let model = fit(Algorithm::ItemKnn, &interactions);
        assert!(model.recommend("stranger", 5, &|_| false).is_empty());
        assert!(model.recommend_segment(&Segment::default(), 5).is_none());
        let popular = fit(Algorithm::Popularity, &interactions);
        assert_eq!(
            popular.recommend_segment(&Segment::default(), 5).map(|list| list.len()),
            Some(5)
        );
    }

    #[test]
    fn wrong_hyperparameters_are_refused_before_training() {
        let given = Hyperparameters::from([("neighbors".to_owned(), "5".to_owned())]);
        let error = Model::fit(Algorithm::ItemKnn, &planted(4, 4, 1), None, &given, &mut |_| {})
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown hyperparameter `neighbors` of `item_knn`, did you mean `neighbours`?"
        );
    }

    #[test]
    fn seen_translates_between_vocabularies() {
        let model = fit(
            Algorithm::Popularity,
            &Interactions::from_rows([("u1", "b", 1.0, None), ("u2", "c", 1.0, None)]),
        );
        let seen = Seen::new(
            &model,
            &Interactions::from_rows([
                ("u0", "a", 1.0, None),
                ("u2", "a", 1.0, None),
                ("u2", "b", 1.0, None),
            ]),
        );
        let pairs: Vec<bool> =
            [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(user, item)| seen.contains(user, item)).into();
        assert_eq!(pairs, [false, false, true, false]);
    }
}
