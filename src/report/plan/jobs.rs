//! The jobs of a plan.

use super::super::number::{count, duration};
use super::super::paint::Paint;
use super::super::table::Table;
use super::effects::Counted;
use super::{figure, wrapped};
use crate::plan::effects::{Amount, Effect, Machine, Work};

/// A row for each kind of job, and below what they run on.
pub(super) fn jobs(
    effects: &Counted<'_>,
    one_day: bool,
    width: usize,
    paint: Paint,
) -> Vec<String> {
    let mut machines: Vec<&Machine> = Vec::new();
    let mut rows: Vec<(String, String, Option<usize>, Amount, Amount)> = Vec::new();
    for (effect, times) in effects {
        let Effect::Jobs(jobs) = effect else { continue };
        let what = match jobs.work {
            Work::Fit => "fit".to_owned(),
            Work::Search => "search".to_owned(),
            Work::Trial => format!("trials, {} at once", jobs.at_once),
            Work::Score => "score".to_owned(),
        };
        let machine = jobs.machine.as_ref().map(|machine| {
            machines.iter().position(|known| *known == machine).unwrap_or_else(|| {
                machines.push(machine);
                machines.len() - 1
            })
        });
        let name = names(&jobs.names, one_day);
        let (number, seconds) = (jobs.number.times(*times), jobs.seconds.times(*times));
        match rows.iter_mut().find(|row| row.0 == name && row.1 == what && row.2 == machine) {
            Some(row) => {
                row.3 = row.3 + number;
                row.4 = row.4 + seconds;
            }
            None => rows.push((name, what, machine, number, seconds)),
        }
    }
    if rows.is_empty() {
        return Vec::new();
    }
    let head = if machines.is_empty() { "" } else { "on" };
    let mut table =
        Table::new(["  jobs", "what", "number", "takes", head]).right(&[2, 3]).paint(paint);
    for (name, what, machine, number, seconds) in rows {
        let takes = match seconds {
            Amount::Exactly(0) => String::new(),
            some => figure(some, |it| duration(it as f64)),
        };
        let on = machine.and_then(|at| machines.get(at)).map(|it| on(it)).unwrap_or_default();
        table.push([format!("  {name}"), what, figure(number, count), takes, on]);
    }
    let mut lines = table.lines();
    for machine in machines {
        let [_, others @ ..] = machine.instances.as_slice() else { continue };
        let others = match others {
            [] => String::new(),
            some => format!(", else {}", some.join(", ")),
        };
        let text = format!("{}{others}; image {}", on(machine), machine.image);
        let broken = wrapped(&text, width.saturating_sub(2));
        lines.extend(broken.iter().map(|line| format!("  {}", paint.dim(line))));
    }
    lines
}

/// One name, or how many it may be. Names of several days have the day left out.
fn names(names: &[String], one_day: bool) -> String {
    let [first, rest @ ..] = names else { return String::new() };
    let is_day = |part: &&str| {
        (part.len() == 6 || part.len() == 8) && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    let name = match one_day {
        true => first.clone(),
        false => {
            let parts: Vec<&str> =
                first.split('-').map(|part| if is_day(&part) { "*" } else { part }).collect();
            parts.join("-").replace("-*-*", "-*")
        }
    };
    match rest.len() {
        0 => name,
        more => format!("{name} or {more} more"),
    }
}

/// `ml.m5.xlarge`, `2 × ml.m5.xlarge, spot`
fn on(machine: &Machine) -> String {
    let kind = machine.instances.first().map_or("?", String::as_str);
    let number = if machine.count == 1 { String::new() } else { format!("{} × ", machine.count) };
    let spot = if machine.spot { ", spot" } else { "" };
    format!("{number}{kind}{spot}")
}
