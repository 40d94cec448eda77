//! What a backfill would do, from made-up facts.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use recctl::pipeline::fingerprint::Fingerprint;
use recctl::pipeline::graph::Pipeline;
use recctl::pipeline::interval::{DateRange, LogicalDate, Partition};
use recctl::pipeline::name::Name;
use recctl::pipeline::selection::{Selection, States};
use recctl::pipeline::target::Target;
use recctl::plan::backfill::{Asked, Backfill, DayState, Order, at_most, backfill};
use recctl::plan::demand::Demand;
use recctl::plan::forecast::Forecast;
use recctl::plan::preview::Known;
use recctl::plan::prices::PriceList;
use recctl::plan::{ActionKind, Facts, ListingFact, plan};
use recctl::report::Paint;
use recctl::report::backfill::{About, lines};
use recctl::run::record::{LedgerRow, RunId};

use super::effects;
use crate::specs;

fn day(text: &str) -> LogicalDate {
    text.parse().unwrap()
}

fn range(from: &str, to: &str) -> DateRange {
    DateRange::new(day(from), day(to)).unwrap()
}

fn asked(range: DateRange) -> Asked {
    Asked {
        range,
        order: Order::Oldest,
        only: BTreeSet::new(),
        failed: BTreeSet::new(),
        serve: false,
    }
}

/// Facts of a world in which the sources have a file a day from a first day on, and nothing was done.
fn world(pipeline: &Pipeline, range: DateRange, first: &str) -> Facts {
    let mut facts = Facts::default();
    for date in range.days() {
        for (source, partition) in Demand::of(pipeline, date).sources {
            let there = partition.date().is_none_or(|date| date >= day(first));
            let fact = ListingFact {
                version: format!("{source} {partition} v1"),
                files: usize::from(there),
                bytes: 10,
                shown: format!("lake/{source}/{partition}"),
            };
            facts.listings.insert((source, partition), fact);
        }
    }
    facts
}

/// The facts after the run of a day, without what it serves.
fn run(facts: &mut Facts, pipeline: &Pipeline, date: LogicalDate) {
    let plan = plan(pipeline, date, facts).unwrap();
    for action in plan.actions.iter().filter(|action| action.runs()) {
        note(facts, &action.step, action.partition, &action.fingerprint);
    }
}

fn note(facts: &mut Facts, step: &Name, partition: Partition, fingerprint: &Fingerprint) {
    let row = LedgerRow {
        pipeline: Name::new("shop").unwrap(),
        step: step.clone(),
        partition,
        fingerprint: fingerprint.clone(),
        run: RunId::from_text("r1"),
        done: DateTime::<Utc>::UNIX_EPOCH,
        output: serde_json::Value::Null,
        inputs: Vec::new(),
        mark: None,
        rollback: None,
    };
    facts.ledger.insert((step.clone(), partition), row);
}

fn outlined_on(pipeline: &Pipeline, target: &Target, asked: Asked, facts: &Facts) -> Backfill {
    let (forecast, prices) = (Forecast::default(), PriceList::of(None, None).unwrap());
    let known = Known { target, forecast: &forecast, prices: &prices, threads: 2 };
    backfill(pipeline, asked, facts.clone(), &known)
}

fn outlined(pipeline: &Pipeline, asked: Asked, facts: &Facts) -> Backfill {
    outlined_on(pipeline, &Target::Local, asked, facts)
}

fn told(backfill: &Backfill) -> String {
    let about = About { target: "local", currency: "USD", max_cost: None, parallel: 2 };
    lines(backfill, &about, Paint::off()).join("\n")
}

/// `2026-03-08 tables <- 2026-03-07 tables`
fn graph(backfill: &Backfill) -> Vec<String> {
    let name = |index: &usize| {
        let part = &backfill.parts[*index];
        format!("{} {}", part.date, part.scope.word())
    };
    let parts = (0..backfill.parts.len()).map(|index| {
        let waits: Vec<String> = backfill.parts[index].waits.iter().map(name).collect();
        format!("{} <- {}", name(&index), waits.join(", "))
    });
    parts.collect()
}

#[test]
fn the_plan_is_shown_with_what_is_left_out() {
    let pipeline = specs::base_pipeline(&[]);
    let days = range("2026-03-08", "2026-03-14");
    let mut facts = world(&pipeline, days, "2026-03-01");
    run(&mut facts, &pipeline, day("2026-03-09"));
    // A day without input, and one whose input changed.
    let events = Name::new("events").unwrap();
    let of = |date: &str| (events.clone(), Partition::Day(day(date)));
    facts.listings.get_mut(&of("2026-03-13")).unwrap().files = 0;
    facts.listings.get_mut(&of("2026-03-09")).unwrap().version = "late".to_owned();
    let asked = Asked { failed: BTreeSet::from([day("2026-03-11")]), ..asked(days) };
    insta::assert_snapshot!(told(&outlined(&pipeline, asked.clone(), &facts)));
    let only =
        |states: &[DayState]| Asked { only: states.iter().copied().collect(), ..asked.clone() };
    insta::assert_snapshot!(told(&outlined(&pipeline, only(&[DayState::Failed]), &facts)));
    let stale = outlined(&pipeline, only(&[DayState::Stale]), &facts);
    let dates: BTreeSet<String> = stale.parts.iter().map(|it| it.date.to_string()).collect();
    assert_eq!(dates, BTreeSet::from(["2026-03-09".to_owned()]));
}

#[test]
fn what_is_done_is_not_done_again() {
    let pipeline = specs::base_pipeline(&[]);
    let days = range("2026-03-08", "2026-03-10");
    let mut facts = world(&pipeline, days, "2026-03-01");
    for date in days.days() {
        run(&mut facts, &pipeline, date);
    }
    // Each day's run found the champion of the day before, which these facts do not tell of.
    let backfill = outlined(&pipeline, asked(days), &facts);
    assert!(backfill.parts.is_empty());
    insta::assert_snapshot!(told(&backfill));
}

#[test]
fn tables_go_side_by_side_and_decisions_one_after_another() {
    let pipeline = specs::base_pipeline(&[]);
    let days = range("2026-03-08", "2026-03-10");
    let facts = world(&pipeline, days, "2026-03-01");
    insta::assert_snapshot!(graph(&outlined(&pipeline, asked(days), &facts)).join("\n"));
    let newest = Asked { order: Order::Newest, ..asked(days) };
    insta::assert_snapshot!(graph(&outlined(&pipeline, newest, &facts)).join("\n"));
    // Without what reads other days, no day waits.
    let selection = Selection::parse(&["clean labels catalogue".to_owned()], &[]).unwrap();
    let steps = selection.of(&pipeline, &States::new()).unwrap();
    let tables = pipeline.restricted_to(&steps);
    let mut facts = facts;
    run(&mut facts, &tables, day("2026-03-07"));
    let graph = graph(&outlined(&tables, asked(days), &facts));
    assert_eq!(graph, ["2026-03-08 day <- ", "2026-03-09 day <- ", "2026-03-10 day <- "]);
}

#[test]
fn only_the_newest_days_lists_are_served_and_only_if_asked_for() {
    let pipeline = specs::base_pipeline(&[]);
    let days = range("2026-03-08", "2026-03-10");
    let mut facts = world(&pipeline, days, "2026-03-01");
    let loads = |facts: &Facts, serve: bool| -> Vec<String> {
        let backfill = outlined(&pipeline, Asked { serve, ..asked(days) }, facts);
        assert_eq!(backfill.not_served.is_empty(), serve);
        let load = ActionKind::Load;
        let parts = backfill.parts.iter().filter(|part| part.units.contains_key(&load));
        parts.map(|part| part.date.to_string()).collect()
    };
    assert_eq!(loads(&facts, false), Vec::<String>::new());
    assert_eq!(loads(&facts, true), ["2026-03-10"]);
    // Even where all else is done, and where a newer day is shown.
    facts.served_days.insert("recommendations".to_owned(), day("2026-03-20"));
    assert_eq!(loads(&facts, true), ["2026-03-10"]);
    for date in days.days() {
        run(&mut facts, &pipeline, date);
    }
    facts.ledger.retain(|(step, _), _| step.as_str() != "serve");
    assert_eq!(loads(&facts, false), Vec::<String>::new());
    assert_eq!(loads(&facts, true), ["2026-03-10"]);
    // Where the last day has no input, the one before it is the newest.
    let last = (Name::new("events").unwrap(), Partition::Day(day("2026-03-10")));
    facts.listings.get_mut(&last).unwrap().files = 0;
    assert_eq!(loads(&facts, true), ["2026-03-09"]);
}

/// However runs are put side by side, none makes what another makes or reads at that time, and each
/// partition is made once.
#[test]
fn no_partition_is_made_twice() {
    let pipeline = specs::base_pipeline(&[]);
    let days = range("2026-03-08", "2026-03-16");
    for order in [Order::Oldest, Order::Newest] {
        let facts = world(&pipeline, days, "2026-03-01");
        let backfill = outlined(&pipeline, Asked { order, ..asked(days) }, &facts);
        let parts = &backfill.parts;
        assert!(parts.iter().enumerate().all(|(at, part)| part.waits.iter().all(|it| *it < at)));
        // All that comes before a run, directly or not.
        let mut before: Vec<BTreeSet<usize>> = Vec::new();
        for part in parts {
            let mut all = part.waits.clone();
            all.extend(part.waits.iter().flat_map(|wait| before[*wait].clone()));
            before.push(all);
        }
        // Any order that respects the waits makes the same: the newest-first one, say.
        let mut facts = facts;
        let mut made: BTreeMap<(Name, Partition), usize> = BTreeMap::new();
        let mut left: BTreeSet<usize> = (0..parts.len()).collect();
        while !left.is_empty() {
            let ready = |index: &&usize| parts[**index].waits.is_disjoint(&left);
            let index = *left.iter().rev().find(ready).expect("no circle");
            left.remove(&index);
            let part = &parts[index];
            let plan = plan(&part.pipeline, part.date, &facts).unwrap();
            let to_do: Vec<_> = plan.actions.iter().filter(|action| action.runs()).collect();
            assert_eq!(to_do.len() as u64, part.units.values().sum::<u64>(), "{}", part.date);
            for action in to_do {
                for read in action
                    .reads
                    .iter()
                    .flat_map(|it| it.partitions.iter().map(|part| (it.table.clone(), *part)))
                {
                    let maker = made.get(&read).copied();
                    let in_order =
                        maker.is_none_or(|it| it == index || before[index].contains(&it));
                    assert!(in_order, "{} reads {read:?} of a run it does not wait for", part.date);
                }
                note(&mut facts, &action.step, action.partition, &action.fingerprint);
                let key = (action.step.clone(), action.partition);
                assert_eq!(made.insert(key.clone(), index), None, "twice: {key:?}");
            }
        }
    }
}

/// The tables of a day become visible together, also of a day before the first one, of which one run
/// needs some and another the others, and whichever day goes first.
#[test]
fn no_day_is_published_twice() {
    let shorter = [
        ("{window: 21d, validation: 3d, test: 3d}", "{window: 5d, validation: 1d, test: 1d}"),
        ("{interactions: 21d}", "{interactions: 3d}"),
    ];
    let (of_days, _) = effects::daily(&shorter);
    let days = range("2026-03-08", "2026-03-10");
    for order in [Order::Oldest, Order::Newest] {
        let published = publications(&of_days, Asked { order, ..asked(days) });
        assert_eq!(published.len(), 8, "{published:?}");
        for day in ["2026-03-06", "2026-03-07"] {
            assert!(published[&Partition::Day(day.parse().unwrap())].contains("item_popularity"));
        }
        // Tables of which one reads a week of another, with what is made from them and without.
        let windowed = specs::base_pipeline(&[]);
        let tables = Selection::parse(&["+weekly".to_owned()], &[]).unwrap();
        let tables = tables.of(&windowed, &States::new()).unwrap();
        for pipeline in [windowed.clone(), windowed.restricted_to(&tables)] {
            let published = publications(&pipeline, Asked { order, ..asked(days) });
            for day in days.days() {
                let of_day = &published[&Partition::Day(day)];
                assert!(["clean", "labels", "weekly"].iter().all(|it| of_day.contains(*it)));
            }
        }
    }
}

/// The tables that a backfill publishes of each partition, of which none is published twice.
fn publications(pipeline: &Pipeline, asked: Asked) -> BTreeMap<Partition, BTreeSet<String>> {
    let mut facts = world(pipeline, asked.range, "2026-02-01");
    let backfill = outlined(pipeline, asked, &facts);
    let mut published: BTreeMap<Partition, BTreeSet<String>> = BTreeMap::new();
    for part in &backfill.parts {
        let plan = plan(&part.pipeline, part.date, &facts).unwrap();
        for action in plan.actions.iter().filter(|action| action.runs()) {
            note(&mut facts, &action.step, action.partition, &action.fingerprint);
            if action.kind == ActionKind::Publish {
                let tables = action.needs.iter().map(|need| plan.actions[*need].step.to_string());
                let before = published.insert(action.partition, tables.collect());
                assert_eq!(before, None, "{}", action.partition);
            }
        }
    }
    published
}

#[test]
fn what_it_costs_at_most_is_told() {
    let (pipeline, target) = effects::daily(&[]);
    let target = Target::Aws(Box::new(target));
    let days = range("2026-03-08", "2026-03-10");
    let facts = world(&pipeline, days, "2026-02-01");
    let backfill = outlined_on(&pipeline, &target, asked(days), &facts);
    let cost = backfill.sum.cost.as_ref().unwrap();
    let single = outlined_on(&pipeline, &target, asked(range("2026-03-08", "2026-03-08")), &facts);
    let single = at_most(single.sum.cost.as_ref().unwrap());
    assert!(at_most(cost) > cost.amount && at_most(cost) > 2.0 * single, "{cost:#?}");
    let about = About { target: "aws", currency: "USD", max_cost: Some(25.0), parallel: 4 };
    let told = lines(&backfill, &about, Paint::off());
    insta::assert_snapshot!(told[told.len() - 2..].join("\n"));
}
