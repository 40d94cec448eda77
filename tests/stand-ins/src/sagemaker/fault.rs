//! What a test makes go wrong.

use std::time::Duration;

/// Something that goes wrong with a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The create call answers `ResourceLimitExceeded`.
    ResourceLimit,
    /// The job fails before its container starts: `CapacityError: …`.
    Capacity,
    /// The job fails before its container starts, for this reason.
    Failure(String),
    /// The job stays in `Starting` until it is stopped.
    Stuck,
    /// The job stays in `Starting` for so long.
    SlowStart(Duration),
    /// A spot instance is taken away when the container has written so many lines (at least 1).
    SpotInterruption { after_lines: usize },
}

/// A fault, and the jobs that it happens to.
#[derive(Debug, Clone)]
pub struct Rule {
    fault: Fault,
    left: usize,
    instance: Option<String>,
    name: Option<String>,
}

impl Rule {
    /// A fault of the next job of any kind.
    pub fn new(fault: Fault) -> Self {
        Self { fault, left: 1, instance: None, name: None }
    }

    /// So many jobs have it; `usize::MAX` for all.
    #[must_use]
    pub fn times(mut self, times: usize) -> Self {
        self.left = times;
        self
    }

    /// Only jobs on this type of instance have it.
    #[must_use]
    pub fn instance(mut self, instance: &str) -> Self {
        self.instance = Some(instance.to_owned());
        self
    }

    /// Only jobs whose names begin so have it.
    #[must_use]
    pub fn name(mut self, prefix: &str) -> Self {
        self.name = Some(prefix.to_owned());
        self
    }

    fn is_for(&self, name: &str, instance: &str) -> bool {
        self.left > 0
            && self.instance.as_deref().is_none_or(|own| own == instance)
            && self.name.as_deref().is_none_or(|prefix| name.starts_with(prefix))
    }
}

/// The rules that have not been used up.
#[derive(Debug, Default)]
pub(super) struct Rules(Vec<Rule>);

impl Rules {
    pub(super) fn add(&mut self, rule: Rule) {
        self.0.push(rule);
    }

    /// Uses the first rule that is for the job and that is wanted.
    pub(super) fn take(
        &mut self,
        name: &str,
        instance: &str,
        wanted: impl Fn(&Fault) -> bool,
    ) -> Option<Fault> {
        let found =
            self.0.iter_mut().find(|rule| rule.is_for(name, instance) && wanted(&rule.fault))?;
        found.left -= 1;
        let fault = found.fault.clone();
        self.0.retain(|rule| rule.left > 0);
        Some(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_used_up_by_the_jobs_that_they_are_for() {
        let mut rules = Rules::default();
        rules.add(Rule::new(Fault::Stuck).instance("ml.b"));
        rules.add(Rule::new(Fault::Capacity).times(2).name("als"));
        assert_eq!(rules.take("other", "ml.a", |_| true), None);
        assert_eq!(rules.take("als-1", "ml.a", |_| true), Some(Fault::Capacity));
        assert_eq!(rules.take("als-2", "ml.b", |_| true), Some(Fault::Stuck));
        assert_eq!(rules.take("als-2", "ml.b", |fault| *fault == Fault::Stuck), None);
        assert_eq!(rules.take("als-2", "ml.b", |_| true), Some(Fault::Capacity));
        assert_eq!(rules.take("als-3", "ml.b", |_| true), None);
    }
}
