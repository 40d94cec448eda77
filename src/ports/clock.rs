//! Time.

use chrono::{DateTime, Utc};

/// Tells the time, so that tests can stop it.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> DateTime<Utc>;
}
