use std::collections::HashMap;

/// Maps text ids to dense u32 numbers; numbers follow the byte order of the ids, so that breaking a
/// tie by number is breaking it by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vocabulary {
    ids: Vec<String>,
}

impl Vocabulary {
    /// Builds a vocabulary from ids in any order, repeats allowed.
    pub fn new(mut ids: Vec<String>) -> Self {
        ids.sort_unstable();
        ids.dedup();
        Self { ids }
    }

    /// Takes ids that must already be strictly ascending; `None` when they are not.
    pub fn from_sorted(ids: Vec<String>) -> Option<Self> {
        ids.is_sorted_by(|a, b| a < b).then_some(Self { ids })
    }

    pub fn len(&self) -> usize {
        self.ids.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Returns the number of `id`, `None` when it is unknown.
    pub fn index(&self, id: &str) -> Option<u32> {
        self.ids.binary_search_by(|known| known.as_str().cmp(id)).ok().map(|at| at as u32)
    }

    /// Returns the id of number `index`, which must come from this vocabulary.
    pub fn id(&self, index: u32) -> &str {
        &self.ids[index as usize]
    }

    /// Returns all ids, ascending.
    pub fn ids(&self) -> &[String] {
        &self.ids
    }

    /// Returns, for every number of this vocabulary, the number of the same id in `other`.
    pub fn mapping_to(&self, other: &Self) -> Vec<Option<u32>> {
        // Both sides are sorted: one walk instead of a search per id.
        let mut at = 0;
        self.ids
            .iter()
            .map(|id| {
                while at < other.ids.len() && other.ids[at] < *id {
                    at += 1;
                }
                (at < other.ids.len() && other.ids[at] == *id).then_some(at as u32)
            })
            .collect()
    }
}

/// Numbers ids in the order they come, until `finish` settles the final, sorted numbers.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    seen: HashMap<String, u32>,
}

impl Interner {
    pub fn intern(&mut self, id: &str) -> u32 {
        if let Some(number) = self.seen.get(id) {
            return *number;
        }
        let number = self.seen.len() as u32;
        self.seen.insert(id.to_owned(), number);
        number
    }

    /// Returns the vocabulary and, for every provisional number, the final one.
    pub fn finish(self) -> (Vocabulary, Vec<u32>) {
        let mut pairs: Vec<(String, u32)> = self.seen.into_iter().collect();
        pairs.sort_unstable();
        let mut renumbered = vec![0; pairs.len()];
        let mut ids = Vec::with_capacity(pairs.len());
        for (place, (id, provisional)) in pairs.into_iter().enumerate() {
            renumbered[provisional as usize] = place as u32;
            ids.push(id);
        }
        (Vocabulary { ids }, renumbered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_the_order_of_ids() {
        let mut interner = Interner::default();
        let provisional: Vec<u32> =
            ["pear", "apple", "pear", "fig"].iter().map(|id| interner.intern(id)).collect();
        assert_eq!(provisional, [0, 1, 0, 2]);
        let (vocabulary, renumbered) = interner.finish();
        assert_eq!(vocabulary.ids(), ["apple", "fig", "pear"]);
        assert_eq!(renumbered, [2, 0, 1]);
        assert_eq!(vocabulary.index("fig"), Some(1));
        assert_eq!(vocabulary.index("figs"), None);
    }

    #[test]
    fn mapping_skips_ids_the_other_side_lacks() {
        let from = Vocabulary::new(vec!["a".into(), "c".into(), "d".into(), "z".into()]);
        let to = Vocabulary::new(vec!["b".into(), "c".into(), "d".into()]);
        assert_eq!(from.mapping_to(&to), [None, Some(1), Some(2), None]);
    }

    #[test]
    fn unsorted_or_repeated_ids_are_not_taken_as_sorted() {
        assert!(Vocabulary::from_sorted(vec!["b".into(), "a".into()]).is_none());
        assert!(Vocabulary::from_sorted(vec!["a".into(), "a".into()]).is_none());
        assert!(Vocabulary::from_sorted(vec!["a".into(), "b".into()]).is_some());
    }
}
