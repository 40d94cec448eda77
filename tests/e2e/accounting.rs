//! Every line that was read has one fate, the one that the generator meant for it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use recctl::pipeline::interval::Partition;
use recctl::ports::StateStore;

use crate::sandbox::{DAY, DAYS, Sandbox, prepared};

#[test]
fn a_day_ends_with_served_recommendations() {
    let sandbox = Sandbox::prepared();
    let ran = &prepared().ran;
    assert_eq!(ran.stdout, "", "what a run tells is talk");
    assert!(ran.stderr.contains(&format!("daily {DAY} succeeded in")), "{}", ran.stderr);
    let known = sandbox.query("SELECT count(DISTINCT user_id) AS n FROM user_profiles");
    let known = known[0]["n"].as_u64().unwrap();
    assert!(known > 100, "{known} users");
    let generations = sandbox.generations();
    assert_eq!(generations.lines().count(), 2, "a heading and one generation:\n{generations}");
    let served = sandbox.served();
    for list in &served {
        assert_eq!(list.items.len(), 50, "{list:?}");
        let distinct: BTreeSet<&str> = list.items.iter().map(|item| item.item.as_str()).collect();
        assert_eq!(distinct.len(), 50, "an item is recommended once: {list:?}");
        assert!(list.items.is_sorted_by(|a, b| a.score >= b.score), "best first: {list:?}");
    }
    let user = served[0].key.trim_start_matches("user#");
    let shown = sandbox.run(&["recommend", "--user", user, "--format", "json"]).ends_with(0);
    let shown: serde_json::Value = serde_json::from_str(&shown.stdout).unwrap();
    let items = shown["items"].as_array().unwrap();
    assert_eq!(items.len(), 10, "{shown}");
    for (item, expected) in items.iter().zip(&served[0].items) {
        assert_eq!(item["item"], expected.item.as_str(), "{shown}");
        assert!(item["name"].as_str().is_some_and(|name| !name.is_empty()), "{shown}");
    }
}

#[tokio::test]
async fn each_day_counts_what_the_generator_made() {
    let sandbox = Sandbox::prepared();
    let state = sandbox.state().await;
    let run = state.runs(1).await.unwrap().remove(0);
    let steps = state.steps(&run.id).await.unwrap();
    let sample = &prepared().sample;
    for day in &sample.days[..DAYS] {
        let partition = Partition::try_from(day.day.to_string()).unwrap();
        let step = steps
            .iter()
            .find(|step| step.step.as_str() == "clean_events" && step.partition == partition)
            .unwrap();
        let (counts, made) = (step.report.counts.unwrap(), &day.counts);
        assert_eq!(counts.read, made.lines, "{}", day.day);
        assert_eq!(counts.kept, made.clean, "{}", day.day);
        assert_eq!(counts.duplicates, made.duplicates, "{}", day.day);
        assert_eq!(counts.filtered, made.bots + made.outside_day, "{}", day.day);
        assert_eq!(counts.quarantined, made.malformed.total(), "{}", day.day);
        let of = |reason: &str| step.report.reasons.get(reason).copied().unwrap_or_default();
        assert_eq!(of("filtered: bot"), made.bots, "{}", day.day);
        assert_eq!(of("filtered: outside the day"), made.outside_day, "{}", day.day);
        let mistyped = of("quarantined: wrong type") + of("quarantined: missing");
        assert_eq!(mistyped, made.malformed.wrong_types, "{}", day.day);
        assert_eq!(step.report.rows_out, made.clean);
        assert_eq!(step.report.bytes_in, made.bytes_compressed, "{}", day.day);
    }
    let kept = sandbox.query("SELECT dt, count(*) AS n FROM clean_events GROUP BY dt ORDER BY dt");
    let made: Vec<_> = sample.days[..DAYS]
        .iter()
        .map(|day| serde_json::json!({"dt": day.day.to_string(), "n": day.counts.clean}))
        .collect();
    assert_eq!(kept, made);
    let feeds = sandbox.query(
        "SELECT (SELECT count(*) FROM products) AS items, (SELECT count(*) FROM users) AS users",
    );
    assert_eq!(feeds, [serde_json::json!({"items": sample.items, "users": sample.users})]);
}

#[test]
fn the_quarantine_has_each_malformed_line_once() {
    let sandbox = Sandbox::prepared();
    let rows = sandbox.query("SELECT *, encode(raw_bytes, 'hex') AS hex FROM quarantine");
    let mut files: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    let mut by_day: BTreeMap<String, u64> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for row in &rows {
        let text = |field: &str| row[field].as_str().unwrap().to_owned();
        assert_eq!((text("step"), text("source")), ("clean_events".into(), "clickstream".into()));
        let (file, line) = (text("file"), row["line"].as_u64().unwrap());
        assert!(seen.insert((file.clone(), line)), "{file}:{line} is there twice");
        let lines = files.entry(file.clone()).or_insert_with(|| lines_of(&sandbox, &file));
        let line = &lines[usize::try_from(line).unwrap() - 1];
        assert_eq!(text("raw"), String::from_utf8_lossy(line), "{row}");
        match row.get("hex").and_then(|hex| hex.as_str()) {
            Some(hex) => assert_eq!(unhex(hex), *line, "{row}"),
            None => assert!(std::str::from_utf8(line).is_ok(), "{row}"),
        }
        assert!(is_malformed(line), "a good line is in quarantine: {row}");
        *by_day.entry(text("dt")).or_default() += 1;
    }
    let made: BTreeMap<String, u64> = prepared().sample.days[..DAYS]
        .iter()
        .map(|day| (day.day.to_string(), day.counts.malformed.total()))
        .filter(|(_, malformed)| *malformed > 0)
        .collect();
    assert!(made.len() > 3, "the sample is dirty enough to try this: {made:?}");
    assert_eq!(by_day, made);
}

fn lines_of(sandbox: &Sandbox, file: &str) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(sandbox.lake().join(file)).unwrap();
    let mut text = Vec::new();
    flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut text).unwrap();
    text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
}

/// Judges a line by the documented types of its fields, knowing nothing of the reader.
fn is_malformed(line: &[u8]) -> bool {
    let Ok(event) = serde_json::from_slice::<serde_json::Value>(line) else { return true };
    let texts = [
        "event_id",
        "ts",
        "event_type",
        "visitor_id",
        "item_id",
        "device",
        "location",
        "user_agent",
    ];
    let is_instant = |text: &str| chrono::DateTime::parse_from_rfc3339(text).is_ok();
    !texts.iter().all(|field| event[field].is_string())
        || !event["ts"].as_str().is_some_and(is_instant)
        || !(event["price"].is_null() || event["price"].is_number())
        || !(event["quantity"].is_null() || event["quantity"].is_i64())
        || !(event["user_id"].is_null() || event["user_id"].is_string())
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}
