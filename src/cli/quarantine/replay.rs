//! `recctl quarantine replay`

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::super::signals::Stop;
use super::super::{Ended, error};
use super::rows::{Filter, Quarantine, Row};
use crate::app::{App, Opening, Target};
use crate::engine::settle::settle;
use crate::engine::{RunOptions, gather};
use crate::pipeline::graph::Pipeline;
use crate::pipeline::interval::{LogicalDate, Partition};
use crate::pipeline::name::Name;
use crate::pipeline::nearest::nearest;
use crate::pipeline::step::Step;
use crate::plan::{Action, ActionKind, Plan, plan};
use crate::report::Table;
use crate::report::number::{count, counted};
use crate::run::failure::{Failure, FailureKind, Outcome};
use crate::run::record::{RowCounts, RunId, Status};

/// Make a table's day again after its query, its checks or the source's columns were mended, and tell
/// which refused rows came through
///
/// The day is made again from the raw input, with all tables that are made from it; models and what
/// is served stay as they are until the next run. The rows that are refused now take the place of
/// those that were, so no row is there twice. Raw input that changed or is gone is not replayed: that
/// would lose rows that were published.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The step that refused the rows
    step: String,
    /// The day
    #[arg(long, value_name = "YYYY-MM-DD")]
    date: LogicalDate,
    /// Tell what would be done and stop
    #[arg(long)]
    dry_run: bool,
    /// The pipeline, where several have a step of that name
    #[arg(long, value_name = "NAME")]
    pipeline: Option<String>,
}

/// A replay that is planned.
struct Replay {
    target: Target,
    pipeline: Arc<Pipeline>,
    plan: Plan,
    step: Name,
    partition: Partition,
    before: Vec<Row>,
}

pub(super) async fn run(args: Args, app: &App) -> Ended {
    let events = app.reporter();
    let stop = Stop::listen(Arc::clone(&events))?;
    let replay = stop.unless_asked(planned(&args, app)).await?;
    let name = format!("{} {}", replay.step, replay.partition);
    if replay.before.is_empty() {
        super::super::print(&format!("no row of {name} is in quarantine"));
        return Ok(0);
    }
    let rows = counted(replay.before.len() as u64, "row");
    let reason = replay.plan.actions.iter().find(|action| replay.is_own(action));
    let to_do: Vec<&Action> =
        replay.plan.actions.iter().filter(|it| it.runs() && it.kind == ActionKind::Sql).collect();
    let Some(own) = reason.filter(|action| action.runs()) else {
        super::super::print(&format!(
            "{rows} of {name} would be refused again: neither the query, nor its checks, nor the source's columns changed since"
        ));
        return Ok(0);
    };
    refuse_changed_input(&replay, own).await?;
    if args.dry_run {
        let mut days: Vec<(&Name, u64)> = Vec::new();
        for action in &to_do {
            match days.iter_mut().find(|(step, _)| **step == action.step) {
                Some((_, days)) => *days += 1,
                None => days.push((&action.step, 1)),
            }
        }
        // What is defined anew is made anew for all days that others read.
        let tables = days.iter().map(|(step, days)| match days {
            1 => step.to_string(),
            days => format!("{step} ({})", counted(*days, "day")),
        });
        let tables: Vec<String> = tables.collect();
        super::super::print(&format!(
            "{rows} of {name} would be tried again; made again: {}",
            tables.join(", ")
        ));
        return Ok(0);
    }
    let was = counts(&replay, None).await?;
    let Replay { target, pipeline, plan, step, partition, before } = replay;
    let services = Arc::clone(&target.services);
    let id = RunId::new(&pipeline.name, plan.date, services.clock.now(), rand::random());
    let options = RunOptions {
        parallel: 2,
        places: None,
        target: app.settings.target.clone(),
        holder: App::holder(),
        forced: false,
        serve: false,
        deadline: false,
        stop_timeout: Duration::from_secs(u64::from(app.settings.stop_timeout)),
    };
    let ran = crate::engine::run(
        services,
        Arc::clone(&pipeline),
        plan.clone(),
        id.clone(),
        options,
        events,
        stop.asked(),
    );
    let (status, failure) = ran.await?;
    match (status, failure) {
        (Status::Succeeded, _) => {}
        (Status::Cancelled, _) => return Ok(stop.code()),
        (_, failure) => return Ok(failure.map_or(error::FAILED, |it| error::code_of(it.kind))),
    }
    let quarantine = Quarantine::open(&target.services).await?;
    let after = quarantine.rows(&filter(&step, partition), None).await?;
    let after: Vec<Row> = after.into_iter().filter(|row| is_of(row, partition)).collect();
    let replay = Replay { target, pipeline, plan, step, partition, before };
    let now = counts(&replay, Some(&id)).await?;
    super::super::print(&told(&replay, &after, was, now).join("\n"));
    Ok(0)
}

impl Replay {
    fn is_own(&self, action: &Action) -> bool {
        action.step == self.step
            && action.kind == ActionKind::Sql
            && action.partition == self.partition
    }
}

fn filter(step: &Name, partition: Partition) -> Filter {
    Filter { step: Some(step.to_string()), date: partition.date(), reason: None }
}

/// Whether a row is of the partition: without a day it is of a table that is replaced whole.
fn is_of(row: &Row, partition: Partition) -> bool {
    row.day.is_empty() == (partition == Partition::Whole)
}

async fn planned(args: &Args, app: &App) -> Outcome<Replay> {
    let report = app.project_checked(&BTreeMap::new()).await?;
    let pipelines = &report.project.pipelines;
    let wanted =
        |name: &&Name| args.pipeline.as_ref().is_none_or(|wanted| *wanted == name.as_str());
    let having = pipelines
        .iter()
        .filter(|(name, it)| wanted(name) && it.step(&args.step).and_then(Step::sql).is_some());
    let having: Vec<(&Name, &Pipeline)> = having.collect();
    let pipeline = match having.as_slice() {
        [(_, pipeline)] => *pipeline,
        [] => {
            let steps = pipelines.values().flat_map(|pipeline| &pipeline.steps);
            let known = steps.filter(|step| step.sql().is_some());
            let known: Vec<&str> = known.map(|step| step.name.as_str()).collect();
            let message = format!("`{}` is not made by a query", args.step);
            let failure = Failure::new(FailureKind::Usage, message);
            return Err(match nearest(&args.step, known.iter().copied()) {
                Some(near) => failure.with_hint(format!("did you mean `{near}`?")),
                None => failure.with_hint(format!("expected one of `{}`", known.join("`, `"))),
            });
        }
        [_, (other, _), ..] => {
            let message = format!("several pipelines have a step `{}`", args.step);
            let hint = format!("say which, with --pipeline {other}");
            return Err(Failure::new(FailureKind::Usage, message).with_hint(hint));
        }
    };
    let step = pipeline.step(&args.step);
    let (step, own) = step
        .and_then(|step| Some((step.name.clone(), step.sql()?)))
        .ok_or_else(|| Failure::new(FailureKind::Internal, format!("`{}` went away", args.step)))?;
    let partition = if own.partitioned { Partition::Day(args.date) } else { Partition::Whole };
    let steps = made_from(pipeline, &step);
    let pipeline = Arc::new(
        app.pipeline(pipeline.name.as_str(), &BTreeMap::new())
            .await?
            .as_ref()
            .clone()
            .restricted_to(&steps),
    );
    let target = app.target(Opening::Existing).await?;
    if !args.dry_run {
        let events = app.reporter();
        settle(&target.services, Some(&pipeline.name), &App::holder(), events.as_ref()).await?;
    }
    let quarantine = Quarantine::open(&target.services).await?;
    let rows = quarantine.rows(&filter(&step, partition), None).await?;
    let before = rows.into_iter().filter(|row| is_of(row, partition)).collect();
    let facts = gather(&target.services, &pipeline, &[args.date], false).await?;
    let plan = plan(&pipeline, args.date, &facts)?;
    Ok(Replay { target, pipeline, plan, step, partition, before })
}

/// A table and all tables that are made from it.
fn made_from(pipeline: &Pipeline, step: &Name) -> BTreeSet<Name> {
    let mut names = BTreeSet::from([step.clone()]);
    // Each step stands after what it needs.
    for other in &pipeline.steps {
        let needs = other.needs().into_iter().any(|need| names.contains(need));
        if needs && other.sql().is_some() {
            names.insert(other.name.clone());
        }
    }
    names
}

/// Raw input that is not what it was would be published in the place of what is. Errors: `Input`.
async fn refuse_changed_input(replay: &Replay, own: &Action) -> Outcome<()> {
    let state = &replay.target.services.state;
    let ledger = state.ledger(&replay.pipeline.name).await?;
    let row = ledger.iter().find(|row| row.step == own.step && row.partition == own.partition);
    let Some(row) = row else { return Ok(()) };
    let changed = own.fingerprint.differences(&row.fingerprint);
    let Some(files) = changed.into_iter().find(|it| it.starts_with("files of ")) else {
        return Ok(());
    };
    let message = format!(
        "{files} are not those that `{}` was made from: a replay would publish other rows than those that were refused and kept",
        own.step
    );
    let hint = format!(
        "bring the files back, or make the day from what is there now: `recctl run {} --date {} --select {}+`",
        replay.pipeline.name, replay.plan.date, own.step
    );
    Err(Failure::new(FailureKind::Input, message).with_hint(hint))
}

/// The account of the partition: by a run, or by the one that made what is visible.
async fn counts(replay: &Replay, run: Option<&RunId>) -> Outcome<Option<RowCounts>> {
    let services = &replay.target.services;
    let run = match run {
        Some(run) => run.clone(),
        None => {
            let visible = services.catalog.partitions(replay.step.as_str()).await?;
            let key = replay.partition.key();
            match visible.into_iter().find(|entry| entry.key == key) {
                Some(entry) => RunId::from_text(entry.generation),
                None => return Ok(None),
            }
        }
    };
    let steps = services.state.steps(&run).await?;
    let own = steps.into_iter().find(|record| {
        record.step == replay.step && record.action == "sql" && record.partition == replay.partition
    });
    Ok(own.and_then(|record| record.report.counts))
}

/// What is told of a replay: every row that was in quarantine left it or stays, and of those that
/// left it the account of the whole partition says what became of them.
fn told(
    replay: &Replay,
    after: &[Row],
    was: Option<RowCounts>,
    now: Option<RowCounts>,
) -> Vec<String> {
    // The rule may have another name now; the row is the same.
    let identity = |row: &Row| (row.file.clone(), row.line.clone(), row.raw.clone());
    let mut left: BTreeMap<_, u64> = BTreeMap::new();
    for row in after {
        *left.entry(identity(row)).or_default() += 1;
    }
    let mut stay = 0_u64;
    for row in &replay.before {
        if let Some(rows) = left.get_mut(&identity(row)).filter(|rows| **rows > 0) {
            *rows -= 1;
            stay += 1;
        }
    }
    let new: u64 = left.values().sum();
    let before = replay.before.len() as u64;
    let mut lines = vec![format!(
        "{} {}: of {} in quarantine {} came through, {} stay{}",
        replay.step,
        replay.partition,
        counted(before, "row"),
        count(before - stay),
        count(stay),
        match new {
            0 => String::new(),
            new => format!("; {} more refused now", counted(new, "row")),
        }
    )];
    if let (Some(was), Some(now)) = (was, now) {
        let mut table = Table::new(["", "rows", "kept", "quarantined", "filtered", "duplicates"])
            .right(&[1, 2, 3, 4, 5]);
        for (when, counts) in [("before", was), ("now", now)] {
            table.push([
                when.to_owned(),
                count(counts.read),
                count(counts.kept),
                count(counts.quarantined),
                count(counts.filtered),
                count(counts.duplicates),
            ]);
        }
        lines.extend(table.lines());
    }
    lines
}
