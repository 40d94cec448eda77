//! The preflight: whether the world is as a run needs it, found out without changing anything.

use async_trait::async_trait;
use serde::Serialize;

use crate::run::failure::Outcome;

/// What stands for the account's number where nobody has said it.
pub const ACCOUNT: &str = "${Account}";
/// What stands for the region where nobody has said it.
pub const REGION: &str = "${Region}";
/// What stands for the id of a serverless workgroup, which only AWS knows: its name is not in ARNs.
pub const WORKGROUP: &str = "${WorkgroupId}";
/// What stands for the name of the role that recctl itself runs as.
pub const TASK_ROLE: &str = "${TaskRole}";

/// Permissions that are given for one reason: every action on every resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Grant {
    /// Name within a policy, letters and digits only. Begins with the service.
    pub sid: String,
    /// What needs it: a lower-case fragment.
    pub why: String,
    /// Who needs it.
    pub purpose: Purpose,
    /// Actions such as `s3:GetObject`; never a pattern.
    pub actions: Vec<&'static str>,
    /// ARNs, which may hold `*` for a part of a name; `*` alone only where AWS takes nothing else.
    pub resources: Vec<String>,
    /// What a request has to fulfil beside.
    pub conditions: Vec<Condition>,
}

/// Who needs a permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// A run.
    Run,
    /// `recctl doctor` alone.
    Doctor,
}

/// A condition of a policy's statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// Operator such as `StringEquals`.
    pub operator: &'static str,
    /// Key such as `iam:PassedToService`.
    pub key: &'static str,
    /// Values, one of which has to match.
    pub values: Vec<String>,
}

/// Everything that is to be checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checklist {
    /// What recctl's own role has to be allowed.
    pub grants: Vec<Grant>,
    /// The ARN of the user or role that is to be checked; the caller if absent.
    pub principal: Option<String>,
    /// Roles that services take for recctl.
    pub roles: Vec<RoleNeeds>,
    /// Buckets that are read beside the lake's.
    pub buckets: Vec<String>,
    /// Served tables, as the pipeline names them.
    pub served: Vec<String>,
    /// Whether the warehouse is used.
    pub warehouse: bool,
    /// Remote jobs.
    pub jobs: Vec<JobNeeds>,
    /// Whether checks may cost something, such as a statement in the warehouse.
    pub deep: bool,
}

/// A role that a service takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleNeeds {
    /// What `recctl iam --role` calls it.
    pub option: &'static str,
    /// Its ARN.
    pub role: String,
    /// Service principals that it has to trust, such as `sagemaker.amazonaws.com`.
    pub services: Vec<&'static str>,
    /// What it has to be allowed.
    pub grants: Vec<Grant>,
}

/// What a remote job runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobNeeds {
    /// The step.
    pub step: String,
    /// What it counts as where quotas are concerned.
    pub kind: JobClass,
    /// The container's image.
    pub image: String,
    /// Instance types, the first choice first.
    pub instances: Vec<String>,
    /// Instances at the same time.
    pub count: u32,
}

/// A class of jobs with quotas of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum JobClass {
    /// Training.
    Training,
    /// Training on spot capacity.
    SpotTraining,
    /// Processing.
    Processing,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub subject: String,
    /// How it stands.
    pub state: FindingState,
    /// What was found: a lower-case fragment.
    pub what: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// How something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingState {
    /// As a run needs it.
    Ok,
    /// It could not be found out.
    Unknown,
    /// A run goes through, but somebody should look.
    Warn,
    /// A run would fail.
    Fail,
}

impl FindingState {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

impl Finding {
    /// As a run needs it.
    pub fn ok(subject: impl Into<String>, what: impl Into<String>) -> Self {
        Self::new(subject, FindingState::Ok, what)
    }

    /// It could not be found out.
    pub fn unknown(subject: impl Into<String>, what: impl Into<String>) -> Self {
        Self::new(subject, FindingState::Unknown, what)
    }

    /// A run goes through, but somebody should look.
    pub fn warn(subject: impl Into<String>, what: impl Into<String>) -> Self {
        Self::new(subject, FindingState::Warn, what)
    }

    /// A run would fail.
    pub fn fail(subject: impl Into<String>, what: impl Into<String>) -> Self {
        Self::new(subject, FindingState::Fail, what)
    }

    fn new(subject: impl Into<String>, state: FindingState, what: impl Into<String>) -> Self {
        Self { subject: subject.into(), state, what: what.into(), hint: None }
    }

    /// The same with what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Looks whether a run can go through.
#[async_trait]
pub trait Preflight: Send + Sync {
    /// Checks everything, and changes nothing. What cannot be found out is a finding of its own,
    /// so that one missing permission does not hide the rest.
    ///
    /// Errors: only where nothing at all can be checked.
    async fn check(&self, list: &Checklist) -> Outcome<Vec<Finding>>;
}
