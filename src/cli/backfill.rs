//! `recctl backfill`

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::format::Format;
use super::selection::SelectionArgs;
use super::signals::Stop;
use super::stdout::paint;
use super::{Ended, error, plan};
use crate::app::{App, Opening, Target};
use crate::engine::backfill::{BackfillOptions, Pricing, carry_out};
use crate::engine::settle::settle;
use crate::engine::{gather, standing, unfinished};
use crate::pipeline::graph::Pipeline;
use crate::pipeline::interval::{DateRange, LogicalDate};
use crate::pipeline::target as declared;
use crate::plan::backfill::{Asked, Backfill, DayState, Order, at_most, backfill};
use crate::report::Paint;
use crate::report::backfill::{About, Teller, json, lines};
use crate::report::level::Level;
use crate::run::event::{BackfillEvent, BackfillSink, EventSink};
use crate::run::failure::{Failure, FailureKind, Outcome};
use crate::run::record::Status;

/// Days of a backfill: the files of each day are listed, and each is planned, before anything begins.
const MOST_DAYS: u32 = 1_100;

/// Run a pipeline for many days: those that are missing, that failed, or whose inputs changed
///
/// Shows the whole plan first and asks. Each day is a run of its own: days that do not need each
/// other run side by side, a day that fails stops only those that need it, and an interrupted
/// backfill goes on when it is started again. What serves stays as it is unless --serve is given.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  recctl backfill daily --from 2026-03-01 --to 2026-03-31 --dry-run       the plan, and nothing else
  recctl backfill daily --from 2026-03-01 --to 2026-03-31 --parallel 4    asks, then runs
  recctl backfill daily --from 2026-03-01 --to 2026-03-31 --only missing,failed --yes
  recctl backfill daily --from 2026-03-01 --to 2026-03-31 --select +interactions --set min_price=1
  recctl backfill daily --from 2026-03-01 --to 2026-03-31 --target aws --max-cost 25 --yes")]
pub struct Args {
    /// The pipeline, as pipelines.yaml names it
    pipeline: String,
    /// The first day
    #[arg(long, value_name = "YYYY-MM-DD")]
    from: LogicalDate,
    /// The last day
    #[arg(long, value_name = "YYYY-MM-DD")]
    to: LogicalDate,
    /// Actions that run at once, of all days together
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    parallel: u16,
    /// Only days of which something is missing or stale, or whose last run failed [default: all days
    /// with something to do]
    #[arg(long, value_name = "STATES", value_enum, value_delimiter = ',')]
    only: Vec<Only>,
    #[command(flatten)]
    selection: SelectionArgs,
    /// Set a variable of pipelines.yaml for these days; may be given several times
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = plan::parse_var)]
    set: Vec<(String, String)>,
    /// Refuse a plan that may cost more, and begin no further day once more could be spent
    #[arg(long, value_name = "USD", value_parser = parse_cost)]
    max_cost: Option<f64>,
    /// Which days go first, where they need not wait for each other
    #[arg(long, value_enum, default_value = "oldest")]
    order: First,
    /// Load the newest day's lists into serving, whatever is shown now
    #[arg(long)]
    serve: bool,
    /// Begin no further day once one has failed
    #[arg(long)]
    fail_fast: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Show the plan and stop
    #[arg(long)]
    dry_run: bool,
    /// A list of prices that goes before recctl's own [default: prices.yaml of the project, if there is one]
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,
    /// How the plan is shown; json goes to standard output
    #[arg(long, value_enum, default_value = "human")]
    format: Format,
}

/// Which days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Only {
    /// Something was never made, or is gone
    Missing,
    /// The last run failed, was stopped or died
    Failed,
    /// Something is made from what has changed since
    Stale,
}

/// Which days go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum First {
    /// The oldest
    Oldest,
    /// The newest; selecting a model, and tables that read those of other days, go oldest first all the same
    Newest,
}

fn parse_cost(text: &str) -> Result<f64, String> {
    let cost: f64 = text.parse().map_err(|_| "expected a number such as 25 or 0.5".to_owned())?;
    if cost.is_finite() && cost >= 0.0 { Ok(cost) } else { Err("expected 0 or more".to_owned()) }
}

pub(super) async fn run(args: Args, app: &App) -> Ended {
    let teller = app.teller();
    let stop = Stop::listen(Arc::new(teller.clone()) as Arc<dyn EventSink>)?;
    match attempt(&args, app, &teller, &stop).await {
        Err(failure) if failure.kind == FailureKind::Cancelled => {
            let code = stop.code();
            error::tell(&failure, code, app);
            Ok(code)
        }
        ended => ended,
    }
}

/// What a backfill is made of.
struct Prepared {
    backfill: Backfill,
    target: Target,
    options: BackfillOptions,
    currency: String,
}

async fn attempt(args: &Args, app: &App, teller: &Teller, stop: &Stop) -> Ended {
    let prepared = stop.unless_asked(prepare(args, app)).await?;
    let about = About {
        target: &app.settings.target,
        currency: &prepared.currency,
        max_cost: args.max_cost,
        parallel: usize::from(args.parallel),
    };
    let backfill = &prepared.backfill;
    match args.format {
        Format::Json => {
            let object = json::object(backfill, &about);
            super::print(&serde_json::to_string_pretty(&object).unwrap_or_default());
        }
        // A plan that was asked for is data; one that is shown before it is carried out is talk.
        Format::Human if args.dry_run => {
            super::print(&lines(backfill, &about, paint(app)).join("\n"));
        }
        Format::Human => {
            teller.say(Level::Info, &lines(backfill, &about, Paint::new(app.colour)));
        }
    }
    refuse_expensive(args, backfill)?;
    if args.dry_run {
        return Ok(0);
    }
    if !backfill.parts.is_empty() && !args.yes {
        stop.unless_asked(ask(backfill)).await?;
    }
    Ok(go(args, app, prepared, teller, stop).await)
}

async fn prepare(args: &Args, app: &App) -> Outcome<Prepared> {
    let range = super::range(args.from, args.to)?;
    if range.len() > MOST_DAYS {
        let text = format!("{range} are {} days", range.len());
        return Err(Failure::new(FailureKind::Usage, text)
            .with_hint(format!("fill at most {MOST_DAYS} days at once")));
    }
    let given: BTreeMap<String, String> = args.set.iter().cloned().collect();
    let selected = args.selection.of(app.pipeline(&args.pipeline, &given).await?)?;
    let opening = if args.dry_run { Opening::Plan } else { Opening::Create };
    let target = app.target(opening).await?;
    let pipeline = selected.finish(app, &target, range.last()).await?;
    let declared = app.declared_target()?;
    let region = app.declared_region(&declared);
    let pricing = Pricing {
        forecast: plan::history_of(&target, &pipeline).await?,
        prices: plan::price_list(args.prices.as_deref(), app, region.as_deref())?,
        threads: app.settings.threads(),
        target: declared,
    };
    if !args.dry_run {
        let events = app.reporter();
        settle(&target.services, Some(&pipeline.name), &App::holder(), events.as_ref()).await?;
    }
    let backfill = planned(args, &target, &pipeline, range, &pricing).await?;
    let currency = match pricing.target {
        declared::Target::Aws(_) => pricing.prices.about.currency.clone(),
        declared::Target::Local => String::new(),
    };
    let options = BackfillOptions {
        parallel: usize::from(args.parallel),
        target: app.settings.target.clone(),
        holder: App::holder,
        stop_timeout: Duration::from_secs(u64::from(app.settings.stop_timeout)),
        fail_fast: args.fail_fast,
        max_cost: args.max_cost,
        pricing,
    };
    Ok(Prepared { backfill, target, options, currency })
}

async fn planned(
    args: &Args,
    target: &Target,
    pipeline: &Pipeline,
    range: DateRange,
    pricing: &Pricing,
) -> Outcome<Backfill> {
    let services = &target.services;
    let dates: Vec<LogicalDate> = range.days().collect();
    let mut facts = gather(services, pipeline, &dates, false).await?;
    facts.there = Some(standing(services, pipeline, &facts.open).await?);
    let only = args.only.iter().map(|state| match state {
        Only::Missing => DayState::Missing,
        Only::Failed => DayState::Failed,
        Only::Stale => DayState::Stale,
    });
    let asked = Asked {
        range,
        order: match args.order {
            First::Oldest => Order::Oldest,
            First::Newest => Order::Newest,
        },
        only: only.collect(),
        failed: unfinished(services, &pipeline.name).await?,
        serve: args.serve,
    };
    let backfill = backfill(pipeline, asked, facts, &pricing.known());
    // A range of which no day can be planned is a mistake, not a gap.
    match backfill.refused.first() {
        Some((_, failure)) if backfill.refused.len() == dates.len() => Err(failure.clone()),
        _ => Ok(backfill),
    }
}

/// Errors: `Exceeded` if the plan may cost more than is allowed.
fn refuse_expensive(args: &Args, backfill: &Backfill) -> Outcome<()> {
    let (Some(max_cost), Some(cost)) = (args.max_cost, &backfill.sum.cost) else { return Ok(()) };
    let limit = at_most(cost);
    if limit <= max_cost {
        return Ok(());
    }
    let text = format!("the backfill may cost {limit:.2}, which is more than {max_cost:.2}");
    Err(Failure::new(FailureKind::Exceeded, text).with_hint(
        "fill fewer days at once, lower the jobs' limits of time, or raise `--max-cost`",
    ))
}

/// Asks a person. Errors: `Usage` where there is none; `Cancelled` for a no.
async fn ask(backfill: &Backfill) -> Outcome<()> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        let text = "nobody is there to say yes";
        return Err(Failure::new(FailureKind::Usage, text).with_hint(
            "add --yes to begin without being asked, or --dry-run to see the plan only",
        ));
    }
    let runs = backfill.parts.len();
    error::eprint(&format!("\nbegin {runs} runs? [y/N] "));
    let answer = tokio::task::spawn_blocking(|| {
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).map(|_| answer)
    });
    let answer = match answer.await {
        Ok(Ok(answer)) => answer.trim().to_ascii_lowercase(),
        Ok(Err(_)) | Err(_) => String::new(),
    };
    if answer == "y" || answer == "yes" {
        return Ok(());
    }
    Err(Failure::new(FailureKind::Cancelled, "nothing was begun"))
}

/// Carries it out and tells the end. Returns the exit code.
async fn go(args: &Args, app: &App, prepared: Prepared, teller: &Teller, stop: &Stop) -> u8 {
    let Prepared { backfill, target, options, .. } = prepared;
    let clock = Instant::now();
    let days: BTreeSet<LogicalDate> = backfill.parts.iter().map(|part| part.date).collect();
    teller.tell(BackfillEvent::BackfillStarted {
        pipeline: args.pipeline.clone(),
        target: app.settings.target.clone(),
        from: args.from,
        to: args.to,
        days: days.len() as u64,
        done: backfill.done.len() as u64,
        runs: backfill.parts.len() as u64,
        units: backfill.sum.to_do,
    });
    let sink: Arc<dyn BackfillSink> = Arc::new(teller.clone());
    let services = Arc::clone(&target.services);
    let ended = carry_out(services, &backfill, &options, sink, stop.asked()).await;
    let is_stopped = stop.asked().is_cancelled() && !ended.left.is_empty();
    let (status, code) = match &ended.failure {
        _ if is_stopped => (Status::Cancelled, stop.code()),
        Some(failure) => (Status::Failed, error::code_of(failure.kind)),
        None if days.is_empty() => (Status::Unchanged, 0),
        None => (Status::Succeeded, 0),
    };
    let kind = ended.failure.as_ref().map(|failure| failure.kind);
    let is_over = ended.failed.is_empty() && ended.left.is_empty();
    let stopped = ended.failure.filter(|failure| {
        failure.kind == FailureKind::Exceeded && !ended.failed.values().any(|it| it == failure)
    });
    teller.tell(BackfillEvent::BackfillFinished {
        status,
        kind,
        seconds: clock.elapsed().as_secs_f64(),
        done: ended.done.into_iter().collect(),
        failed: ended.failed.into_keys().collect(),
        left: ended.left.into_iter().collect(),
        spent: ended.spent,
        failure: stopped,
        again: (!is_over).then(again),
        exit_code: code,
    });
    code
}

/// The same command once more: the ledger knows what is done.
fn again() -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=.,:/+@".contains(c);
    let quoted = |word: String| match !word.is_empty() && word.chars().all(plain) {
        true => word,
        false => format!("'{}'", word.replace('\'', "'\\''")),
    };
    let words = std::env::args_os().skip(1).map(|word| quoted(word.to_string_lossy().into_owned()));
    std::iter::once("recctl".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}
