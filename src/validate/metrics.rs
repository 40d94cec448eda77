//! Metrics: whether their regexes find a number in what a job prints.

use regex::Regex;

use super::Subject;
use crate::models::lines::sample;
use crate::pipeline::job::{Job, MetricDefinition};
use crate::pipeline::step::{StepKind, TrainStep};
use crate::query::analysis::Unchecked;
use crate::run::failure::{Problem, Rule};

/// Judges the metrics of all jobs that have lines to be held against: those of `sample_log`, else
/// those that the built-in algorithms print.
pub(super) fn check(subject: &Subject<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for of in jobs(subject) {
        let Some(lines) = of.lines() else { continue };
        for (at, metric) in of.job.metrics.iter().enumerate() {
            problems.extend(of.problem(subject, at, metric, &lines));
        }
    }
    problems
}

/// The jobs whose metrics nothing can be held against.
pub(super) fn unchecked(subject: &Subject<'_>) -> Vec<Unchecked> {
    let blind = jobs(subject).filter(|of| of.lines().is_none() && !of.job.metrics.is_empty());
    let say = |of: Of<'_>| Unchecked {
        what: format!("metrics of {}", of.file),
        why: "its image is its own, and `sample_log` has no lines of it".to_owned(),
    };
    blind.map(say).collect()
}

struct Of<'a> {
    file: &'a str,
    job: &'a Job,
    /// What the file says that the job prints.
    given: &'a [String],
    search: bool,
}

fn jobs<'a>(subject: &Subject<'a>) -> impl Iterator<Item = Of<'a>> {
    subject.steps().filter_map(|(_, step)| {
        let (train, search) = match &step.kind {
            StepKind::Train(train) => (train, false),
            StepKind::Tune(train) => (train, true),
            StepKind::Sql(_) | StepKind::Select(_) | StepKind::Score(_) | StepKind::Load(_) => {
                return None;
            }
        };
        let TrainStep { file, job, sample_log: given, .. } = train;
        Some(Of { file, job, given, search })
    })
}

impl Of<'_> {
    /// What the job prints, as far as that is known.
    fn lines(&self) -> Option<Vec<String>> {
        if !self.given.is_empty() {
            return Some(self.given.to_vec());
        }
        if self.job.resources.image.is_some() {
            return None;
        }
        // A trial is told the cut-off of its objective; without one it is validated at 10.
        let objective = self.job.objective.as_ref().filter(|_| self.search);
        let k = objective.and_then(|objective| objective.metric.split_once('@')?.1.parse().ok());
        Some(sample(self.job.algorithm, &[k.unwrap_or(10)]))
    }

    fn problem(
        &self,
        subject: &Subject<'_>,
        at: usize,
        metric: &MetricDefinition,
        lines: &[String],
    ) -> Option<Problem> {
        // What is no regex has been told of.
        let regex = Regex::new(&metric.regex).ok()?;
        let at = at.to_string();
        let problem = |message: String| {
            subject.problem(Rule::SampleLog, self.file, &["metrics", &at, "regex"], message)
        };
        let mut captured = lines
            .iter()
            .filter_map(|line| regex.captures(line))
            .filter_map(|found| found.get(1).map(|group| group.as_str().to_owned()))
            .peekable();
        if captured.peek().is_none() {
            let message = match self.given.is_empty() {
                true => format!("no line that `{}` prints matches it", self.job.algorithm),
                false => "no line of `sample_log` matches it".to_owned(),
            };
            return Some(problem(message).with_hint(self.hint(lines)));
        }
        let other = captured.find(|text| !text.parse::<f64>().is_ok_and(f64::is_finite))?;
        let message = format!("the group captures `{other}`, which is no number");
        Some(problem(message).with_hint("for example `([0-9.]+)`".to_owned()))
    }

    fn hint(&self, lines: &[String]) -> String {
        let line = lines.iter().find(|line| line.contains('@')).or(lines.first());
        let shown: String = line.map_or("", String::as_str).chars().take(72).collect();
        match self.given.is_empty() {
            true => format!("it prints for example `{}…`", shown.trim_end()),
            false => format!("its first line is `{shown}`"),
        }
    }
}
