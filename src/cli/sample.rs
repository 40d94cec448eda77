//! `recctl sample`

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::signals::Stop;
use super::{Ended, error};
use crate::app::{App, LocalTarget, Opening};
use crate::pipeline::interval::LogicalDate;
use crate::run::event::{EventSink, RunEvent};
use crate::run::failure::{Failure, FailureKind, Outcome};
use crate::sample::{SampleError, SampleOptions, SampleSummary, generate};

/// Where the sample's events lie, as a source's path.
pub(super) const CLICKSTREAM_PATH: &str = "raw/clickstream/{yyyy}/{MM}/{dd}/";
/// The folder of the lake that the sample is made in.
pub(super) const FOLDER: &str = "raw";
/// Events a day of the sample that a first run makes.
pub(super) const LINES_PER_DAY: u64 = 3_000;
/// The seed where none is given.
pub(super) const SEED: u64 = 7;

/// Make raw input to try recctl on: a seeded click-stream with its dirt, products and users
///
/// Writes gzipped JSON lines under raw/clickstream/YYYY/MM/DD/HH/ of the embedded lake, as a
/// delivery stream leaves them, and says on standard output, as JSON, what it made: clean events,
/// duplicates, bots, malformed lines.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  recctl sample --events 1000000 --days 14
  recctl sample --events 10000000 --days 1 --last-day 2026-03-01 --seed 1")]
pub struct Args {
    /// Events in all, 10,000 to 100,000,000
    #[arg(long, default_value_t = 63_000)]
    events: u64,
    /// Days that they are spread over
    #[arg(long, default_value_t = 21)]
    days: u32,
    /// The last day [default: yesterday, UTC]
    #[arg(long, value_name = "YYYY-MM-DD")]
    last_day: Option<LogicalDate>,
    /// Seed: the same options make the same files
    #[arg(long, default_value_t = SEED)]
    seed: u64,
    /// Known users [default: grows with the events]
    #[arg(long)]
    users: Option<u32>,
    /// Items [default: grows with the events]
    #[arg(long)]
    items: Option<u32>,
}

pub(super) async fn run(args: Args, app: &App) -> Ended {
    let stop = Stop::listen(app.reporter())?;
    let target = app.target(Opening::Create).await?;
    let Some(local) = &target.local else {
        let text = "the sample is made on the embedded target only";
        return Err(Failure::new(FailureKind::Usage, text).with_hint(
            "make it without --target, and copy `.recctl/lake/raw/` below the target's lake",
        ));
    };
    let last = super::day(args.last_day);
    let mut options = options(app, local, args.events, args.days, last, args.seed);
    options.users = args.users;
    options.items = args.items;
    let made = make(options, app.reporter(), stop.asked()).await;
    let summary = match made {
        // What was made of whole days stays; the day under way was removed.
        Err(failure) if failure.kind == FailureKind::Cancelled => {
            error::tell(&failure, stop.code(), app);
            return Ok(stop.code());
        }
        made => made?,
    };
    let text = serde_json::to_string_pretty(&summary)
        .map_err(|error| Failure::new(FailureKind::Internal, error.to_string()))?;
    super::print(&text);
    Ok(0)
}

pub(super) fn options(
    app: &App,
    local: &LocalTarget,
    events: u64,
    days: u32,
    last: LogicalDate,
    seed: u64,
) -> SampleOptions {
    SampleOptions {
        events,
        days,
        last_day: last.day(),
        seed,
        users: None,
        items: None,
        threads: app.settings.threads(),
        output: local.lake.clone(),
    }
}

/// Makes the sample on a thread of its own.
pub(super) async fn make(
    options: SampleOptions,
    events: Arc<dyn EventSink>,
    cancel: CancellationToken,
) -> Outcome<SampleSummary> {
    let made = tokio::task::spawn_blocking(move || {
        generate(
            &options,
            &|progress| {
                events.emit(RunEvent::SampleProgressed {
                    done: progress.lines_done,
                    total: progress.lines,
                });
            },
            &|| cancel.is_cancelled(),
        )
    });
    match made.await {
        Ok(made) => made.map_err(|error| failure_of(&error)),
        Err(error) => {
            Err(Failure::new(FailureKind::Internal, format!("sampling panicked: {error}")))
        }
    }
}

fn failure_of(error: &SampleError) -> Failure {
    let kind = match error {
        SampleError::OutOfRange { .. } => FailureKind::Usage,
        SampleError::Occupied { .. } => FailureKind::Usage,
        SampleError::Cancelled => FailureKind::Cancelled,
        SampleError::Io { .. } => FailureKind::Transient,
        SampleError::Thread { .. } | SampleError::Weights { .. } => FailureKind::Internal,
    };
    let failure = Failure::new(kind, error.to_string());
    match error {
        SampleError::Occupied { .. } => {
            failure.with_hint("the lake holds raw input already: make the sample in another --home, or remove its folder `lake/raw` first")
        }
        _ => failure,
    }
}
