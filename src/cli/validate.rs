//! `recctl validate`

use std::collections::BTreeMap;

use super::plan::parse_var;
use super::{Ended, error, stdout};
use crate::app::App;
use crate::report::validation::{github, human, json, sarif};

/// Find all that is wrong with the project's files, without touching anything
///
/// Reads pipelines.yaml, jobs/, sql/ and the files of tests, types every query, and tells every
/// problem at once, each with its place. No data is read, no service asked, no credentials needed. It also says what it
/// could not check, and why. docs/validate.md lists the rules.
///
/// The exit code is 2 if there is an error (with --strict: or a warning), else 0.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  recctl validate
  recctl validate daily                    the queries of one pipeline only
  recctl validate --strict --format github in a workflow, beside the lines of a pull request
  recctl validate --format sarif > recctl.sarif")]
pub struct Args {
    /// Pipelines whose queries are typed [default: all]
    #[arg(value_name = "PIPELINE")]
    pipelines: Vec<String>,

    /// How the result is written
    #[arg(long, value_enum, default_value = "human")]
    format: Format,

    /// Let warnings fail too
    #[arg(long)]
    strict: bool,

    /// Set a variable of pipelines.yaml; may be given several times
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = parse_var)]
    vars: Vec<(String, String)>,
}

/// A format of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Source lines with carets
    Human,
    /// One JSON object
    Json,
    /// Workflow commands of GitHub
    Github,
    /// SARIF 2.1.0
    Sarif,
}

pub(super) async fn run(args: Args, app: &App) -> Ended {
    let given: BTreeMap<String, String> = args.vars.iter().cloned().collect();
    let report = app.validated_of(&args.pipelines, &given).await?;
    let prefix = app.path_prefix();
    let text = match args.format {
        Format::Human => {
            human(&report, &|path| app.read_project_file(path).ok(), stdout::look(app))
        }
        Format::Json => json(&report),
        Format::Github => github(&report, &prefix),
        Format::Sarif => sarif(&report, &prefix),
    };
    if !text.is_empty() {
        super::print(&text);
    }
    let fails = match args.strict {
        true => !report.problems.is_empty(),
        false => report.errors().next().is_some(),
    };
    Ok(if fails { error::USAGE } else { 0 })
}
