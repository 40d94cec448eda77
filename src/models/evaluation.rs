//! Measures a model against what users did after training.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::bootstrap::{self, paired_difference};
use super::error::ModelError;
use super::interactions::Interactions;
use super::judge::{Judge, NEW_METRICS, REPEAT_METRICS, Truth};
use super::model::{Model, Seen};
use crate::pipeline::estimate::Estimate;

/// Says at which lengths lists are judged and how sure one wants to be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvaluationOptions {
    /// Cut-offs, each at least 1.
    pub ks: Vec<usize>,
    /// Bootstrap resamples; with none the intervals are the values themselves.
    pub resamples: usize,
    /// Share of the bootstrap distribution inside the interval, between 0 and 1.
    pub confidence: f64,
    pub seed: u64,
}

impl Default for EvaluationOptions {
    fn default() -> Self {
        Self { ks: vec![10], resamples: 1000, confidence: 0.95, seed: 42 }
    }
}

/// Holds one value per user and metric, users ascending by id, so that two models can be compared
/// pairwise.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PerUser {
    pub users: Vec<String>,
    pub values: BTreeMap<String, Vec<f64>>,
}

impl PerUser {
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }
}

/// Holds what an evaluation found.
///
/// Metrics on new items, where items of the history are neither recommended nor relevant:
/// `recall@k`, `ndcg@k`, `map@k`, and `coverage@k`, the share of the history's items that stand in
/// at least one user's first k. Metrics with repeats, where nothing is excluded and every test item
/// is relevant: `recall_with_repeats@k`, `ndcg_with_repeats@k`. Either group is absent when no user
/// can be judged by it. Coverage is a count over all lists and no mean over users, so it has no
/// interval: `low` and `high` are the value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    pub metrics: BTreeMap<String, Estimate>,
    /// Users known in training with at least one new relevant item: those judged on new items.
    pub users: usize,
    /// Users known in training with any test item: those judged with repeats.
    pub users_with_repeats: usize,
    /// Test users that training does not know; they are judged by nothing.
    pub users_unknown: usize,
    #[serde(default, skip_serializing_if = "PerUser::is_empty")]
    pub new_items: PerUser,
    #[serde(default, skip_serializing_if = "PerUser::is_empty")]
    pub with_repeats: PerUser,
}

impl Evaluation {
    /// Returns the evaluation without the values of single users.
    pub fn summary(&self) -> Self {
        Self { new_items: PerUser::default(), with_repeats: PerUser::default(), ..self.clone() }
    }

    /// Returns the users and their values of one metric; `None` for a metric that is not kept per
    /// user.
    pub fn per_user(&self, metric: &str) -> Option<(&[String], &[f64])> {
        [&self.new_items, &self.with_repeats].into_iter().find_map(|kept| {
            kept.values.get(metric).map(|values| (kept.users.as_slice(), values.as_slice()))
        })
    }

    /// Estimates by how much `metric` is higher here than in `other`: see [`paired_difference`].
    ///
    /// # Errors
    /// `Evaluation` when one side lacks the metric per user or they judged different users.
    pub fn difference(
        &self,
        other: &Self,
        metric: &str,
        seed: u64,
        resamples: usize,
    ) -> Result<Estimate, ModelError> {
        let (Some((users, a)), Some((other_users, b))) =
            (self.per_user(metric), other.per_user(metric))
        else {
            return Err(ModelError::Evaluation {
                what: format!("`{metric}` is not known per user on both sides"),
            });
        };
        if users != other_users {
            return Err(ModelError::Evaluation {
                what: format!("`{metric}` was measured over different users"),
            });
        }
        paired_difference(a, b, seed, resamples)
    }
}

/// Measures `model` on `test`, for users known in `history`, the interactions the model was trained
/// on.
///
/// Test items that training does not know count as relevant: that they cannot be recommended is the
/// model's loss. A user that only the model lacks gets an empty list, so all models are judged over
/// the same users.
///
/// # Errors
/// `Evaluation` when the options are senseless or no test user is known in `history`.
pub fn evaluate(
    model: &Model,
    history: &Interactions,
    test: &Interactions,
    options: &EvaluationOptions,
) -> Result<Evaluation, ModelError> {
    if options.ks.is_empty() || options.ks.contains(&0) {
        return Err(ModelError::Evaluation {
            what: "needs at least one `k`, each at least 1".to_owned(),
        });
    }
    if !(options.confidence > 0.0 && options.confidence < 1.0) {
        return Err(ModelError::Evaluation {
            what: format!("confidence {} is not between 0 and 1", options.confidence),
        });
    }
    let history_users = test.users().mapping_to(history.users());
    let history_items = history.items().mapping_to(test.items());
    let (mut fresh, mut any) = (Vec::new(), Vec::new());
    for (test_user, known) in history_users.iter().enumerate() {
        let Some(known) = known else { continue };
        let own = history.by_user().row_columns(*known as usize);
        // Ascending, because both vocabularies are in id order.
        let own: Vec<u32> = own.iter().filter_map(|item| history_items[*item as usize]).collect();
        let relevant = test.by_user().row_columns(test_user);
        let is_new = |item: &&u32| own.binary_search(item).is_err();
        any.push(Truth { test_user: test_user as u32, items: relevant.to_vec() });
        fresh.push(Truth {
            test_user: test_user as u32,
            items: relevant.iter().filter(is_new).copied().collect(),
        });
    }
    fresh.retain(|truth| !truth.items.is_empty());
    let users_unknown = history_users.iter().filter(|known| known.is_none()).count();
    if any.is_empty() {
        return Err(ModelError::Evaluation {
            what: format!("none of the {users_unknown} test users is known in training"),
        });
    }

    let mut ks = options.ks.clone();
    ks.sort_unstable();
    ks.dedup();
    let judge = Judge { model, test, ks: &ks };
    let (with_repeats, _) = judge.measure(&any, &Seen::nothing(), &REPEAT_METRICS)?;
    let (new_items, recommended) =
        judge.measure(&fresh, &Seen::new(model, history), &NEW_METRICS)?;
    let mut metrics = BTreeMap::new();
    for kept in [&new_items, &with_repeats] {
        let columns: Vec<&[f64]> = kept.values.values().map(Vec::as_slice).collect();
        let estimates =
            bootstrap::means(&columns, options.seed, options.resamples, options.confidence);
        metrics.extend(kept.values.keys().cloned().zip(estimates));
    }
    if !new_items.is_empty() {
        // An older model may know items that the catalogue no longer has.
        let catalogue = model.items().mapping_to(history.items());
        for (k, items) in recommended {
            let covered =
                items.into_iter().filter(|item| catalogue[*item as usize].is_some()).count();
            let value = covered as f64 / history.items().len() as f64;
            metrics.insert(format!("coverage@{k}"), Estimate { value, low: value, high: value });
        }
    }
    Ok(Evaluation {
        metrics,
        users: new_items.users.len(),
        users_with_repeats: with_repeats.users.len(),
        users_unknown,
        new_items,
        with_repeats,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::tests::{planted, planted_rows};
    use crate::pipeline::job::{Algorithm, Hyperparameters};

    fn fit(algorithm: Algorithm, interactions: &Interactions, pairs: &[(&str, &str)]) -> Model {
        let given: Hyperparameters =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Model::fit(algorithm, interactions, None, &given, &mut |_| {}).unwrap()
    }

    /// Popularity by users: a (4), b (3), c (2), d (1).
    fn small() -> (Interactions, Interactions) {
        let history = Interactions::from_rows([
            ("u1", "a", 1.0, None),
            ("u2", "a", 1.0, None),
            ("u2", "b", 1.0, None),
            ("u3", "a", 1.0, None),
            ("u3", "b", 1.0, None),
            ("u3", "c", 1.0, None),
            ("u4", "a", 1.0, None),
            ("u4", "b", 1.0, None),
            ("u4", "c", 1.0, None),
            ("u4", "d", 1.0, None),
        ]);
        let test = Interactions::from_rows([
            ("u1", "c", 1.0, None),
            ("u1", "x", 1.0, None),
            ("u2", "c", 1.0, None),
            ("u2", "a", 1.0, None),
            ("u4", "d", 1.0, None),
            ("u9", "a", 1.0, None),
        ]);
        (history, test)
    }

    #[test]
    fn popularity_on_four_users_agrees_with_a_computation_by_hand() {
        let (history, test) = small();
        let model = fit(Algorithm::Popularity, &history, &[]);
        let options = EvaluationOptions { ks: vec![1, 2], ..EvaluationOptions::default() };
        let found = evaluate(&model, &history, &test, &options).unwrap();
        let close = |name: &str, expected: f64| {
            let value = found.metrics[name].value;
            assert!((value - expected).abs() < 1e-12, "{name}: {value} instead of {expected}");
        };
        // New items: u1 gets b c d with c, x relevant; u2 gets c d with c relevant. u4 has nothing
        // new.
        assert_eq!((found.users, found.users_with_repeats, found.users_unknown), (2, 3, 1));
        assert_eq!(found.new_items.users, ["u1", "u2"]);
        close("recall@1", 0.5);
        close("recall@2", (0.5 + 1.0) / 2.0);
        let discount = 1.0 / 3_f64.log2();
        close("ndcg@2", (discount / (1.0 + discount) + 1.0) / 2.0);
        close("map@2", (0.5 / 2.0 + 1.0) / 2.0);
        // First places: b and c; first two: b, c and d; of four items.
        close("coverage@1", 0.5);
        close("coverage@2", 0.75);
        // With repeats everybody gets a b: u1 hits nothing, u2 has a of two, u4 nothing.
        close("recall_with_repeats@2", 0.5 / 3.0);
        close("ndcg_with_repeats@1", 1.0 / 3.0);
        assert_eq!(found.per_user("recall@2").unwrap().1, [0.5, 1.0]);
    }

    #[test]
    fn a_model_of_other_users_and_items_is_judged_over_the_same_users() {
        let (history, test) = small();
        // Knows neither u1 nor c, and an item `z` that is gone.
        let old = Interactions::from_rows([
            ("u2", "a", 1.0, None),
            ("u4", "d", 1.0, None),
            ("u5", "d", 1.0, None),
            ("u5", "z", 1.0, None),
        ]);
        let model = fit(Algorithm::Popularity, &old, &[]);
        let options = EvaluationOptions { ks: vec![2, 1, 2], ..EvaluationOptions::default() };
        let found = evaluate(&model, &history, &test, &options).unwrap();
        // With repeats the lists are d, a: nothing for u1, the second place for u2, the first for
        // u4.
        let (users, values) = found.per_user("ndcg_with_repeats@1").unwrap();
        assert_eq!(
            (users, values),
            (["u1", "u2", "u4"].map(String::from).as_slice(), [0.0, 0.0, 1.0].as_slice())
        );
        assert_eq!(found.per_user("recall_with_repeats@2").unwrap().1, [0.0, 0.5, 1.0]);
        // New items: only u2 has a list, d and z, and of these the catalogue has d.
        assert_eq!(found.per_user("recall@2").unwrap().1, [0.0, 0.0]);
        assert_eq!(found.metrics["coverage@2"].value, 0.25);
    }

    #[test]
    fn buy_again_shines_only_with_repeats() {
        let (history, test) = small();
        let found = evaluate(
            &fit(Algorithm::BuyAgain, &history, &[]),
            &history,
            &test,
            &EvaluationOptions::default(),
        )
        .unwrap();
        assert_eq!(found.metrics["recall@10"].value, 0.0);
        assert_eq!(found.metrics["recall_with_repeats@10"].value, (0.0 + 0.5 + 1.0) / 3.0);
        assert_eq!(found.metrics["coverage@10"].value, 0.0);
    }

    #[test]
    fn als_and_knn_find_a_planted_structure_that_popularity_does_not() {
        let (train, test) = planted_rows(200, 40, 6, 5);
        let options = EvaluationOptions::default();
        let measure = |algorithm, pairs: &[(&str, &str)]| {
            evaluate(&fit(algorithm, &train, pairs), &train, &test, &options).unwrap()
        };
        let popularity = measure(Algorithm::Popularity, &[]);
        let als = measure(Algorithm::Als, &[("factors", "4"), ("regularization", "1")]);
        let knn = measure(Algorithm::ItemKnn, &[]);
        for better in [&als, &knn] {
            let gain = better.difference(&popularity, "recall@10", 1, 500).unwrap();
            assert!(gain.low > 0.1, "{gain:?}");
            let estimate = better.metrics["recall@10"];
            assert!(estimate.low < estimate.value && estimate.value < estimate.high);
        }
        assert_eq!(als, measure(Algorithm::Als, &[("factors", "4"), ("regularization", "1")]));
    }

    #[test]
    fn evaluations_survive_json_and_a_summary_is_short() {
        let (history, test) = small();
        let options = EvaluationOptions { resamples: 20, ..EvaluationOptions::default() };
        let found = evaluate(&fit(Algorithm::Popularity, &history, &[]), &history, &test, &options)
            .unwrap();
        let text = serde_json::to_string(&found).unwrap();
        let back: Evaluation = serde_json::from_str(&text).unwrap();
        // serde_json may be off by the last bit of a float.
        assert_eq!((&back.new_items.users, back.users_unknown), (&found.new_items.users, 1));
        assert_eq!(back.metrics.len(), found.metrics.len());
        for (name, estimate) in &found.metrics {
            assert!((back.metrics[name].low - estimate.low).abs() < 1e-12, "{name}");
        }
        assert!(!serde_json::to_string(&found.summary()).unwrap().contains("u1"));
    }

    #[test]
    fn comparing_unlike_things_and_evaluating_nothing_are_errors() {
        let (history, test) = small();
        let model = fit(Algorithm::Popularity, &history, &[]);
        let evaluate = |test: &Interactions, ks: &[usize]| {
            let options =
                EvaluationOptions { ks: ks.to_vec(), resamples: 9, ..EvaluationOptions::default() };
            super::evaluate(&model, &history, test, &options)
        };
        let found = evaluate(&test, &[10]).unwrap();
        let other = evaluate(&Interactions::from_rows([("u3", "d", 1.0, None)]), &[10]).unwrap();
        let text = |result: Result<Estimate, ModelError>| result.unwrap_err().to_string();
        assert_eq!(
            text(found.difference(&other, "ndcg@10", 1, 9)),
            "evaluation: `ndcg@10` was measured over different users"
        );
        assert_eq!(
            text(found.difference(&other, "coverage@10", 1, 9)),
            "evaluation: `coverage@10` is not known per user on both sides"
        );
        assert_eq!(
            evaluate(&planted(4, 4, 1), &[10]).unwrap_err().to_string(),
            "evaluation: none of the 4 test users is known in training"
        );
        assert_eq!(
            evaluate(&test, &[0]).unwrap_err().to_string(),
            "evaluation: needs at least one `k`, each at least 1"
        );
    }
}
