//! A figure and how sure one is of it.

use serde::{Deserialize, Serialize};

/// A figure with the interval in which it is believed to lie.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}
