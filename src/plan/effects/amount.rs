//! Numbers of a plan, with how far they can be relied on.

use std::ops::Add;

use serde::Serialize;

/// How many of something a run will make. What nobody knows is unknown, and never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Amount {
    /// So many, no more and no fewer.
    Exactly(u64),
    /// About so many, as earlier runs made or as the input lets expect.
    About(u64),
    /// So many at most, and perhaps none.
    AtMost(u64),
    /// Nobody knows yet.
    Unknown,
}

impl Amount {
    /// None at all.
    pub const NONE: Self = Self::Exactly(0);
    /// One.
    pub const ONE: Self = Self::Exactly(1);

    /// About so many if that is known.
    pub fn about(estimate: Option<u64>) -> Self {
        estimate.map_or(Self::Unknown, Self::About)
    }

    /// The number, however far it can be relied on; none if nobody knows it.
    pub fn number(self) -> Option<u64> {
        match self {
            Self::Exactly(number) | Self::About(number) | Self::AtMost(number) => Some(number),
            Self::Unknown => None,
        }
    }

    /// Whether it is known that there is none.
    pub fn is_none(self) -> bool {
        matches!(self, Self::Exactly(0) | Self::AtMost(0))
    }

    /// So many times as many.
    #[must_use]
    pub fn times(self, factor: u64) -> Self {
        self.map(|number| number.saturating_mul(factor))
    }

    /// In groups of so many, the last one perhaps not full.
    #[must_use]
    pub fn in_groups_of(self, size: u64) -> Self {
        self.map(|number| number.div_ceil(size.max(1)))
    }

    fn map(self, change: impl FnOnce(u64) -> u64) -> Self {
        match self {
            Self::Exactly(number) => Self::Exactly(change(number)),
            Self::About(number) => Self::About(change(number)),
            Self::AtMost(number) => Self::AtMost(change(number)),
            Self::Unknown => Self::Unknown,
        }
    }
}

impl Add for Amount {
    type Output = Self;

    /// A sum can be relied on as far as its weakest part.
    fn add(self, other: Self) -> Self {
        let (Some(one), Some(two)) = (self.number(), other.number()) else { return Self::Unknown };
        let sum = one.saturating_add(two);
        match (self, other) {
            (Self::Exactly(_), Self::Exactly(_)) => Self::Exactly(sum),
            (Self::AtMost(_) | Self::Exactly(_), Self::AtMost(_) | Self::Exactly(_)) => {
                Self::AtMost(sum)
            }
            (_, _) => Self::About(sum),
        }
    }
}

impl std::iter::Sum for Amount {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::NONE, Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::Amount::{About, AtMost, Exactly, Unknown};
    use super::*;

    #[test]
    fn a_sum_is_as_good_as_its_weakest_part() {
        assert_eq!(Exactly(1) + Exactly(2), Exactly(3));
        assert_eq!(Exactly(1) + AtMost(2), AtMost(3));
        assert_eq!(AtMost(1) + About(2), About(3));
        assert_eq!(Exactly(1) + Unknown, Unknown, "what is unknown is not zero");
        assert_eq!([Exactly(1), About(4)].into_iter().sum::<Amount>(), About(5));
    }

    #[test]
    fn amounts_scale_as_they_are() {
        assert_eq!(About(2_096).in_groups_of(25), About(84));
        assert_eq!(Exactly(0).in_groups_of(25), Exactly(0));
        assert_eq!(AtMost(2).times(3), AtMost(6));
        assert_eq!(Unknown.times(3), Unknown);
    }

    #[test]
    fn amounts_say_in_json_what_they_are() {
        let all = serde_json::json!([Exactly(1), About(2), AtMost(3), Unknown]);
        assert_eq!(all.to_string(), r#"[{"exactly":1},{"about":2},{"at_most":3},"unknown"]"#);
    }
}
