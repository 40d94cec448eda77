use std::collections::{BTreeMap, HashSet};

use polars::prelude::{Column, DataFrame, DataFrameJoinOps, PolarsError, SortMultipleOptions};

use super::error::ModelError;
use super::evaluation::PerUser;
use super::interactions::Interactions;
use super::metrics::{average_precision, ndcg, recall};
use super::model::{Model, Seen};

/// Users whose lists are held in memory at a time: with 100 items each, 5 million rows.
const USERS_PER_CHUNK: usize = 50_000;

/// A formula over the ranks of hits, the number of relevant items and k.
pub(crate) type Metric = fn(&[u32], usize, usize) -> f64;

pub(crate) const NEW_METRICS: [(&str, Metric); 3] =
    [("recall", recall), ("ndcg", ndcg), ("map", average_precision)];
pub(crate) const REPEAT_METRICS: [(&str, Metric); 2] =
    [("recall_with_repeats", recall), ("ndcg_with_repeats", ndcg)];

/// One user's relevant items, under the numbers of the test data.
pub(crate) struct Truth {
    pub test_user: u32,
    pub items: Vec<u32>,
}

/// Makes lists with a model and holds them against the truth.
pub(crate) struct Judge<'a> {
    pub model: &'a Model,
    pub test: &'a Interactions,
    pub ks: &'a [usize],
}

impl Judge<'_> {
    /// Computes every metric per user, and the distinct items recommended within each k.
    pub fn measure(
        &self,
        truths: &[Truth],
        seen: &Seen,
        metrics: &[(&str, Metric)],
    ) -> Result<(PerUser, BTreeMap<usize, HashSet<u32>>), ModelError> {
        let ks = self.ks;
        let longest = ks.iter().copied().max().unwrap_or(0);
        let model_users = self.test.users().mapping_to(self.model.users());
        let test_items = self.model.items().mapping_to(self.test.items());
        let mut kept = PerUser::default();
        let mut recommended: BTreeMap<usize, HashSet<u32>> =
            ks.iter().map(|k| (*k, HashSet::new())).collect();
        for chunk in truths.chunks(USERS_PER_CHUNK) {
            let known: Vec<u32> =
                chunk.iter().filter_map(|truth| model_users[truth.test_user as usize]).collect();
            let mut lists = self.model.recommend_users(&known, longest, seen).into_iter();
            let (mut keys, mut ranks) = (Vec::new(), Vec::new());
            for truth in chunk {
                // A list was made for known users only.
                let list = model_users[truth.test_user as usize]
                    .and_then(|_| lists.next())
                    .unwrap_or_default();
                for (scored, rank) in list.into_iter().zip(1_u32..) {
                    for (k, items) in &mut recommended {
                        if rank as usize <= *k {
                            items.insert(scored.item);
                        }
                    }
                    // An item without a number in the test data is nobody's hit.
                    if let Some(item) = test_items[scored.item as usize] {
                        keys.push(key(truth.test_user, item));
                        ranks.push(rank);
                    }
                }
            }
            let hits = hits(chunk, keys, ranks).map_err(|error| ModelError::Evaluation {
                what: format!("could not join lists with truth ({error})"),
            })?;
            for truth in chunk {
                let ranks = hits.get(&truth.test_user).map(Vec::as_slice).unwrap_or_default();
                kept.users.push(self.test.users().id(truth.test_user).to_owned());
                for (name, metric) in metrics {
                    for k in ks {
                        let value = metric(ranks, truth.items.len(), *k);
                        kept.values.entry(format!("{name}@{k}")).or_default().push(value);
                    }
                }
            }
        }
        Ok((kept, recommended))
    }
}

/// Packs user and item into one number, so that the join is over a single integer column.
fn key(user: u32, item: u32) -> u64 {
    u64::from(user) << 32 | u64::from(item)
}

/// Joins recommended (key, rank) rows with the truth; returns each user's ranks of hits, ascending.
fn hits(
    truths: &[Truth],
    keys: Vec<u64>,
    ranks: Vec<u32>,
) -> Result<BTreeMap<u32, Vec<u32>>, PolarsError> {
    let recommended = DataFrame::new_infer_height(vec![
        Column::new("key".into(), keys),
        Column::new("rank".into(), ranks),
    ])?;
    let relevant: Vec<u64> = truths
        .iter()
        .flat_map(|truth| truth.items.iter().map(|item| key(truth.test_user, *item)))
        .collect();
    let relevant = DataFrame::new_infer_height(vec![Column::new("key".into(), relevant)])?;
    let joined = recommended.inner_join(&relevant, ["key"], ["key"])?;
    let joined = joined.sort(["rank"], SortMultipleOptions::default())?;
    let mut hits: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (key, rank) in joined.column("key")?.u64()?.iter().zip(joined.column("rank")?.u32()?.iter())
    {
        if let (Some(key), Some(rank)) = (key, rank) {
            hits.entry((key >> 32) as u32).or_default().push(rank);
        }
    }
    Ok(hits)
}
