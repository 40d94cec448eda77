//! `recctl lineage`

use std::path::PathBuf;

use super::{Ended, stdout};
use crate::app::App;
use crate::lineage::{Asked, Directions, graph};
use crate::report::Paint;
use crate::report::lineage::{html, json, mermaid, text};
use crate::run::failure::{Failure, FailureKind, io_failure};

/// Show what columns are made from and what they go into, from sources to what is served
///
/// Read off the project's files: nothing is run and no target is opened. Without a name it is about
/// the whole project. Beside tables and sources there are `warehouse.<table>`, the channels of jobs
/// (`<step>/<channel>`), models, selections, and `served.<table>`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  recctl lineage interactions.weight                what it is made from and goes into
  recctl lineage clickstream.user_agent --downstream
  recctl lineage user_profiles                      each column of a table
  recctl lineage --format html -o lineage.html      a page to look around in
  recctl lineage recs.score --format mermaid --upstream --depth 3")]
pub struct Args {
    /// A table or a column of one; the whole project if absent
    #[arg(value_name = "TABLE[.COLUMN]")]
    name: Option<String>,

    /// Only what it is made from
    #[arg(long, conflicts_with = "downstream")]
    upstream: bool,

    /// Only what it goes into
    #[arg(long)]
    downstream: bool,

    /// Edges in a row at most [default: 1 for each column of a table, no limit for one column]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    depth: Option<u16>,

    /// How it is shown; a page always holds the whole project
    #[arg(long, value_enum, default_value = "human")]
    format: Format,

    /// Write to a file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// How lineage is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// An indented tree
    #[value(alias = "text")]
    Human,
    /// One JSON object, described in docs/lineage.md
    Json,
    /// A Mermaid flowchart: of columns if one is named, of whole tables otherwise
    Mermaid,
    /// One self-contained page with a drawing to move, zoom and search in
    Html,
}

pub(super) async fn run(args: Args, app: &App) -> Ended {
    // What is wrong somewhere else keeps nobody from looking; what cannot be followed is told.
    let report = app.validated(&std::collections::BTreeMap::new()).await;
    let graph = graph(&report.project, &report.analyses);
    if graph.datasets.is_empty() || report.project.pipelines.is_empty() {
        app.project_checked(&std::collections::BTreeMap::new()).await?;
    }
    let asked = match &args.name {
        None => Asked::Everything,
        Some(name) => graph.find(name).map_err(|missing| {
            Failure::new(FailureKind::Usage, missing.message).with_hint(missing.hint)
        })?,
    };
    let directions = Directions {
        up: !args.downstream,
        down: !args.upstream,
        depth: args.depth.map(usize::from),
    };
    let selected = || graph.select(asked, directions);
    let shown = match args.format {
        Format::Human => text(&graph, asked, directions, paint(app, args.output.is_some())),
        Format::Json => json(&graph, args.name.as_deref(), &selected()),
        Format::Mermaid => mermaid(&graph, asked, &selected()),
        Format::Html => html(&graph, asked),
    };
    match &args.output {
        None => super::print(&shown),
        Some(path) => {
            std::fs::write(path, shown).map_err(|error| io_failure("write", path, &error))?;
        }
    }
    Ok(0)
}

/// Colours are for a terminal that shows the tree itself.
fn paint(app: &App, to_file: bool) -> Paint {
    if to_file { Paint::off() } else { stdout::paint(app) }
}
