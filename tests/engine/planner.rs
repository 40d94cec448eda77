//! What a run would do, from made-up facts.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use recctl::pipeline::graph::Pipeline;
use recctl::pipeline::interval::{LogicalDate, Partition};
use recctl::pipeline::name::Name;
use recctl::pipeline::selection::{Selection, States};
use recctl::plan::demand::Demand;
use recctl::plan::{Action, ActionKind, Facts, ListingFact, Plan, Verdict, plan};
use recctl::run::failure::FailureKind;
use recctl::run::record::{LedgerRow, RunId};

use crate::specs;

pub const DATE: &str = "2026-03-08";

pub fn day(text: &str) -> LogicalDate {
    text.parse().unwrap()
}

pub fn part(text: &str) -> Partition {
    Partition::try_from(text.to_owned()).unwrap()
}

pub fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub fn pipeline() -> Pipeline {
    specs::base_pipeline(&[])
}

/// Facts of a world in which the sources have one file a day, from a first day to a last.
pub fn world(pipeline: &Pipeline, first: &str, last: &str) -> Facts {
    let mut facts = Facts::default();
    for (source, partition) in Demand::of(pipeline, day(DATE)).sources {
        let there = partition.date().is_none_or(|date| date >= day(first) && date <= day(last));
        let fact = ListingFact {
            version: if there { format!("{source} {partition} v1") } else { String::new() },
            files: usize::from(there),
            bytes: 10,
            shown: format!("lake/{source}/{partition}"),
        };
        facts.listings.insert((source, partition), fact);
    }
    facts
}

/// The facts after a plan was carried out.
pub fn done(mut facts: Facts, plan: &Plan) -> Facts {
    for action in plan.actions.iter().filter(|action| action.runs()) {
        let row = LedgerRow {
            pipeline: plan.pipeline.clone(),
            step: action.step.clone(),
            partition: action.partition,
            fingerprint: action.fingerprint.clone(),
            run: RunId::from_text("r1"),
            done: DateTime::<Utc>::UNIX_EPOCH,
            output: serde_json::Value::Null,
            inputs: Vec::new(),
            mark: None,
            rollback: None,
        };
        facts.ledger.insert((action.step.clone(), action.partition), row);
    }
    facts.force = false;
    facts
}

#[track_caller]
pub fn planned(pipeline: &Pipeline, facts: &Facts) -> Plan {
    let plan = plan(pipeline, day(DATE), facts).unwrap();
    assert_order(&plan);
    plan
}

/// Every action stands after all that it needs, and there is none twice.
#[track_caller]
fn assert_order(plan: &Plan) {
    let mut seen = BTreeSet::new();
    for (index, action) in plan.actions.iter().enumerate() {
        assert!(action.needs.iter().all(|need| *need < index), "{action:?}");
        assert!(seen.insert((action.step.clone(), action.partition)), "twice: {action:?}");
    }
}

/// `step partition: reason` of what is done.
pub fn to_do(plan: &Plan) -> Vec<String> {
    let line = |action: &Action| match &action.verdict {
        Verdict::Run(reason) => Some(format!("{} {}: {reason}", action.step, action.partition)),
        Verdict::Skip(_) | Verdict::Adopt(_) => None,
    };
    plan.actions.iter().filter_map(line).collect()
}

fn find<'a>(plan: &'a Plan, step: &str, partition: &str) -> &'a Action {
    let found = plan
        .actions
        .iter()
        .find(|action| action.step.as_str() == step && action.partition == part(partition));
    found.unwrap_or_else(|| panic!("no {step} {partition}"))
}

fn needs(plan: &Plan, step: &str, partition: &str) -> Vec<String> {
    let needs = find(plan, step, partition).needs.iter();
    needs
        .map(|need| format!("{} {}", plan.actions[*need].step, plan.actions[*need].partition))
        .collect()
}

#[test]
fn a_first_run_makes_the_window() {
    let pipeline = pipeline();
    let plan = planned(&pipeline, &world(&pipeline, "2026-03-01", DATE));
    assert!(plan.notices.is_empty(), "{:?}", plan.notices);
    assert!(plan.actions.iter().all(|action| {
        let reason = Verdict::Run("missing".to_owned());
        action.verdict == reason || action.kind == ActionKind::Publish
    }));
    let days_of = |step: &str| -> Vec<String> {
        let of = plan.actions.iter().filter(|action| action.step.as_str() == step);
        of.map(|action| action.partition.key()).collect()
    };
    let window: Vec<String> = (1..=8).map(|day| format!("2026-03-0{day}")).collect();
    assert_eq!(days_of("catalogue"), ["all"]);
    assert_eq!((days_of("clean"), days_of("labels")), (window.clone(), window));
    assert_eq!(days_of("weekly"), [DATE], "only the logical date's own is wanted");
    assert_eq!(days_of("als"), [DATE]);
}

#[test]
fn a_window_of_a_step_may_reach_further_than_training() {
    let pipeline = specs::base_pipeline(&[("reads: {labels: 7d}", "reads: {labels: 10d}")]);
    let demand = Demand::of(&pipeline, day(DATE));
    let labels: Vec<String> = demand
        .tables
        .iter()
        .filter(|(table, _)| table.as_str() == "labels")
        .map(|(_, partition)| partition.key())
        .collect();
    assert_eq!(labels.len(), 10);
    assert_eq!(labels.first().unwrap(), "2026-02-27", "across the month");
    assert!(demand.sources.contains(&(name("events"), part("2026-02-27"))));
    assert!(demand.sources.contains(&(name("items"), Partition::Whole)));
}

#[test]
fn what_is_read_must_be_there_first() {
    let pipeline = pipeline();
    let plan = planned(&pipeline, &world(&pipeline, "2026-03-01", DATE));
    assert_eq!(needs(&plan, "clean", "2026-03-02"), Vec::<String>::new());
    assert_eq!(needs(&plan, "labels", "2026-03-02"), ["catalogue all", "clean 2026-03-02"]);
    // Of other days only what is visible counts, of the own day what is staged.
    let mut expected: Vec<String> = (2..=7).map(|day| format!("publish 2026-03-0{day}")).collect();
    expected.push(format!("labels {DATE}"));
    assert_eq!(needs(&plan, "weekly", DATE), expected);
    let all: Vec<String> = (1..=8).map(|day| format!("publish 2026-03-0{day}")).collect();
    assert_eq!(needs(&plan, "als", DATE), all);
    assert_eq!(
        needs(&plan, "publish", DATE),
        ["clean 2026-03-08", "labels 2026-03-08", "weekly 2026-03-08", "publish all"]
    );
    // Comparing and scoring fit models too, so they read the window as training does.
    let after_all = |steps: [&str; 2]| -> Vec<String> {
        all.iter().cloned().chain(steps.map(|step| format!("{step} {DATE}"))).collect()
    };
    assert_eq!(needs(&plan, "best", DATE), after_all(["als", "popularity"]));
    assert_eq!(needs(&plan, "lists", DATE), after_all(["popularity", "best"]));
    assert_eq!(needs(&plan, "serve", DATE), ["publish all", "lists 2026-03-08"]);
}

#[test]
fn unchanged_work_is_skipped() {
    let pipeline = pipeline();
    let facts = world(&pipeline, "2026-03-01", DATE);
    let first = planned(&pipeline, &facts);
    let again = planned(&pipeline, &done(facts, &first));
    assert_eq!(to_do(&again), Vec::<String>::new());
    let by = Verdict::Skip(RunId::from_text("r1"));
    assert!(again.actions.iter().all(|action| action.verdict == by));
    assert_eq!(first.actions.len(), again.actions.len());
}

#[test]
fn a_changed_file_is_followed_downstream() {
    let pipeline = pipeline();
    let facts = world(&pipeline, "2026-03-01", DATE);
    let mut facts = done(facts.clone(), &planned(&pipeline, &facts));
    let listing = facts.listings.get_mut(&(name("events"), part("2026-03-01"))).unwrap();
    listing.version = "v2".to_owned();
    assert_eq!(
        to_do(&planned(&pipeline, &facts)),
        [
            "clean 2026-03-01: changed: files of `events` 2026-03-01",
            "labels 2026-03-01: changed: table `clean`",
            "publish 2026-03-01: tables were made",
            // The week ends before that day; training does not.
            "als 2026-03-08: changed: table `labels`",
            "popularity 2026-03-08: changed: table `labels`",
            "best 2026-03-08: changed: step `als`",
            "lists 2026-03-08: changed: step `best`",
            "serve 2026-03-08: changed: step `lists`",
        ]
    );
}

#[test]
fn what_a_change_is_called() {
    let base = pipeline();
    let facts = world(&base, "2026-03-01", DATE);
    let facts = done(facts.clone(), &planned(&base, &facts));
    for (file, right, wrong, expected) in [
        ("sql/weekly.sql", "sum(weight)", "max(weight)", "weekly 2026-03-08: changed: sql"),
        ("sql/weekly.sql", "SELECT user_id,", "SELECT  user_id, -- whose\n", ""),
        ("pipelines.yaml", "weight > 0", "weight > 1", "labels 2026-03-01: changed: checks"),
        (
            "pipelines.yaml",
            "cheapest: 0.5",
            "cheapest: 0.6",
            "catalogue all: changed: parameter `$cheapest`",
        ),
        (
            "pipelines.yaml",
            "      quantity: int?",
            "      quantity: double?",
            "clean 2026-03-01: changed: declaration of `events`",
        ),
        (
            "pipelines.yaml",
            "publish: [catalog, warehouse]\n        warehouse: {merge_on: [item_id], sort_key: [price]}\n",
            "publish: [catalog]\n",
            "catalogue all: changed: publish",
        ),
        (
            "pipelines.yaml",
            "labels: 7d",
            "labels: 6d",
            "weekly 2026-03-08: changed: table `labels`",
        ),
        ("jobs/als.yaml", "iterations: 10", "iterations: 11", "als 2026-03-08: changed: job"),
        ("pipelines.yaml", "top: 20", "top: 21", "lists 2026-03-08: changed: length of the lists"),
        ("pipelines.yaml", "format: csv\n", "format: csv\n    description: Things\n", ""),
    ] {
        let changed = specs::pipeline_with(&[(file, right, wrong)]);
        let first = to_do(&planned(&changed, &facts)).into_iter().next().unwrap_or_default();
        assert_eq!(first, expected, "{file}: {right} -> {wrong}");
    }
}

#[test]
fn lost_output_is_made_again_alone() {
    let pipeline = pipeline();
    let facts = world(&pipeline, "2026-03-01", DATE);
    let mut facts = done(facts.clone(), &planned(&pipeline, &facts));
    facts.lost.insert((name("labels"), part("2026-03-04")));
    assert_eq!(
        to_do(&planned(&pipeline, &facts)),
        ["labels 2026-03-04: its output is gone", "publish 2026-03-04: tables were made"]
    );
}

#[test]
fn a_publication_that_did_not_happen_is_made_up_for() {
    let pipeline = pipeline();
    let facts = world(&pipeline, "2026-03-01", DATE);
    let mut facts = done(facts.clone(), &planned(&pipeline, &facts));
    facts.ledger.remove(&(name("publish"), part("2026-03-04")));
    assert_eq!(to_do(&planned(&pipeline, &facts)), ["publish 2026-03-04: missing"]);
}

#[test]
fn force_is_for_the_logical_date() {
    let pipeline = pipeline();
    let facts = world(&pipeline, "2026-03-01", DATE);
    let mut facts = done(facts.clone(), &planned(&pipeline, &facts));
    facts.force = true;
    let plan = planned(&pipeline, &facts);
    let forced: BTreeSet<Partition> =
        plan.actions.iter().filter(|action| action.runs()).map(|action| action.partition).collect();
    assert_eq!(forced, BTreeSet::from([Partition::Whole, part(DATE)]));
    assert_eq!(find(&plan, "serve", DATE).verdict, Verdict::Run("forced".to_owned()));
}

#[test]
fn another_champion_changes_the_selection() {
    let pipeline = pipeline();
    let facts = world(&pipeline, "2026-03-01", DATE);
    let mut facts = done(facts.clone(), &planned(&pipeline, &facts));
    facts.champions.insert((name("best"), day(DATE)), "als factors=16".to_owned());
    let to_do = to_do(&planned(&pipeline, &facts));
    assert_eq!(to_do[0], "best 2026-03-08: changed: champion");
    assert_eq!(to_do.len(), 3, "{to_do:?}");
}

#[test]
fn gaps_are_told_and_gone_over() {
    let pipeline = pipeline();
    let mut facts = world(&pipeline, "2026-03-03", DATE);
    let gap = facts.listings.get_mut(&(name("events"), part("2026-03-05"))).unwrap();
    gap.files = 0;
    let plan = planned(&pipeline, &facts);
    assert_eq!(
        plan.notices,
        [
            "no raw input for 2026-03-05: training goes on without these days",
            "raw input begins on 2026-03-03: the window of 8 days is 2 short",
        ]
    );
    let absent = |partition: &str| plan.actions.iter().all(|a| a.partition != part(partition));
    assert!(absent("2026-03-05") && absent("2026-03-01") && !absent("2026-03-04"));
    let read = &find(&plan, "als", DATE).reads[0].partitions;
    let days: Vec<String> = read.iter().map(|partition| partition.key()).collect();
    assert_eq!(days, ["2026-03-03", "2026-03-04", "2026-03-06", "2026-03-07", "2026-03-08"]);
}

#[test]
fn a_gap_that_is_filled_is_noticed() {
    let pipeline = pipeline();
    let mut gap = world(&pipeline, "2026-03-01", DATE);
    gap.listings.get_mut(&(name("events"), part("2026-03-05"))).unwrap().files = 0;
    let ledger = done(gap.clone(), &planned(&pipeline, &gap)).ledger;
    let filled = Facts { ledger, ..world(&pipeline, "2026-03-01", DATE) };
    let to_do = to_do(&planned(&pipeline, &filled));
    assert_eq!(to_do[0], "clean 2026-03-05: missing");
    assert!(to_do.contains(&"weekly 2026-03-08: changed: table `labels`".to_owned()), "{to_do:?}");
}

#[test]
fn an_empty_day_or_feed_is_an_error() {
    let pipeline = pipeline();
    let facts = world(&pipeline, "2026-03-01", "2026-03-07");
    let failure = plan(&pipeline, day(DATE), &facts).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Input);
    insta::assert_snapshot!(failure.message, @"source `events` has no files for 2026-03-08: looked for `lake/events/2026-03-08`");
    let mut facts = world(&pipeline, "2026-03-01", DATE);
    facts.listings.get_mut(&(name("items"), Partition::Whole)).unwrap().files = 0;
    let failure = plan(&pipeline, day(DATE), &facts).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Input);
    insta::assert_snapshot!(failure.message, @"source `items` has no files: looked for `lake/items/all`");
    assert!(failure.hint.unwrap().contains("--var"));
}

/// The pipeline of which only some steps are carried out.
fn only(pipeline: &Pipeline, select: &str) -> Pipeline {
    let selection = Selection::parse(&[select.to_owned()], &[]).unwrap();
    let steps = selection.of(pipeline, &States::new()).unwrap();
    pipeline.clone().restricted_to(&steps)
}

#[test]
fn what_is_not_selected_is_read_as_it_was_published() {
    let pipeline = pipeline();
    let facts = world(&pipeline, "2026-03-01", DATE);
    let facts = done(facts.clone(), &planned(&pipeline, &facts));
    let edits = [
        ("sql/clean.sql", "    quantity,", "    quantity + 0 AS quantity,"),
        ("sql/labels.sql", "sum(c.quantity)", "max(c.quantity)"),
    ];
    let changed = specs::pipeline_with(&edits);
    let labels = planned(&only(&changed, "labels"), &facts);
    assert_eq!(
        to_do(&labels),
        ["labels 2026-03-08: changed: sql", "publish 2026-03-08: tables were made"],
        "one day, and not `clean`, which changed too"
    );
    assert_eq!(needs(&labels, "labels", DATE), Vec::<String>::new());
    assert_eq!(
        labels.notices,
        ["not selected, so taken as it was made last: `catalogue`, `clean`"]
    );
    // What was made of the old `clean` is out of date for a run of all.
    let facts = done(facts, &labels);
    let again = planned(&changed, &facts);
    assert!(to_do(&again).contains(&"labels 2026-03-08: changed: table `clean`".to_owned()));
    // Without that edit it is not.
    let again = planned(&specs::pipeline_with(&edits[1..]), &facts);
    assert_eq!(to_do(&again)[0], "labels 2026-03-01: changed: sql");
    assert!(to_do(&again).iter().all(|line| !line.starts_with("labels 2026-03-08")));
}

#[test]
fn selected_steps_want_of_each_other_what_they_read() {
    let pipeline = pipeline();
    let facts = world(&pipeline, "2026-03-01", DATE);
    let facts = done(facts.clone(), &planned(&pipeline, &facts));
    let changed = specs::pipeline_with(&[("sql/labels.sql", "sum(c.quantity)", "max(c.quantity)")]);
    let lines = to_do(&planned(&only(&changed, "labels als"), &facts));
    assert_eq!(lines.iter().filter(|line| line.starts_with("labels")).count(), 8, "{lines:?}");
    assert_eq!(lines.last().unwrap(), "als 2026-03-08: changed: table `labels`");
    let alone = planned(&only(&changed, "als"), &facts);
    assert_eq!(to_do(&alone), Vec::<String>::new(), "it was made of what is published");
    assert_eq!(find(&alone, "als", DATE).reads[0].partitions.len(), 8);
}

#[test]
fn what_is_neither_selected_nor_there_is_an_error() {
    let pipeline = pipeline();
    let facts = world(&pipeline, "2026-03-01", DATE);
    let refused = |select: &str, facts: &Facts| {
        let failure = plan(&only(&pipeline, select), day(DATE), facts).unwrap_err();
        assert_eq!(failure.kind, FailureKind::NotFound);
        format!("{} ({})", failure.message, failure.hint.unwrap())
    };
    insta::assert_snapshot!(refused("labels", &facts), @"`labels` reads `catalogue`, which is not selected and not published (select what it is made from too, with `+labels`)");
    insta::assert_snapshot!(refused("als", &facts), @"`als` reads `labels`, which is not selected and not published for 2026-03-08 (select what it is made from too, with `+als`)");
    insta::assert_snapshot!(refused("serve", &facts), @"`serve` uses `lists`, which is not selected and not there for 2026-03-08 (select what it is made from too, with `+serve`)");
    let mut facts = done(facts.clone(), &planned(&pipeline, &facts));
    facts.lost.insert((name("catalogue"), Partition::Whole));
    insta::assert_snapshot!(refused("labels", &facts), @"`labels` reads `catalogue`, which is not selected and not published (select what it is made from too, with `+labels`)");
    facts.lost =
        [(name("labels"), part("2026-03-04")), (name("labels"), part("2026-03-02"))].into();
    let als = planned(&only(&pipeline, "als"), &facts);
    assert_eq!(find(&als, "als", DATE).reads[0].partitions.len(), 6);
    insta::assert_snapshot!(als.notices.join("\n"), @"
    not selected, so taken as it was made last: `labels`
    `labels` is not selected and not published for 2 days in 2026-03-02 … 2026-03-04: what reads it goes on without
    ");
}

#[test]
fn what_changed_and_what_is_stale() {
    let base = pipeline();
    let facts = world(&base, "2026-03-01", DATE);
    let mut facts = done(facts.clone(), &planned(&base, &facts));
    let told = |pipeline: &Pipeline, facts: &Facts| {
        let plan = planned(pipeline, facts);
        let names =
            |steps: BTreeSet<Name>| steps.iter().map(Name::as_str).collect::<Vec<_>>().join(" ");
        (names(plan.changed(pipeline, facts)), names(plan.stale()))
    };
    assert_eq!(told(&base, &facts), (String::new(), String::new()));
    let changed = specs::pipeline_with(&[("jobs/als.yaml", "iterations: 10", "iterations: 11")]);
    let (changed, stale) = told(&changed, &facts);
    assert_eq!((&*changed, &*stale), ("als", "als best lists serve"));
    facts.ledger.retain(|(step, _), _| step.as_str() != "weekly");
    facts.lost.insert((name("clean"), part("2026-03-04")));
    assert_eq!(told(&base, &facts), ("weekly".to_owned(), "clean weekly".to_owned()));
}

#[test]
fn late_files_are_picked_up_by_looking_back() {
    // Nothing is trained, so that no window looks at the days before.
    let tables =
        |edits: &[(&str, &str)]| only(&specs::base_pipeline(edits), "clean labels catalogue");
    let lookback = [("    split: {window: 8d,", "    lookback: 3d\n    split: {window: 8d,")];
    let (without, with) = (tables(&[]), tables(&lookback));
    assert_eq!((without.lookback, with.lookback), (0, 3));
    let facts = world(&pipeline(), "2026-03-01", DATE);
    let window = done(facts.clone(), &planned(&pipeline(), &facts));
    assert_eq!(to_do(&planned(&with, &window)), Vec::<String>::new());
    for (late, expected) in [("2026-03-05", true), ("2026-03-04", false)] {
        let mut facts = window.clone();
        facts.listings.get_mut(&(name("events"), part(late))).unwrap().version = "v2".to_owned();
        assert_eq!(to_do(&planned(&without, &facts)), Vec::<String>::new());
        let plan = planned(&with, &facts);
        if !expected {
            assert_eq!(to_do(&plan), Vec::<String>::new(), "{late} is before the days looked at");
            continue;
        }
        assert_eq!(
            to_do(&plan),
            [
                "clean 2026-03-05: changed: files of `events` 2026-03-05",
                "labels 2026-03-05: changed: table `clean`",
                "publish 2026-03-05: tables were made",
            ]
        );
        insta::assert_snapshot!(plan.notices.join("\n"), @"late files of `events` for 2026-03-05: made again, with what is made from it");
    }
    // A day that has no input is no gap where nobody is trained on it.
    let mut facts = window;
    facts.listings.get_mut(&(name("events"), part("2026-03-07"))).unwrap().files = 0;
    let plan = planned(&with, &facts);
    assert_eq!((to_do(&plan), plan.notices), (Vec::new(), Vec::new()));
}

#[test]
fn an_older_days_lists_are_left_out() {
    let pipeline = pipeline();
    let mut facts = world(&pipeline, "2026-03-01", DATE);
    let served = |facts: &Facts| {
        let plan = planned(&pipeline, facts);
        let loads = plan.actions.iter().any(|action| action.kind == ActionKind::Load);
        (loads, plan.notices)
    };
    let table = {
        let load = pipeline.step("serve").unwrap();
        let recctl::pipeline::step::StepKind::Load(load) = &load.kind else { panic!() };
        load.table.to_string()
    };
    for (shown, loads) in [(None, true), (Some("2026-03-07"), true), (Some(DATE), true)] {
        facts.served_days = shown.map(|shown| (table.clone(), day(shown))).into_iter().collect();
        assert_eq!(served(&facts), (loads, Vec::new()));
    }
    facts.served_days = [(table, day("2026-03-09"))].into();
    let (loads, notices) = served(&facts);
    assert!(!loads);
    insta::assert_snapshot!(notices.join("\n"), @"`serve` is left out: `recommendations` shows the lists of 2026-03-09, and those of 2026-03-08 are older; `--serve` loads them all the same");
    facts.serve = true;
    assert_eq!(served(&facts), (true, Vec::new()));
    // What is there already is not told of.
    let done = done(facts.clone(), &planned(&pipeline, &facts));
    let facts = Facts { serve: false, ..done };
    let (_, notices) = served(&facts);
    assert_eq!(notices, Vec::<String>::new());
    assert_eq!(to_do(&planned(&pipeline, &facts)), Vec::<String>::new());
}
