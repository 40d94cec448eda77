use std::cmp::Reverse;

use super::interactions::Interactions;
use super::sparse::SparseRows;
use super::top::Scored;

/// Recommends a user's own items again: by weight, then the most recent, then by id.
///
/// With repeats allowed this is the baseline to beat on retail data; it has nothing to say about
/// new items.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BuyAgain {
    /// Users x items, each row in the order of recommendation.
    ranked: SparseRows,
}

impl BuyAgain {
    pub fn fit(interactions: &Interactions) -> Self {
        let rows = (0..interactions.by_user().rows()).map(|user| {
            let mut row: Vec<_> =
                interactions.by_user().row(user).zip(interactions.latest_days(user)).collect();
            row.sort_by(|((a, a_weight), a_day), ((b, b_weight), b_day)| {
                let by_weight = b_weight.total_cmp(a_weight);
                by_weight.then_with(|| (Reverse(a_day), a).cmp(&(Reverse(b_day), b)))
            });
            row.into_iter().map(|(entry, _)| entry).collect::<Vec<_>>()
        });
        Self { ranked: SparseRows::from_rows(rows) }
    }

    pub fn from_parts(ranked: SparseRows) -> Self {
        Self { ranked }
    }

    pub fn ranked(&self) -> &SparseRows {
        &self.ranked
    }

    pub fn recommend(
        &self,
        users: &[u32],
        n: usize,
        exclude: &(dyn Fn(u32, u32) -> bool + Sync),
    ) -> Vec<Vec<Scored>> {
        let list = |user: u32| {
            let row = self.ranked.row(user as usize).filter(move |(item, _)| !exclude(user, *item));
            row.take(n).map(|(item, weight)| Scored { item, score: f64::from(weight) }).collect()
        };
        users.iter().copied().map(list).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weight_then_day_then_id() {
        let interactions = Interactions::from_rows([
            ("u", "a", 1.0, None),
            ("u", "b", 1.0, Some(5)),
            ("u", "c", 1.0, Some(9)),
            ("u", "d", 1.0, Some(9)),
            ("u", "e", 3.0, Some(1)),
            ("v", "a", 1.0, Some(1)),
        ]);
        let model = BuyAgain::fit(&interactions);
        let items = |user, n, excluded: u32| -> Vec<u32> {
            let lists = model.recommend(&[user], n, &|_, item| item == excluded);
            lists[0].iter().map(|scored| scored.item).collect()
        };
        assert_eq!(items(0, 10, 99), [4, 2, 3, 1, 0]);
        assert_eq!(items(0, 2, 4), [2, 3]);
        assert_eq!(items(1, 10, 99), [0]);
    }
}
