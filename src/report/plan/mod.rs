//! What a run would do, for people: what is done and why, what changes, how long it takes and what
//! it costs.

mod effects;
mod jobs;
pub mod json;

use super::number::{bytes, count, counted, duration};
use super::paint::Paint;
use super::summary::{nothing_to_do, plan_lines};
use super::table::{Table, clean, display_width};
use crate::pipeline::interval::LogicalDate;
use crate::plan::effects::Amount;
use crate::plan::forecast::Wall;
use crate::plan::preview::{Basis, Day, Days, MOST_DAYS, Preview, Sum};
use crate::plan::prices::{About, Cost};
use crate::plan::{Action, Verdict};
use crate::run::event::{PlannedUnit, Unit};

/// Ranges of days of a table that are told; more are counted.
const RANGES_TOLD: usize = 6;
/// Columns of the heads of estimates with the gap behind them.
const HEAD: usize = 7;
/// Columns that prose takes at least.
const LEAST_WIDTH: usize = 30;
/// Things without a known cost that are named; more are counted.
const UNKNOWN_TOLD: usize = 4;

/// All lines of a preview; a short one where nothing is to do. What is prose is broken to `width`
/// columns, tables are as wide as they are.
pub fn lines(preview: &Preview, width: usize, paint: Paint) -> Vec<String> {
    let mut sections = vec![head(preview, paint)];
    match &preview.days {
        Days::Each(days) => match days.as_slice() {
            [only] if preview.refused.is_empty() => {
                sections.push(only.plan.notices.iter().map(|it| clean(it)).collect());
                sections.push(work(only, paint));
            }
            several => sections.push(each(several, preview, paint)),
        },
        Days::Multiplied { first, next, days, .. } => {
            sections.push(multiplied(first, next, *days, &preview.sum, paint));
        }
    }
    if preview.sum.to_do > 0 {
        sections.extend(effects::sections(preview, width, paint));
        sections.push(estimates(preview, width, paint));
    }
    sections.retain(|section| !section.is_empty());
    sections.join(&String::new())
}

/// `plan of daily for 2026-03-08 on aws`, and what was taken for granted.
fn head(preview: &Preview, paint: Paint) -> Vec<String> {
    let span = match &preview.days {
        Days::Each(days) => {
            let planned = days.iter().map(|day| day.plan.date);
            let mut all: Vec<_> = planned.chain(preview.refused.iter().map(|it| it.0)).collect();
            all.sort_unstable();
            match all.as_slice() {
                [] => String::new(),
                [only] => only.to_string(),
                [first, .., last] => between(all.len() as u64, *first, *last),
            }
        }
        Days::Multiplied { first, days, last, .. } => {
            between(u64::from(*days), first.plan.date, *last)
        }
    };
    let from = match preview.basis {
        Basis::Local => "",
        Basis::Online => ", as its services say",
        Basis::Declared => ", nobody asked",
    };
    let about = format!("plan of {} for {span} on {}", preview.pipeline, preview.target);
    let mut lines = vec![format!("{}{from}", paint.bold(about))];
    let assumed = preview.assumptions.iter();
    lines.extend(assumed.map(|it| format!("  {}", paint.dim(format_args!("assumed: {it}")))));
    lines
}

fn between(days: u64, first: LogicalDate, last: LogicalDate) -> String {
    format!("{} from {first} to {last}", counted(days, "day"))
}

/// What is done and why, and what is skipped and why.
fn work(day: &Day, paint: Paint) -> Vec<String> {
    let (mut to_do, mut unchanged) = (Vec::new(), Vec::new());
    for action in &day.plan.actions {
        match &action.verdict {
            Verdict::Run(reason) => {
                to_do.push(PlannedUnit { unit: unit(action), reason: reason.clone() });
            }
            Verdict::Skip(run) => unchanged.push(PlannedUnit {
                unit: unit(action),
                reason: format!("unchanged since run {run}"),
            }),
            Verdict::Adopt(run) => unchanged.push(PlannedUnit {
                unit: unit(action),
                reason: format!("made by run {run}, which died"),
            }),
        }
    }
    if to_do.is_empty() {
        return nothing_to_do(&unchanged, paint);
    }
    let mut lines = plan_lines(&to_do, 0, paint);
    lines.extend(gaps(day, paint));
    lines.extend(skipped(&unchanged, paint));
    lines
}

/// The days of tables that are to be made, where they are no single range:
/// `  days of clean_events, interactions: 2026-03-01 … 2026-03-03, 2026-03-05`
fn gaps(day: &Day, paint: Paint) -> Vec<String> {
    let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
    for (table, ranges) in day.missing() {
        if ranges.len() < 2 {
            continue;
        }
        let one = |(first, last): &(LogicalDate, LogicalDate)| match first == last {
            true => first.to_string(),
            false => format!("{first} … {last}"),
        };
        let told: Vec<String> = ranges.iter().take(RANGES_TOLD).map(one).collect();
        let more = ranges.len().saturating_sub(RANGES_TOLD) as u64;
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        let text = format!("{}{more}", told.join(", "));
        match groups.iter_mut().find(|(known, _)| *known == text) {
            Some((_, tables)) => tables.push(table),
            None => groups.push((text, vec![table])),
        }
    }
    let line = |(days, tables): &(String, Vec<&str>)| {
        format!("  {}", paint.dim(format_args!("days of {}: {days}", tables.join(", "))))
    };
    groups.iter().map(line).collect()
}

fn unit(action: &Action) -> Unit {
    Unit { step: action.step.clone(), action: action.kind.word(), partition: action.partition }
}

/// `  unchanged since run r1: 40 units of products, users, clean_events`
fn skipped(unchanged: &[PlannedUnit], paint: Paint) -> Vec<String> {
    let mut reasons: Vec<(&str, u64, Vec<&str>)> = Vec::new();
    for PlannedUnit { unit, reason } in unchanged {
        let step = unit.step.as_str();
        match reasons.iter_mut().find(|(known, ..)| known == reason) {
            Some((_, units, steps)) => {
                *units += 1;
                if !steps.contains(&step) {
                    steps.push(step);
                }
            }
            None => reasons.push((reason, 1, vec![step])),
        }
    }
    let line = |(reason, units, steps): &(&str, u64, Vec<&str>)| {
        let text = format!("{reason}: {} of {}", counted(*units, "unit"), steps.join(", "));
        format!("  {}", paint.dim(text))
    };
    reasons.iter().map(line).collect()
}

/// A line for each day, and the sum.
fn each(days: &[Day], preview: &Preview, paint: Paint) -> Vec<String> {
    let mut table = Table::new(["  day", "to do", "unchanged", "takes", "costs", ""])
        .right(&[1, 2, 3, 4])
        .paint(paint);
    let currency = currency(preview);
    for day in days {
        let done = day.to_do().count();
        let notice = day.plan.notices.first().map(|it| clean(it)).unwrap_or_default();
        table.push_painted([
            format!("  {}", day.plan.date),
            count(done as u64),
            count((day.plan.actions.len() - done) as u64),
            if done == 0 { String::new() } else { time(day.wall) },
            if done == 0 { String::new() } else { money(day.cost.as_ref(), currency) },
            paint.dim(notice),
        ]);
    }
    table.push_painted(total_row(&preview.sum, currency, paint));
    let mut lines = table.lines();
    lines.extend(
        preview
            .refused
            .iter()
            .map(|(date, why)| format!("  {date} {}: {}", paint.red("would fail"), clean(why))),
    );
    lines
}

fn total_row(sum: &Sum, currency: &str, paint: Paint) -> [String; 6] {
    [
        format!("  {}", paint.bold("in all")),
        paint.bold(count(sum.to_do)),
        count(sum.unchanged),
        time(sum.wall),
        money(sum.cost.as_ref(), currency),
        String::new(),
    ]
}

/// The first day and one more, times the number of days.
fn multiplied(first: &Day, next: &Day, days: u32, sum: &Sum, paint: Paint) -> Vec<String> {
    let mut table = Table::new(["  days", "of a day", "actions"]).right(&[1, 2]).paint(paint);
    let of = |day: &Day| day.to_do().count() as u64;
    let rest = u64::from(days.saturating_sub(1));
    let (once, again) = (of(first), of(next));
    table.push(["  the first day, and those that it reads", &count(once), &count(once)]);
    let others = format!("  {} after it", counted(rest, "day"));
    table.push([others.as_str(), &count(again), &count(again * rest)]);
    table.push_painted([
        format!("  {}", paint.bold("in all, at most")),
        String::new(),
        paint.bold(count(sum.to_do)),
    ]);
    let mut lines = table.lines();
    lines.push(format!(
        "  {}",
        paint.dim(format_args!(
            "more than {MOST_DAYS} days are multiplied: what is done already was not looked up"
        ))
    ));
    lines
}

/// Time, data and money.
fn estimates(preview: &Preview, width: usize, paint: Paint) -> Vec<String> {
    let none: [&str; 0] = [];
    let mut table = Table::new(none);
    let sum = &preview.sum;
    let takes = match (sum.wall.unknown, sum.wall.seconds > 0.0) {
        (0, _) => format!("{}, two actions at a time", time(sum.wall)),
        (unknown, true) => format!(
            "{} for what was run before; ? for {}",
            about(duration(sum.wall.seconds)),
            counted(unknown as u64, "action")
        ),
        (_, false) => "? (it never ran here)".to_owned(),
    };
    table.push_painted([paint.bold("takes"), takes]);
    let reads = match sum.bytes_in {
        Some(total) => format!("{} of raw input", about(bytes(total))),
        None => "? of raw input".to_owned(),
    };
    table.push_painted([paint.bold("reads"), reads]);
    let mut lines = table.lines();
    if let (Some(cost), Some(prices)) = (&sum.cost, &preview.prices) {
        let (first, rest) = costs(cost, prices);
        let mut table = Table::new(none);
        let room = width.saturating_sub(HEAD);
        for (at, line) in wrapped(&first, room).into_iter().enumerate() {
            let head = if at == 0 { paint.bold("costs") } else { String::new() };
            table.push_painted([head, line]);
        }
        for line in rest.iter().flat_map(|line| wrapped(line, room)) {
            table.push_painted([String::new(), paint.dim(line)]);
        }
        lines.extend(table.lines());
    }
    lines
}

/// The sum, and below it what it is made of.
fn costs(cost: &Cost, prices: &About) -> (String, Vec<String>) {
    let mut rest = Vec::new();
    for line in cost.lines.iter().filter(|line| !line.monthly) {
        let amount = match (line.amount, line.at_most) {
            (Some(amount), _) => about(amount_of(amount, &prices.currency)),
            (None, Some(most)) => format!("?, at most {}", amount_of(most, &prices.currency)),
            (None, None) => "?".to_owned(),
        };
        let price = match line.price {
            Some(price) => format!("{} for {}", amount_of(price, &prices.currency), line.unit),
            None => "no price".to_owned(),
        };
        rest.push(format!("{}: {amount} ({price})", clean(&line.what)));
    }
    if prices.lists.is_empty() {
        rest.push(format!("no list has prices of {}: say them in prices.yaml", prices.region));
    }
    for list in &prices.lists {
        rest.push(format!("prices of {}, {}: {}", prices.region, list.date, clean(&list.source)));
    }
    let known = about(amount_of(cost.amount, &prices.currency));
    let unknown = &cost.unknown;
    let first = match unknown.len() {
        0 => known,
        _ if cost.amount <= 0.0 => "?".to_owned(),
        some => {
            let told: Vec<&str> = unknown.iter().take(UNKNOWN_TOLD).map(String::as_str).collect();
            let more = some.saturating_sub(UNKNOWN_TOLD);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("{known} and ? for {}{more}", told.join(", "))
        }
    };
    (first, rest)
}

fn currency(preview: &Preview) -> &str {
    preview.prices.as_ref().map_or("", |prices| prices.currency.as_str())
}

/// `~2 min 03 s`, with a `+ ?` where some of it is unknown, `?` where all is.
pub(super) fn time(wall: Wall) -> String {
    match (wall.unknown, wall.seconds > 0.0) {
        (0, _) => about(duration(wall.seconds)),
        (_, true) => format!("{} + ?", about(duration(wall.seconds))),
        (_, false) => "?".to_owned(),
    }
}

/// What something probably costs, `?` where nobody knows; nothing where nothing is paid for.
pub(super) fn money(cost: Option<&Cost>, currency: &str) -> String {
    match cost {
        None => String::new(),
        Some(cost) if cost.unknown.is_empty() => about(amount_of(cost.amount, currency)),
        Some(cost) if cost.amount > 0.0 => {
            format!("{} + ?", about(amount_of(cost.amount, currency)))
        }
        Some(_) => "?".to_owned(),
    }
}

pub(super) fn about(text: String) -> String {
    format!("~{text}")
}

/// An amount of money: `$0.42`, `$0.0013`, `12.50 EUR`.
pub(super) fn amount_of(amount: f64, currency: &str) -> String {
    let figure = match amount {
        it if it >= 100.0 => whole(it),
        it if it >= 0.1 => format!("{it:.2}"),
        it if it >= 0.01 => format!("{it:.3}"),
        it => format!("{it:.4}"),
    };
    match currency {
        "USD" => format!("${figure}"),
        other => format!("{figure} {other}"),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an amount of money, which is not negative"
)]
fn whole(amount: f64) -> String {
    count(amount.round() as u64)
}

/// The text broken between words into lines of at most `width` columns, the later ones indented; a
/// word that is longer stands alone.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        let fits = display_width(&line) + display_width(word) < width.max(LEAST_WIDTH);
        if !fits && !line.trim().is_empty() {
            lines.push(std::mem::replace(&mut line, "  ".to_owned()));
        }
        if !line.trim().is_empty() || (line.is_empty() && !lines.is_empty()) {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

/// A number with how far it can be relied on: `3`, `~3`, `≤ 3`, `?`.
fn figure(amount: Amount, text: impl Fn(u64) -> String) -> String {
    match amount {
        Amount::Exactly(number) => text(number),
        Amount::About(number) => format!("~{}", text(number)),
        Amount::AtMost(number) => format!("≤ {}", text(number)),
        Amount::Unknown => "?".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_say_how_far_they_can_be_relied_on() {
        let shown = |amount| figure(amount, count);
        assert_eq!(shown(Amount::Exactly(1_200)), "1,200");
        assert_eq!(shown(Amount::About(3)), "~3");
        assert_eq!(shown(Amount::AtMost(3)), "≤ 3");
        assert_eq!(shown(Amount::Unknown), "?", "never 0");
    }

    #[test]
    fn prose_is_broken_between_words() {
        let text = "prices of us-east-1, 2025-06-30: list prices, check";
        assert_eq!(wrapped(text, 80), [text]);
        assert_eq!(wrapped(text, 34), ["prices of us-east-1, 2025-06-30:", "  list prices, check"]);
        assert_eq!(wrapped(&"x".repeat(50), 30), ["x".repeat(50)]);
    }

    #[test]
    fn small_amounts_are_not_rounded_to_nothing() {
        assert_eq!(amount_of(0.0013, "USD"), "$0.0013");
        assert_eq!(amount_of(0.42, "USD"), "$0.42");
        assert_eq!(amount_of(0.0054, "USD"), "$0.0054");
        assert_eq!(amount_of(1234.5, "EUR"), "1,235 EUR");
    }
}
