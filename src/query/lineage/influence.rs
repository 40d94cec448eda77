//! What an input column does to an output column, and how two of these in a row are told as one.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

/// Stands for the rows of a table, where their number matters and none of their values, as in
/// `count(*)`.
pub const ROWS: &str = "*";

/// How an input column comes into an output column. The words are the subtypes of OpenLineage's
/// column lineage facet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// Its value is taken over as it is.
    Identity,
    /// Its value is computed with.
    Transformation,
    /// Values of several rows are put together.
    Aggregation,
    /// It decides which value is taken.
    Conditional,
    /// It is in the condition of a join.
    Join,
    /// Rows with the same value of it become one.
    GroupBy,
    /// It decides which rows there are.
    Filter,
    /// It decides the order of rows.
    Sort,
    /// It partitions or orders a window.
    Window,
}

impl How {
    /// Whether the output's value is made from the input's.
    pub fn is_direct(self) -> bool {
        match self {
            Self::Identity | Self::Transformation | Self::Aggregation => true,
            Self::Conditional
            | Self::Join
            | Self::GroupBy
            | Self::Filter
            | Self::Sort
            | Self::Window => false,
        }
    }

    /// The word for it, as in the JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Transformation => "transformation",
            Self::Aggregation => "aggregation",
            Self::Conditional => "conditional",
            Self::Join => "join",
            Self::GroupBy => "group_by",
            Self::Filter => "filter",
            Self::Sort => "sort",
            Self::Window => "window",
        }
    }

    /// What comes of an input that is first used like `self` and then like `then`. The first
    /// indirect use tells most: what was ordered by stays that, whatever is done with the order.
    pub fn then(self, then: How) -> How {
        match (self.is_direct(), then.is_direct()) {
            (false, _) => self,
            (true, false) => then,
            (true, true) => self.max(then),
        }
    }
}

/// A column of a table or source.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The table or source, as the query names it.
    pub table: String,
    /// Its column, or [`ROWS`].
    pub column: String,
}

/// A place in the query's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// One way in which an input column comes into an output column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// How.
    pub how: How,
    /// Whether values of the input can be read in the output: a count or a sum does not show them,
    /// a maximum does. Only direct uses do.
    pub shows_values: bool,
    /// Where the query names the column that is used so. `None` for what it does not name, as in
    /// `SELECT *`.
    pub place: Option<Place>,
}

impl Use {
    pub(super) fn new(how: How, place: Option<Place>) -> Self {
        Self { how, shows_values: how.is_direct(), place }
    }

    /// This use, and then `next` of what it makes.
    fn then(&self, next: &Use) -> Use {
        let how = self.how.then(next.how);
        // The place is where the input comes to what it is; of plain names the last one.
        let own = how == self.how && (how != How::Identity || next.place.is_none());
        Use {
            how,
            shows_values: how.is_direct() && self.shows_values && next.shows_values,
            place: if own { self.place.or(next.place) } else { next.place.or(self.place) },
        }
    }
}

/// What comes into a value or decides on rows: columns with the ways in which they do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Influences {
    uses: BTreeMap<Origin, BTreeMap<How, Use>>,
    unknown: BTreeSet<String>,
}

impl Influences {
    pub(super) fn of(origin: Origin, one: Use) -> Self {
        let uses = BTreeMap::from([(origin, BTreeMap::from([(one.how, one)]))]);
        Self { uses, unknown: BTreeSet::new() }
    }

    pub(super) fn unknown_for(why: impl Into<String>) -> Self {
        Self { uses: BTreeMap::new(), unknown: BTreeSet::from([why.into()]) }
    }

    /// Every column with each way in which it comes in, ordered by table and column.
    pub fn iter(&self) -> impl Iterator<Item = (&Origin, &Use)> {
        self.uses.iter().flat_map(|(origin, ways)| ways.values().map(move |one| (origin, one)))
    }

    /// What could not be followed, in words; empty if all is known.
    pub fn unknown(&self) -> impl Iterator<Item = &str> {
        self.unknown.iter().map(String::as_str)
    }

    /// Whether a column comes in in any way, or may.
    pub fn may_depend_on(&self, table: &str, column: &str) -> bool {
        !self.unknown.is_empty()
            || self.uses.keys().any(|origin| origin.table == table && origin.column == column)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.uses.is_empty() && self.unknown.is_empty()
    }

    pub(super) fn add(&mut self, other: &Influences) {
        for (origin, one) in other.iter() {
            self.insert(origin.clone(), one.clone());
        }
        self.unknown.extend(other.unknown.iter().cloned());
    }

    /// Adds all of `other` as it comes in through a further use.
    pub(super) fn add_through(&mut self, other: &Influences, next: &Use) {
        for (origin, one) in other.iter() {
            self.insert(origin.clone(), one.then(next));
        }
        self.unknown.extend(other.unknown.iter().cloned());
    }

    fn insert(&mut self, origin: Origin, one: Use) {
        let ways = self.uses.entry(origin).or_default();
        match ways.get_mut(&one.how) {
            // The first place is kept; what shows values somewhere shows them.
            Some(known) => {
                known.shows_values |= one.shows_values;
                known.place = known.place.or(one.place);
            }
            None => {
                ways.insert(one.how, one);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_indirect_use_tells() {
        use How::{Aggregation, Conditional, Filter, Identity, Transformation, Window};
        for (first, then, expected) in [
            (Identity, Identity, Identity),
            (Identity, Transformation, Transformation),
            (Aggregation, Transformation, Aggregation),
            (Transformation, Aggregation, Aggregation),
            (Window, Conditional, Window),
            (Window, Identity, Window),
            (Aggregation, Filter, Filter),
        ] {
            assert_eq!(first.then(then), expected, "{first:?} then {then:?}");
        }
    }

    #[test]
    fn places_are_where_a_column_comes_to_what_it_is() {
        let at = |line| Some(Place { line, column: 1 });
        let scan = Use::new(How::Identity, None);
        let lower = scan.then(&Use::new(How::Transformation, at(3)));
        assert_eq!(lower.then(&Use::new(How::Identity, at(9))).place, at(3));
        assert_eq!(lower.then(&Use::new(How::Aggregation, at(9))).place, at(9));
        let plain = scan.then(&Use::new(How::Identity, at(3)));
        assert_eq!(plain.then(&Use::new(How::Identity, at(9))).place, at(9));
        assert_eq!(plain.then(&Use::new(How::Identity, None)).place, at(3));
    }
}
