//! What a role or user is allowed, as IAM simulates it: with identity policies, boundaries and
//! policies of the organisation, without those of buckets and keys.

use std::collections::BTreeSet;

use aws_sdk_iam::operation::simulate_principal_policy::SimulatePrincipalPolicyError;
use aws_sdk_iam::types::{
    ContextEntry, ContextKeyTypeEnum, EvaluationResult, PolicyEvaluationDecisionType,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use futures::StreamExt;

use super::super::error::failure;
use super::super::session::AwsSession;
use super::identity::Principal;
use super::unread;
use crate::ports::preflight::{Checklist, Condition, Finding, Grant, JobClass, Purpose};
use crate::run::failure::FailureKind;

/// What stands for the open part of a name.
const SAMPLE: &str = "recctl-doctor";
/// Simulations at a time: IAM gives every account few requests a second.
const AT_ONCE: usize = 3;
/// Actions and resources that are told one by one.
const TOLD: usize = 2;

/// Something that is not allowed.
struct Denial {
    action: String,
    resource: String,
    /// Who denies it, if it is not merely that nobody allows it.
    by: Option<&'static str>,
    /// Whether the resource's name holds a part that nobody knows.
    guessed: bool,
}

/// Simulates all grants, one finding each; and whether simulation is possible at all.
pub async fn check(
    session: &AwsSession,
    principal: &Principal,
    grants: &[Grant],
) -> (Vec<Finding>, bool) {
    let subject = "permissions";
    let Some(arn) = &principal.arn else {
        let what = format!("IAM cannot say what `{}` is allowed", principal.shown);
        return (vec![Finding::unknown(subject, what)], false);
    };
    let mut findings = Vec::new();
    let looks: Vec<_> = grants.iter().map(|grant| simulate(session, arn, grant)).collect();
    let results = futures::stream::iter(looks).buffered(AT_ONCE);
    let mut results = std::pin::pin!(results.zip(futures::stream::iter(grants)));
    while let Some((result, grant)) = results.next().await {
        match result {
            Ok(denials) => findings.push(told(grant, &denials, &principal.shown)),
            // The first tells enough for all.
            Err(error) => return (vec![refused(subject, arn, &error)], false),
        }
    }
    (findings, true)
}

/// Simulates the grants of another role: one line if all is allowed.
pub async fn of_role(
    session: &AwsSession,
    arn: &str,
    name: &str,
    grants: &[Grant],
) -> Vec<Finding> {
    let subject = format!("role {name}");
    let mut findings = Vec::new();
    for grant in grants {
        match simulate(session, arn, grant).await {
            Ok(denials) if denials.is_empty() => {}
            Ok(denials) => findings.push(told(grant, &denials, name)),
            Err(error) => return vec![refused(&subject, arn, &error)],
        }
    }
    if findings.is_empty() {
        let what = format!("allowed what it needs ({} permissions)", pairs(grants));
        findings.push(Finding::ok(subject, what));
    }
    findings
}

fn pairs(grants: &[Grant]) -> usize {
    grants.iter().map(|grant| grant.actions.len() * grant.resources.len()).sum()
}

fn refused(
    subject: &str,
    arn: &str,
    error: &SdkError<SimulatePrincipalPolicyError, HttpResponse>,
) -> Finding {
    let failure = failure(format!("simulate the policies of `{arn}`"), error, |_| None);
    match failure.kind {
        FailureKind::Denied => Finding::unknown(
            subject,
            format!("nobody may simulate what `{arn}` is allowed: {}", failure.message),
        )
        .hint(format!(
            "allow `iam:SimulatePrincipalPolicy` on `{arn}`; what can be read is tried below"
        )),
        _ => Finding::unknown(subject, failure.message),
    }
}

fn told(grant: &Grant, denials: &[Denial], name: &str) -> Finding {
    let subject = format!("permission {}", grant.sid);
    let number = grant.actions.len() * grant.resources.len();
    if denials.is_empty() {
        return Finding::ok(subject, format!("{} ({number} allowed)", grant.why));
    }
    let by = denials.iter().find_map(|denial| denial.by);
    let what = format!(
        "{}: {}denied {} on {}",
        grant.why,
        by.unwrap_or_default(),
        some(denials.iter().map(|denial| denial.action.as_str())),
        some(denials.iter().map(|denial| denial.resource.as_str())),
    );
    let option = if grant.purpose == Purpose::Doctor { " --doctor" } else { "" };
    let hint = match by {
        Some(_) => "an Allow does not help: ask who owns that policy".to_owned(),
        None => format!("attach what `recctl iam{option}` prints to `{name}`"),
    };
    if denials.iter().all(|denial| denial.guessed) {
        let actions = grant.actions.join("`, `");
        let what = format!("{}: `{actions}` on an id that only AWS knows", grant.why);
        return Finding::unknown(subject, what)
            .hint("compare the role's policy with what `recctl iam` prints");
    }
    let finding = match grant.purpose {
        Purpose::Doctor => Finding::warn(subject, what),
        Purpose::Run => Finding::fail(subject, what),
    };
    finding.hint(hint)
}

/// The first few, each once: `a`, `b` and 3 more.
fn some<'a>(all: impl Iterator<Item = &'a str>) -> String {
    let all: BTreeSet<&str> = all.collect();
    let told: Vec<String> = all.iter().take(TOLD).map(|one| format!("`{one}`")).collect();
    match all.len().saturating_sub(TOLD) {
        0 => told.join(", "),
        more => format!("{} and {more} more", told.join(", ")),
    }
}

async fn simulate(
    session: &AwsSession,
    arn: &str,
    grant: &Grant,
) -> Result<Vec<Denial>, SdkError<SimulatePrincipalPolicyError, HttpResponse>> {
    let mut request =
        session.iam().simulate_principal_policy().policy_source_arn(arn).set_action_names(Some(
            grant.actions.iter().map(|&action| action.to_owned()).collect(),
        ));
    // Without resources every action is simulated on `*`.
    for resource in grant.resources.iter().filter(|resource| *resource != "*") {
        request = request.resource_arns(sample(resource));
    }
    for condition in &grant.conditions {
        request = request.context_entries(context(condition));
    }
    let mut denials = Vec::new();
    let mut pages = request.into_paginator().items().send();
    while let Some(result) = pages.next().await {
        denied(grant, &result?, &mut denials);
    }
    Ok(denials)
}

/// A resource of that pattern.
fn sample(pattern: &str) -> String {
    pattern.replace('*', SAMPLE).replace('?', "x")
}

/// What a request says that fulfils the condition.
fn context(condition: &Condition) -> ContextEntry {
    let kind = match condition.operator {
        "Bool" => ContextKeyTypeEnum::Boolean,
        operator if operator.starts_with("For") => ContextKeyTypeEnum::StringList,
        _ => ContextKeyTypeEnum::String,
    };
    let value = condition.values.first().map(|value| sample(value)).unwrap_or_default();
    ContextEntry::builder()
        .context_key_name(condition.key)
        .context_key_type(kind)
        .context_key_values(value)
        .build()
}

fn denied(grant: &Grant, result: &EvaluationResult, denials: &mut Vec<Denial>) {
    let organisation = result.organizations_decision_detail();
    let boundary = result.permissions_boundary_decision_detail();
    let above = if organisation.is_some_and(|it| !it.allowed_by_organizations()) {
        Some("the organisation ")
    } else if boundary.is_some_and(|it| !it.allowed_by_permissions_boundary()) {
        Some("the permissions boundary ")
    } else {
        None
    };
    let mut push = |resource: &str, decision: &PolicyEvaluationDecisionType| {
        if *decision == PolicyEvaluationDecisionType::Allowed {
            return;
        }
        let explicit = *decision == PolicyEvaluationDecisionType::ExplicitDeny;
        denials.push(Denial {
            action: result.eval_action_name().to_owned(),
            resource: resource.to_owned(),
            by: above.or(explicit.then_some("a policy explicitly ")),
            guessed: !explicit && resource.contains("${"),
        });
    };
    if result.resource_specific_results().is_empty() {
        let only = grant.resources.first().map(String::as_str).unwrap_or("*");
        push(result.eval_resource_name().unwrap_or(only), result.eval_decision());
    }
    for specific in result.resource_specific_results() {
        push(specific.eval_resource_name(), specific.eval_resource_decision());
    }
}

/// Where nothing can be simulated: the smallest requests that only read, each of which a run makes
/// as well.
pub async fn probes(session: &AwsSession, list: &Checklist) -> Vec<Finding> {
    let mut findings = Vec::new();
    let lake = &session.target().lake;
    let subject = "probe S3List";
    let listed = session
        .s3()
        .list_objects_v2()
        .bucket(&lake.bucket)
        .prefix(format!("{}/", lake.key("tables")))
        .max_keys(1)
        .send()
        .await;
    findings.push(match listed {
        Ok(_) => Finding::ok(subject, "the lake's tables can be listed"),
        Err(error) => denied_probe(subject, "list the lake's tables", "s3:ListBucket", &error),
    });
    if let Some(job) = list.jobs.iter().find(|job| job.kind != JobClass::Processing) {
        let subject = "probe SageMakerTraining";
        let name = format!("{}-{SAMPLE}", job.step.replace('_', "-"));
        let client = session.sagemaker();
        findings.push(match client.describe_training_job().training_job_name(name).send().await {
            Ok(_) => Finding::ok(subject, "training jobs can be looked at"),
            // It says so only to those who may ask.
            Err(error)
                if matches!(
                    super::super::error::code(&error),
                    Some("ValidationException" | "ResourceNotFound")
                ) =>
            {
                Finding::ok(subject, "training jobs can be looked at")
            }
            Err(error) => {
                let action = "sagemaker:DescribeTrainingJob";
                denied_probe(subject, "look at training jobs", action, &error)
            }
        });
    }
    findings
}

/// What a run could not do either.
fn denied_probe<E>(
    subject: &str,
    doing: &str,
    action: &str,
    error: &SdkError<E, HttpResponse>,
) -> Finding
where
    E: aws_smithy_types::error::metadata::ProvideErrorMetadata + std::error::Error + 'static,
{
    let failure = failure(doing, error, |_| None);
    match failure.kind {
        FailureKind::Denied => Finding::fail(subject, failure.message)
            .hint(format!("allow `{action}` (`recctl iam` prints the policy)")),
        _ => unread(subject, doing, action, error),
    }
}
