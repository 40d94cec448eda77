//! When a failed step is tried again.

use std::collections::BTreeMap;
use std::time::Duration;

use super::fingerprint::digest;
use super::name::Name;

/// How often a step is tried, and how long is waited in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retries {
    /// Tries in all, the first among them; 1 for no retry.
    pub attempts: u32,
    /// The wait after the first failure; it doubles with each further one.
    pub delay: Duration,
    /// The longest wait.
    pub max_delay: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self { attempts: 3, delay: Duration::from_secs(10), max_delay: Duration::from_secs(300) }
    }
}

impl Retries {
    /// The wait after the `failed`th attempt (from 1) of a unit: the doubled delay and up to as much
    /// again, by chance so that many tasks do not come back at once, but by a chance that is made
    /// from the unit's own name, so that a run can be foretold.
    pub fn wait(&self, unit: &str, failed: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(failed.saturating_sub(1));
        let base = self.delay.saturating_mul(doubled).min(self.max_delay);
        let draw = digest(format!("{unit}#{failed}").as_bytes());
        let draw = u32::from_str_radix(draw.get(..8).unwrap_or("0"), 16).unwrap_or(0);
        let jitter = base.mul_f64(f64::from(draw) / f64::from(u32::MAX));
        base.saturating_add(jitter).min(self.max_delay)
    }
}

/// What a pipeline says of its steps' retries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Of every step that says nothing else.
    pub default: Retries,
    /// Of steps that do.
    pub steps: BTreeMap<Name, Retries>,
    /// Retries of all steps of a run together: a service that is down for the night is not asked by
    /// every step in turn.
    pub budget: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { default: Retries::default(), steps: BTreeMap::new(), budget: 20 }
    }
}

impl RetryPolicy {
    /// What holds for a step, or for the publication of a day.
    pub fn of(&self, step: &Name) -> Retries {
        self.steps.get(step).copied().unwrap_or(self.default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRIES: Retries = Retries {
        attempts: 9,
        delay: Duration::from_secs(10),
        max_delay: Duration::from_secs(100),
    };

    #[test]
    fn waits_double_with_jitter_up_to_the_longest() {
        for (failed, base) in [(1, 10), (2, 20), (3, 40)] {
            let wait = RETRIES.wait("clean_events sql 2026-03-01", failed);
            let (least, most) = (Duration::from_secs(base), Duration::from_secs(2 * base));
            assert!(wait >= least && wait <= most, "{failed}: {wait:?}");
        }
        assert_eq!(RETRIES.wait("x", 5), Duration::from_secs(100));
        assert_eq!(RETRIES.wait("x", u32::MAX), Duration::from_secs(100));
    }

    #[test]
    fn the_same_unit_waits_the_same_and_another_one_otherwise() {
        assert_eq!(RETRIES.wait("a", 1), RETRIES.wait("a", 1));
        let waits: std::collections::BTreeSet<Duration> =
            (0..50).map(|unit| RETRIES.wait(&unit.to_string(), 1)).collect();
        assert!(waits.len() > 45, "{waits:?}");
    }
}
