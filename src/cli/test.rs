//! `recctl test`

use std::collections::BTreeMap;
use std::time::Instant;

use super::Ended;
use super::error::{FAILED, USAGE};
use super::stdout;
use crate::app::{App, Suite};
use crate::pipeline::nearest::nearest;
use crate::report::testing::{Told, human, json, junit};
use crate::run::failure::{Failure, FailureKind, Outcome};
use crate::testing::{Case, run_all};

/// Run the unit tests of the project's queries: rows in, rows out
///
/// The tests stand in YAML files in the folder that `tests:` of pipelines.yaml names, `tests/` by
/// default. They run in this process on the engine that runs pipelines: no network, nothing is
/// written, no target is opened.
///
/// The exit code is 0 if all pass, 1 if rows are not as expected, and 2 if a file or a test does not
/// fit the project.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  recctl test                                  all tests
  recctl test clean_events                     those of a table
  recctl test sql/tests/clean_events.yaml      those of a file, or of a folder
  recctl test \"bots are left out\"              one by its name
  recctl test --format junit > tests.xml       for a CI service")]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Only tests of this name, table, file or folder
    #[arg(value_name = "NAME|TABLE|PATH")]
    only: Vec<String>,
    /// How to print
    #[arg(long, default_value = "human")]
    format: Format,
    /// End at the first test that does not pass
    #[arg(long)]
    fail_fast: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    New(super::test_new::Args),
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people: what differs, side by side.
    Human,
    /// One JSON document.
    Json,
    /// JUnit's XML.
    Junit,
}

pub(super) async fn run(args: Args, app: &App) -> Ended {
    if let Some(Command::New(new)) = args.command {
        return super::test_new::run(new, app).await;
    }
    let started = Instant::now();
    let report = app.project_checked(&BTreeMap::new()).await?;
    let mut suite = app.suite(&report);
    if suite.cases.is_empty() && suite.problems.is_empty() && args.only.is_empty() {
        super::print(&no_tests(&suite, args.format));
        return Ok(0);
    }
    if !args.only.is_empty() {
        narrow(&mut suite, &args.only)?;
    }
    let engine = app.memory_engine()?;
    let Suite { cases, problems, .. } = suite;
    let number = cases.len();
    let results = run_all(&engine, cases, args.fail_fast).await?;
    let told = Told {
        results: &results,
        problems: &problems,
        not_run: number - results.len(),
        seconds: started.elapsed().as_secs_f64(),
    };
    match args.format {
        Format::Human => {
            let read = |path: &str| app.read_project_file(path).ok();
            let lines = human(&told, &read, stdout::look(app), stdout::width());
            super::print(&lines.join("\n"));
        }
        Format::Json => super::print(&json(&told)),
        Format::Junit => super::print(&junit(&told)),
    }
    Ok(match (told.passed(), told.broken()) {
        (true, _) => 0,
        (false, true) => USAGE,
        (false, false) => FAILED,
    })
}

fn no_tests(suite: &Suite, format: Format) -> String {
    let told = Told { results: &[], problems: &[], not_run: 0, seconds: 0.0 };
    match format {
        Format::Human if suite.files.is_empty() => format!(
            "no tests: there is no YAML file below `{}/` (docs/testing.md shows how to write one, `recctl test new TABLE` writes one)",
            suite.folder
        ),
        Format::Human => {
            format!("no tests in the {} files below `{}/`", suite.files.len(), suite.folder)
        }
        Format::Json => json(&told),
        Format::Junit => junit(&told),
    }
}

/// Leaves the tests that somebody asked for. Errors: a word that stands for none.
fn narrow(suite: &mut Suite, only: &[String]) -> Outcome<()> {
    let path = |word: &str| word.trim_start_matches("./").trim_end_matches('/').to_owned();
    let in_file = |file: &str, word: &str| {
        let path = path(word);
        file == path || file.strip_prefix(&path).is_some_and(|rest| rest.starts_with('/'))
    };
    let is_meant = |case: &Case, word: &str| {
        let test = &case.test;
        test.name == word || test.table.as_str() == word || in_file(&test.place.file, word)
    };
    for word in only {
        let known = suite.cases.iter().any(|case| is_meant(case, word));
        if !known && !suite.files.iter().any(|file| in_file(file, word)) {
            return Err(unknown(suite, word));
        }
    }
    suite.cases.retain(|case| only.iter().any(|word| is_meant(case, word)));
    suite.problems.retain(|problem| only.iter().any(|word| in_file(&problem.file, word)));
    Ok(())
}

fn unknown(suite: &Suite, word: &str) -> Failure {
    let names = suite.cases.iter().flat_map(|case| {
        [case.test.name.as_str(), case.test.table.as_str(), case.test.place.file.as_str()]
    });
    let message = format!("`{word}` is no test, no table with tests and no file of tests");
    let failure = Failure::new(FailureKind::Usage, message);
    match nearest(word, names) {
        Some(near) => failure.with_hint(format!("did you mean `{near}`?")),
        None => failure.with_hint(format!("tests are below `{}/`", suite.folder)),
    }
}
