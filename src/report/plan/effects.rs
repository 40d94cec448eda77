//! What changes outside of the process, table by table and service by service.

use std::collections::BTreeMap;

use super::super::number::{bytes, count, counted};
use super::super::paint::Paint;
use super::super::table::Table;
use super::jobs::jobs;
use super::{figure, wrapped};
use crate::plan::effects::{
    Amount, Content, Effect, LoadMode, PartitionChange, Record, TableChange, Writer,
};
use crate::plan::preview::{Days, Preview};

/// Columns of the heads of what is no table, with what is around them.
const HEAD: usize = 11;

/// Effects, and how many times they come about.
pub(super) type Counted<'a> = Vec<(&'a Effect, u64)>;

/// Sections of tables, jobs and all else.
pub(super) fn sections(preview: &Preview, width: usize, paint: Paint) -> Vec<Vec<String>> {
    let effects = of(&preview.days);
    let one_day = matches!(&preview.days, Days::Each(days) if days.len() == 1);
    vec![
        tables(&effects, paint),
        jobs(&effects, one_day, width, paint),
        others(&effects, width, paint),
    ]
}

fn of(days: &Days) -> Counted<'_> {
    let mut counted = Vec::new();
    match days {
        Days::Each(days) => {
            for day in days {
                counted.extend(day.effects.all().map(|effect| (effect, 1)));
            }
        }
        Days::Multiplied { first, next, days, .. } => {
            counted.extend(first.effects.all().map(|effect| (effect, 1)));
            let rest = u64::from(days.saturating_sub(1));
            counted.extend(next.effects.all().map(|effect| (effect, rest)));
        }
    }
    counted
}

/// What happens to one table.
#[derive(Default)]
struct Row {
    files: Option<Amount>,
    bytes: Option<Amount>,
    made: bool,
    replaced: u64,
    added: u64,
    flipped: u64,
    warehouse: Option<(LoadMode, u64)>,
}

/// A row for each table: files, catalog, warehouse.
fn tables(effects: &Counted<'_>, paint: Paint) -> Vec<String> {
    let mut order: Vec<String> = Vec::new();
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    let mut row = |name: &str, change: &mut dyn FnMut(&mut Row)| {
        if !rows.contains_key(name) {
            order.push(name.to_owned());
        }
        change(rows.entry(name.to_owned()).or_default());
    };
    for (effect, times) in effects {
        match effect {
            Effect::Files(files)
                if matches!(files.content, Content::Table | Content::Quarantine) =>
            {
                let name = files.folder.split('/').nth(1).unwrap_or_default();
                row(name, &mut |row| {
                    let sum = |known: Option<Amount>, new: Amount| {
                        Some(known.unwrap_or(Amount::NONE) + new.times(*times))
                    };
                    row.files = sum(row.files, files.files);
                    row.bytes = sum(row.bytes, files.bytes);
                });
            }
            Effect::Table { table, change } => row(table, &mut |row| match change {
                TableChange::Made => row.made = true,
                TableChange::Flipped => row.replaced += times,
            }),
            Effect::Partitions { table, keys, change } => row(table, &mut |row| {
                let number = keys.len() as u64 * times;
                match change {
                    PartitionChange::Added => row.added += number,
                    PartitionChange::Flipped => row.flipped += number,
                }
            }),
            Effect::Load { tables, .. } => {
                for loaded in tables {
                    let name = loaded.table.rsplit('.').next().unwrap_or(&loaded.table);
                    row(name, &mut |row| {
                        let known = row.warehouse.map_or(0, |(_, number)| number);
                        row.warehouse = Some((loaded.mode, known + times));
                    });
                }
            }
            _ => {}
        }
    }
    if order.is_empty() {
        return Vec::new();
    }
    let mut table = Table::new(["  tables", "files", "bytes", "partitions", "warehouse"])
        .right(&[1, 2])
        .paint(paint);
    for name in &order {
        let Some(row) = rows.get(name) else { continue };
        table.push([
            format!("  {name}"),
            row.files.map(|it| figure(it, count)).unwrap_or_default(),
            row.bytes.map(|it| figure(it, bytes)).unwrap_or_default(),
            row.catalog(),
            row.loaded(),
        ]);
    }
    table.lines()
}

impl Row {
    /// `made, 21 added, 1 flipped`
    fn catalog(&self) -> String {
        let mut parts = Vec::new();
        if self.made {
            parts.push("made".to_owned());
        }
        match self.replaced {
            0 => {}
            1 => parts.push("replaced".to_owned()),
            times => parts.push(format!("replaced {} times", count(times))),
        }
        if self.added > 0 {
            parts.push(format!("{} added", count(self.added)));
        }
        if self.flipped > 0 {
            parts.push(format!("{} flipped", count(self.flipped)));
        }
        parts.join(", ")
    }

    /// `replace, 21 loads`
    fn loaded(&self) -> String {
        let Some((mode, loads)) = &self.warehouse else { return String::new() };
        let how = match mode {
            LoadMode::Replace => "replace",
            LoadMode::Merge => "merge",
            LoadMode::External => "read in place",
        };
        match loads {
            1 => format!("{how}, 1 load"),
            loads => format!("{how}, {} loads", count(*loads)),
        }
    }
}

/// A line for all that is no table and no job.
fn others(effects: &Counted<'_>, width: usize, paint: Paint) -> Vec<String> {
    let none: [&str; 0] = [];
    let mut table = Table::new(none).indent(2);
    let mut groups: Vec<(&'static str, Vec<String>)> = Vec::new();
    let mut add = |head: &'static str, text: String| match groups
        .iter_mut()
        .find(|(known, _)| *known == head)
    {
        Some((_, texts)) => texts.push(text),
        None => groups.push((head, vec![text])),
    };
    for (head, text) in files(effects) {
        add(head, text);
    }
    for (effect, _) in effects {
        match effect {
            Effect::Sample { folder, events, days } => add(
                "sample",
                format!(
                    "{} events in {folder}, {} to {}, as the lake is empty",
                    count(*events),
                    days.0,
                    days.1
                ),
            ),
            Effect::DatabaseMade { database, number } => {
                add("catalog", format!("database {database} made{}", perhaps(*number)));
            }
            Effect::ModelRegistered { group, new_group } if !new_group.is_none() => {
                add("models", format!("group {group} made{}", perhaps(*new_group)));
            }
            Effect::ServedTableMade { table, number } => {
                add("serving", format!("table {table} made{}", perhaps(*number)));
            }
            _ => {}
        }
    }
    for (head, text) in served(effects) {
        add(head, text);
    }
    add("state", state(effects));
    for (head, texts) in groups {
        let broken = texts.iter().flat_map(|text| wrapped(text, width.saturating_sub(HEAD)));
        for (at, text) in broken.enumerate() {
            let head = if at == 0 { paint.bold(head) } else { String::new() };
            table.push_painted([head, text]);
        }
    }
    table.lines()
}

fn perhaps(number: Amount) -> &'static str {
    match number {
        Amount::Exactly(_) => "",
        Amount::About(_) | Amount::AtMost(_) | Amount::Unknown => " where it is missing",
    }
}

/// Files that belong to no table.
fn files(effects: &Counted<'_>) -> Vec<(&'static str, String)> {
    let mut sums: BTreeMap<Content, (u64, Amount, bool, &str)> = BTreeMap::new();
    let mut removed = Amount::NONE;
    for (effect, times) in effects {
        match effect {
            Effect::Files(files) => {
                let top = match files.content {
                    Content::Definition => "_recctl/definitions",
                    _ => files.folder.split('/').next().unwrap_or_default(),
                };
                let sum = sums.entry(files.content).or_insert((0, Amount::NONE, false, top));
                sum.0 += times;
                sum.1 = sum.1 + files.files.times(*times);
                sum.2 = files.by == Writer::Job;
            }
            Effect::FilesRemoved { folders, .. } => removed = removed + folders.times(*times),
            _ => {}
        }
    }
    let mut lines = Vec::new();
    for (content, (folders, number, by_job, top)) in sums {
        let files = match number {
            Amount::Exactly(1) => "1 file".to_owned(),
            number => format!("{} files", figure(number, count)),
        };
        let by = if by_job { ", by jobs" } else { "" };
        let what = match content {
            Content::Table | Content::Quarantine => continue,
            Content::Manifest => "notes of the catalog",
            Content::LoadList => "lists for COPY",
            Content::TrainingSet => {
                let sets = counted(folders, "training set");
                let gone = figure(removed, count);
                lines.push(("lake", format!("{top}/  {sets}, {files}; {gone} removed at the end")));
                continue;
            }
            Content::Model => "models",
            Content::Recommendations => "recommendations",
            Content::JobSettings => "settings of jobs",
            Content::RegisteredModel => "registered models",
            Content::Definition => "definition of the run",
        };
        lines.push(("lake", format!("{top}/  {what}, {files}{by}")));
    }
    lines
}

/// Generations of served lists, and versions of models.
fn served(effects: &Counted<'_>) -> Vec<(&'static str, String)> {
    let mut models: BTreeMap<&str, u64> = BTreeMap::new();
    let mut loads: BTreeMap<&str, (u64, Amount, Option<Amount>)> = BTreeMap::new();
    let mut gone: BTreeMap<&str, (Amount, Amount, bool, usize)> = BTreeMap::new();
    for (effect, times) in effects {
        match effect {
            Effect::ModelRegistered { group, .. } => *models.entry(group).or_default() += times,
            Effect::Generation(one) => {
                let sum = loads.entry(&one.table).or_insert((0, Amount::NONE, None));
                sum.0 += times;
                sum.1 = sum.1 + one.items.times(*times);
                if let Some(units) = one.write_units {
                    sum.2 = Some(sum.2.unwrap_or(Amount::NONE) + units.times(*times));
                }
            }
            Effect::GenerationsRemoved { table, keep, generations, items, expire } => {
                let sum = gone.entry(table).or_insert((Amount::NONE, Amount::NONE, *expire, *keep));
                sum.0 = sum.0 + generations.times(*times);
                sum.1 = sum.1 + items.times(*times);
            }
            _ => {}
        }
    }
    let mut lines = Vec::new();
    for (group, number) in models {
        lines.push(("models", format!("{} of {group} registered", counted(number, "version"))));
    }
    for (table, (number, items, units)) in loads {
        let units = units.map(|it| format!(", {} write units", figure(it, count)));
        let lists = format!("{} lists", figure(items, count));
        let number = counted(number, "generation");
        lines.push((
            "serving",
            format!("{number} of {table}, {lists}{}", units.unwrap_or_default()),
        ));
    }
    for (table, (number, items, expire, keep)) in gone {
        let how = match expire {
            true => "whose lists expire".to_owned(),
            false => format!("{} lists deleted", figure(items, count)),
        };
        let number = figure(number, count);
        lines.push((
            "serving",
            format!("{number} old generations of {table} removed, {how}; {keep} stay"),
        ));
    }
    lines
}

/// `lease taken and given back, renewed ~4 times, 2 writes of the run, 152 of steps, 31 of the ledger`
fn state(effects: &Counted<'_>) -> String {
    let mut sums: BTreeMap<Record, Amount> = BTreeMap::new();
    for (effect, times) in effects {
        if let Effect::State { record, writes } = effect {
            let sum = sums.entry(*record).or_insert(Amount::NONE);
            *sum = *sum + writes.times(*times);
        }
    }
    let mut parts = Vec::new();
    for (record, writes) in sums {
        let number = figure(writes, count);
        parts.push(match record {
            Record::Table => "table made".to_owned(),
            Record::Lease => "lease taken and given back".to_owned(),
            Record::LeaseRenewal => format!("renewed {number} times"),
            Record::Run => format!("{number} writes of the run"),
            Record::Step => format!("{number} of steps"),
            Record::Publication => format!("{number} of publications"),
            Record::Ledger => format!("{number} of the ledger"),
            Record::Decision => format!("{number} of decisions"),
        });
    }
    parts.join(", ")
}
