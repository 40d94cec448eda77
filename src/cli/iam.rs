//! `recctl iam`

use serde_json::json;

use super::Ended;
use crate::app::App;
use crate::pipeline::graph::Pipeline;
use crate::pipeline::target::{AwsTarget, Target};
use crate::plan::permissions::{Place, Role, Trust, permissions, trust};
use crate::plan::policy::{Document, MAX_CHARACTERS, documents};
use crate::ports::Grant;
use crate::ports::preflight::{ACCOUNT, Purpose, REGION, TASK_ROLE, WORKGROUP};
use crate::run::failure::{Failure, FailureKind};

/// Print the least policy that a pipeline's run needs on an AWS target; nothing is asked of AWS
///
/// The document holds no wildcard action, and names its resources. What only AWS knows stays a
/// placeholder such as ${Account} until an option says it. A policy of more than 6,144 characters,
/// which is all that IAM takes, comes as a list of several; all of them are to be attached.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  recctl iam daily --target aws                          for the role of the ECS task
  recctl iam daily --target aws --trust                  whom that role trusts
  recctl iam daily --target aws --role jobs              for the role that SageMaker's jobs take
  recctl iam daily --target aws --account 123456789012 > policy.json")]
pub struct Args {
    /// The pipeline
    pipeline: String,

    /// The role: that of the task that runs recctl, of SageMaker's jobs, or of Redshift's COPY
    #[arg(long, value_enum, default_value = "task")]
    role: RoleName,

    /// Print the role's trust policy instead: who may take it
    #[arg(long, conflicts_with_all = ["json", "doctor"])]
    trust: bool,

    /// Add what `recctl doctor` reads and a run does not
    #[arg(long)]
    doctor: bool,

    /// Print policies, trust policy, and each permission with its reason, as one JSON object
    #[arg(long)]
    json: bool,

    /// The number of the account [default: that of the SageMaker role, if there is one]
    #[arg(long, value_name = "ID", value_parser = account)]
    account: Option<String>,

    /// The region [default: the target's]
    #[arg(long, value_name = "NAME")]
    region: Option<String>,

    /// The id of the serverless workgroup, which its ARN ends in
    #[arg(long, value_name = "ID")]
    workgroup_id: Option<String>,
}

/// A role, as the command line names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum RoleName {
    /// The ECS task's, which runs recctl
    Task,
    /// That of SageMaker's jobs
    Jobs,
    /// That which Redshift takes to read the lake
    Warehouse,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Task => Self::Task,
            RoleName::Jobs => Self::Jobs,
            RoleName::Warehouse => Self::Warehouse,
        }
    }
}

fn account(text: &str) -> Result<String, String> {
    match text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => Ok(text.to_owned()),
        false => Err("expected the 12 digits of an account".to_owned()),
    }
}

pub(super) async fn run(args: Args, app: &App) -> Ended {
    let (target, pipelines) = app.chosen(Some(&args.pipeline)).await?;
    let target = match &target {
        Target::Aws(target) => target,
        Target::Local => {
            let text = "the embedded target needs no permissions";
            return Err(Failure::new(FailureKind::Usage, text)
                .with_hint("name a target with an account, for example --target aws"));
        }
    };
    let mut place = Place::new(target, args.account.as_deref(), args.region.as_deref());
    if let Some(id) = &args.workgroup_id {
        place = place.with_workgroup(id);
    }
    let role = args.role.into();
    let pipelines: Vec<&Pipeline> = pipelines.iter().collect();
    let mut grants = permissions(role, &pipelines, target, &place);
    grants.retain(|grant| args.doctor || grant.purpose == Purpose::Run);
    if grants.is_empty() {
        let text = format!("`{}` needs no such role on `{}`", args.pipeline, target.name);
        return Err(Failure::new(FailureKind::NotFound, text));
    }
    let documents = documents(&grants, MAX_CHARACTERS);
    let trust = trust(role, target, &place);
    let text = if args.json {
        whole(&args, target, role, &grants, &documents, &trust)
    } else if args.trust {
        pretty(&trust)
    } else {
        match documents.as_slice() {
            [one] => pretty(one),
            several => pretty(&several),
        }
    };
    super::print(&text);
    tell(&notes(&text, &documents, &args), app);
    Ok(0)
}

/// Everything, for programs. The shape is in docs/aws.md.
fn whole(
    args: &Args,
    target: &AwsTarget,
    role: Role,
    grants: &[Grant],
    documents: &[Document],
    trust: &Trust,
) -> String {
    pretty(&json!({
        "version": 1,
        "pipeline": args.pipeline,
        "target": target.name,
        "role": role,
        "policies": documents,
        "trust": trust,
        "grants": grants,
    }))
}

fn pretty(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// What a person should know before the document is of use.
fn notes(text: &str, documents: &[Document], args: &Args) -> Vec<String> {
    let mut notes = Vec::new();
    for (placeholder, how) in [
        (ACCOUNT, "--account"),
        (REGION, "--region, or `region` in the target"),
        (WORKGROUP, "--workgroup-id (`aws redshift-serverless get-workgroup` tells it)"),
        (TASK_ROLE, "the name of the role that gets the policy"),
    ] {
        if text.contains(placeholder) {
            notes.push(format!("{placeholder} is not known here: {how}"));
        }
    }
    if documents.len() > 1 && !args.trust {
        notes.push(format!(
            "{} policies, as one may have {MAX_CHARACTERS} characters: attach all",
            documents.len()
        ));
    }
    notes
}

/// Talk, for standard error.
fn tell(notes: &[String], app: &App) {
    if app.settings.quiet {
        return;
    }
    let events = app.reporter();
    for note in notes {
        events.emit(crate::run::event::RunEvent::Noticed { message: note.clone() });
    }
}
