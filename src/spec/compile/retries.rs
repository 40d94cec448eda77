//! When failed steps are tried again, as written and as meant.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::job::parse_time;
use super::super::problems::Problems;
use super::super::project::{PipelineSpec, RetriesSpec, RetryPolicySpec};
use super::super::yaml::Spanned;
use crate::pipeline::name::Name;
use crate::pipeline::retries::{Retries, RetryPolicy};
use crate::pipeline::step::PROJECT_FILE;
use crate::run::rule::Rule;

/// More tries than these hide a service that does not work from those who could mend it.
const MOST_ATTEMPTS: u32 = 20;

pub(super) fn compile_retries(spec: &PipelineSpec, problems: &mut Problems) -> RetryPolicy {
    let unset = RetryPolicy::default();
    let (default, budget) = match &spec.retries {
        Some(RetryPolicySpec { attempts, delay, max_delay, budget }) => (
            retries(unset.default, attempts.as_ref(), delay.as_ref(), max_delay.as_ref(), problems),
            budget.unwrap_or(unset.budget),
        ),
        None => (unset.default, unset.budget),
    };
    let mut steps = BTreeMap::new();
    for (name, step) in &spec.steps.0 {
        let Some(RetriesSpec { attempts, delay, max_delay }) = &step.value.retries else {
            continue;
        };
        let own = retries(default, attempts.as_ref(), delay.as_ref(), max_delay.as_ref(), problems);
        // A name that is none has been told of.
        if let Ok(name) = Name::new(name.value.as_str()) {
            steps.insert(name, own);
        }
    }
    RetryPolicy { default, steps, budget }
}

fn retries(
    default: Retries,
    attempts: Option<&Spanned<u32>>,
    delay: Option<&Spanned<String>>,
    max_delay: Option<&Spanned<String>>,
    problems: &mut Problems,
) -> Retries {
    if let Some(attempts) = attempts
        && !(1..=MOST_ATTEMPTS).contains(&attempts.value)
    {
        let message = format!("expected 1 to {MOST_ATTEMPTS} attempts");
        let hint = "1 is no retry".to_owned();
        problems.at(Rule::InvalidValue, PROJECT_FILE, attempts, message, Some(hint));
    }
    let mut time = |text: Option<&Spanned<String>>, default: Duration| match text {
        None => default,
        Some(text) => parse_time(&text.value).unwrap_or_else(|| {
            let message = format!("`{}` is not a length of time", text.value);
            problems.at(
                Rule::InvalidValue,
                PROJECT_FILE,
                text,
                message,
                Some("expected `30s` or `5m`".to_owned()),
            );
            default
        }),
    };
    let first = time(delay, default.delay);
    // A first wait that is longer than the longest of the defaults is meant.
    let longest = time(max_delay, default.max_delay.max(first));
    if let Some(delay) = delay
        && longest < first
    {
        let message = format!("`delay: {}` is longer than `max_delay`", delay.value);
        problems.at(
            Rule::InvalidValue,
            PROJECT_FILE,
            delay,
            message,
            Some("make `max_delay` longer".to_owned()),
        );
    }
    Retries {
        attempts: attempts.map_or(default.attempts, |attempts| attempts.value),
        delay: first,
        max_delay: longest,
    }
}
