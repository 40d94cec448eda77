//! Reads samples back with other eyes: flate2 and serde_json.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::{DateTime, NaiveDate};
use serde_json::Value;

use super::*;

fn options(output: &Path, events: u64, days: u32) -> SampleOptions {
    SampleOptions {
        events,
        days,
        last_day: NaiveDate::from_ymd_opt(2025, 6, 30).unwrap(),
        seed: 7,
        users: None,
        items: None,
        threads: 2,
        output: output.to_path_buf(),
    }
}

fn run(options: &SampleOptions) -> Result<SampleSummary, SampleError> {
    generate(options, &|_| {}, &|| false)
}

fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

fn contents(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    files(root)
        .into_iter()
        .map(|path| (path.strip_prefix(root).unwrap().to_path_buf(), fs::read(path).unwrap()))
        .collect()
}

fn gunzip(path: &Path) -> Vec<u8> {
    let mut raw = Vec::new();
    flate2::read::MultiGzDecoder::new(fs::File::open(path).unwrap()).read_to_end(&mut raw).unwrap();
    raw
}

/// Says what is wrong with a line as a strict reader would, or returns the event.
fn read_event(line: &[u8]) -> Result<(Value, i64), &'static str> {
    let unparsable = if line.starts_with(b"{\"event_id") || b"{\"event_id\"".starts_with(line) {
        "truncated"
    } else {
        "not_json"
    };
    let value: Value = serde_json::from_slice(line).map_err(|_| unparsable)?;
    let text = |key: &str| value.get(key).and_then(Value::as_str).ok_or("wrong_types");
    for key in ["event_id", "visitor_id", "item_id", "device", "location", "user_agent"] {
        text(key)?;
    }
    let action = text("event_type")?;
    let number =
        |key: &str| value.get(key).map(|price| price.as_f64().ok_or("wrong_types")).transpose();
    assert_eq!(number("price")?.is_some(), matches!(action, "add_to_cart" | "purchase"));
    assert_eq!(number("quantity")?.is_some(), action == "purchase");
    let ts =
        DateTime::parse_from_rfc3339(text("ts")?).map_err(|_| "wrong_types")?.timestamp_millis();
    Ok((value, ts))
}

/// Counts a day's folder as a correct cleaning would.
fn recount(folder: &Path, day: NaiveDate) -> SampleCounts {
    let midnight = day.and_hms_opt(0, 0, 0).unwrap().and_utc().timestamp_millis();
    let mut counts = SampleCounts::default();
    let mut seen: HashMap<String, Vec<u8>> = HashMap::new();
    for path in files(folder) {
        counts.files += 1;
        counts.bytes_compressed += fs::metadata(&path).unwrap().len();
        let raw = gunzip(&path);
        counts.bytes_raw += raw.len() as u64;
        assert_eq!(raw.last(), Some(&b'\n'));
        for line in raw[..raw.len() - 1].split(|&byte| byte == b'\n') {
            assert!(!line.is_empty() && !line.contains(&b'\r'));
            counts.lines += 1;
            let (event, ts) = match read_event(line) {
                Ok(event) => event,
                Err(kind) => {
                    *match kind {
                        "truncated" => &mut counts.malformed.truncated,
                        "not_json" => &mut counts.malformed.not_json,
                        _ => &mut counts.malformed.wrong_types,
                    } += 1;
                    continue;
                }
            };
            counts.events += 1;
            let agent = event["user_agent"].as_str().unwrap().to_lowercase();
            if let Some(first) =
                seen.insert(event["event_id"].as_str().unwrap().to_owned(), line.to_vec())
            {
                assert_eq!(first, line, "a copy is equal byte for byte");
                counts.duplicates += 1;
            } else if ["bot", "crawler", "spider"].iter().any(|word| agent.contains(word)) {
                counts.bots += 1;
                assert_eq!((ts - midnight).div_euclid(86_400_000), 0);
            } else if (ts - midnight).div_euclid(86_400_000) == 0 {
                counts.clean += 1;
            } else {
                counts.outside_day += 1;
            }
        }
    }
    counts
}

fn assert_counts_hold(options: &SampleOptions) -> SampleSummary {
    let summary = run(options).unwrap();
    let mut total = SampleCounts::default();
    for day in &summary.days {
        let folder =
            options.output.join("raw/clickstream").join(day.day.format("%Y/%m/%d").to_string());
        let counts = recount(&folder, day.day);
        assert_eq!(counts, day.counts, "{}", day.day);
        total.add(&counts);
    }
    assert_eq!(total, summary.total);
    assert_eq!(total.lines, options.events);
    assert_eq!(
        total.lines,
        total.clean + total.duplicates + total.bots + total.outside_day + total.malformed.total()
    );
    summary
}

#[test]
fn the_summary_is_what_the_files_hold() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path(), 10_000, 3);
    let summary = assert_counts_hold(&options);
    assert_eq!(summary.days.len(), 3);
    let users = gunzip(&folder.path().join("raw/users/users.json.gz"));
    let users: Vec<Value> = users
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert_eq!(users.len(), summary.users as usize);
    assert!(users.iter().any(|user| user["birth_year"].is_null()));
    let products = fs::read_to_string(folder.path().join("raw/products/products.csv")).unwrap();
    assert_eq!(products.lines().count(), summary.items as usize + 1);
    let ids: HashSet<&str> = products.lines().map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!(ids.len(), summary.items as usize + 1);
    assert!(products.contains("\"\"") && !products.is_ascii());
}

#[test]
fn counts_hold_where_hours_have_a_handful_of_lines_or_several_files() {
    let folder = tempfile::tempdir().unwrap();
    let few = assert_counts_hold(&options(&folder.path().join("few"), 10_000, 120));
    assert_eq!(few.total.duplicates, 200);
    // Above 50,000 lines an hour is split; the quotas alone show it without writing a million lines.
    let plan = options::Plan::new(&options(folder.path(), 20_000_000, 2)).unwrap();
    let parts = schedule::day_parts(&plan, 1);
    assert!(parts.len() > 180 && parts.iter().all(|part| part.lines <= schedule::FILE_LINES));
    for part in &parts {
        assert_eq!(
            part.lines,
            part.clean + part.duplicates + part.bots + part.outside_day + part.malformed
        );
    }
}

#[test]
fn shares_are_near_the_stated_ones() {
    let folder = tempfile::tempdir().unwrap();
    let summary = run(&options(folder.path(), 50_000, 2)).unwrap();
    let share = |count: u64| count as f64 / summary.total.lines as f64;
    assert!((share(summary.total.duplicates) - 0.02).abs() < 0.001);
    assert!((share(summary.total.bots) - 0.01).abs() < 0.001);
    assert!((share(summary.total.outside_day) - 0.005).abs() < 0.0005);
    assert_eq!(summary.total.malformed.total(), 50);
    let (mut anonymous, mut offset, mut extra, mut disorder, mut before) = (0, 0, 0, 0, 0);
    let mut actions: HashMap<String, u64> = HashMap::new();
    for path in files(&folder.path().join("raw/clickstream")) {
        for line in gunzip(&path).split(|&byte| byte == b'\n') {
            let Ok((event, ts)) = read_event(line) else {
                continue;
            };
            disorder += u64::from(ts < before);
            before = ts;
            anonymous += u64::from(event.get("user_id").is_none_or(Value::is_null));
            offset += u64::from(!event["ts"].as_str().unwrap().ends_with('Z'));
            extra += u64::from(
                ["experiment", "utm", "schema_version"].iter().any(|key| event.get(key).is_some()),
            );
            *actions.entry(event["event_type"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    assert!((0.13..0.19).contains(&share(anonymous)), "{anonymous}");
    assert!((0.07..0.13).contains(&share(offset)), "{offset}");
    assert!((0.03..0.07).contains(&share(extra)), "{extra}");
    assert!((0.05..0.5).contains(&share(disorder)), "{disorder}");
    assert!(
        actions["view"] > 10 * actions["add_to_cart"] / 2
            && actions["add_to_cart"] > actions["purchase"]
    );
    assert!(actions["purchase"] > 500 && actions["search"] > 500, "{actions:?}");
}

#[test]
fn equal_options_give_equal_bytes_on_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let of = |name: &str, threads: usize, seed: u64| {
        let output = folder.path().join(name);
        let summary = run(&SampleOptions { threads, seed, ..options(&output, 10_000, 2) }).unwrap();
        (summary, contents(&output))
    };
    let one = of("one", 1, 7);
    assert_eq!(one, of("five", 5, 7));
    assert_ne!(one.1, of("other", 1, 8).1);
}

#[test]
fn a_sample_is_not_mixed_into_existing_files() {
    let folder = tempfile::tempdir().unwrap();
    let day = folder.path().join("raw/clickstream/2025/06/29");
    fs::create_dir_all(day.join("03")).unwrap();
    let options = options(folder.path(), 10_000, 2);
    fs::write(day.join("03/other.json"), "{}").unwrap();
    let error = run(&options).unwrap_err();
    assert!(matches!(&error, SampleError::Occupied { path } if *path == day), "{error}");
    assert_eq!(files(folder.path()).len(), 1);
    fs::remove_file(day.join("03/other.json")).unwrap();
    run(&options).unwrap();
    assert!(matches!(run(&options), Err(SampleError::Occupied { .. })));
}

#[test]
fn cancelling_removes_the_day_in_progress_and_keeps_the_days_before() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path(), 10_000, 2);
    let asked = AtomicU64::new(0);
    let after = |files: u64| {
        generate(&options, &|_| {}, &|| asked.fetch_add(1, Ordering::Relaxed) >= files)
    };
    assert!(matches!(after(5), Err(SampleError::Cancelled)));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    asked.store(0, Ordering::Relaxed);
    assert!(matches!(after(30), Err(SampleError::Cancelled)));
    assert_eq!(files(&folder.path().join("raw/clickstream")).len(), 24);
    assert!(!folder.path().join("raw/clickstream/2025/06/30").exists());
    assert!(folder.path().join("raw/products/products.csv").exists());
}

#[test]
fn options_outside_their_limits_are_named_with_the_limits() {
    let folder = tempfile::tempdir().unwrap();
    let fine = options(folder.path(), 10_000, 2);
    let message = |options: SampleOptions| run(&options).unwrap_err().to_string();
    assert_eq!(
        message(SampleOptions { events: 9_999, ..fine.clone() }),
        "`events` is 9999, outside 10000 to 100000000"
    );
    assert_eq!(message(SampleOptions { days: 0, ..fine.clone() }), "`days` is 0, outside 1 to 366");
    assert_eq!(
        message(SampleOptions { threads: 0, ..fine.clone() }),
        "`threads` is 0, outside 1 to 256"
    );
    assert_eq!(
        message(SampleOptions { items: Some(20_001), ..fine.clone() }),
        "`items` is 20001, outside 100 to 20000"
    );
    assert_eq!(
        message(SampleOptions { users: Some(1), ..fine }),
        "`users` is 1, outside 50 to 2000000"
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn defaults_grow_slower_than_the_events() {
    assert_eq!((default_users(60_000, 14), default_items(60_000, 14)), (2_500, 600));
    assert!((55_000..65_000).contains(&default_users(10_000_000, 10)));
    assert!((7_500..8_500).contains(&default_items(10_000_000, 10)));
    assert_eq!(default_items(100_000_000, 1), 20_000);
}

#[test]
fn progress_ends_with_every_line() {
    let folder = tempfile::tempdir().unwrap();
    let most = AtomicU64::new(0);
    let note = |progress: SampleProgress| {
        assert_eq!((progress.days, progress.lines), (2, 10_000));
        most.fetch_max(progress.lines_done, Ordering::Relaxed);
    };
    generate(&options(folder.path(), 10_000, 2), &note, &|| false).unwrap();
    assert_eq!(most.into_inner(), 10_000);
}

#[test]
fn people_have_tastes_and_buy_again() {
    let folder = tempfile::tempdir().unwrap();
    run(&options(folder.path(), 40_000, 10)).unwrap();
    let products = fs::read_to_string(folder.path().join("raw/products/products.csv")).unwrap();
    let themes: HashMap<&str, &str> = products
        .lines()
        .map(|line| {
            let theme =
                words::THEMES.iter().find(|theme| line.contains(&format!(",{},", theme.category)));
            (line.split(',').next().unwrap(), theme.map_or("", |theme| theme.category))
        })
        .collect();
    let mut overall: HashMap<&str, u64> = HashMap::new();
    let mut by_visitor: HashMap<String, HashMap<&str, u64>> = HashMap::new();
    let mut bought: HashMap<(String, String), HashSet<i64>> = HashMap::new();
    for path in files(&folder.path().join("raw/clickstream")) {
        for line in gunzip(&path).split(|&byte| byte == b'\n') {
            let Ok((event, ts)) = read_event(line) else {
                continue;
            };
            let (visitor, item) =
                (event["visitor_id"].as_str().unwrap(), event["item_id"].as_str().unwrap());
            if event["user_agent"].as_str().unwrap().starts_with("ShopApp") {
                *overall.entry(themes[item]).or_default() += 1;
                *by_visitor
                    .entry(visitor.to_owned())
                    .or_default()
                    .entry(themes[item])
                    .or_default() += 1;
            }
            if event["event_type"] == "purchase" {
                bought
                    .entry((visitor.to_owned(), item.to_owned()))
                    .or_default()
                    .insert(ts / 86_400_000);
            }
        }
    }
    let top = |counts: &HashMap<&str, u64>| {
        *counts.values().max().unwrap() as f64 / counts.values().sum::<u64>() as f64
    };
    let regulars: Vec<f64> =
        by_visitor.values().filter(|counts| counts.values().sum::<u64>() >= 20).map(top).collect();
    let mean = regulars.iter().sum::<f64>() / regulars.len() as f64;
    assert!(regulars.len() > 50 && mean > 2.5 * top(&overall), "{mean} {}", top(&overall));
    let again = bought.values().filter(|days| days.len() > 1).count();
    assert!(again > 20, "{again}");
}
