//! Ranking metrics of one user's list.
//!
//! All take the 1-based ranks at which relevant items stand, ascending, the number of relevant
//! items R > 0 in all (recommendable or not) and the cut-off k > 0, and are between 0 and 1.
//! Relevance is yes or no.

/// Computes recall@k = hits in the first k / R (C. Manning, P. Raghavan, H. Schütze, "Introduction
/// to Information Retrieval", 2008, section 8.3, applied to the first k). With R above k it cannot
/// reach 1.
pub(crate) fn recall(ranks: &[u32], relevant: usize, k: usize) -> f64 {
    within(ranks, k).count() as f64 / relevant as f64
}

/// Computes nDCG@k = Σ 1/log2(rank + 1) over the hits, divided by the same sum over ranks 1..min(k,
/// R) (K. Järvelin, J. Kekäläinen, "Cumulated gain-based evaluation of IR techniques", ACM TOIS
/// 20(4), 2002, with the discount log2(rank + 1) that has become usual).
pub(crate) fn ndcg(ranks: &[u32], relevant: usize, k: usize) -> f64 {
    let gain = |rank: f64| 1.0 / (rank + 1.0).log2();
    let best = sum((1..=relevant.min(k)).map(|rank| gain(rank as f64)));
    sum(within(ranks, k).map(|rank| gain(f64::from(rank)))) / best
}

/// Computes AP@k = Σ over the hits of (hits up to that rank / rank), divided by min(k, R); its mean
/// over users is MAP@k. Divisor as in `implicit.evaluation.mean_average_precision_at_k` and
/// Kaggle's MAP@k, so that a full list of hits is worth 1 also when R is above k.
pub(crate) fn average_precision(ranks: &[u32], relevant: usize, k: usize) -> f64 {
    let precisions =
        within(ranks, k).zip(1..).map(|(rank, hits)| f64::from(hits) / f64::from(rank));
    sum(precisions) / relevant.min(k) as f64
}

/// Adds up from 0.0: `Iterator::sum` starts at -0.0, and users without a hit would be shown as
/// "-0".
fn sum(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, |sum, value| sum + value)
}

fn within(ranks: &[u32], k: usize) -> impl Iterator<Item = u32> + '_ {
    ranks.iter().copied().take_while(move |rank| *rank as usize <= k)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(value: f64, expected: f64) {
        assert!((value - expected).abs() < 1e-12, "{value} instead of {expected}");
    }

    #[test]
    fn values_agree_with_a_computation_by_hand() {
        // Four relevant items, hits at 1, 3 and 6, cut-off 5.
        let ranks = [1, 3, 6];
        close(recall(&ranks, 4, 5), 0.5);
        close(average_precision(&ranks, 4, 5), (1.0 + 2.0 / 3.0) / 4.0);
        // 1/log2(2) + 1/log2(4) over 1 + 0.63092975 + 0.5 + 0.43067656
        close(ndcg(&ranks, 4, 5), 1.5 / (1.0 + 1.0 / 3_f64.log2() + 0.5 + 1.0 / 5_f64.log2()));
    }

    #[test]
    fn a_perfect_list_is_one_and_an_empty_one_nothing() {
        close(ndcg(&[1, 2, 3], 3, 10), 1.0);
        close(average_precision(&[1, 2], 5, 2), 1.0);
        close(ndcg(&[1, 2], 5, 2), 1.0);
        close(recall(&[1, 2], 5, 2), 0.4);
        for metric in [recall, ndcg, average_precision] {
            assert_eq!(metric(&[], 2, 3).to_string(), "0");
        }
    }
}
