use std::collections::{BTreeMap, HashSet};

use super::interactions::Interactions;
use super::segments::{Segment, SegmentWeights};
use super::settings::Settings;
use super::top::Scored;
use super::vocabulary::Vocabulary;

/// Recommends what is popular, overall to known users and per segment to visitors that nobody
/// knows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Popularity {
    /// Items with a positive measure, best first.
    overall: Vec<Scored>,
    segments: BTreeMap<Segment, Vec<Scored>>,
}

impl Popularity {
    /// Ranks the items; `items` must hold the ids of both sources.
    ///
    /// Overall an item's score is its summed weight, or the number of its users (`measure`); in a
    /// segment it is always the summed weight, since visitors cannot be told apart.
    pub fn fit(
        interactions: &Interactions,
        segments: Option<&SegmentWeights>,
        items: &Vocabulary,
        settings: &Settings,
    ) -> Self {
        let by_users = settings.text("measure") == "users";
        let numbers = interactions.items().mapping_to(items);
        let overall = numbers.iter().enumerate().filter_map(|(row, number)| {
            let entries = interactions.by_item().row(row);
            let score = if by_users {
                entries.len() as f64
            } else {
                entries.map(|(_, weight)| f64::from(weight)).sum()
            };
            number.map(|item| Scored { item, score })
        });
        let overall = ranked(overall.collect());
        let segments = segments.map(|segments| &segments.weights).into_iter().flatten();
        let segments = segments.map(|(segment, weights)| {
            let scores = weights.iter().filter(|(_, weight)| **weight > 0.0);
            let scores = scores.filter_map(|(id, weight)| {
                items.index(id).map(|item| Scored { item, score: *weight })
            });
            (segment.clone(), ranked(scores.collect()))
        });
        Self { overall, segments: segments.filter(|(_, ranking)| !ranking.is_empty()).collect() }
    }

    /// Rebuilds a model from stored rankings, which must be in order.
    pub fn from_parts(overall: Vec<Scored>, segments: BTreeMap<Segment, Vec<Scored>>) -> Self {
        Self { overall, segments }
    }

    pub fn overall(&self) -> &[Scored] {
        &self.overall
    }

    pub fn segments(&self) -> &BTreeMap<Segment, Vec<Scored>> {
        &self.segments
    }

    pub fn recommend(
        &self,
        users: &[u32],
        n: usize,
        exclude: &(dyn Fn(u32, u32) -> bool + Sync),
    ) -> Vec<Vec<Scored>> {
        let list = |user: u32| {
            let allowed = self.overall.iter().filter(|scored| !exclude(user, scored.item));
            allowed.take(n).copied().collect()
        };
        users.iter().copied().map(list).collect()
    }

    /// Returns the `n` most popular items of a segment; a short list is filled up from the next
    /// coarser segment, without repeats: (location, device), then location, then device, then
    /// overall.
    ///
    /// Scores are those of the level an item came from, so they need not fall along the list; the
    /// order counts.
    pub fn for_segment(&self, segment: &Segment, n: usize) -> Vec<Scored> {
        let mut list: Vec<Scored> = Vec::new();
        let mut taken = HashSet::new();
        for step in segment.back_off() {
            let ranking = match self.segments.get(&step) {
                Some(ranking) => ranking.as_slice(),
                None if step == Segment::default() => &self.overall,
                None => continue,
            };
            for scored in ranking {
                if list.len() == n {
                    return list;
                }
                if taken.insert(scored.item) {
                    list.push(*scored);
                }
            }
        }
        list
    }
}

fn ranked(mut scores: Vec<Scored>) -> Vec<Scored> {
    scores.sort_unstable_by(|a, b| b.score.total_cmp(&a.score).then(a.item.cmp(&b.item)));
    scores
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::job::{Algorithm, Hyperparameters};

    fn fit(measure: &str, segments: Option<&SegmentWeights>) -> (Popularity, Vocabulary) {
        let interactions = Interactions::from_rows([
            ("u1", "a", 9.0, None),
            ("u1", "b", 1.0, None),
            ("u2", "b", 1.0, None),
            ("u2", "c", 1.0, None),
            ("u3", "c", 1.0, None),
        ]);
        let items = Vocabulary::new(["a", "b", "c", "d"].map(str::to_owned).to_vec());
        let given = Hyperparameters::from([("measure".to_owned(), measure.to_owned())]);
        let settings = Settings::new(Algorithm::Popularity, &given).unwrap();
        (Popularity::fit(&interactions, segments, &items, &settings), items)
    }

    fn ids(list: &[Scored], items: &Vocabulary) -> String {
        list.iter().map(|scored| items.id(scored.item)).collect()
    }

    #[test]
    fn the_measure_decides_the_order() {
        let (by_weight, items) = fit("weight", None);
        assert_eq!(ids(by_weight.overall(), &items), "abc");
        assert_eq!(by_weight.overall()[0].score, 9.0);
        let (by_users, items) = fit("users", None);
        assert_eq!(ids(by_users.overall(), &items), "bca");
    }

    #[test]
    fn seen_items_are_left_out_per_user() {
        let (model, items) = fit("users", None);
        let lists = model.recommend(&[0, 2], 2, &|user, item| user == 0 && item == 1);
        assert_eq!(lists.iter().map(|list| ids(list, &items)).collect::<Vec<_>>(), ["ca", "bc"]);
    }

    #[test]
    fn a_segment_backs_off_without_repeats() {
        let segments = SegmentWeights::from_rows([
            (Some("de"), Some("tv"), "d", 1.0),
            (Some("de"), Some("phone"), "a", 1.0),
            (Some("fr"), Some("tv"), "a", 5.0),
        ]);
        let (model, items) = fit("users", Some(&segments));
        let list = |location, device, n| {
            ids(&model.for_segment(&Segment::new(location, device), n), &items)
        };
        // de+tv has d; de adds a; tv has a and d already; overall adds b and c.
        assert_eq!(list(Some("de"), Some("tv"), 10), "dabc");
        assert_eq!(list(Some("de"), Some("tv"), 2), "da");
        assert_eq!(list(None, Some("tv"), 10), "adbc");
        assert_eq!(list(Some("xx"), None, 2), "bc");
        assert_eq!(list(None, None, 1), "b");
    }
}
