//! Collects what is wrong, so that all of it can be shown at once.

use super::yaml::Spanned;
use crate::run::failure::{Problem, Rule};

/// All that is wrong so far.
#[derive(Debug, Default)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Adds a problem.
    pub fn push(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    /// Adds a problem at the place of a value.
    pub fn at<T>(
        &mut self,
        rule: Rule,
        file: &str,
        value: &Spanned<T>,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        let number = |value: u64| usize::try_from(value).unwrap_or(1).max(1);
        let length = usize::try_from(value.referenced.span().len()).unwrap_or(1);
        let (line, column) = (number(value.referenced.line()), number(value.referenced.column()));
        let problem = Problem::new(rule, file, line, column, length, message);
        self.0.push(problem.with_hint(hint));
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Whether one of these rules is broken.
    pub fn any(&self, rules: &[Rule]) -> bool {
        self.0.iter().any(|problem| rules.contains(&problem.rule))
    }

    /// Takes away those that came after the first `count` and are not wanted.
    pub fn keep_since(&mut self, count: usize, wanted: impl Fn(&Problem) -> bool) {
        let late = self.0.split_off(count.min(self.0.len()));
        self.0.extend(late.into_iter().filter(wanted));
    }

    /// All of them, by file and place.
    pub fn into_sorted(mut self) -> Vec<Problem> {
        Problem::sort(&mut self.0);
        self.0
    }
}
