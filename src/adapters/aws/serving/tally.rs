//! What this process knows of the generations that it loads.

use std::collections::{BTreeMap, HashSet};

use twox_hash::XxHash3_128;

use crate::ports::ServingItem;

/// Keys that are remembered at most; sixteen bytes each, so that this is some 100 MB. A larger
/// generation is counted in the table.
const MAX_KEYS: usize = 4_000_000;
/// Items that are read back. If one item in a hundred were missing or wrong, a hundred of them
/// would show it nearly two times of three; it is one BatchGetItem.
const SAMPLE: usize = 100;

/// The keys that were put, and a sample of the items.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Hashes of all keys of the generation; `None` if another process put some, or if it is not
    /// known whether some were put.
    keys: Option<HashSet<u128>>,
    /// Calls of `put` that have not ended well, or not yet.
    open: usize,
    /// The items whose keys have the smallest hashes: the same whatever order they come in, and an
    /// item that is put again takes its own place.
    sample: BTreeMap<u128, ServingItem>,
}

impl Tally {
    /// Of a generation that nobody has put anything into.
    pub fn of_new() -> Self {
        Self { keys: Some(HashSet::new()), ..Self::default() }
    }

    /// Somebody else has put items, or may do so.
    pub fn is_shared(&mut self) {
        self.keys = None;
    }

    /// A call begins: until it ends, and if it never does, nobody knows what is put.
    pub fn begin(&mut self) {
        self.open += 1;
    }

    /// A call has put these items.
    pub fn end(&mut self, items: &[&ServingItem]) {
        self.open = self.open.saturating_sub(1);
        for item in items {
            let hash = XxHash3_128::oneshot(item.key.as_bytes());
            if let Some(keys) = &mut self.keys {
                keys.insert(hash);
            }
            let last = self.sample.last_key_value().map(|(last, _)| *last);
            if self.sample.len() < SAMPLE || last.is_some_and(|last| hash <= last) {
                self.sample.insert(hash, (*item).clone());
                if self.sample.len() > SAMPLE {
                    self.sample.pop_last();
                }
            }
        }
        if self.keys.as_ref().is_some_and(|keys| keys.len() > MAX_KEYS) {
            self.keys = None;
        }
    }

    /// How many keys the generation holds, if this process put all of them.
    pub fn count(&self) -> Option<u64> {
        let keys = self.keys.as_ref().filter(|_| self.open == 0)?;
        Some(keys.len() as u64)
    }

    /// The sample.
    pub fn sample(&self) -> Vec<ServingItem> {
        self.sample.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::RecommendedItem;

    fn item(key: usize, score: f64) -> ServingItem {
        let items = vec![RecommendedItem { item: "a".to_owned(), score }];
        ServingItem { key: format!("user#{key}"), items }
    }

    #[test]
    fn keys_count_once_and_the_sample_is_of_the_last() {
        let items: Vec<_> = (0..1_000).map(|key| item(key, 0.5)).collect();
        let mut tally = Tally::of_new();
        assert_eq!((tally.count(), tally.sample().len()), (Some(0), 0));
        for chunk in items.chunks(100) {
            tally.begin();
            tally.end(&chunk.iter().collect::<Vec<_>>());
        }
        tally.begin();
        let again: Vec<_> = (0..1_000).rev().map(|key| item(key, 0.25)).collect();
        tally.end(&again.iter().collect::<Vec<_>>());
        assert_eq!(tally.count(), Some(1_000));
        let sample = tally.sample();
        assert_eq!(sample.len(), SAMPLE);
        assert!(sample.iter().all(|item| item.items[0].score == 0.25));
    }

    #[test]
    fn what_is_not_known_is_not_counted() {
        let one = item(1, 0.5);
        let mut tally = Tally::of_new();
        tally.begin();
        tally.begin();
        tally.end(&[&one]);
        assert_eq!(tally.count(), None, "one call has not ended");
        tally.end(&[&one]);
        assert_eq!(tally.count(), Some(1));
        tally.is_shared();
        assert_eq!((tally.count(), tally.sample().len()), (None, 1));
    }
}
