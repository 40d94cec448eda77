//! A backfill: the runs of many days, in an order in which no day is made twice. Pure data.
//!
//! Each day is a run of its own, or two where several days make tables and models: the tables of all
//! days first, as they seldom need each other, then what is made from them, which often does. Every
//! run is planned as if those before it had been carried out; from what these plans make and read
//! follows which run has to wait for which.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;

use super::demand::Demand;
use super::forecast::Wall;
use super::preview::{Day, Known, Sum, one_day};
use super::prices::Cost;
use super::{Action, ActionKind, Facts, Plan};
use crate::pipeline::graph::Pipeline;
use crate::pipeline::interval::{DateRange, LogicalDate, Partition};
use crate::pipeline::name::Name;
use crate::pipeline::step::StepKind;
use crate::run::failure::Failure;

/// Which days go first where they need not wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// The oldest.
    Oldest,
    /// The newest.
    Newest,
}

/// How a day stands before a backfill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DayState {
    /// Something of it was never made, or is gone.
    Missing,
    /// Its last run failed, was stopped or died.
    Failed,
    /// Something of it is made from what has changed since.
    Stale,
}

impl DayState {
    /// The word on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Failed => "failed",
            Self::Stale => "stale",
        }
    }
}

/// What a backfill is asked for.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The days.
    pub range: DateRange,
    /// Which go first.
    pub order: Order,
    /// Only days in one of these states; none for all that have something to do.
    pub only: BTreeSet<DayState>,
    /// Days whose last run did not end well.
    pub failed: BTreeSet<LogicalDate>,
    /// Whether the newest day's lists are loaded into serving.
    pub serve: bool,
}

/// What a backfill will do.
#[derive(Debug, Clone)]
pub struct Backfill {
    /// The pipeline.
    pub pipeline: Name,
    /// What was asked for.
    pub asked: Asked,
    /// Runs, in the order in which they begin unless they have to wait.
    pub parts: Vec<Part>,
    /// Days with nothing to do.
    pub done: Vec<LogicalDate>,
    /// Days with something to do that are in none of the states that are asked for.
    pub passed_over: Vec<LogicalDate>,
    /// Days that cannot be planned, with why.
    pub refused: Vec<(LogicalDate, Failure)>,
    /// How each day stood that has something to do.
    pub states: BTreeMap<LogicalDate, BTreeSet<DayState>>,
    /// Steps that are left out so that what serves stays as it is.
    pub not_served: BTreeSet<Name>,
    /// All runs together.
    pub sum: Sum,
}

/// What a run of a backfill does of its day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The tables that need nothing but tables.
    Tables,
    /// All of it, or what the tables' run left.
    Day,
}

impl Scope {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Tables => "tables",
            Self::Day => "day",
        }
    }
}

/// A run of a backfill.
#[derive(Debug, Clone)]
pub struct Part {
    /// The day.
    pub date: LogicalDate,
    /// What is done of it.
    pub scope: Scope,
    /// The pipeline with the steps that are carried out.
    pub pipeline: Arc<Pipeline>,
    /// Positions of the runs that have to be done before.
    pub waits: BTreeSet<usize>,
    /// How many units of each kind it does.
    pub units: BTreeMap<ActionKind, u64>,
    /// How long it probably takes.
    pub wall: Wall,
    /// What it probably costs; nothing on the embedded target.
    pub cost: Option<Cost>,
}

/// What a run makes and what it reads, by step and partition.
#[derive(Debug, Clone, Default)]
pub struct Claims {
    makes: BTreeSet<(Name, Partition)>,
    reads: BTreeSet<(Name, Partition)>,
}

impl Claims {
    /// Those of a plan.
    pub fn of(plan: &Plan) -> Self {
        let mut claims = Self::default();
        let changes = |action: &&Action| action.runs() || action.adopts();
        for action in plan.actions.iter().filter(changes) {
            claims.makes.insert((action.step.clone(), action.partition));
            for read in &action.reads {
                let parts = read.partitions.iter().map(|part| (read.table.clone(), *part));
                claims.reads.extend(parts);
            }
            let needs = action.needs.iter().map(|need| &plan.actions[*need]);
            claims.reads.extend(needs.map(|need| (need.step.clone(), need.partition)));
        }
        claims
    }

    /// Whether one of two runs makes what the other makes or reads.
    pub fn collide(&self, other: &Self) -> bool {
        !self.makes.is_disjoint(&other.makes)
            || !self.makes.is_disjoint(&other.reads)
            || !self.reads.is_disjoint(&other.makes)
    }
}

/// Plans a backfill from the facts of its days.
pub fn backfill(pipeline: &Pipeline, asked: Asked, facts: Facts, known: &Known<'_>) -> Backfill {
    let facts = Facts { serve: asked.serve, ..facts };
    let is_load = |kind: &StepKind| matches!(kind, StepKind::Load(_));
    let unserved = Arc::new(without(pipeline, &|_, kind| is_load(kind)));
    let judged = judge(pipeline, &unserved, &asked, facts.clone(), known);
    let with_lists = match asked.serve {
        true => judged.chosen.iter().next_back().copied(),
        false => None,
    };
    let whole = Arc::new(pipeline.clone());
    let of_day = |date: LogicalDate| match with_lists == Some(date) {
        true => Arc::clone(&whole),
        false => Arc::clone(&unserved),
    };
    let mut outline = Outline::new(facts, known, &judged.chosen);
    let oldest_first: Vec<LogicalDate> = judged.chosen.iter().copied().collect();
    let mut in_order = oldest_first.clone();
    if asked.order == Order::Newest {
        in_order.reverse();
    }
    let tables = only_tables(&unserved);
    // A newer day that goes first would make, and show, of an older day only what it reads of it.
    let of_tables = tables.as_ref().unwrap_or(&unserved);
    let with_foreseen = |date| {
        let foreseen = of_other_days(&unserved, date, &judged.chosen);
        Pipeline { foreseen, ..of_tables.clone() }
    };
    let tables_in_order = match read_each_other(&with_foreseen, &judged.chosen) {
        true => &oldest_first,
        false => &in_order,
    };
    if tables.is_some() && in_order.len() > 1 {
        for date in tables_in_order {
            outline.add(*date, Scope::Tables, &Arc::new(with_foreseen(*date)));
        }
    }
    // Each decision rests on the one of the day before.
    let decides = pipeline.steps.iter().any(|step| matches!(step.kind, StepKind::Select(_)));
    let days_in_order = match (decides, &tables) {
        (true, _) => &oldest_first,
        (false, Some(_)) => &in_order,
        (false, None) => tables_in_order,
    };
    for date in days_in_order {
        outline.add(*date, Scope::Day, &of_day(*date));
    }
    let Outline { parts, sum, .. } = outline;
    let not_served = pipeline.steps.iter().filter(|step| is_load(&step.kind));
    let not_served = match with_lists {
        Some(_) => BTreeSet::new(),
        None => not_served.map(|step| step.name.clone()).collect(),
    };
    let Judged { done, passed_over, refused, states, .. } = judged;
    let pipeline = pipeline.name.clone();
    Backfill { pipeline, asked, parts, done, passed_over, refused, states, not_served, sum }
}

/// The days of a backfill, told apart.
#[derive(Default)]
struct Judged {
    chosen: BTreeSet<LogicalDate>,
    done: Vec<LogicalDate>,
    passed_over: Vec<LogicalDate>,
    refused: Vec<(LogicalDate, Failure)>,
    states: BTreeMap<LogicalDate, BTreeSet<DayState>>,
}

/// Plans the days one after another, oldest first, and says which have something to do.
fn judge(
    pipeline: &Pipeline,
    unserved: &Pipeline,
    asked: &Asked,
    mut facts: Facts,
    known: &Known<'_>,
) -> Judged {
    let mut judged = Judged::default();
    let dates: BTreeSet<LogicalDate> = asked.range.days().collect();
    // The lists of the newest day that can be made may be all that there is to do.
    let can_be_made = |date: &&LogicalDate| super::plan(unserved, **date, &facts).is_ok();
    let newest = dates.iter().rev().find(can_be_made).copied();
    for date in &dates {
        let is_newest = newest == Some(*date);
        let pipeline = if asked.serve && is_newest { pipeline } else { unserved };
        let day = match one_day(pipeline, *date, &facts, known) {
            Ok(day) => day,
            Err(failure) => {
                judged.refused.push((*date, failure));
                continue;
            }
        };
        if day.to_do().next().is_none() {
            judged.done.push(*date);
            continue;
        }
        let mut states = states(&day.plan, &facts);
        if asked.failed.contains(date) {
            states.insert(DayState::Failed);
        }
        let is_chosen = asked.only.is_empty() || !asked.only.is_disjoint(&states);
        judged.states.insert(*date, states);
        if is_chosen {
            judged.chosen.insert(*date);
            carry_out(&mut facts, pipeline, &day, &dates);
        } else {
            judged.passed_over.push(*date);
        }
    }
    judged
}

/// How what a plan does of its own day stands.
fn states(plan: &Plan, facts: &Facts) -> BTreeSet<DayState> {
    let own = |action: &&Action| action.partition == Partition::Day(plan.date) && action.runs();
    let state = |action: &Action| match facts.is_there(&action.step, action.partition) {
        true => DayState::Stale,
        false => DayState::Missing,
    };
    let own = plan.actions.iter().filter(own).filter(|it| it.kind != ActionKind::Publish);
    let states: BTreeSet<DayState> = own.map(state).collect();
    // What is left is of days before, or of no day.
    if states.is_empty() { BTreeSet::from([DayState::Stale]) } else { states }
}

/// The facts after a day was carried out. Where it decides, each day up to and with the next that
/// was decided before finds another champion, which may be the same.
fn carry_out(facts: &mut Facts, pipeline: &Pipeline, day: &Day, dates: &BTreeSet<LogicalDate>) {
    let date = day.plan.date;
    facts.carry_out(pipeline, &day.plan, &day.effects);
    let decided = day.plan.actions.iter().filter(|it| it.kind == ActionKind::Select && it.runs());
    for step in decided.map(|action| &action.step) {
        let Some(last) = dates.last() else { continue };
        let mut next = date.plus(1);
        while next <= *last {
            if dates.contains(&next) {
                let champion = format!("decided for {date}");
                facts.champions.insert((step.clone(), next), champion);
            }
            if facts.is_there(step, Partition::Day(next)) {
                break;
            }
            next = next.plus(1);
        }
    }
}

/// The pipeline without the steps of which `is_out` holds.
fn without(pipeline: &Pipeline, is_out: &dyn Fn(&Name, &StepKind) -> bool) -> Pipeline {
    let stays = pipeline.steps.iter().filter(|step| !is_out(&step.name, &step.kind));
    let stays = stays.map(|step| step.name.clone()).collect();
    pipeline.clone().restricted_to(&stays)
}

/// The pipeline with the tables that need nothing but tables; nothing if that is all of it. Those that
/// read windows are among them, though they have each day wait for the one before: the tables of a
/// day become visible together.
fn only_tables(pipeline: &Pipeline) -> Option<Pipeline> {
    // Steps stand after what they need.
    let mut tables: BTreeSet<&Name> = BTreeSet::new();
    for step in &pipeline.steps {
        let known = |need: &&Name| tables.contains(*need) || pipeline.is_unselected(need);
        if matches!(step.kind, StepKind::Sql(_)) && step.needs().iter().all(known) {
            tables.insert(&step.name);
        }
    }
    let is_part = !tables.is_empty() && tables.len() < pipeline.steps.len();
    is_part.then(|| without(pipeline, &|name, _| !tables.contains(name)))
}

/// Whether what is made with the tables of one of these days is made from tables of another.
fn read_each_other(
    pipeline: &dyn Fn(LogicalDate) -> Pipeline,
    days: &BTreeSet<LogicalDate>,
) -> bool {
    days.iter().any(|date| {
        let pipeline = pipeline(*date);
        let demand = Demand::looking_back(&pipeline, *date, 0);
        let made = demand.tables.iter().filter(|(name, _)| !pipeline.is_unselected(name));
        let mut needed = made.filter_map(|(_, partition)| partition.date());
        needed.any(|day| day != *date && days.contains(&day))
    })
}

/// What all of a day needs of days that have no run of their own: made with its tables, so that the
/// tables of those days become visible together as well.
fn of_other_days(
    pipeline: &Pipeline,
    date: LogicalDate,
    chosen: &BTreeSet<LogicalDate>,
) -> BTreeSet<(Name, Partition)> {
    let mut tables = Demand::of(pipeline, date).tables;
    tables.retain(|(_, partition)| partition.date().is_some_and(|day| !chosen.contains(&day)));
    tables
}

/// Runs being put in order.
struct Outline<'a> {
    facts: Facts,
    known: &'a Known<'a>,
    chosen: &'a BTreeSet<LogicalDate>,
    parts: Vec<Part>,
    sum: Sum,
    /// The last run that makes a partition.
    makers: BTreeMap<(Name, Partition), usize>,
    /// Runs that read what a partition was made to be last.
    readers: BTreeMap<(Name, Partition), BTreeSet<usize>>,
    /// The last run in which a step decides.
    deciders: BTreeMap<Name, usize>,
}

impl<'a> Outline<'a> {
    fn new(facts: Facts, known: &'a Known<'a>, chosen: &'a BTreeSet<LogicalDate>) -> Self {
        Self {
            facts,
            known,
            chosen,
            parts: Vec::new(),
            sum: Sum::default(),
            makers: BTreeMap::new(),
            readers: BTreeMap::new(),
            deciders: BTreeMap::new(),
        }
    }

    /// Plans a run, if it has something to do.
    fn add(&mut self, date: LogicalDate, scope: Scope, pipeline: &Arc<Pipeline>) {
        // A day that can be planned whole can be planned in parts.
        let Ok(day) = one_day(pipeline, date, &self.facts, self.known) else { return };
        let mut units: BTreeMap<ActionKind, u64> = BTreeMap::new();
        for (action, ..) in day.to_do() {
            *units.entry(action.kind).or_default() += 1;
        }
        if units.is_empty() {
            return;
        }
        let waits = self.waits(&day.plan);
        self.sum.add(&day, 1);
        carry_out(&mut self.facts, pipeline, &day, self.chosen);
        self.parts.push(Part {
            date,
            scope,
            pipeline: Arc::clone(pipeline),
            waits,
            units,
            wall: day.wall,
            cost: day.cost,
        });
    }

    /// What the next run has to wait for.
    fn waits(&mut self, plan: &Plan) -> BTreeSet<usize> {
        let own = self.parts.len();
        let claims = Claims::of(plan);
        let mut waits = BTreeSet::new();
        for read in &claims.reads {
            waits.extend(self.makers.get(read));
        }
        for made in &claims.makes {
            waits.extend(self.makers.get(made));
            waits.extend(self.readers.remove(made).unwrap_or_default());
        }
        for action in plan.actions.iter().filter(|it| it.kind == ActionKind::Select && it.runs()) {
            waits.extend(self.deciders.insert(action.step.clone(), own));
        }
        waits.remove(&own);
        for read in claims.reads.difference(&claims.makes) {
            self.readers.entry(read.clone()).or_default().insert(own);
        }
        self.makers.extend(claims.makes.into_iter().map(|made| (made, own)));
        waits
    }
}

/// The most that something costs, where jobs have a limit, or else what it probably costs. What
/// nobody knows is not in it.
pub fn at_most(cost: &Cost) -> f64 {
    let lines = cost.lines.iter().filter(|line| !line.monthly);
    lines.filter_map(|line| line.at_most.or(line.amount)).sum()
}

/// What of a cost nobody knows, nor a limit of it.
pub fn unknown(cost: &Cost) -> Vec<&str> {
    let lines = cost.lines.iter().filter(|line| !line.monthly);
    let unknown = lines.filter(|line| line.at_most.is_none() && line.amount.is_none());
    let mut names: Vec<&str> = unknown.map(|line| line.what.as_str()).collect();
    names.dedup();
    names
}
