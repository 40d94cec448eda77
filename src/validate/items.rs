//! Served items: names of tables, and lists that may not fit into one item.

use super::Subject;
use super::at::quoted;
use crate::pipeline::check::CheckRule;
use crate::pipeline::graph::Pipeline;
use crate::pipeline::step::{LoadStep, ScoreStep, SqlStep, Step, StepKind};
use crate::ports::limits::dynamodb::{longest_item_id, table_name_problem};
use crate::run::failure::{Problem, Rule};

/// Ids that are longer than this are so rare that a list of them needs no word.
const LONG_ID: usize = 1_024;
/// Bytes of one character in UTF-8, at most.
const CHARACTER: usize = 4;

/// Judges the loads of all pipelines against the targets that serve from DynamoDB.
pub(super) fn check(subject: &Subject<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (pipeline, step) in subject.steps() {
        let StepKind::Load(load) = &step.kind else { continue };
        problems.extend(names(subject, pipeline, step, load));
        problems.extend(size(subject, pipeline, load));
    }
    problems
}

fn names(subject: &Subject<'_>, pipeline: &Pipeline, step: &Step, load: &LoadStep) -> Vec<Problem> {
    let mut problems = Vec::new();
    for target in subject.aws() {
        let Some(serving) = &target.serving else { continue };
        let name = format!("{}{}", serving.table_prefix, load.table);
        let Some(what) = table_name_problem(&name) else { continue };
        let message = format!("on `{}`: the table `{name}` {what}", target.name);
        // A prefix that is wrong by itself is where it is to be mended.
        let by_prefix = !serving.table_prefix.is_empty();
        let own =
            ["pipelines", pipeline.name.as_str(), "steps", step.name.as_str(), "load", "table"];
        let prefix = ["targets", target.name.as_str(), "serving", "dynamodb", "table_prefix"];
        let path: &[&str] = if by_prefix { &prefix[..] } else { &own[..] };
        problems.push(subject.in_project(Rule::ServiceLimit, path, message));
    }
    problems
}

/// Whether a list fits is decided by the length of its ids, which nobody declares; a check of the
/// table that models learn from may bound it.
fn size(subject: &Subject<'_>, pipeline: &Pipeline, load: &LoadStep) -> Option<Problem> {
    let targets: Vec<&str> = subject
        .aws()
        .filter(|target| target.serving.is_some())
        .map(|target| target.name.as_str())
        .collect();
    let StepKind::Score(score) = &pipeline.step(load.from.as_str())?.kind else { return None };
    let longest = longest_item_id(score.top);
    if targets.is_empty() {
        return None;
    }
    let bound = bound(pipeline, score);
    let fits = match bound {
        Some(bytes) => bytes <= longest,
        None => longest >= LONG_ID,
    };
    if fits {
        return None;
    }
    let on = quoted(targets);
    let top = score.top;
    let known = match bound {
        Some(bytes) => format!("the checks let them have {bytes}"),
        None => "nothing says how long they are".to_owned(),
    };
    let message = format!(
        "on {on}: lists of {top} fit into an item of 400 KB only if ids have at most {longest} bytes, and {known}"
    );
    let hint = format!(
        "make `top` smaller, or check the training table: `expression: octet_length(item_id) <= {longest}`"
    );
    let path = ["pipelines", pipeline.name.as_str(), "steps", load.from.as_str(), "score", "top"];
    Some(subject.in_project(Rule::ItemSize, &path, message).with_hint(hint))
}

/// The most bytes of an id, if a check says so of every table that ids come from.
fn bound(pipeline: &Pipeline, score: &ScoreStep) -> Option<usize> {
    let mut models = vec![&score.model];
    models.extend(&score.fallback);
    let mut most = None;
    while let Some(name) = models.pop() {
        let inputs = match &pipeline.step(name.as_str())?.kind {
            StepKind::Train(train) | StepKind::Tune(train) => &train.inputs,
            StepKind::Select(select) => {
                models.extend(select.candidates.iter().chain(&select.baselines));
                continue;
            }
            StepKind::Sql(_) | StepKind::Score(_) | StepKind::Load(_) => return None,
        };
        for input in inputs {
            let StepKind::Sql(sql) = &pipeline.step(input.table.as_str())?.kind else {
                return None;
            };
            most = most.max(Some(bound_of(sql)?));
        }
    }
    most
}

fn bound_of(sql: &SqlStep) -> Option<usize> {
    let certain = sql.checks.iter().filter(|check| check.is_certain());
    let bounds = certain.filter_map(|check| match &check.rule {
        CheckRule::Expression(expression) => bound_by(expression),
        _ => None,
    });
    bounds.min()
}

/// Reads `length(item_id) <= n` and the like.
fn bound_by(expression: &str) -> Option<usize> {
    let text: String = expression.chars().filter(|c| !c.is_whitespace()).collect();
    let text = text.to_lowercase();
    let (function, rest) = text.split_once("(item_id)<")?;
    let (less, number) = match rest.strip_prefix('=') {
        Some(number) => (0, number),
        None => (1, rest),
    };
    let number = number.parse::<usize>().ok()?.checked_sub(less)?;
    match function {
        "octet_length" => Some(number),
        "length" | "char_length" | "character_length" => number.checked_mul(CHARACTER),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_bound_the_length_of_ids() {
        for (expression, bytes) in [
            ("octet_length(item_id) <= 64", Some(64)),
            ("length( item_id ) < 65", Some(256)),
            ("char_length(item_id) <= 16", Some(64)),
            ("length(user_id) <= 64", None),
            ("length(item_id) <= 64 OR true", None),
            ("length(item_id) > 1", None),
            ("NOT length(item_id) <= 64", None),
        ] {
            assert_eq!(bound_by(expression), bytes, "{expression}");
        }
    }
}
