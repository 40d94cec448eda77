//! What a run is allowed to do at AWS and nothing else: pure data, made from pipelines and target.
//!
//! Actions and the resources that each takes are those of the service authorization reference,
//! <https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html>.
//! `sts:GetCallerIdentity` is not among them: it needs no permission.

mod place;
mod roles;
mod services;
mod storage;
mod uses;

use serde::Serialize;

pub use self::place::Place;
pub use self::roles::{Trust, trust};
pub use self::uses::Uses;

use crate::pipeline::graph::Pipeline;
use crate::pipeline::target::AwsTarget;
use crate::ports::preflight::{Checklist, Condition, Finding, Grant, Purpose, RoleNeeds};

/// A role that takes part in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The one that recctl itself runs as.
    Task,
    /// The one that SageMaker's jobs run as.
    Jobs,
    /// The one that Redshift takes to read the lake.
    Warehouse,
}

/// The permissions of a role, for runs of these pipelines and for `recctl doctor`. Empty for a role
/// that the target does not have.
pub fn permissions(
    role: Role,
    pipelines: &[&Pipeline],
    target: &AwsTarget,
    place: &Place,
) -> Vec<Grant> {
    let uses = Uses::of(pipelines, target);
    let mut grants = Grants { purpose: Purpose::Run, grants: Vec::new() };
    match role {
        Role::Task => {
            storage::lake(&mut grants, &uses, target, place);
            storage::tables(&mut grants, &uses, target, place);
            services::catalog(&mut grants, &uses, target, place);
            services::warehouse(&mut grants, &uses, target, place);
            services::jobs(&mut grants, &uses, target, place);
            grants.purpose = Purpose::Doctor;
            storage::for_doctor(&mut grants, &uses, target, place);
            services::for_doctor(&mut grants, &uses, target, place);
        }
        Role::Jobs => roles::jobs(&mut grants, &uses, target, place),
        Role::Warehouse => roles::warehouse(&mut grants, &uses, target, place),
    }
    grants.grants
}

/// Everything that `recctl doctor` looks at.
pub fn checklist(pipelines: &[&Pipeline], target: &AwsTarget, place: &Place) -> Checklist {
    let uses = Uses::of(pipelines, target);
    let roles = [
        (Role::Jobs, target.trainer.as_ref().map(|it| &it.role), !uses.jobs.is_empty()),
        (Role::Warehouse, target.warehouse.as_ref().map(|it| &it.copy_role), uses.warehouse),
    ];
    Checklist {
        grants: permissions(Role::Task, pipelines, target, place),
        principal: None,
        roles: roles
            .into_iter()
            .filter_map(|(role, arn, used)| {
                let arn = arn.filter(|arn| used && arn.starts_with("arn:"))?;
                Some(RoleNeeds {
                    role: arn.clone(),
                    services: roles::principals(role, target),
                    grants: permissions(role, pipelines, target, place),
                })
            })
            .collect(),
        buckets: uses.buckets(target),
        served: uses.served.iter().map(|served| served.table.to_string()).collect(),
        warehouse: uses.warehouse,
        jobs: uses.jobs(target),
        gaps: gaps(&uses, target),
        deep: false,
    }
}

/// Parts that the pipelines use and the target does not have.
fn gaps(uses: &Uses<'_>, target: &AwsTarget) -> Vec<Finding> {
    let subject = format!("target {}", target.name);
    let gap = |what: &str, part: &str, example: &str| {
        let text = format!("{what}, but the target has no `{part}`");
        Finding::fail(&subject, text).hint(format!("add `{part}: {example}` in pipelines.yaml"))
    };
    let mut gaps = Vec::new();
    if target.trainer.is_none() && !uses.jobs.is_empty() {
        let example = "{sagemaker: {role: \"arn:…\", image: \"…\"}}";
        gaps.push(gap("models are trained", "trainer", example));
    }
    if target.serving.is_none() && !uses.served.is_empty() {
        gaps.push(gap("recommendations are served", "serving", "{dynamodb: {table_prefix: rec-}}"));
    }
    if target.warehouse.is_none() && uses.wants_warehouse {
        let example = "{redshift: {workgroup: rec, database: dev, copy_role: \"arn:…\"}}";
        gaps.push(gap("tables are published to the warehouse", "warehouse", example));
    }
    gaps
}

/// Grants being gathered.
struct Grants {
    purpose: Purpose,
    grants: Vec<Grant>,
}

impl Grants {
    /// Adds a grant, unless there is nothing to grant on.
    fn add(
        &mut self,
        sid: &str,
        why: impl Into<String>,
        actions: &[&'static str],
        resources: Vec<String>,
        conditions: Vec<Condition>,
    ) {
        let mut unique: Vec<String> = Vec::new();
        for resource in resources {
            if !unique.contains(&resource) {
                unique.push(resource);
            }
        }
        if !unique.is_empty() {
            self.grants.push(Grant {
                sid: sid.to_owned(),
                why: why.into(),
                purpose: self.purpose,
                actions: actions.to_vec(),
                resources: unique,
                conditions,
            });
        }
    }
}

/// The actions, and the one that tags what is created if the target has tags.
fn tagging(actions: &[&'static str], tag: &'static str, target: &AwsTarget) -> Vec<&'static str> {
    let mut actions = actions.to_vec();
    if !target.tags.is_empty() {
        actions.push(tag);
        actions.sort_unstable();
    }
    actions
}

fn condition(
    operator: &'static str,
    key: &'static str,
    values: impl IntoIterator<Item = impl Into<String>>,
) -> Condition {
    Condition { operator, key, values: values.into_iter().map(Into::into).collect() }
}
