use std::collections::BTreeMap;

use chrono::DateTime;

use super::{lines, object};
use crate::pipeline::interval::{LogicalDate, Partition};
use crate::pipeline::name::Name;
use crate::plan::ledger::{Entry, Ledger, LedgerState, MadeBy};
use crate::report::paint::Paint;
use crate::run::record::{Mark, MarkedAs, RunId};

const TABLES: [&str; 8] = [
    "products",
    "users",
    "clean_events",
    "session_events",
    "interactions",
    "item_popularity",
    "user_profiles",
    "als",
];

fn day(text: &str) -> LogicalDate {
    text.parse().unwrap()
}

fn entry(state: LedgerState, reason: &str) -> Entry {
    let made = MadeBy {
        run: RunId::from_text("r1"),
        generation: "r1".to_owned(),
        fingerprint: "0123456789abcdef".to_owned(),
        done: DateTime::from_timestamp(1_772_500_000, 0).unwrap(),
    };
    Entry {
        kind: "sql",
        state,
        reason: reason.to_owned(),
        changed: Vec::new(),
        made: (state == LedgerState::Done).then_some(made),
        attempt: None,
        wanted: None,
        mark: None,
    }
}

/// Eight steps, of which the first two have no days; models were fitted for the last day only.
fn ledger(from: &str, days: u32) -> Ledger {
    let first = day(from);
    let dates: Vec<LogicalDate> = (0..days).map(|offset| first.plus(offset)).collect();
    let mut entries = BTreeMap::new();
    for (at, table) in TABLES.iter().enumerate() {
        let name = Name::new(*table).unwrap();
        if at < 2 {
            entries.insert((name, Partition::Whole), entry(LedgerState::Done, ""));
            continue;
        }
        for (number, date) in dates.iter().enumerate() {
            let is_last = number + 1 == dates.len();
            let one = match (*table, number) {
                ("als", _) if !is_last => entry(LedgerState::Missing, "never made"),
                ("clean_events", 10) => {
                    entry(LedgerState::Stale, &format!("changed: files of `clickstream` {date}"))
                }
                ("clean_events", 11) => {
                    entry(LedgerState::Stale, &format!("changed: files of `clickstream` {date}"))
                }
                ("interactions" | "session_events", 10 | 11) => {
                    entry(LedgerState::Stale, "changed: table `clean_events`")
                }
                ("user_profiles", 20) => entry(LedgerState::Failed, "out of memory"),
                ("item_popularity", 21) => entry(LedgerState::Quarantined, "too few rows"),
                ("item_popularity", 3) => Entry {
                    mark: Some(Mark {
                        set: MarkedAs::Done,
                        by: "kim@here".to_owned(),
                        at: DateTime::from_timestamp(1_772_500_000, 0).unwrap(),
                        reason: "made by the old job".to_owned(),
                        generation: None,
                    }),
                    ..entry(LedgerState::Done, "")
                },
                _ => entry(LedgerState::Done, ""),
            };
            entries.insert((name.clone(), Partition::Day(*date)), one);
        }
    }
    let steps = TABLES.map(|table| Name::new(table).unwrap()).to_vec();
    Ledger { pipeline: Name::new("daily").unwrap(), dates, steps, entries }
}

fn shown(ledger: &Ledger, width: usize) -> String {
    let lines = lines(ledger, "local", width, Paint::off());
    let too_wide = lines.iter().skip(1).find(|line| line.chars().count() > width);
    assert!(width < 100 || too_wide.is_none(), "{too_wide:?}");
    lines.join("\n")
}

#[test]
fn a_month_of_eight_steps() {
    insta::assert_snapshot!(shown(&ledger("2026-02-09", 30), 110));
}

#[test]
fn half_a_year_is_folded_into_weeks() {
    let text = shown(&ledger("2025-09-01", 182), 60);
    let calendar: Vec<&str> = text.lines().skip(2).take(11).collect();
    insta::assert_snapshot!(calendar.join("\n"));
}

#[test]
fn years_are_folded_into_months() {
    let text = shown(&ledger("2024-01-01", 800), 60);
    let calendar: Vec<&str> = text.lines().skip(2).take(12).collect();
    insta::assert_snapshot!(calendar.join("\n"));
}

#[test]
fn colours_change_no_letter() {
    let ledger = ledger("2026-02-09", 30);
    let painted = lines(&ledger, "local", 110, Paint::new(true)).join("\n");
    let mut plain = String::new();
    let mut rest = painted.as_str();
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        plain.push_str(before);
        rest = after.split_once('m').unwrap().1;
    }
    plain.push_str(rest);
    assert_eq!(plain, lines(&ledger, "local", 110, Paint::off()).join("\n"));
    assert!(painted.len() > plain.len());
}

#[test]
fn the_json_has_every_interval() {
    let mut ledger = ledger("2026-02-09", 5);
    ledger.steps = vec![Name::new("item_popularity").unwrap()];
    let json = object(&ledger, "local", &[]);
    assert_eq!((&json["version"], &json["steps"][0]["kind"]), (&1.into(), &"sql".into()));
    let intervals = json["steps"][0]["intervals"].as_array().unwrap();
    assert_eq!(intervals.len(), 5);
    insta::assert_snapshot!(serde_json::to_string_pretty(&intervals[3]).unwrap());
}
