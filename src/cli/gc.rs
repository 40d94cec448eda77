//! `recctl gc`

use std::collections::BTreeMap;

use chrono::TimeDelta;
use serde_json::json;

use super::Ended;
use super::format::Format;
use crate::app::{App, Opening};
use crate::engine::gc::{Candidate, Keep, Kind, Places, collect, survey};
use crate::engine::settle::settle;
use crate::report::Table;
use crate::report::number::{bytes, count, counted};
use crate::run::event::RunEvent;

/// Remove what nobody needs any more: old generations, files of runs that died, old runs
///
/// Never removed is what is visible, what the ledger, a decision or the registry of models refers to,
/// and anything of a run that is under way. Everything is looked at again right before it goes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  recctl gc --dry-run                  what would be removed
  recctl gc                            what is past its keep
  recctl gc --keep 0 --older-than 0    all that nobody needs
  recctl gc --dry-run --format json    for programs: docs/publishing.md")]
pub struct Args {
    /// List what would be removed and stop
    #[arg(long)]
    dry_run: bool,
    /// Generations to keep beside the visible one, of each partition and of what is served
    #[arg(long, value_name = "N", default_value_t = 2)]
    keep: usize,
    /// Keep generations that were visible, and runs that ended, within this many days
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u16).range(0..=3_660))]
    older_than: u16,
    /// Leave alone what was written or visible within this many hours: somebody may be reading it
    #[arg(long, value_name = "HOURS", default_value_t = 24, value_parser = clap::value_parser!(u16).range(0..=8_760))]
    grace: u16,
    /// How to print
    #[arg(long, value_enum, default_value = "human")]
    format: Format,
}

/// The version of the JSON.
const VERSION: u32 = 1;

pub(super) async fn run(args: Args, app: &App) -> Ended {
    let target = app.target(Opening::Existing).await?;
    let services = &target.services;
    let keep = Keep {
        generations: args.keep,
        younger_than: TimeDelta::days(i64::from(args.older_than)),
        grace: TimeDelta::hours(i64::from(args.grace)),
    };
    let places = Places {
        scratch: &services.scratch,
        jobs: target.local.as_ref().map(|local| local.jobs.as_path()),
    };
    let events = app.reporter();
    if !args.dry_run
        && let Err(failure) = settle(services, None, &App::holder(), events.as_ref()).await
    {
        // What it needs is kept, settled or not.
        events.emit(RunEvent::Noticed { message: failure.to_string() });
    }
    let survey = survey(services, places, keep).await?;
    if !survey.live.is_empty() {
        let live: Vec<String> = survey.live.iter().map(ToString::to_string).collect();
        events.emit(RunEvent::Noticed {
            message: format!(
                "left alone what runs share, as {} under way: {}",
                if live.len() == 1 { "one is" } else { "some are" },
                live.join(", ")
            ),
        });
    }
    let (all, spared) = if args.dry_run {
        (survey.candidates, Vec::new())
    } else {
        let removed = collect(services, survey, &App::holder()).await?;
        (removed.candidates, removed.spared)
    };
    for name in &spared {
        let message = format!("left alone, as it is needed again: {name}");
        events.emit(RunEvent::Noticed { message });
    }
    super::print(&match args.format {
        Format::Human => text(&all, args.dry_run),
        Format::Json => json(&all, &spared, args.dry_run),
    });
    Ok(0)
}

/// Things, files and bytes by kind.
fn sums(all: &[Candidate]) -> BTreeMap<Kind, (u64, u64, u64)> {
    let mut sums: BTreeMap<Kind, (u64, u64, u64)> = BTreeMap::new();
    for one in all {
        let sum = sums.entry(one.kind).or_default();
        *sum = (sum.0 + 1, sum.1 + one.count, sum.2 + one.bytes);
    }
    sums
}

fn text(all: &[Candidate], dry_run: bool) -> String {
    if all.is_empty() {
        return "nothing to remove".to_owned();
    }
    let mut lines = Vec::new();
    if dry_run {
        let mut table = Table::new(["what", "files", "bytes"]).right(&[1, 2]);
        for one in all {
            table.push([one.name.clone(), count(one.count), bytes(one.bytes)]);
        }
        lines.extend(table.lines());
        lines.push(String::new());
    }
    let mut table = Table::new(["kind", "number", "files", "bytes"]).right(&[1, 2, 3]);
    let (mut things, mut size) = (0, 0);
    for (kind, (number, files, of_kind)) in sums(all) {
        table.push([kind.words().to_owned(), count(number), count(files), bytes(of_kind)]);
        things += number;
        size += of_kind;
    }
    lines.extend(table.lines());
    lines.push(String::new());
    let what = format!("{}, {}", counted(things, "thing"), bytes(size));
    lines.push(match dry_run {
        true => format!("{what} would be removed"),
        false => format!("{what} removed"),
    });
    lines.join("\n")
}

fn json(all: &[Candidate], spared: &[String], dry_run: bool) -> String {
    let things: Vec<_> = all
        .iter()
        .map(|one| {
            json!({"kind": one.kind, "name": one.name, "files": one.count, "bytes": one.bytes})
        })
        .collect();
    let sums: Vec<_> = sums(all)
        .into_iter()
        .map(|(kind, (number, files, bytes))| {
            json!({"kind": kind, "number": number, "files": files, "bytes": bytes})
        })
        .collect();
    let whole = json!({
        "version": VERSION,
        "dry_run": dry_run,
        "removed": things,
        "spared": spared,
        "kinds": sums,
    });
    serde_json::to_string_pretty(&whole).unwrap_or_default()
}
