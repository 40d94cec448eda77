//! `recctl doctor`

use super::{Ended, error, stdout};
use crate::app::App;
use crate::pipeline::graph::Pipeline;
use crate::ports::{Finding, FindingState};
use crate::report::{OutputMode, findings};
use crate::run::failure::{FailureKind, Outcome};

/// Look whether a target is ready for a run: identity, permissions, buckets, tables, roles, images,
/// quotas, and what a run left half done; nothing is changed
///
/// Each check is a line: ok, or what to do. `unknown` says that something could not be looked at,
/// `warn` that a run goes through but somebody should look. With --log-format json each check is a
/// JSON object: subject, state, what, hint.
///
/// The exit code is 2 if a check failed, else 0.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  recctl doctor                            is there a place for the embedded target
  recctl doctor daily --target aws         is everything there that the pipeline `daily` needs
  recctl doctor --target aws --role arn:aws:iam::123456789012:role/recctl-task")]
pub struct Args {
    /// The pipeline that is to run [default: all of the project]
    pipeline: Option<String>,

    /// Also do what may cost something: a `SELECT 1` in the warehouse
    #[arg(long)]
    deep: bool,

    /// The role whose permissions are looked at, such as that of the ECS task [default: the caller's]
    #[arg(long, value_name = "ARN")]
    role: Option<String>,
}

pub(super) async fn run(args: Args, app: &App) -> Ended {
    let (target, pipelines) = app.chosen(args.pipeline.as_deref()).await?;
    let pipelines: Vec<&Pipeline> = pipelines.iter().collect();
    let (preflight, mut list) = app.preflight(&target, &pipelines).await?;
    list.deep = args.deep;
    list.principal = args.role;
    let found = match preflight.check(&list).await {
        Ok(mut found) => {
            found.extend(app.left_open(&pipelines).await);
            Ok(found)
        }
        found => found,
    };
    let found = or_identity(found)?;
    if app.mode == OutputMode::Json {
        for finding in &found {
            super::print(&serde_json::to_string(finding).unwrap_or_default());
        }
    } else {
        super::print(&findings::lines(&found, stdout::paint(app)).join("\n"));
    }
    let failed = found.iter().any(|finding| finding.state == FindingState::Fail);
    Ok(if failed { error::USAGE } else { 0 })
}

/// Without credentials there is one thing to tell, in the same form as all others.
fn or_identity(found: Outcome<Vec<Finding>>) -> Outcome<Vec<Finding>> {
    match found {
        Err(failure) if failure.kind == FailureKind::Denied => {
            Ok(vec![Finding::fail("identity", failure.message).hint(
                "set AWS_PROFILE, log in with `aws sso login`, or give the task a role; nothing else was checked",
            )])
        }
        found => found,
    }
}
