//! The command line: one file per subcommand.

mod backfill;
mod completions;
mod diff;
mod doctor;
mod error;
mod format;
mod gc;
mod iam;
mod init;
mod job;
mod ledger;
mod lineage;
mod plan;
mod preview;
mod quarantine;
mod query;
mod recommend;
mod rollback;
mod run;
mod runs;
mod sample;
mod schema;
mod selection;
mod signals;
mod stdout;
mod tables;
mod test;
mod test_new;
mod validate;
mod why;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use self::signals::ending_at_once;
use crate::app::App;
use crate::pipeline::graph::Pipeline;
use crate::pipeline::interval::{DateRange, LogicalDate};
use crate::query::session::STACK;
use crate::run::failure::{Failure, FailureKind, Outcome};
use crate::settings::Settings;

/// Runs declarative daily pipelines for recommendations: clean and label raw events with SQL, train
/// and tune models, select the best, and serve what it recommends.
#[derive(Debug, Parser)]
#[command(name = "recctl", version, propagate_version = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    settings: Settings,
}

const EXAMPLES: &str = "\
Examples:
  recctl run daily                         run the pipeline `daily` for yesterday
  recctl run daily --date 2026-03-01       run it for a day
  recctl plan daily                        what a run would do, change and cost
  recctl recommend --user u0000001         what that user is served
  recctl query \"SELECT reason, count(*) FROM quarantine GROUP BY reason\"";

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Plan(plan::Args),
    Backfill(backfill::Args),
    Validate(validate::Args),
    Sample(sample::Args),
    Recommend(recommend::Args),
    Rollback(rollback::Args),
    Gc(gc::Args),
    Runs(runs::Args),
    Ledger(ledger::Args),
    Why(why::Args),
    Tables(tables::Args),
    Query(query::Args),
    Quarantine(quarantine::Args),
    Diff(diff::Args),
    Test(test::Args),
    Lineage(lineage::Args),
    Preview(preview::Args),
    Init(init::Args),
    Doctor(doctor::Args),
    Iam(iam::Args),
    Schema(schema::Args),
    Completions(completions::Args),
    Job(job::Args),
    /// `job train`, as SageMaker calls it: it starts a training image with the one argument `train`
    #[command(hide = true)]
    Train(job::Root),
}

/// How a command ended well: its exit code.
type Ended = Outcome<u8>;

/// Parses the command line, runs the command, and returns the exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return error::usage(&error),
    };
    let app = App::new(cli.settings);
    crate::report::log::start(app.mode, app.colour, App::now);
    let ended = match cli.command {
        Command::Completions(args) => completions::run(&args),
        Command::Schema(args) => schema::run(&args),
        Command::Job(args) => block_on(&app, ending_at_once(job::run(args))),
        Command::Train(root) => block_on(&app, ending_at_once(job::run(job::Args::train(root)))),
        Command::Iam(args) => block_on(&app, ending_at_once(iam::run(args, &app))),
        Command::Doctor(args) => block_on(&app, ending_at_once(doctor::run(args, &app))),
        Command::Run(args) => block_on(&app, run::run(args, &app)),
        Command::Backfill(args) => block_on(&app, backfill::run(args, &app)),
        Command::Plan(args) => block_on(&app, plan::run(&args, &app)),
        Command::Validate(args) => block_on(&app, ending_at_once(validate::run(args, &app))),
        Command::Sample(args) => block_on(&app, sample::run(args, &app)),
        Command::Recommend(args) => block_on(&app, ending_at_once(recommend::run(args, &app))),
        Command::Rollback(args) => block_on(&app, ending_at_once(rollback::run(args, &app))),
        Command::Gc(args) => block_on(&app, ending_at_once(gc::run(args, &app))),
        Command::Runs(args) => block_on(&app, ending_at_once(runs::run(args, &app))),
        Command::Ledger(args) => block_on(&app, ending_at_once(ledger::run(args, &app))),
        Command::Why(args) => block_on(&app, ending_at_once(why::run(args, &app))),
        Command::Tables(args) => block_on(&app, ending_at_once(tables::run(args, &app))),
        Command::Test(args) => block_on(&app, ending_at_once(test::run(args, &app))),
        Command::Lineage(args) => block_on(&app, ending_at_once(lineage::run(args, &app))),
        Command::Preview(args) => block_on(&app, ending_at_once(preview::run(args, &app))),
        Command::Init(args) => init::run(&args, &app),
        Command::Query(args) => block_on(&app, ending_at_once(query::run(args, &app))),
        Command::Quarantine(args) => block_on(&app, quarantine::run(args, &app)),
        Command::Diff(args) => block_on(&app, ending_at_once(diff::run(args, &app))),
    };
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            let code = error::code_of(failure.kind);
            error::tell(&failure, code, &app);
            ExitCode::from(code)
        }
    }
}

/// How long threads may take to notice that what they do was given up.
const GIVEN_UP: Duration = Duration::from_millis(200);

fn block_on(app: &App, work: impl Future<Output = Ended>) -> Ended {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(app.settings.threads().clamp(2, 8))
        .thread_stack_size(STACK)
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::new(FailureKind::Exhausted, format!("cannot start threads: {error}"))
        })?;
    let ended = runtime.block_on(work);
    // What was given up may hold a thread for as long as it likes.
    runtime.shutdown_timeout(GIVEN_UP);
    ended
}

/// The days from `--from` to `--to`. Errors: `Usage` if the second comes before the first.
fn range(from: LogicalDate, to: LogicalDate) -> Outcome<DateRange> {
    DateRange::new(from, to).map_err(|error| {
        let text = format!("--from {} comes after --to {}", error.first, error.last);
        Failure::new(FailureKind::Usage, text).with_hint("both days belong to the interval")
    })
}

/// The day that is meant: the one that was given, or yesterday, in UTC.
fn day(given: Option<LogicalDate>) -> LogicalDate {
    given.unwrap_or_else(|| LogicalDate::new(App::now().date_naive()).minus(1))
}

/// The day of a pipeline that is meant: the one that was given, or yesterday by its schedule's clock.
fn day_of(pipeline: &Pipeline, given: Option<LogicalDate>) -> LogicalDate {
    let scheduled = || pipeline.schedule.map(|schedule| schedule.date_at(App::now()));
    given.or_else(scheduled).unwrap_or_else(|| day(None))
}

/// Writes data to standard output. A reader that went away (`recctl tables | head`) is no failure.
fn print(text: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    let _ = out
        .write_all(text.as_bytes())
        .and_then(|()| if text.ends_with('\n') { out.flush() } else { out.write_all(b"\n") });
}

/// The command line as clap knows it, for completions.
fn command() -> clap::Command {
    use clap::CommandFactory;
    Cli::command()
}
