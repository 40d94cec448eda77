//! Who is asking.

use super::super::error::failure;
use super::super::session::AwsSession;
use crate::ports::preflight::Finding;
use crate::run::failure::Outcome;

/// The user or role whose permissions are looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Account.
    pub account: String,
    /// ARN of the role or user; none if it is one that IAM cannot simulate, such as the root user.
    pub arn: Option<String>,
    /// The role's name, with its path as far as that is known.
    pub name: Option<String>,
    /// How people know it.
    pub shown: String,
}

/// Finds out who is asking, or takes `other`. Errors: `Denied` without valid credentials.
pub async fn check(
    session: &AwsSession,
    other: Option<&str>,
) -> Outcome<(Principal, Vec<Finding>)> {
    let caller = session.sts().get_caller_identity().send().await;
    let caller = caller.map_err(|error| failure("find out who is asking", &error, |_| None))?;
    let account = caller.account().unwrap_or_default().to_owned();
    let arn = caller.arn().unwrap_or_default();
    let mut findings = vec![Finding::ok(
        "identity",
        format!("`{arn}` in {} (account {account})", session.region()),
    )];
    let mut principal = match of(other.unwrap_or(arn)) {
        Subject::Named { arn, name } => Principal {
            shown: name.clone().unwrap_or_else(|| arn.clone()),
            arn: Some(arn),
            name,
            account,
        },
        Subject::Nobody => {
            findings.push(
                Finding::warn("identity", "these credentials are no role's or user's of IAM")
                    .hint("run as the role that the task will have, or name it with --role"),
            );
            Principal { account, arn: None, name: None, shown: arn.to_owned() }
        }
    };
    // The session's ARN leaves out the path of the role, without which IAM does not find it.
    if let (None, Some(name)) = (other, &principal.name)
        && let Ok(found) = session.iam().get_role().role_name(name).send().await
        && let Some(role) = found.role()
    {
        principal.arn = Some(role.arn().to_owned());
        principal.name = role.arn().split_once(":role/").map(|(_, name)| name.to_owned());
    }
    Ok((principal, findings))
}

enum Subject {
    Named { arn: String, name: Option<String> },
    Nobody,
}

/// What IAM can simulate for an ARN of a caller.
fn of(arn: &str) -> Subject {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let [_, partition, service, _, account, resource] = parts.as_slice() else {
        return Subject::Nobody;
    };
    match (*service, resource.split_once('/')) {
        ("sts", Some(("assumed-role", rest))) => {
            let name = rest.split('/').next().unwrap_or(rest);
            let arn = format!("arn:{partition}:iam::{account}:role/{name}");
            Subject::Named { arn, name: Some(name.to_owned()) }
        }
        ("iam", Some(("role", name))) => {
            Subject::Named { arn: arn.to_owned(), name: Some(name.to_owned()) }
        }
        ("iam", Some(("user", _))) => Subject::Named { arn: arn.to_owned(), name: None },
        _ => Subject::Nobody,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(arn: &str) -> Option<(String, Option<String>)> {
        match of(arn) {
            Subject::Named { arn, name } => Some((arn, name)),
            Subject::Nobody => None,
        }
    }

    #[test]
    fn sessions_become_roles() {
        let role = |arn: &str, name: &str| Some((arn.to_owned(), Some(name.to_owned())));
        assert_eq!(
            named("arn:aws:sts::123456789012:assumed-role/recctl-task/0f3e"),
            role("arn:aws:iam::123456789012:role/recctl-task", "recctl-task")
        );
        assert_eq!(
            named("arn:aws-cn:iam::123456789012:role/data/recctl"),
            role("arn:aws-cn:iam::123456789012:role/data/recctl", "data/recctl")
        );
        let user = "arn:aws:iam::123456789012:user/ann";
        assert_eq!(named(user), Some((user.to_owned(), None)));
        for nobody in
            ["arn:aws:iam::123456789012:root", "arn:aws:sts::123456789012:federated-user/ann", ""]
        {
            assert_eq!(named(nobody), None, "{nobody}");
        }
    }
}
