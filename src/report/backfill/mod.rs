//! What a backfill will do, for people.

pub mod json;
mod teller;

pub use teller::Teller;

use super::number::{count, counted, duration};
use super::paint::Paint;
use super::plan::{about, amount_of, money, time};
use super::table::{Table, clean};
use super::words::span;
use crate::pipeline::interval::LogicalDate;
use crate::plan::ActionKind;
use crate::plan::backfill::{Backfill, Order, Part, at_most, unknown};
use crate::plan::forecast::Wall;
use crate::plan::prices::Cost;

/// Days that get a line each; of more, those in the middle are counted.
const DAYS_TOLD: usize = 40;
/// Days that cannot be planned that are named with the reason.
const REFUSED_TOLD: usize = 5;

/// What a backfill's lines are made from, beside itself.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// Name of the target.
    pub target: &'a str,
    /// Currency of the prices.
    pub currency: &'a str,
    /// What may be spent.
    pub max_cost: Option<f64>,
    /// Actions at once.
    pub parallel: usize,
}

/// The runs of one day, together.
#[derive(Default)]
struct Row {
    runs: u64,
    units: std::collections::BTreeMap<ActionKind, u64>,
    wall: Wall,
    cost: Option<Cost>,
}

impl Row {
    fn add(&mut self, part: &Part) {
        self.runs += 1;
        for (kind, units) in &part.units {
            *self.units.entry(*kind).or_default() += units;
        }
        self.wall.seconds += part.wall.seconds;
        self.wall.unknown += part.wall.unknown;
        if let Some(cost) = &part.cost {
            self.cost.get_or_insert_with(Cost::default).add(cost, 1.0);
        }
    }

    fn units(&self) -> u64 {
        self.units.values().sum()
    }

    /// `12 sql, 3 publish, 1 tune`
    fn kinds(&self) -> String {
        let one = |(kind, units): (&ActionKind, &u64)| format!("{} {}", count(*units), kind.word());
        self.units.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

/// All lines of a backfill's plan.
pub fn lines(backfill: &Backfill, about: &About<'_>, paint: Paint) -> Vec<String> {
    let mut sections = vec![vec![head(backfill, about, paint)]];
    if !backfill.parts.is_empty() {
        sections.push(days(backfill, about, paint));
    }
    sections.push(left_out(backfill, paint));
    if !backfill.parts.is_empty() {
        sections.push(estimates(backfill, about, paint));
    }
    sections.retain(|section| !section.is_empty());
    sections.join(&String::new())
}

/// `backfill of daily for 2026-03-01 … 2026-03-09 on local: 5 of 9 days, oldest first`
fn head(backfill: &Backfill, about: &About<'_>, paint: Paint) -> String {
    let range = backfill.asked.range;
    let title = format!("backfill of {} for {range} on {}", backfill.pipeline, about.target);
    let chosen = rows(backfill).len() as u64;
    let first = match backfill.asked.order {
        Order::Oldest => "oldest first",
        Order::Newest => "newest first",
    };
    let days = format!("{} of {}", count(chosen), counted(u64::from(range.len()), "day"));
    format!("{}: {days}, {first}", paint.bold(title))
}

/// Days that have something to do, oldest first, with all of their runs.
fn rows(backfill: &Backfill) -> std::collections::BTreeMap<LogicalDate, Row> {
    let mut rows: std::collections::BTreeMap<LogicalDate, Row> = Default::default();
    for part in &backfill.parts {
        rows.entry(part.date).or_default().add(part);
    }
    rows
}

fn days(backfill: &Backfill, about: &About<'_>, paint: Paint) -> Vec<String> {
    // Nothing is paid for on the embedded target.
    let costs = if backfill.sum.cost.is_some() { "costs" } else { "" };
    let headers = ["  day", "is", "runs", "units", "", "takes", costs];
    let mut table = Table::new(headers).right(&[2, 3, 5, 6]).paint(paint);
    let rows = rows(backfill);
    let all = rows.len();
    let mut sum = Row::default();
    for (at, (date, row)) in rows.iter().enumerate() {
        sum.runs += row.runs;
        for (kind, units) in &row.units {
            *sum.units.entry(*kind).or_default() += units;
        }
        let is_told = all <= DAYS_TOLD || at < DAYS_TOLD / 2 || at >= all - DAYS_TOLD / 2;
        if !is_told {
            if at == DAYS_TOLD / 2 {
                let more = counted((all - DAYS_TOLD) as u64, "more day");
                table.push([format!("  … {more}")]);
            }
            continue;
        }
        let states = backfill.states.get(date).into_iter().flatten();
        let states: Vec<&str> = states.map(|state| state.word()).collect();
        table.push_painted([
            format!("  {date}"),
            states.join(", "),
            count(row.runs),
            count(row.units()),
            paint.dim(row.kinds()),
            time(row.wall),
            money(row.cost.as_ref(), about.currency),
        ]);
    }
    table.push_painted([
        format!("  {}", paint.bold("in all, at most")),
        String::new(),
        count(sum.runs),
        paint.bold(count(sum.units())),
        paint.dim(sum.kinds()),
        time(backfill.sum.wall),
        money(backfill.sum.cost.as_ref(), about.currency),
    ]);
    table.lines()
}

/// What is not done, and why.
fn left_out(backfill: &Backfill, paint: Paint) -> Vec<String> {
    let mut lines = Vec::new();
    let mut days = |what: &str, days: &[LogicalDate]| {
        if !days.is_empty() {
            let number = if days.len() == 1 { "1 day " } else { "" };
            lines.push(format!("{}: {number}{}", paint.bold(what), span(days)));
        }
    };
    days("done already", &backfill.done);
    let states: Vec<&str> = backfill.asked.only.iter().map(|state| state.word()).collect();
    days(&format!("not {}", states.join(" nor ")), &backfill.passed_over);
    for (date, why) in backfill.refused.iter().take(REFUSED_TOLD) {
        lines.push(format!("{} {date}: {}", paint.red("cannot be made"), clean(&why.message)));
    }
    let more = backfill.refused.len().saturating_sub(REFUSED_TOLD) as u64;
    if more > 0 {
        lines.push(format!("  and {} more that cannot be made", counted(more, "day")));
    }
    let asked = &backfill.asked;
    let steps: Vec<String> = backfill.not_served.iter().map(|step| format!("`{step}`")).collect();
    if !steps.is_empty() && !backfill.parts.is_empty() {
        let why = match asked.serve {
            true => "the newest day is not among those that are made",
            false => "what serves stays as it is; `--serve` loads the newest day's lists",
        };
        lines.push(format!("{} {}: {why}", paint.bold("left out"), steps.join(", ")));
    } else if asked.serve
        && let Some(last) = backfill.parts.iter().map(|part| part.date).max()
    {
        lines.push(format!("{}: the lists of {last} will be shown", paint.bold("serving")));
    }
    lines
}

fn estimates(backfill: &Backfill, about_it: &About<'_>, paint: Paint) -> Vec<String> {
    let none: [&str; 0] = [];
    let mut table = Table::new(none);
    let wall = backfill.sum.wall;
    let takes = match (wall.unknown, wall.seconds > 0.0) {
        (0, _) => format!("{}, one day after another", time(wall)),
        (unknown, true) => format!(
            "{} for what was run before; ? for {}",
            about(duration(wall.seconds)),
            counted(unknown as u64, "action")
        ),
        (_, false) => "? (it never ran here)".to_owned(),
    };
    let at_once = counted(about_it.parallel as u64, "action");
    table.push_painted([paint.bold("takes"), format!("{takes}; {at_once} at a time")]);
    if let Some(cost) = &backfill.sum.cost {
        let limit = amount_of(at_most(cost), about_it.currency);
        let unknown = match unknown(cost).as_slice() {
            [] => String::new(),
            unknown => format!("; not known and not in it: {}", unknown.join(", ")),
        };
        let may = about_it.max_cost.map(|it| amount_of(it, about_it.currency));
        let may = may.map_or_else(String::new, |may| format!(" (--max-cost is {may})"));
        let probably = money(Some(cost), about_it.currency);
        let costs = format!("{probably}, at most {limit}{may}{unknown}");
        table.push_painted([paint.bold("costs"), costs]);
    }
    table.lines()
}
