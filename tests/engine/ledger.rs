//! How steps stand for days, and what is done about work that was made and not written down.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use recctl::pipeline::fingerprint::Fingerprint;
use recctl::pipeline::graph::Pipeline;
use recctl::pipeline::interval::{LogicalDate, Partition};
use recctl::pipeline::name::Name;
use recctl::plan::ledger::{AttemptFact, Ledger, LedgerState, ledger};
use recctl::plan::{Facts, VisibleFact};
use recctl::run::failure::{Failure, FailureKind};
use recctl::run::record::{LedgerRow, Mark, MarkedAs, RunId, Status};

use super::planner::{DATE, day, done, name, part, pipeline, planned, to_do, world};

type Attempts = BTreeMap<(Name, Partition), AttemptFact>;

/// The days that the tables were made for.
fn days() -> Vec<LogicalDate> {
    (1..=8).map(|number| day(&format!("2026-03-0{number}"))).collect()
}

/// A world in which the run for [`DATE`] was carried out.
fn after_a_run(pipeline: &Pipeline) -> Facts {
    let facts = world(pipeline, "2026-03-01", DATE);
    done(facts.clone(), &planned(pipeline, &facts))
}

fn judged(pipeline: &Pipeline, facts: &Facts, attempts: &Attempts) -> Ledger {
    ledger(pipeline, &days(), facts, attempts).unwrap()
}

fn stands(ledger: &Ledger, step: &str, date: &str) -> (LedgerState, String) {
    let entry = ledger.get(&name(step), day(date)).unwrap();
    (entry.state, entry.reason.clone())
}

fn attempt(status: Status, failure: Option<Failure>) -> AttemptFact {
    let at = DateTime::<Utc>::UNIX_EPOCH + chrono::Duration::hours(1);
    AttemptFact { run: RunId::from_text("r2"), at, status, failure }
}

fn mark(facts: &mut Facts, step: &str, partition: &str, set: MarkedAs) {
    let key = (name(step), part(partition));
    let row = LedgerRow {
        pipeline: name("shop"),
        step: key.0.clone(),
        partition: key.1,
        fingerprint: Fingerprint::default(),
        run: RunId::from_text("m1"),
        done: DateTime::<Utc>::UNIX_EPOCH,
        output: serde_json::Value::Null,
        inputs: Vec::new(),
        mark: Some(Mark {
            set,
            by: "kim@here".to_owned(),
            at: DateTime::<Utc>::UNIX_EPOCH,
            reason: "because".to_owned(),
            generation: Some("g0".to_owned()),
        }),
        rollback: None,
    };
    match set {
        MarkedAs::Done => facts.ledger.insert(key, row),
        MarkedAs::Missing => {
            facts.ledger.remove(&key);
            facts.unmade.insert(key, row)
        }
    };
}

#[test]
fn what_was_made_is_done_and_what_was_never_run_is_missing() {
    let pipeline = pipeline();
    let facts = after_a_run(&pipeline);
    let ledger = judged(&pipeline, &facts, &Attempts::new());
    for (step, date) in
        [("clean", "2026-03-01"), ("labels", DATE), ("catalogue", DATE), ("als", DATE)]
    {
        assert_eq!(stands(&ledger, step, date), (LedgerState::Done, String::new()), "{step}");
    }
    let made = ledger.get(&name("als"), day(DATE)).unwrap().made.clone().unwrap();
    assert_eq!((made.run.as_str(), made.generation.as_str()), ("r1", "r1"));
    // The days before are history: their tables are read, their models were never fitted.
    let never = (LedgerState::Missing, "never made".to_owned());
    assert_eq!(stands(&ledger, "als", "2026-03-07"), never);
    assert_eq!(stands(&ledger, "weekly", "2026-03-07"), never);
    let wholes = ledger.entries.keys().filter(|(_, it)| *it == Partition::Whole).count();
    assert_eq!(wholes, 1, "a table without days stands once");
}

#[test]
fn what_changed_is_stale_with_all_that_is_made_from_it() {
    let pipeline = pipeline();
    let mut facts = after_a_run(&pipeline);
    facts.listings.get_mut(&(name("events"), part("2026-03-02"))).unwrap().version =
        "v2".to_owned();
    let ledger = judged(&pipeline, &facts, &Attempts::new());
    let clean = ledger.get(&name("clean"), day("2026-03-02")).unwrap();
    assert_eq!(clean.state, LedgerState::Stale);
    assert_eq!(clean.changed, ["files of `events` 2026-03-02"]);
    assert_ne!(clean.wanted, clean.made.as_ref().map(|made| made.fingerprint.clone()));
    let labels = stands(&ledger, "labels", "2026-03-02");
    assert_eq!(labels, (LedgerState::Stale, "changed: table `clean`".to_owned()));
    assert_eq!(stands(&ledger, "clean", "2026-03-03").0, LedgerState::Done);
}

#[test]
fn a_day_without_input_says_so_and_what_lost_its_output_is_missing() {
    let pipeline = pipeline();
    let mut facts = after_a_run(&pipeline);
    let mut gap = facts.clone();
    gap.listings.get_mut(&(name("events"), part("2026-03-04"))).unwrap().files = 0;
    // What was made stays, though nobody could make it again.
    let ledger = judged(&pipeline, &gap, &Attempts::new());
    assert_eq!(stands(&ledger, "clean", "2026-03-04").0, LedgerState::Done);
    gap.ledger.remove(&(name("clean"), part("2026-03-04")));
    let ledger = judged(&pipeline, &gap, &Attempts::new());
    let empty = (LedgerState::Missing, "`events` has no files".to_owned());
    assert_eq!(stands(&ledger, "clean", "2026-03-04"), empty);

    facts.lost.insert((name("labels"), part("2026-03-04")));
    let gone = (LedgerState::Missing, "its output is gone".to_owned());
    let ledger = judged(&pipeline, &facts, &Attempts::new());
    assert_eq!(stands(&ledger, "labels", "2026-03-04"), gone);
}

#[test]
fn the_last_attempt_tells_more_than_missing_and_stale() {
    let pipeline = pipeline();
    let mut facts = after_a_run(&pipeline);
    let key = (name("clean"), part("2026-03-02"));
    facts.ledger.remove(&key);
    let refused = Failure::new(FailureKind::Quality, "too few rows");
    let broken = Failure::new(FailureKind::Transient, "too busy");
    for (attempt, state, reason) in [
        (attempt(Status::Failed, Some(refused)), LedgerState::Quarantined, "too few rows"),
        (attempt(Status::Failed, Some(broken.clone())), LedgerState::Failed, "too busy"),
        (attempt(Status::Running, None), LedgerState::Running, "run r2 is under way"),
        (attempt(Status::Interrupted, None), LedgerState::Missing, "never made: run r2 died"),
        (
            attempt(Status::UpstreamFailed, None),
            LedgerState::Missing,
            "never made: in run r2 something that it needs failed",
        ),
    ] {
        let attempts = Attempts::from([(key.clone(), attempt)]);
        let ledger = judged(&pipeline, &facts, &attempts);
        assert_eq!(stands(&ledger, "clean", "2026-03-02"), (state, reason.to_owned()));
    }
    // What was made after the attempt, or stands as it did before it, is done.
    let failed = Attempts::from([(key.clone(), attempt(Status::Failed, Some(broken)))]);
    let ledger = judged(&pipeline, &after_a_run(&pipeline), &failed);
    assert_eq!(stands(&ledger, "clean", "2026-03-02").0, LedgerState::Done);
    let mut later = after_a_run(&pipeline);
    later.ledger.get_mut(&key).unwrap().done += chrono::Duration::hours(2);
    later.listings.get_mut(&(name("events"), part("2026-03-02"))).unwrap().version =
        "v2".to_owned();
    let ledger = judged(&pipeline, &later, &failed);
    assert_eq!(stands(&ledger, "clean", "2026-03-02").0, LedgerState::Stale);
}

#[test]
fn what_a_dead_run_made_visible_is_adopted() {
    let pipeline = pipeline();
    let facts = world(&pipeline, "2026-03-01", DATE);
    let first = planned(&pipeline, &facts);
    let mut facts = done(facts, &first);
    let day = part("2026-03-04");
    let of_day = first.actions.iter().filter(|action| action.partition == day);
    for action in of_day {
        let key = (action.step.clone(), day);
        facts.ledger.remove(&key);
        if action.step.as_str() != "publish" {
            let fingerprint = action.fingerprint.digest();
            let fact = VisibleFact { generation: "r0".to_owned(), fingerprint };
            facts.visible.insert(key, fact);
        }
    }
    let plan = planned(&pipeline, &facts);
    assert_eq!(to_do(&plan), ["publish 2026-03-04: made by a run that died"]);
    let adopted = plan.actions.iter().filter(|action| action.adopts());
    let adopted: Vec<&str> = adopted.map(|action| action.step.as_str()).collect();
    assert_eq!(adopted, ["clean", "labels"]);
    let (state, reason) =
        stands(&judged(&pipeline, &facts, &Attempts::new()), "clean", "2026-03-04");
    assert_eq!(state, LedgerState::Missing, "{reason}");

    // What was made from something else is made again, and with it what reads it.
    facts.visible.get_mut(&(name("clean"), day)).unwrap().fingerprint = "other".to_owned();
    assert_eq!(
        to_do(&planned(&pipeline, &facts)),
        ["clean 2026-03-04: missing", "publish 2026-03-04: tables were made"]
    );
    // So is what a person wants made again.
    mark(&mut facts, "labels", "2026-03-04", MarkedAs::Missing);
    assert_eq!(
        to_do(&planned(&pipeline, &facts)),
        [
            "clean 2026-03-04: missing",
            "labels 2026-03-04: marked as missing",
            "publish 2026-03-04: tables were made",
        ]
    );
}

#[test]
fn what_a_person_says_is_done_is_read_though_nobody_can_make_it() {
    let pipeline = pipeline();
    let mut facts = world(&pipeline, "2026-03-03", DATE);
    mark(&mut facts, "clean", "2026-03-02", MarkedAs::Done);
    let plan = planned(&pipeline, &facts);
    let of_day = plan.actions.iter().filter(|action| action.partition == part("2026-03-02"));
    let of_day: Vec<&str> = of_day.map(|action| action.step.as_str()).collect();
    assert_eq!(of_day, ["labels", "publish"], "made from what is there");
    let als = plan.actions.iter().find(|action| action.step.as_str() == "als").unwrap();
    assert!(als.reads[0].partitions.contains(&part("2026-03-02")), "{:?}", als.reads);
    let ledger = judged(&pipeline, &facts, &Attempts::new());
    assert_eq!(stands(&ledger, "clean", "2026-03-02").0, LedgerState::Done);
    assert_eq!(stands(&ledger, "clean", "2026-03-01").0, LedgerState::Missing);
    // What it was made from came after all: that is another matter.
    let facts = Facts { ledger: facts.ledger, ..world(&pipeline, "2026-03-01", DATE) };
    let plan = planned(&pipeline, &facts);
    let expected = "clean 2026-03-02: its input came after it was marked as done".to_owned();
    assert!(to_do(&plan).contains(&expected), "{:?}", to_do(&plan));
}

#[test]
fn what_a_person_says_is_missing_is_made_again() {
    let pipeline = pipeline();
    let mut facts = after_a_run(&pipeline);
    mark(&mut facts, "labels", DATE, MarkedAs::Missing);
    assert_eq!(
        to_do(&planned(&pipeline, &facts)),
        ["labels 2026-03-08: marked as missing", "publish 2026-03-08: tables were made"]
    );
    let ledger = judged(&pipeline, &facts, &Attempts::new());
    let expected = "marked as missing by kim@here: because".to_owned();
    assert_eq!(stands(&ledger, "labels", DATE), (LedgerState::Missing, expected));
}
