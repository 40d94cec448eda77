//! `recctl plan`, and `recctl run --dry-run`, which is the same.

mod against;
mod facts;

pub(super) use self::facts::{first_sample, history_of};

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Ended;
use super::format::Format;
use super::selection::{Selected, SelectionArgs};
use super::signals::end_at_once;
use super::stdout::{paint, width};
use crate::app::{App, Opening, Target};
use crate::pipeline::graph::Pipeline;
use crate::pipeline::interval::LogicalDate;
use crate::pipeline::target as declared;
use crate::plan::assumed;
use crate::plan::forecast::Forecast;
use crate::plan::preview::{Basis, Known, MOST_DAYS, Preview, each_day, multiplied};
use crate::plan::prices::PriceList;
use crate::report::plan::{json, lines};
use crate::run::failure::{Failure, FailureKind, Outcome};

/// Show what a run would do: what is made and why, everything that changes, time and cost
///
/// Nothing is changed anywhere. On the embedded target the plan is made from what lies there. On a
/// target in the cloud nobody is asked: the plan takes it that nothing was done yet and that every day
/// has input, so that it needs no credentials and no network; with --online it asks the target's
/// services, and only reads.
///
/// The exit code is 0 if it plans, and 2 if the project's files are not valid.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  recctl plan daily                                        for yesterday
  recctl plan daily --from 2026-03-01 --to 2026-03-07      seven days, and their sum
  recctl plan daily --target aws                           without credentials, on a pull request
  recctl plan daily --target aws --online                  with what the target has already
  recctl plan daily --format json                          for programs: docs/plan.md")]
pub struct Args {
    #[command(flatten)]
    pub(super) subject: Subject,
    #[command(flatten)]
    pub(super) options: Options,
}

/// What is planned or run.
#[derive(Debug, Clone, clap::Args)]
pub struct Subject {
    /// The pipeline, as pipelines.yaml names it
    pub(super) pipeline: String,
    /// The day that the data is about [default: yesterday, by the clock of the pipeline's schedule, or UTC]
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub(super) date: Option<LogicalDate>,
    /// Do the day's work again even if nothing changed
    #[arg(long)]
    pub(super) force: bool,
    /// Load the day's lists into serving even if that shows those of a newer day
    #[arg(long)]
    pub(super) serve: bool,
    /// Set a variable of pipelines.yaml; may be given several times
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = parse_var)]
    pub(super) vars: Vec<(String, String)>,
    #[command(flatten)]
    pub(super) selection: SelectionArgs,
}

/// How it is planned and shown.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// The first of several days, each planned as if those before it had been run
    #[arg(long, value_name = "YYYY-MM-DD", conflicts_with = "date", requires = "to", help_heading = PLANNING)]
    from: Option<LogicalDate>,
    /// The last of several days
    #[arg(long, value_name = "YYYY-MM-DD", conflicts_with = "date", requires = "from", help_heading = PLANNING)]
    to: Option<LogicalDate>,
    /// Show instead what changed since a git revision or a run, by its id
    #[arg(long, value_name = "REVISION", conflicts_with = "from", help_heading = PLANNING)]
    against: Option<String>,
    /// Ask the target's services what is there already; they are only read
    #[arg(long, help_heading = PLANNING)]
    online: bool,
    /// A list of prices that goes before recctl's own [default: prices.yaml of the project, if there is one]
    #[arg(long, value_name = "FILE", help_heading = PLANNING)]
    prices: Option<PathBuf>,
    /// How the plan is shown
    #[arg(long, value_enum, default_value = "human", help_heading = PLANNING)]
    format: Format,
}

const PLANNING: &str = "Planning";

impl Options {
    /// Whether all is as if nothing had been said.
    pub(super) fn are_default(&self) -> bool {
        let Self { from, to, against, online, prices, format } = self;
        from.is_none()
            && against.is_none()
            && to.is_none()
            && !online
            && prices.is_none()
            && *format == Format::Human
    }
}

/// Splits `name=value`.
pub(super) fn parse_var(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// The pipeline with its steps selected, as far as that can be told without asking the target.
pub(super) async fn selected(subject: &Subject, app: &App) -> Outcome<Selected> {
    let given: BTreeMap<String, String> = subject.vars.iter().cloned().collect();
    subject.selection.of(app.pipeline(&subject.pipeline, &given).await?)
}

/// The day that is meant.
pub(super) fn date_of(subject: &Subject, selected: &Selected) -> LogicalDate {
    super::day_of(selected.pipeline(), subject.date)
}

/// Plans and prints.
pub(super) async fn run(args: &Args, app: &App) -> Ended {
    let _listening = end_at_once()?;
    let Args { subject, options } = args;
    let chosen = choose(subject, options, app).await?;
    if let Some(reference) = &options.against {
        let Chosen { pipeline, opened, first, .. } = &chosen;
        let json = options.format == Format::Json;
        return against::show(reference, pipeline, opened.as_ref(), *first, json, app).await;
    }
    let preview = preview(chosen, args, app).await?;
    match options.format {
        Format::Human => super::print(&lines(&preview, width(), paint(app)).join("\n")),
        Format::Json => {
            let object = json::object(&preview);
            super::print(&serde_json::to_string_pretty(&object).unwrap_or_default());
        }
    }
    Ok(0)
}

/// What is planned, and where the facts are from.
struct Chosen {
    pipeline: Arc<Pipeline>,
    target: declared::Target,
    basis: Basis,
    opened: Option<Target>,
    first: LogicalDate,
    days: u32,
}

async fn choose(subject: &Subject, options: &Options, app: &App) -> Outcome<Chosen> {
    let selected = selected(subject, app).await?;
    let target = app.declared_target()?;
    let (first, days) = span(subject, options, &selected)?;
    let basis = match &target {
        declared::Target::Local => Basis::Local,
        declared::Target::Aws(_) if options.online => Basis::Online,
        declared::Target::Aws(_) => Basis::Declared,
    };
    let opened = match basis {
        Basis::Local | Basis::Online => Some(app.target(Opening::Plan).await?),
        Basis::Declared => None,
    };
    let pipeline = match &opened {
        Some(opened) => selected.finish(app, opened, first).await?,
        None => selected.finish_declared(app).await?,
    };
    Ok(Chosen { pipeline, target, basis, opened, first, days })
}

async fn preview(chosen: Chosen, args: &Args, app: &App) -> Outcome<Preview> {
    let Args { subject, options } = args;
    let Chosen { pipeline, target, basis, opened, first, days } = chosen;
    let region = app.declared_region(&target);
    let prices = price_list(options.prices.as_deref(), app, region.as_deref())?;
    let history = match &opened {
        Some(opened) => facts::history_of(opened, &pipeline).await?,
        None => Forecast::default(),
    };
    let threads = app.settings.threads();
    let known = Known { target: &target, forecast: &history, prices: &prices, threads };
    let (planned, mut assumptions) = if days > MOST_DAYS {
        let planned = multiplied(&pipeline, first, days, subject.force, &known)?;
        (planned, vec![NOTHING_DONE.to_owned()])
    } else {
        let dates: Vec<LogicalDate> = (0..days).map(|offset| first.plus(offset)).collect();
        match &opened {
            Some(opened) => {
                let mut facts = facts::of_target(opened, &pipeline, &dates, subject.force).await?;
                facts.serve = subject.serve;
                let sampled = facts.sample.is_some().then(|| SAMPLE_FIRST.to_owned());
                (each_day(&pipeline, &dates, facts, &known)?, sampled.into_iter().collect())
            }
            None => {
                let facts = assumed(&pipeline, &dates, subject.force);
                (each_day(&pipeline, &dates, facts, &known)?, vec![NOTHING_DONE.to_owned()])
            }
        }
    };
    let is_paid = matches!(target, declared::Target::Aws(_));
    if is_paid && prices.about.region_assumed {
        let region = &prices.about.region;
        assumptions
            .push(format!("the region is {region}: neither target nor environment says one"));
    }
    let (days, refused, sum) = planned;
    Ok(Preview {
        pipeline: pipeline.name.clone(),
        target: app.settings.target.clone(),
        basis,
        assumptions,
        prices: is_paid.then(|| prices.about.clone()),
        days,
        refused,
        sum,
    })
}

/// What a plan takes for granted where nobody looked.
const NOTHING_DONE: &str = "nothing was done yet, no table is there, and every day has input";
/// What a plan takes for granted on an empty lake.
const SAMPLE_FIRST: &str = "the lake holds nothing yet, so that a sample is made first";

/// The first day, and how many there are.
fn span(subject: &Subject, options: &Options, selected: &Selected) -> Outcome<(LogicalDate, u32)> {
    let (Some(from), Some(to)) = (options.from, options.to) else {
        return Ok((date_of(subject, selected), 1));
    };
    let range = super::range(from, to)?;
    Ok((range.first(), range.len()))
}

/// The prices: a file that was named, else the project's own, before recctl's.
pub(super) fn price_list(
    named: Option<&Path>,
    app: &App,
    region: Option<&str>,
) -> Outcome<PriceList> {
    let own = match named {
        Some(path) => {
            let shown = path.display().to_string();
            let text = std::fs::read_to_string(path).map_err(|error| {
                let text = format!("cannot read `{shown}`: {error}");
                Failure::new(FailureKind::Usage, text)
                    .with_hint("--prices names a list of prices, as docs/plan.md describes it")
            })?;
            Some((shown, text))
        }
        None => app.read_project_file(PRICES_FILE).ok().map(|text| (PRICES_FILE.to_owned(), text)),
    };
    PriceList::of(region, own.as_ref().map(|(file, text)| (file.as_str(), text.as_str())))
}

/// A project's own list of prices.
const PRICES_FILE: &str = "prices.yaml";
