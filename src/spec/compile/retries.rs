//! When failed steps are tried again, as written and as meant.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::job::parse_time;
use super::super::problems::Problems;
use super::super::project::{PipelineSpec, RetriesSpec};
use super::super::yaml::Spanned;
use crate::pipeline::name::Name;
use crate::pipeline::retries::{Retries, RetryPolicy};
use crate::pipeline::step::PROJECT_FILE;
use crate::run::rule::Rule;

/// More tries than these hide a service that does not work from those who could mend it.
const MOST_ATTEMPTS: u32 = 20;

pub(super) fn compile_retries(spec: &PipelineSpec, problems: &mut Problems) -> RetryPolicy {
    let unset = RetryPolicy::default();
    let default = retries(unset.default, spec.retries.as_ref(), problems);
    let said = spec.retries.as_ref().and_then(|retries| retries.budget.as_ref());
    let budget = said.map_or(unset.budget, |budget| budget.value);
    let mut steps = BTreeMap::new();
    for (name, step) in &spec.steps.0 {
        let Some(own) = &step.value.retries else { continue };
        if let Some(budget) = &own.budget {
            let message = "`budget` is for all steps of a run together";
            let hint = "write it under the pipeline's `retries`".to_owned();
            problems.at(Rule::MisplacedField, PROJECT_FILE, budget, message, Some(hint));
        }
        let own = retries(default, Some(own), problems);
        // A name that is none has been told of.
        if let Ok(name) = Name::new(name.value.as_str()) {
            steps.insert(name, own);
        }
    }
    RetryPolicy { default, steps, budget }
}

fn retries(default: Retries, spec: Option<&RetriesSpec>, problems: &mut Problems) -> Retries {
    let Some(RetriesSpec { attempts, delay, max_delay, budget: _ }) = spec else { return default };
    if let Some(attempts) = attempts
        && !(1..=MOST_ATTEMPTS).contains(&attempts.value)
    {
        let message = format!("expected 1 to {MOST_ATTEMPTS} attempts");
        let hint = "1 is no retry".to_owned();
        problems.at(Rule::InvalidValue, PROJECT_FILE, attempts, message, Some(hint));
    }
    let mut time = |text: &Option<Spanned<String>>, default: Duration| match text {
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
        attempts: attempts.as_ref().map_or(default.attempts, |attempts| attempts.value),
        delay: first,
        max_delay: longest,
    }
}
