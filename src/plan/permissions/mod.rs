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
use super::effects::operation::Subject;

use crate::pipeline::graph::Pipeline;
use crate::pipeline::target::AwsTarget;
use crate::ports::preflight::{Checklist, Condition, Grant, Purpose, RoleNeeds};

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

impl Role {
    /// The word for it on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Task => "task",
            Self::Jobs => "jobs",
            Self::Warehouse => "warehouse",
        }
    }
}

/// The permissions of a role, for runs of these pipelines and for `recctl doctor`. Empty for a role
/// that the target does not have.
pub fn permissions(
    role: Role,
    pipelines: &[&Pipeline],
    target: &AwsTarget,
    place: &Place,
) -> Vec<Grant> {
    let uses = Uses::of(pipelines);
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
    let uses = Uses::of(pipelines);
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
                    option: role.word(),
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
        deep: false,
    }
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

/// What reads beside what changes something: the changes are those that plans list.
fn changing(subject: Subject, reads: &[&'static str]) -> Vec<&'static str> {
    let mut actions = subject.actions();
    actions.extend(reads);
    actions.sort_unstable();
    actions
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
