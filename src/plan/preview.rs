//! A plan with all that follows from it: side effects, time and money, for one day or several.

use std::collections::BTreeMap;

use super::effects::{Amount, Call, Effect, Effects, Grounds, effects, totals};
use super::forecast::{Forecast, Guess, Wall};
use super::prices::{About, Bill, Cost, PriceList};
use super::{Action, ActionKind, Facts, Plan, plan};
use crate::pipeline::graph::Pipeline;
use crate::pipeline::interval::LogicalDate;
use crate::pipeline::name::Name;
use crate::pipeline::target::Target;
use crate::run::failure::Outcome;

/// Days that are planned one by one. More of them are multiplied.
pub const MOST_DAYS: u32 = 92;

/// What a run, or runs of several days, would do.
#[derive(Debug, Clone)]
pub struct Preview {
    /// Pipeline.
    pub pipeline: Name,
    /// Name of the target.
    pub target: String,
    /// Where it is from.
    pub basis: Basis,
    /// What was taken for granted, in words.
    pub assumptions: Vec<String>,
    /// What the prices are, where something is paid for.
    pub prices: Option<About>,
    /// The days.
    pub days: Days,
    /// Days whose run would fail before it begins, with why.
    pub refused: Vec<(LogicalDate, String)>,
    /// All days together.
    pub sum: Sum,
}

/// What a plan was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// What lies on this machine.
    Local,
    /// What the target's services said.
    Online,
    /// What the project declares: nobody was asked.
    Declared,
}

/// Days of a preview.
#[derive(Debug, Clone)]
pub enum Days {
    /// Each day by itself, oldest first.
    Each(Vec<Day>),
    /// So many days that they are multiplied.
    Multiplied {
        /// The first day, which makes the days before it too.
        first: Box<Day>,
        /// Each day after it.
        next: Box<Day>,
        /// How many days there are in all.
        days: u32,
        /// The last day.
        last: LogicalDate,
    },
}

/// One day.
#[derive(Debug, Clone)]
pub struct Day {
    /// The plan.
    pub plan: Plan,
    /// What its actions change.
    pub effects: Effects,
    /// What its actions probably take.
    pub guesses: Vec<Guess>,
    /// How long it probably takes.
    pub wall: Wall,
    /// The calls that change something.
    pub calls: Vec<Call>,
    /// What it probably costs; nothing on the embedded target.
    pub cost: Option<Cost>,
}

/// Several days together.
#[derive(Debug, Clone, Default)]
pub struct Sum {
    /// Actions that are done.
    pub to_do: u64,
    /// Actions that are skipped.
    pub unchanged: u64,
    /// How long it probably takes, one day after another.
    pub wall: Wall,
    /// Bytes of raw input that are read.
    pub bytes_in: Option<u64>,
    /// What it probably costs.
    pub cost: Option<Cost>,
    /// The calls that change something.
    pub calls: Vec<Call>,
}

/// What a preview is made from, beside pipeline and days.
pub struct Known<'a> {
    /// The target.
    pub target: &'a Target,
    /// What earlier runs tell.
    pub forecast: &'a Forecast,
    /// Prices.
    pub prices: &'a PriceList,
    /// Query threads of the run.
    pub threads: usize,
}

/// Days as planned, those that are refused with why, and their sum.
pub type Planned = (Days, Vec<(LogicalDate, String)>, Sum);

/// Plans one day after another, each as if those before it had been run.
///
/// Errors: as of [`plan`], of the first day if none can be planned.
pub fn each_day(
    pipeline: &Pipeline,
    dates: &[LogicalDate],
    mut facts: Facts,
    known: &Known<'_>,
) -> Outcome<Planned> {
    let mut days = Vec::with_capacity(dates.len());
    let mut refused = Vec::new();
    let mut first_failure = None;
    let mut sum = Sum::default();
    for (at, date) in dates.iter().enumerate() {
        let day = match one_day(pipeline, *date, &facts, known) {
            Ok(day) => day,
            Err(failure) => {
                refused.push((*date, failure.message.clone()));
                first_failure.get_or_insert(failure);
                continue;
            }
        };
        if at + 1 < dates.len() {
            facts.carry_out(pipeline, &day.plan, &day.effects);
        }
        sum.add(&day, 1);
        days.push(day);
    }
    match first_failure {
        Some(failure) if days.is_empty() => Err(failure),
        _ => Ok((Days::Each(days), refused, sum)),
    }
}

/// Plans the first day and one more of many, as if nothing was done yet and every day had input, and
/// multiplies.
///
/// Errors: as of [`plan`].
pub fn multiplied(
    pipeline: &Pipeline,
    first: LogicalDate,
    days: u32,
    force: bool,
    known: &Known<'_>,
) -> Outcome<Planned> {
    let second = first.plus(1);
    let mut facts = super::assumed(pipeline, &[first, second], force);
    let one = one_day(pipeline, first, &facts, known)?;
    facts.carry_out(pipeline, &one.plan, &one.effects);
    facts.fill_serving(pipeline);
    let next = one_day(pipeline, second, &facts, known)?;
    let mut sum = Sum::default();
    sum.add(&one, 1);
    sum.add(&next, u64::from(days.saturating_sub(1)));
    let last = first.plus(days.saturating_sub(1));
    let (first, next) = (Box::new(one), Box::new(next));
    Ok((Days::Multiplied { first, next, days, last }, Vec::new(), sum))
}

/// Plans a day and lists what follows. Errors: as of [`plan`].
pub fn one_day(
    pipeline: &Pipeline,
    date: LogicalDate,
    facts: &Facts,
    known: &Known<'_>,
) -> Outcome<Day> {
    Ok(Day::of(pipeline, plan(pipeline, date, facts)?, facts, known))
}

/// Seconds of the publications that load the warehouse, if all of them are known.
fn load_seconds(plan: &Plan, effects: &Effects, guesses: &[Guess]) -> Option<f64> {
    let loads = |index: &usize| {
        plan.actions[*index].kind == ActionKind::Publish
            && effects.actions[*index].iter().any(|it| matches!(it, Effect::Load { .. }))
    };
    (0..plan.actions.len()).filter(loads).map(|index| guesses[index].seconds).sum()
}

impl Day {
    /// What follows from a plan.
    pub fn of(pipeline: &Pipeline, plan: Plan, facts: &Facts, known: &Known<'_>) -> Self {
        let Known { target, forecast, prices, threads } = known;
        let grounds = Grounds { pipeline, target, facts, forecast, threads: *threads };
        let effects = effects(&plan, &grounds);
        let guesses = forecast.of(pipeline, &plan, facts);
        let wall = Guess::wall(&plan, &guesses);
        let calls = totals(effects.all(), target);
        let cost = match target {
            Target::Local => None,
            Target::Aws(target) => Some(prices.cost(&Bill {
                target,
                effects: effects.all().collect(),
                calls: &calls,
                load_seconds: load_seconds(&plan, &effects, &guesses),
            })),
        };
        Self { plan, effects, guesses, wall, calls, cost }
    }

    /// Actions that are done, with their effects and guesses.
    pub fn to_do(&self) -> impl Iterator<Item = (&Action, &[Effect], &Guess)> {
        let all = self.plan.actions.iter().zip(&self.effects.actions).zip(&self.guesses);
        all.filter(|((action, _), _)| action.runs())
            .map(|((action, effects), guess)| (action, effects.as_slice(), guess))
    }

    /// Days of each table that are to be made, as ranges whose ends both belong to them; a table
    /// without days has none.
    pub fn missing(&self) -> BTreeMap<&str, Vec<(LogicalDate, LogicalDate)>> {
        let mut missing: BTreeMap<&str, Vec<LogicalDate>> = BTreeMap::new();
        for (action, ..) in self.to_do() {
            let makes_a_table = matches!(action.kind, ActionKind::Sql | ActionKind::Score);
            if makes_a_table {
                let days = missing.entry(action.step.as_str()).or_default();
                days.extend(action.partition.date());
            }
        }
        missing.into_iter().map(|(table, days)| (table, ranges(days))).collect()
    }

    /// Bytes of raw input that are read, if they are known of all that read some.
    fn bytes_in(&self) -> Option<u64> {
        let known = self.to_do().filter_map(|(.., guess)| guess.bytes_in);
        Some(known.sum()).filter(|sum: &u64| *sum > 0)
    }
}

/// Days as ranges; both ends belong to them.
pub fn ranges(mut days: Vec<LogicalDate>) -> Vec<(LogicalDate, LogicalDate)> {
    days.sort_unstable();
    days.dedup();
    let mut ranges: Vec<(LogicalDate, LogicalDate)> = Vec::new();
    for day in days {
        match ranges.last_mut() {
            Some((_, last)) if last.plus(1) == day => *last = day,
            _ => ranges.push((day, day)),
        }
    }
    ranges
}

impl Sum {
    /// Adds a day so many times.
    pub fn add(&mut self, day: &Day, times: u64) {
        let done = day.to_do().count() as u64;
        self.to_do += done * times;
        self.unchanged += (day.plan.actions.len() as u64 - done) * times;
        self.wall.seconds += day.wall.seconds * times as f64;
        self.wall.unknown +=
            day.wall.unknown.saturating_mul(usize::try_from(times).unwrap_or(usize::MAX));
        if let Some(bytes) = day.bytes_in() {
            *self.bytes_in.get_or_insert(0) += bytes.saturating_mul(times);
        }
        if let Some(cost) = &day.cost {
            self.cost.get_or_insert_with(Cost::default).add(cost, times as f64);
        }
        for call in &day.calls {
            let count = call.count.times(times);
            let same = |it: &&mut Call| {
                (it.service, it.operation, &it.resource)
                    == (call.service, call.operation, &call.resource)
            };
            match self.calls.iter_mut().find(same) {
                Some(known) => known.count = known.count + count,
                None if count != Amount::NONE => self.calls.push(Call { count, ..call.clone() }),
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_ranges() {
        let day = |text: &str| text.parse::<LogicalDate>().unwrap();
        let days = ["2026-03-03", "2026-02-28", "2026-03-01", "2026-03-05", "2026-03-01"]
            .map(day)
            .to_vec();
        assert_eq!(
            ranges(days),
            [
                (day("2026-02-28"), day("2026-03-01")),
                (day("2026-03-03"), day("2026-03-03")),
                (day("2026-03-05"), day("2026-03-05")),
            ]
        );
        assert_eq!(ranges(Vec::new()), []);
    }
}
