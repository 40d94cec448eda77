//! Effects of plans, and the policy that has to allow them.

use std::collections::BTreeSet;
use std::path::Path;

use recctl::pipeline::graph::Pipeline;
use recctl::pipeline::interval::LogicalDate;
use recctl::pipeline::target::{AwsTarget, Removal, Target};
use recctl::plan::effects::operation::{Subject, When};
use recctl::plan::effects::{Call, Effects, Grounds, effects, totals};
use recctl::plan::forecast::Forecast;
use recctl::plan::permissions::{Place, Role, permissions};
use recctl::plan::{Facts, assumed, plan};
use recctl::ports::Grant;
use recctl::query::analysis;
use recctl::spec::compile::{Inputs, compile};

use crate::aws::doctor::matches;

const DATE: &str = "2026-03-08";

/// The repository's own pipeline and its target on AWS.
pub fn daily(edits: &[(&str, &str)]) -> (Pipeline, AwsTarget) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| {
        let mut text = std::fs::read_to_string(root.join(path))?;
        for (right, wrong) in edits {
            text = text.replace(right, wrong);
        }
        Ok(text)
    };
    let inputs = Inputs {
        read: &read,
        list: &|_| Vec::new(),
        analyze: &analysis::parse,
        given: &Default::default(),
    };
    let project = compile(&inputs).valid().unwrap();
    let Some(Target::Aws(target)) = project.targets.get("aws") else { panic!("no AWS target") };
    let pipeline = project.pipelines.values().next().unwrap();
    (pipeline.clone(), AwsTarget::clone(target))
}

fn day() -> LogicalDate {
    DATE.parse().unwrap()
}

fn of(
    pipeline: &Pipeline,
    target: &AwsTarget,
    date: LogicalDate,
    facts: &Facts,
) -> (Effects, Vec<Call>) {
    let target = Target::Aws(Box::new(target.clone()));
    let plan = plan(pipeline, date, facts).unwrap();
    let grounds =
        Grounds { pipeline, target: &target, facts, forecast: &Forecast::default(), threads: 2 };
    let effects = effects(&plan, &grounds);
    let calls = totals(effects.all(), &target);
    (effects, calls)
}

/// Calls of five days, each done again once it was done, so that everything happens.
fn all_calls(pipeline: &Pipeline, target: &AwsTarget) -> Vec<Call> {
    let mut calls = Vec::new();
    let days: Vec<LogicalDate> = (0..5).map(|offset| day().plus(offset)).collect();
    let mut facts = assumed(pipeline, &days, true);
    for date in days {
        for _ in 0..2 {
            let (made, listed) = of(pipeline, target, date, &facts);
            calls.extend(listed);
            facts.carry_out(pipeline, &plan(pipeline, date, &facts).unwrap(), &made);
        }
    }
    calls
}

#[test]
fn every_listed_call_is_allowed_and_every_allowed_change_is_listed() {
    let expire = [("{table_prefix: rec-}", "{table_prefix: rec-, removal: expire}")];
    let mut listed: BTreeSet<(&str, &str)> = BTreeSet::new();
    for edits in [&[][..], &expire] {
        let (pipeline, mut target) = daily(edits);
        target.region = Some("eu-central-1".to_owned());
        if let Some(serving) = &target.serving {
            assert_eq!(serving.removal == Removal::Expire, !edits.is_empty());
        }
        let place = Place::new(&target, None, None);
        let grants = permissions(Role::Task, &[&pipeline], &target, &place);
        for call in all_calls(&pipeline, &target) {
            listed.insert((call.service, call.operation));
            let allowed = Subject::ALL.iter().filter(|it| it.service() == call.service).any(|it| {
                it.operations().iter().any(|operation| {
                    operation.name == call.operation
                        && operation.when == When::Planned
                        && operation.actions.iter().all(|action| is_granted(&grants, action, &call))
                })
            });
            assert!(allowed, "{call:?} is listed and not allowed");
        }
    }
    for subject in Subject::ALL {
        for operation in subject.operations().iter().filter(|it| it.when == When::Planned) {
            let key = (subject.service(), operation.name);
            assert!(listed.contains(&key), "{key:?} is allowed and no plan lists it");
        }
    }
}

fn is_granted(grants: &[Grant], action: &str, call: &Call) -> bool {
    let resource = arn(call);
    grants.iter().any(|grant| {
        grant.actions.contains(&action)
            && resource
                .as_ref()
                .is_none_or(|arn| grant.resources.iter().any(|pattern| matches(pattern, arn)))
    })
}

/// The ARN of what a call is about, where that is told.
fn arn(call: &Call) -> Option<String> {
    let region = "eu-central-1:123456789012";
    match call.service {
        "s3" if call.operation == "DeleteObjects" => None,
        "s3" => Some(format!("arn:aws:s3:::{}file", call.resource)),
        "dynamodb" => Some(format!("arn:aws:dynamodb:{region}:table/{}", call.resource)),
        "glue" => call
            .resource
            .split_once('.')
            .map(|(database, table)| format!("arn:aws:glue:{region}:table/{database}/{table}")),
        _ => None,
    }
}

#[test]
fn a_plan_with_nothing_to_do_changes_nothing() {
    let (pipeline, target) = daily(&[]);
    let mut facts = assumed(&pipeline, &[day()], false);
    let (made, calls) = of(&pipeline, &target, day(), &facts);
    assert!(calls.len() > 30, "{}", calls.len());
    facts.carry_out(&pipeline, &plan(&pipeline, day(), &facts).unwrap(), &made);
    let (made, calls) = of(&pipeline, &target, day(), &facts);
    assert_eq!((made.all().count(), calls), (0, Vec::new()));
}
