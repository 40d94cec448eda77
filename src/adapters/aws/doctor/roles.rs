//! Roles that services take: whether they are there, whom they trust, and what they are allowed.

use serde_json::Value;

use super::super::error::code;
use super::super::session::AwsSession;
use super::identity::Principal;
use super::{permissions, unread};
use crate::ports::preflight::{Finding, Grant, RoleNeeds};

/// Looks at one role, and at what it is allowed if `grants` says what it needs.
pub async fn check(
    session: &AwsSession,
    principal: &Principal,
    needs: &RoleNeeds,
    grants: Option<&[Grant]>,
) -> Vec<Finding> {
    let path = needs.role.split_once(":role/").map_or(needs.role.as_str(), |(_, path)| path);
    let name = path.rsplit('/').next().unwrap_or(path);
    let subject = format!("role {name}");
    let trust = format!("`recctl iam --role {} --trust`", needs.option);
    if needs.role.split(':').nth(4).is_some_and(|account| account != principal.account) {
        let what = format!("`{}` is another account's, where nobody can look", needs.role);
        return vec![Finding::unknown(subject, what)];
    }
    let found = session.iam().get_role().role_name(name).send().await;
    let document = match &found {
        Ok(found) => found.role().and_then(|role| role.assume_role_policy_document()),
        Err(error) if code(error) == Some("NoSuchEntity") => {
            let finding = Finding::fail(subject, format!("there is no role `{}`", needs.role));
            return vec![finding.hint(format!("make it: {trust} prints whom it has to trust"))];
        }
        Err(error) => {
            let mut findings = vec![unread(&subject, "look at the role", "iam:GetRole", error)];
            if let Some(grants) = grants {
                findings.extend(permissions::of_role(session, &needs.role, name, grants).await);
            }
            return findings;
        }
    };
    let mut findings = Vec::new();
    for service in &needs.services {
        findings.push(match document.map(|document| trusts(document, service)) {
            Some(true) => Finding::ok(&subject, format!("trusts {service}")),
            Some(false) => Finding::fail(&subject, format!("does not trust {service}"))
                .hint(format!("give it the trust policy that {trust} prints")),
            None => Finding::unknown(&subject, "its trust policy was not told"),
        });
    }
    if let Some(grants) = grants {
        findings.extend(permissions::of_role(session, &needs.role, name, grants).await);
    }
    findings
}

/// Whether a trust policy, encoded as in a URL, lets a service take the role. Conditions are taken
/// as fulfilled.
fn trusts(document: &str, service: &str) -> bool {
    // One field of a form is encoded alike.
    let form = format!("d={}", document.replace('+', "%2B"));
    let text =
        url::form_urlencoded::parse(form.as_bytes()).next().map(|(_, text)| text.into_owned());
    let Some(policy) = text.and_then(|text| serde_json::from_str::<Value>(&text).ok()) else {
        return false;
    };
    one_or_many(&policy["Statement"]).iter().any(|statement| {
        let holds = |value: &Value, wanted: &[&str]| {
            one_or_many(value).iter().any(|it| it.as_str().is_some_and(|it| wanted.contains(&it)))
        };
        statement["Effect"] == "Allow"
            && holds(&statement["Action"], &["sts:AssumeRole", "sts:*", "*"])
            && holds(&statement["Principal"]["Service"], &[service])
    })
}

fn one_or_many(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(values) => values.iter().collect(),
        Value::Null => Vec::new(),
        one => vec![one],
    }
}

#[cfg(test)]
mod tests {
    use super::trusts;

    #[test]
    fn trust_is_read_from_the_document() {
        let encoded = |text: &str| {
            url::form_urlencoded::byte_serialize(text.as_bytes())
                .collect::<String>()
                .replace('+', "%20")
        };
        let one = r#"{"Statement":{"Effect":"Allow","Principal":{"Service":"sagemaker.amazonaws.com"},"Action":"sts:AssumeRole"}}"#;
        let many = r#"{"Statement": [
            {"Effect":"Deny","Principal":{"Service":"glue.amazonaws.com"},"Action":"sts:AssumeRole"},
            {"Effect":"Allow","Principal":{"Service":["a","redshift.amazonaws.com"]},"Action":["sts:TagSession","sts:AssumeRole"]},
            {"Effect":"Allow","Principal":{"AWS":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;
        assert!(trusts(&encoded(one), "sagemaker.amazonaws.com"));
        assert!(trusts(one, "sagemaker.amazonaws.com"), "some answer without encoding");
        assert!(!trusts(&encoded(one), "redshift.amazonaws.com"));
        assert!(trusts(&encoded(many), "redshift.amazonaws.com"));
        assert!(!trusts(&encoded(many), "glue.amazonaws.com"), "a denial is no trust");
        assert!(!trusts(&encoded(many), "ecs-tasks.amazonaws.com"), "not a service");
        assert!(!trusts("%7B", "sagemaker.amazonaws.com"));
    }
}
