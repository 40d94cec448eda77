use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// An item's number and its score; higher is better.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    pub item: u32,
    pub score: f64,
}

/// Orders from worst to best: by score, and the later item is the worse of two with equal scores.
#[derive(Debug, Clone, Copy)]
struct ByRank(Scored);

impl Ord for ByRank {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.score.total_cmp(&other.0.score).then_with(|| other.0.item.cmp(&self.0.item))
    }
}

impl PartialOrd for ByRank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ByRank {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for ByRank {}

/// Keeps the `limit` best of many scored items in a heap of that size.
///
/// The result is the same for every order of insertion: score descending, then item number
/// ascending.
#[derive(Debug, Default)]
pub(crate) struct Top {
    limit: usize,
    /// The worst of the kept on top.
    heap: BinaryHeap<std::cmp::Reverse<ByRank>>,
}

impl Top {
    pub fn new(limit: usize) -> Self {
        // The limit comes from users; the heap grows by itself when there really are that many
        // items.
        Self { limit, heap: BinaryHeap::with_capacity(limit.min(1024)) }
    }

    /// Tells whether an item with this score would be kept, which is cheaper to ask than whether it
    /// is excluded.
    pub fn admits(&self, item: u32, score: f64) -> bool {
        if self.heap.len() < self.limit {
            return true;
        }
        self.heap.peek().is_some_and(|worst| ByRank(Scored { item, score }) > worst.0)
    }

    pub fn push(&mut self, item: u32, score: f64) {
        if !self.admits(item, score) {
            return;
        }
        if self.heap.len() == self.limit {
            self.heap.pop();
        }
        self.heap.push(std::cmp::Reverse(ByRank(Scored { item, score })));
    }

    /// Returns the kept items, best first.
    pub fn into_ranked(self) -> Vec<Scored> {
        self.heap.into_sorted_vec().into_iter().map(|entry| entry.0.0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_best_and_breaks_ties_by_item() {
        let scores = [(5, 1.0), (3, 2.0), (4, 2.0), (1, 1.0), (2, 2.0), (0, 0.5)];
        let expected =
            [(2, 2.0), (3, 2.0), (4, 2.0), (1, 1.0)].map(|(item, score)| Scored { item, score });
        for order in [scores.to_vec(), scores.iter().rev().copied().collect()] {
            let mut top = Top::new(4);
            for (item, score) in order {
                top.push(item, score);
            }
            assert_eq!(top.into_ranked(), expected);
        }
    }

    #[test]
    fn keeps_nothing_when_nothing_is_asked_for() {
        let mut top = Top::new(0);
        top.push(1, 1.0);
        assert!(top.into_ranked().is_empty());
    }
}
