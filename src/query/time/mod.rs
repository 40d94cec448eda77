//! What a query's plan says of time: whether rows of different days are mixed, up to when a source
//! is read, and whether one time is never later than another. Read off the plan as written, with
//! the parameters of the day 1970-01-01 filled in; no data is read.
//!
//! Each answer errs on one side, which its docs tell.

mod bounds;
mod instant;
mod mixing;
mod order;

pub use self::bounds::{Bounds, bounds};
pub use self::mixing::{Mixing, MixingKind, mixing};
pub use self::order::{Order, order};

#[cfg(test)]
mod tests;
