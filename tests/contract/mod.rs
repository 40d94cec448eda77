//! The contract of each port as a suite that runs over every adapter.
//!
//! A suite knows an adapter only by a target, which opens handles: the same name gives another
//! handle on the same thing, as another process would have it; a new name gives an empty one.

pub mod catalog;
mod racing;
pub mod registry;
pub mod serving;
pub mod state;
pub mod trainer;
pub mod warehouse;

use chrono::{DateTime, TimeDelta, Utc};
use recctl::pipeline::interval::LogicalDate;
use recctl::pipeline::name::Name;
use recctl::ports::Lease;
use recctl::run::failure::{FailureKind, Outcome};

/// The kind of a failure.
#[track_caller]
pub fn kind<T: std::fmt::Debug>(outcome: Outcome<T>) -> FailureKind {
    let failure = outcome.expect_err("a failure");
    assert!(!failure.message.is_empty() && !failure.message.ends_with('.'), "{failure:?}");
    failure.kind
}

/// A fixed instant, some seconds later. It lies ahead, since a stand-in removes what has expired by the
/// clock on the wall.
pub fn at(seconds: i64) -> DateTime<Utc> {
    "2036-03-02T03:00:00Z".parse::<DateTime<Utc>>().unwrap() + TimeDelta::seconds(seconds)
}

/// A lease that nobody else ever had.
pub fn lease() -> Lease {
    fenced("daily/2026-03-01", 1)
}

/// The lease of a holder that got it with this fence.
pub fn fenced(name: &str, fence: u64) -> Lease {
    let holder = format!("host/{fence}/x");
    Lease { name: name.to_owned(), holder, fence, seized: false }
}

pub fn day(text: &str) -> LogicalDate {
    text.parse().unwrap()
}

pub fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}
