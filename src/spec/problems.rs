//! Collects what is wrong, so that all of it can be shown at once.

use super::yaml::Spanned;
use crate::run::failure::Problem;

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
        file: &str,
        value: &Spanned<T>,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        let number = |value: u64| usize::try_from(value).unwrap_or(1).max(1);
        let length = usize::try_from(value.referenced.span().len()).unwrap_or(1);
        self.0.push(Problem {
            file: file.to_owned(),
            line: number(value.referenced.line()),
            column: number(value.referenced.column()),
            length: length.max(1),
            message: message.into(),
            hint,
        });
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// All of them, by file and place.
    pub fn into_sorted(mut self) -> Vec<Problem> {
        self.0.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
        self.0
    }
}
