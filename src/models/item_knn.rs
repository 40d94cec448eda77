use super::error::ModelError;
use super::interactions::Interactions;
use super::parallel::map_ranges;
use super::settings::Settings;
use super::sparse::SparseRows;
use super::top::{Scored, Top};

/// Items per unit of parallel work when fitting; a scratch vector over all items is made for each
/// unit.
const ITEMS_PER_RANGE: usize = 512;

/// Recommends items that share users with the items of the user.
///
/// The formulation is that of `ItemItemRecommender` in the Python library `implicit` (Ben
/// Frederickson, <https://github.com/benfred/implicit>, `implicit/nearest_neighbours.py`): weight
/// the items x users matrix W, keep the largest entries of each row of W Wᵀ as an item's
/// neighbours, and score an item for a user as the sum, over the user's items, of the user's own
/// (unweighted) weight times the similarity. An item is its own neighbour, which matters only when
/// repeats are allowed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ItemKnn {
    /// Users x items, the weights as they came.
    history: SparseRows,
    /// Items x items, rows ascending by column; `neighbours` entries and the item itself at most.
    similarity: SparseRows,
}

impl ItemKnn {
    /// Computes the neighbours. Time grows with the sum over users of their items squared; memory
    /// with items x neighbours, plus one f64 per item and thread.
    pub fn fit(interactions: &Interactions, settings: &Settings) -> Result<Self, ModelError> {
        let neighbours: usize = settings.number("neighbours")?;
        let shrinkage: f64 = settings.number("shrinkage")?;
        let by_item = interactions.by_item();
        let weighted = if settings.text("weighting") == "cosine" {
            cosine(by_item)
        } else {
            bm25(by_item, interactions.users().len(), settings.number("k1")?, settings.number("b")?)
        };
        let by_user = weighted.transposed(interactions.users().len());
        let rows = map_ranges(by_item.rows(), ITEMS_PER_RANGE, |range| {
            let mut row = RowScratch::new(by_item.rows());
            range
                .map(|item| row.neighbours(item, &weighted, &by_user, neighbours, shrinkage))
                .collect::<Vec<_>>()
        });
        Ok(Self {
            history: interactions.by_user().clone(),
            similarity: SparseRows::from_rows(rows.into_iter().flatten()),
        })
    }

    pub fn from_parts(history: SparseRows, similarity: SparseRows) -> Self {
        Self { history, similarity }
    }

    pub fn history(&self) -> &SparseRows {
        &self.history
    }

    pub fn similarity(&self) -> &SparseRows {
        &self.similarity
    }

    pub fn recommend(
        &self,
        users: &[u32],
        n: usize,
        exclude: &(dyn Fn(u32, u32) -> bool + Sync),
    ) -> Vec<Vec<Scored>> {
        let mut scores = vec![0.0_f64; self.similarity.rows()];
        let mut touched: Vec<u32> = Vec::new();
        let list = |user: u32| {
            for (item, weight) in self.history.row(user as usize) {
                for (neighbour, similarity) in self.similarity.row(item as usize) {
                    let score = &mut scores[neighbour as usize];
                    // Similarities are positive, so a score of zero means not touched yet.
                    if *score == 0.0 {
                        touched.push(neighbour);
                    }
                    *score += f64::from(weight) * f64::from(similarity);
                }
            }
            let mut top = Top::new(n);
            for item in touched.drain(..) {
                let score = std::mem::take(&mut scores[item as usize]);
                if score > 0.0 && top.admits(item, score) && !exclude(user, item) {
                    top.push(item, score);
                }
            }
            top.into_ranked()
        };
        users.iter().copied().map(list).collect()
    }
}

/// Dense sums for one row of W Wᵀ, cleared through the list of touched columns.
struct RowScratch {
    dot: Vec<f64>,
    common: Vec<u32>,
    touched: Vec<u32>,
}

impl RowScratch {
    fn new(items: usize) -> Self {
        Self { dot: vec![0.0; items], common: vec![0; items], touched: Vec::new() }
    }

    fn neighbours(
        &mut self,
        item: usize,
        by_item: &SparseRows,
        by_user: &SparseRows,
        neighbours: usize,
        shrinkage: f64,
    ) -> Vec<(u32, f32)> {
        for (user, weight) in by_item.row(item) {
            for (other, other_weight) in by_user.row(user as usize) {
                let at = other as usize;
                if self.common[at] == 0 {
                    self.touched.push(other);
                }
                self.common[at] += 1;
                self.dot[at] += f64::from(weight) * f64::from(other_weight);
            }
        }
        let mut top = Top::new(neighbours);
        let mut own = None;
        for other in self.touched.drain(..) {
            let at = other as usize;
            let common = f64::from(std::mem::take(&mut self.common[at]));
            // Shrinkage by support n / (n + shrinkage): R. Bell, Y. Koren, "Improved
            // Neighborhood-based Collaborative Filtering", KDD Cup and Workshop 2007, section 3.1.
            // At 0 it is exactly 1.
            let similarity = std::mem::take(&mut self.dot[at]) * common / (common + shrinkage);
            // As f32 because that is what is kept: ties must be the same before and after the
            // artifact.
            let kept = similarity as f32;
            if kept > 0.0 {
                if at == item {
                    own = Some((other, kept));
                } else {
                    top.push(other, f64::from(kept));
                }
            }
        }
        let mut row: Vec<(u32, f32)> = top
            .into_ranked()
            .into_iter()
            .map(|scored| (scored.item, scored.score as f32))
            .collect();
        row.extend(own);
        row.sort_unstable_by_key(|(other, _)| *other);
        row
    }
}

/// Scales every item row to length 1, so that W Wᵀ holds cosines.
fn cosine(by_item: &SparseRows) -> SparseRows {
    let norms: Vec<f64> = (0..by_item.rows())
        .map(|item| {
            by_item.row(item).map(|(_, weight)| f64::from(weight).powi(2)).sum::<f64>().sqrt()
        })
        .collect();
    by_item.map(|item, _, weight| (f64::from(weight) / norms[item as usize]) as f32)
}

/// Weights an items x users matrix by BM25, items as documents and users as terms: with x the
/// weight, |i| the sum of item i's weights, avg the mean of those, N the number of items and n_u
/// the number of user u's items,
///
/// w = x (k1 + 1) / (k1 (1 - b + b |i| / avg) + x) · (ln N - ln(1 + n_u))
///
/// as in `implicit.nearest_neighbours.bm25_weight`.
fn bm25(by_item: &SparseRows, users: usize, k1: f64, b: f64) -> SparseRows {
    let items = by_item.rows();
    let lengths: Vec<f64> = (0..items)
        .map(|item| by_item.row(item).map(|(_, weight)| f64::from(weight)).sum())
        .collect();
    let average = lengths.iter().sum::<f64>() / items.max(1) as f64;
    let mut items_of_user = vec![0_u32; users];
    for user in by_item.columns() {
        items_of_user[*user as usize] += 1;
    }
    let idf: Vec<f64> = items_of_user
        .iter()
        .map(|count| (items as f64).ln() - (1.0 + f64::from(*count)).ln())
        .collect();
    by_item.map(|item, user, weight| {
        let weight = f64::from(weight);
        let length = 1.0 - b + b * lengths[item as usize] / average;
        (weight * (k1 + 1.0) / (k1 * length + weight) * idf[user as usize]) as f32
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::tests::planted;
    use crate::pipeline::job::{Algorithm, Hyperparameters};

    fn fit(interactions: &Interactions, pairs: &[(&str, &str)]) -> ItemKnn {
        let given: Hyperparameters =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        ItemKnn::fit(interactions, &Settings::new(Algorithm::ItemKnn, &given).unwrap()).unwrap()
    }

    /// The whole computation once more, dense and by the formulas.
    fn brute_force(
        interactions: &Interactions,
        weigh: impl Fn(&[Vec<f64>]) -> Vec<Vec<f64>>,
        shrinkage: f64,
        keep: usize,
    ) -> Vec<Vec<f64>> {
        let (items, users) = (interactions.items().len(), interactions.users().len());
        let mut counts = vec![vec![0.0; users]; items];
        for (item, row) in counts.iter_mut().enumerate() {
            for (user, weight) in interactions.by_item().row(item) {
                row[user as usize] = f64::from(weight);
            }
        }
        let weighted = weigh(&counts);
        let mut similarity = vec![vec![0.0; items]; items];
        for i in 0..items {
            for j in 0..items {
                let dot: f64 = (0..users).map(|u| weighted[i][u] * weighted[j][u]).sum();
                let common = (0..users)
                    .filter(|u| counts[i][*u] > 0.0 && counts[j][*u] > 0.0)
                    .count() as f64;
                similarity[i][j] =
                    if common > 0.0 { dot * common / (common + shrinkage) } else { 0.0 };
            }
            let mut order: Vec<usize> = (0..items).filter(|j| *j != i).collect();
            order.sort_by(|a, b| similarity[i][*b].total_cmp(&similarity[i][*a]).then(a.cmp(b)));
            for j in order.into_iter().skip(keep) {
                similarity[i][j] = 0.0;
            }
        }
        similarity
    }

    fn assert_same(model: &ItemKnn, dense: &[Vec<f64>]) {
        let mut entries = 0;
        for (item, row) in dense.iter().enumerate() {
            let mut kept = vec![0.0; row.len()];
            for (other, value) in model.similarity().row(item) {
                kept[other as usize] = f64::from(value);
                entries += 1;
            }
            for (a, b) in kept.iter().zip(row) {
                assert!(
                    (a - b).abs() < 1e-4 * b.abs().max(1.0),
                    "item {item}: {kept:?} against {row:?}"
                );
            }
        }
        assert!(entries > dense.len(), "nothing but items themselves was compared");
    }

    #[test]
    fn cosine_agrees_with_a_dense_computation() {
        let interactions = planted(30, 12, 1);
        let model = fit(
            &interactions,
            &[("weighting", "cosine"), ("neighbours", "100"), ("shrinkage", "3")],
        );
        let dense = brute_force(
            &interactions,
            |counts| {
                let scale = |row: &Vec<f64>| {
                    let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
                    row.iter().map(|x| x / norm).collect()
                };
                counts.iter().map(scale).collect()
            },
            3.0,
            100,
        );
        assert_same(&model, &dense);
    }

    #[test]
    fn bm25_agrees_with_a_dense_computation() {
        let interactions = planted(30, 12, 2);
        let model = fit(&interactions, &[("neighbours", "4"), ("k1", "1.5"), ("b", "0.5")]);
        let dense = brute_force(
            &interactions,
            |counts| {
                let n = counts.len() as f64;
                let sums: Vec<f64> = counts.iter().map(|row| row.iter().sum()).collect();
                let average = sums.iter().sum::<f64>() / n;
                let mut weighted = counts.to_vec();
                for (i, row) in weighted.iter_mut().enumerate() {
                    for (u, x) in row.iter_mut().enumerate() {
                        let of_user = counts.iter().filter(|other| other[u] > 0.0).count() as f64;
                        let length = 0.5 + 0.5 * sums[i] / average;
                        *x = *x * 2.5 / (1.5 * length + *x) * (n.ln() - (1.0 + of_user).ln());
                    }
                }
                weighted
            },
            0.0,
            4,
        );
        assert_same(&model, &dense);
    }

    #[test]
    fn scores_are_history_times_similarity() {
        let interactions = planted(30, 12, 3);
        let model = fit(&interactions, &[("weighting", "cosine"), ("neighbours", "3")]);
        let lists = model.recommend(&[4], 100, &|_, item| item == 2);
        let mut expected = [0.0; 12];
        for (item, weight) in interactions.by_user().row(4) {
            for (other, similarity) in model.similarity().row(item as usize) {
                expected[other as usize] += f64::from(weight) * f64::from(similarity);
            }
        }
        assert!(lists[0].len() > 3);
        assert!(lists[0].iter().all(|scored| scored.item != 2));
        assert!(lists[0].windows(2).all(|pair| pair[0].score >= pair[1].score));
        for scored in &lists[0] {
            assert!((scored.score - expected[scored.item as usize]).abs() < 1e-9);
        }
        // The scratch must be clean for the next user.
        assert_eq!(model.recommend(&[9, 4], 100, &|_, item| item == 2)[1], lists[0]);
    }
}
