//! Whether an AWS target is ready for a run. Every request reads; nothing is changed.

mod buckets;
mod catalog;
mod identity;
mod images;
mod permissions;
mod quotas;
mod roles;
mod tables;
mod warehouse;

use std::fmt::Display;

use async_trait::async_trait;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use futures::future::join;

use self::identity::Principal;
use super::error::failure;
use super::session::AwsSession;
use crate::ports::preflight::{ACCOUNT, Checklist, Finding, Grant, Preflight, TASK_ROLE};
use crate::run::failure::{FailureKind, Outcome};

/// Looks at an AWS target.
#[derive(Debug, Clone)]
pub struct AwsPreflight {
    session: AwsSession,
}

impl AwsPreflight {
    /// Looks with the credentials of this session.
    pub fn new(session: AwsSession) -> Self {
        Self { session }
    }
}

#[async_trait]
impl Preflight for AwsPreflight {
    async fn check(&self, list: &Checklist) -> Outcome<Vec<Finding>> {
        let session = &self.session;
        let (principal, mut findings) = identity::check(session, list.principal.as_deref()).await?;
        let grants = |grants: &[Grant]| filled(grants, &principal);
        let permissions = async {
            let (mut found, simulated) =
                permissions::check(session, &principal, &grants(&list.grants)).await;
            if !simulated {
                found.extend(permissions::probes(session, list).await);
            }
            for role in &list.roles {
                // Who may not simulate for one may not for another: it was told.
                let needs = simulated.then(|| grants(&role.grants));
                found.extend(roles::check(session, &principal, role, needs.as_deref()).await);
            }
            found
        };
        let services = async {
            let mut found = buckets::check(session, &list.buckets).await;
            found.extend(catalog::check(session).await);
            found.extend(tables::check(session, &list.served).await);
            if list.warehouse {
                found.extend(warehouse::check(session, list.deep).await);
            }
            found.extend(images::check(session, &list.jobs).await);
            found.extend(quotas::check(session, &list.jobs).await);
            found
        };
        let (permissions, services) = join(permissions, services).await;
        findings.extend(permissions);
        findings.extend(services);
        Ok(findings)
    }
}

/// The grants with what is known by now of the account and of whoever asks.
fn filled(grants: &[Grant], principal: &Principal) -> Vec<Grant> {
    let fill = |text: &String| {
        let text = text.replace(ACCOUNT, &principal.account);
        match &principal.name {
            Some(name) => text.replace(TASK_ROLE, name),
            None => text,
        }
    };
    let mut grants = grants.to_vec();
    for grant in &mut grants {
        grant.resources = grant.resources.iter().map(fill).collect();
    }
    grants
}

/// A look that was not taken: because it is not allowed, or for another reason.
fn unread<E>(
    subject: impl Into<String>,
    doing: impl Display,
    action: &str,
    error: &SdkError<E, HttpResponse>,
) -> Finding
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    // A bare 403 is how S3 refuses requests whose answers have no body.
    let failure = failure(doing, error, |_| None);
    match failure.kind {
        FailureKind::Denied => {
            Finding::unknown(subject, format!("nobody may look: {}", failure.message))
                .hint(format!("allow `{action}` (`recctl iam --doctor` prints the policy)"))
        }
        _ => Finding::unknown(subject, failure.message),
    }
}
