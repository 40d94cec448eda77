//! A row per step, a column per day; where that is too wide, a column per week or month.

use chrono::Datelike;

use super::{parts, range, said};
use crate::pipeline::interval::{LogicalDate, Partition};
use crate::pipeline::name::Name;
use crate::plan::ledger::{Entry, Ledger, LedgerState};
use crate::plan::preview::ranges;
use crate::report::number::counted;
use crate::report::paint::Paint;
use crate::report::table::{Table, clean, pad_right};

/// Lines of the list below the calendar; the rest is counted.
const MOST_LISTED: usize = 24;

/// The letter of what was done because a person said so.
const BY_HAND: char = '+';

/// The ledger of a target in so many columns.
pub fn lines(ledger: &Ledger, target: &str, width: usize, paint: Paint) -> Vec<String> {
    let mut lines = vec![about(ledger, target, paint), String::new()];
    let names = ledger.steps.iter().map(|step| step.as_str().len()).max().unwrap_or(0);
    let columns = Columns::of(&ledger.dates, width.saturating_sub(names + 2));
    let indent = " ".repeat(names + 2);
    for header in columns.headers() {
        lines.push(paint.dim(format!("{indent}{header}").trim_end()));
    }
    for step in &ledger.steps {
        let name = pad_right(step.as_str(), names);
        lines.push(format!("{name}  {}", row(ledger, step, &columns, paint)));
    }
    lines.push(String::new());
    lines.push(legend(ledger, &columns, paint));
    let listed = list(ledger, width, paint);
    if !listed.is_empty() {
        lines.push(String::new());
        lines.extend(listed);
    }
    lines
}

/// `ledger of daily on local, 8 days from … to …: 60 done, 2 missing`.
fn about(ledger: &Ledger, target: &str, paint: Paint) -> String {
    let span = match (ledger.dates.first(), ledger.dates.last()) {
        (Some(first), Some(last)) => range((*first, *last)),
        _ => "no days".to_owned(),
    };
    let count = |state: LedgerState| {
        let number = ledger.entries.values().filter(|entry| entry.state == state).count();
        (number > 0).then(|| format!("{number} {}", state.word()))
    };
    let counts: Vec<String> = LedgerState::ALL.into_iter().filter_map(count).collect();
    let name = format!("ledger of {} on {target}, {span}", ledger.pipeline);
    format!("{}: {}", paint.bold(name), counts.join(", "))
}

/// What a column stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Day,
    Week,
    Month,
}

/// The days of each column, with the columns after which there is a gap.
struct Columns {
    unit: Unit,
    days: Vec<Vec<LogicalDate>>,
}

impl Columns {
    /// Days if they fit, else weeks from Monday on, else months.
    fn of(dates: &[LogicalDate], width: usize) -> Self {
        for unit in [Unit::Day, Unit::Week, Unit::Month] {
            let columns = Self { unit, days: grouped(dates, unit) };
            if unit == Unit::Month || columns.width() <= width {
                return columns;
            }
        }
        Self { unit: Unit::Month, days: Vec::new() }
    }

    fn width(&self) -> usize {
        let gaps = (1..self.days.len()).filter(|at| self.gap_before(*at)).count();
        self.days.len() + gaps
    }

    /// Days stand in weeks, weeks in months, months in years.
    fn gap_before(&self, at: usize) -> bool {
        let first = |at: usize| self.days.get(at).and_then(|days| days.first()).copied();
        let (Some(before), Some(here)) = (at.checked_sub(1).and_then(first), first(at)) else {
            return false;
        };
        match self.unit {
            Unit::Day => here.day().weekday() == chrono::Weekday::Mon,
            Unit::Week => here.day().month() != before.day().month(),
            Unit::Month => here.day().year() != before.day().year(),
        }
    }

    /// Joins one text per column.
    fn join(&self, cells: impl Iterator<Item = String>) -> String {
        let mut text = String::new();
        for (at, cell) in cells.enumerate() {
            if self.gap_before(at) {
                text.push(' ');
            }
            text.push_str(&cell);
        }
        text
    }

    /// Two lines: where a month (a year) begins, and days (months) that begin a group.
    fn headers(&self) -> [String; 2] {
        let (mut coarse, mut fine) = (Labels::default(), Labels::default());
        let mut at = 0;
        let mut last: Option<LogicalDate> = None;
        for (index, days) in self.days.iter().enumerate() {
            let Some(first) = days.first().map(|first| first.day()) else { continue };
            at += usize::from(self.gap_before(index));
            let begins = index == 0 || self.gap_before(index);
            let is_new = |of: fn(chrono::NaiveDate) -> (i32, u32)| {
                last.is_none_or(|last| of(last.day()) != of(first))
            };
            let month = |day: chrono::NaiveDate| (day.year(), day.month());
            let year = |day: chrono::NaiveDate| (day.year(), 0);
            match self.unit {
                Unit::Day => {
                    if is_new(month) {
                        coarse.put(at, &first.format("%Y-%m").to_string());
                    }
                    // Two digits need two columns, unless nothing comes after them.
                    let is_alone = self.gap_before(index + 1);
                    if begins && !is_alone {
                        fine.put(at, &format!("{:02}", first.day()));
                    }
                }
                Unit::Week => {
                    if is_new(year) {
                        coarse.put(at, &first.format("%Y").to_string());
                    }
                    if is_new(month) {
                        fine.put(at, &first.format("%b").to_string());
                    }
                }
                Unit::Month => {
                    if is_new(year) {
                        coarse.put(at, &first.format("%Y").to_string());
                    }
                    let name = first.format("%b").to_string();
                    fine.put_close(at, &name.chars().take(1).collect::<String>());
                }
            }
            last = days.first().copied();
            at += 1;
        }
        [coarse.0, fine.0]
    }
}

/// A line of labels, none of which touches the one before.
#[derive(Default)]
struct Labels(String);

impl Labels {
    fn put(&mut self, at: usize, label: &str) {
        if self.0.is_empty() || self.0.len() < at {
            self.put_close(at, label);
        }
    }

    fn put_close(&mut self, at: usize, label: &str) {
        while self.0.len() < at {
            self.0.push(' ');
        }
        self.0.push_str(label);
    }
}

fn grouped(dates: &[LogicalDate], unit: Unit) -> Vec<Vec<LogicalDate>> {
    let key = |date: &LogicalDate| {
        let day = date.day();
        match unit {
            Unit::Day => (day.year(), day.ordinal()),
            Unit::Week => (day.iso_week().year(), day.iso_week().week()),
            Unit::Month => (day.year(), day.month()),
        }
    };
    dates.chunk_by(|one, other| key(one) == key(other)).map(<[LogicalDate]>::to_vec).collect()
}

fn row(ledger: &Ledger, step: &Name, columns: &Columns, paint: Paint) -> String {
    if let Some(entry) = ledger.entries.get(&(step.clone(), Partition::Whole)) {
        let made = entry
            .made
            .as_ref()
            .map_or_else(String::new, |made| format!(", made {}", made.done.format("%Y-%m-%d")));
        let what = paint.dim(format!("the whole table{made}"));
        return format!("{}  {what}", painted(letter(entry), entry.state, paint));
    }
    columns.join(columns.days.iter().map(|days| {
        let of_day = |date: &LogicalDate| ledger.get(step, *date);
        // Of several days the worst shows.
        let worst = days.iter().filter_map(of_day).max_by_key(|entry| gravity(entry.state));
        worst.map_or_else(|| " ".to_owned(), |entry| painted(letter(entry), entry.state, paint))
    }))
}

fn letter(entry: &Entry) -> char {
    match entry.state {
        LedgerState::Done if entry.mark.is_some() => BY_HAND,
        state => letter_of(state),
    }
}

fn letter_of(state: LedgerState) -> char {
    match state {
        LedgerState::Done => '.',
        LedgerState::Stale => 's',
        LedgerState::Missing => '-',
        LedgerState::Running => 'r',
        LedgerState::Failed => 'F',
        LedgerState::Quarantined => 'Q',
    }
}

fn painted(letter: impl std::fmt::Display, state: LedgerState, paint: Paint) -> String {
    match state {
        LedgerState::Done => paint.green(letter),
        LedgerState::Stale => paint.yellow(letter),
        LedgerState::Missing => paint.dim(letter),
        LedgerState::Running => paint.cyan(letter),
        LedgerState::Failed | LedgerState::Quarantined => paint.red(letter),
    }
}

/// How much a state says about days of which it is one.
fn gravity(state: LedgerState) -> u8 {
    match state {
        LedgerState::Done => 0,
        LedgerState::Missing => 1,
        LedgerState::Stale => 2,
        LedgerState::Running => 3,
        LedgerState::Quarantined => 4,
        LedgerState::Failed => 5,
    }
}

/// The letters that are there, and what a column is where it is no day.
fn legend(ledger: &Ledger, columns: &Columns, paint: Paint) -> String {
    let mut words = Vec::new();
    for state in LedgerState::ALL {
        let of_state = || ledger.entries.values().filter(move |entry| entry.state == state);
        if of_state().any(|entry| letter(entry) != BY_HAND) {
            words.push(format!("{} {}", painted(letter_of(state), state, paint), state.word()));
        }
        if of_state().any(|entry| letter(entry) == BY_HAND) {
            words.push(format!("{} done, set by hand", painted(BY_HAND, state, paint)));
        }
    }
    let unit = match columns.unit {
        Unit::Day => "",
        Unit::Week => "; a column is a week, as its worst day",
        Unit::Month => "; a column is a month, as its worst day",
    };
    format!("{}{unit}", words.join("   "))
}

/// Days of steps that stand alike.
struct Group {
    state: LedgerState,
    reason: String,
    partitions: Vec<Partition>,
    steps: Vec<Name>,
}

/// What is not done, and what a person set: state, days, steps and why.
fn list(ledger: &Ledger, width: usize, paint: Paint) -> Vec<String> {
    let mut groups: Vec<Group> = Vec::new();
    for step in &ledger.steps {
        for group in of_step(ledger, step) {
            let same = |known: &&mut Group| {
                known.state == group.state
                    && known.reason == group.reason
                    && known.partitions == group.partitions
            };
            match groups.iter_mut().find(same) {
                Some(known) => known.steps.extend(group.steps),
                None => groups.push(group),
            }
        }
    }
    groups.sort_by_key(|group| std::cmp::Reverse(gravity(group.state)));
    let mut table = Table::new(["state", "days", "steps", "why"]).paint(paint);
    for group in groups.iter().take(MOST_LISTED) {
        let steps: Vec<&str> = group.steps.iter().map(Name::as_str).collect();
        let days = match parts(&group.partitions) {
            days if days.is_empty() => "all".to_owned(),
            days => days,
        };
        table.push_painted([
            painted(group.state.word(), group.state, paint),
            days,
            steps.join(", "),
            paint.dim(clean(&group.reason)),
        ]);
    }
    if table.is_empty() {
        return Vec::new();
    }
    let mut lines = table.fitted(width);
    if groups.len() > MOST_LISTED {
        let more = counted((groups.len() - MOST_LISTED) as u64, "more line");
        lines.push(paint.dim(format!("and {more}: `--format json` has all of it")));
    }
    let told = groups.iter().find(|group| group.state != LedgerState::Done);
    if let Some(Group { partitions, steps, .. }) = told
        && let (Some(step), Some(partition)) = (steps.first(), partitions.last())
    {
        let day = partition.date().or(ledger.dates.last().copied());
        let day = day.map_or_else(String::new, |day| format!(" --date {day}"));
        lines.push(String::new());
        lines.push(paint.dim(format!("`recctl why {step}{day}` tells more")));
    }
    lines
}

/// The days of a step in groups that stand alike for the same reason, each a range.
fn of_step(ledger: &Ledger, step: &Name) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for ((of, partition), entry) in ledger.entries.range((step.clone(), Partition::Whole)..) {
        if of != step {
            break;
        }
        let reason = match (&entry.mark, entry.state) {
            (Some(mark), LedgerState::Done) => said(mark),
            (_, LedgerState::Done) => continue,
            _ => without_day(&entry.reason, *partition),
        };
        let last = groups.iter_mut().rfind(|group| {
            group.state == entry.state && group.reason == reason && follows(group, *partition)
        });
        match last {
            Some(group) => group.partitions.push(*partition),
            None => groups.push(Group {
                state: entry.state,
                reason,
                partitions: vec![*partition],
                steps: vec![step.clone()],
            }),
        }
    }
    groups
}

fn follows(group: &Group, partition: Partition) -> bool {
    let mut days: Vec<LogicalDate> = group.partitions.iter().filter_map(|it| it.date()).collect();
    days.extend(partition.date());
    ranges(days).len() == 1
}

/// The reason without the day that it is about, so that days can be told together.
fn without_day(reason: &str, partition: Partition) -> String {
    match partition {
        Partition::Whole => reason.to_owned(),
        Partition::Day(day) => reason.replace(&format!(" {day}"), ""),
    }
}
