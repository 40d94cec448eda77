//! Redshift: reached only by a statement, which may wake a paused warehouse and so costs.

use std::time::Duration;

use aws_sdk_redshiftdata::types::StatusString;

use super::super::error::failure;
use super::super::session::AwsSession;
use crate::pipeline::target::RedshiftEndpoint;
use crate::ports::preflight::Finding;

/// How often a statement is looked at, and how long between: 30 seconds in all, as a paused
/// serverless workgroup takes some to wake.
const LOOKS: u32 = 60;
const BETWEEN: Duration = Duration::from_millis(500);

/// Sends `SELECT 1` if `deep`.
pub async fn check(session: &AwsSession, deep: bool) -> Vec<Finding> {
    let Some(options) = &session.target().warehouse else { return Vec::new() };
    let client = session.redshift_data();
    let mut request = client
        .execute_statement()
        .sql("SELECT 1")
        .database(&options.database)
        .set_secret_arn(options.secret.clone());
    let name = match &options.endpoint {
        RedshiftEndpoint::Workgroup(workgroup) => {
            request = request.workgroup_name(workgroup);
            workgroup
        }
        RedshiftEndpoint::Cluster { cluster, user } => {
            let user = user.clone().filter(|_| options.secret.is_none());
            request = request.cluster_identifier(cluster).set_db_user(user);
            cluster
        }
    };
    let subject = format!("warehouse {name}");
    if !deep {
        return vec![
            Finding::unknown(subject, "only a statement can tell whether it can be reached")
                .hint("`--deep` sends `SELECT 1`, which may wake a paused warehouse"),
        ];
    }
    let hint = "see `warehouse` in pipelines.yaml, and whether the user may use the database";
    let id = match request.send().await {
        Ok(sent) => sent.id.unwrap_or_default(),
        Err(error) => {
            let failure = failure("send a statement", &error, |_| None);
            let hint = failure.hint.clone().unwrap_or_else(|| hint.to_owned());
            return vec![Finding::fail(subject, failure.message).hint(hint)];
        }
    };
    for _ in 0..LOOKS {
        let found = match client.describe_statement().id(&id).send().await {
            Ok(found) => found,
            Err(error) => {
                let failure = failure("look at a statement", &error, |_| None);
                return vec![Finding::fail(subject, failure.message).hint(hint)];
            }
        };
        match found.status() {
            Some(StatusString::Finished) => {
                let what = format!("answers in the database `{}`", options.database);
                return vec![Finding::ok(subject, what)];
            }
            Some(StatusString::Failed | StatusString::Aborted) => {
                let why = found.error().unwrap_or("no reason was told");
                return vec![
                    Finding::fail(subject, format!("`SELECT 1` failed: {why}")).hint(hint),
                ];
            }
            _ => tokio::time::sleep(BETWEEN).await,
        }
    }
    vec![Finding::unknown(subject, "`SELECT 1` has not ended in 30 seconds")]
}
