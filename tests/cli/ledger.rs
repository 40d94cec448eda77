//! `recctl ledger`, `recctl why` and marks: what people and programs see.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::sandbox::{DAY, NEXT_DAY, Sandbox};

/// The text without what names runs, times, digests and whoever runs the tests.
fn masked(text: &str) -> String {
    let mut masked = text.to_owned();
    for (pattern, name) in [
        (r"daily-\d{8}-\d{8}T\d{6}-[0-9a-f]{4}", "RUN"),
        (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", "TIME"),
        (r"made \d{4}-\d\d-\d\d", "made DAY"),
        (r"\b[0-9a-f]{16}\b", "DIGEST"),
        (r"by \S+@\S+ on \d{4}-\d\d-\d\d:", "by WHO on DAY:"),
        (r"by \S+@\S+:", "by WHO:"),
        (r"[\d.]+ [kM]?B\b", "SIZE"),
        (r"\d+ bytes", "N bytes"),
    ] {
        masked = regex::Regex::new(pattern).unwrap().replace_all(&masked, name).into_owned();
    }
    masked
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|it| if it.is_dir() { files_below(&it) } else { vec![it] }).collect()
}

fn why(sandbox: &Sandbox, step: &str, date: &str) -> String {
    masked(&sandbox.run(&["why", step, "--date", date]).ends_with(0).stdout)
}

#[test]
fn a_ledger_is_a_calendar() {
    let sandbox = Sandbox::prepared();
    let ran = sandbox.run(&["ledger", "--to", DAY]).ends_with(0);
    insta::assert_snapshot!(masked(&ran.stdout));
    assert_eq!(ran.stderr, "");

    let arguments = ["ledger", "daily", "--to", NEXT_DAY, "--select", "als", "--format", "json"];
    let json: Value = serde_json::from_str(&sandbox.run(&arguments).ends_with(0).stdout).unwrap();
    assert_eq!((&json["version"], &json["pipeline"]), (&1.into(), &"daily".into()));
    assert_eq!((&json["counts"]["done"], &json["counts"]["missing"]), (&1.into(), &8.into()));
    assert_eq!(json["steps"].as_array().unwrap().len(), 1);
    let last = &json["steps"][0]["intervals"][7];
    assert_eq!((&last["partition"], &last["state"]), (&DAY.into(), &"done".into()));
    assert_eq!(last["made"]["fingerprint"], last["wanted"]);
}

#[test]
fn why_follows_a_change_to_its_root() {
    let sandbox = Sandbox::prepared();
    insta::assert_snapshot!("why_it_is_done", why(&sandbox, "interactions", "2026-03-04"));
    let folder = sandbox.lake().join("raw/clickstream/2026/03/04");
    let files = files_below(&folder);
    std::fs::copy(&files[0], files[0].with_file_name("zz-late.json.gz")).unwrap();
    insta::assert_snapshot!("why_it_is_stale", why(&sandbox, "interactions", "2026-03-04"));
    insta::assert_snapshot!("why_a_model_is_stale", why(&sandbox, "als", DAY));
    std::fs::remove_dir_all(&folder).unwrap();
    std::fs::remove_file(sandbox.home().join("catalog.db")).unwrap();
    insta::assert_snapshot!("why_nothing_can_make_it", why(&sandbox, "interactions", "2026-03-04"));
    let ran = sandbox.run(&["why", "interaction"]).ends_with(2);
    assert!(ran.stderr.contains("did you mean `interactions`?"), "{}", ran.stderr);
}

#[test]
fn a_mark_is_on_record_and_counts() {
    let sandbox = Sandbox::prepared();
    let mark = |step: &str, set: &str, date: &str| {
        let day = ["--date", date, "--as", set, "--reason", "clock was wrong"];
        let mut arguments = vec!["ledger", "mark", step];
        arguments.extend(day);
        sandbox.run(&arguments)
    };
    // Of what is missing, nothing is there.
    let ran = mark("interactions", "done", NEXT_DAY).ends_with(2);
    assert!(ran.stderr.contains("nothing is there of `interactions` 2026-03-09"), "{}", ran.stderr);

    let ran = mark("clean_events,interactions", "missing", "2026-03-04").ends_with(0);
    assert!(ran.stdout.starts_with("2 parts set as missing; on record as run daily-20260304-"));
    insta::assert_snapshot!(
        "why_it_was_marked_missing",
        why(&sandbox, "interactions", "2026-03-04")
    );
    let plan = |date: &str| {
        let arguments = ["plan", "daily", "--date", date, "--format", "json"];
        let ran = sandbox.run(&arguments).ends_with(0);
        let json: Value = serde_json::from_str(&ran.stdout).unwrap();
        let actions = json["days"][0]["actions"].as_array().unwrap().clone();
        let runs = actions.iter().filter(|action| action["verdict"] == "run");
        let line = |action: &Value| {
            let [step, partition, reason] =
                ["step", "partition", "reason"].map(|key| action[key].as_str().unwrap().to_owned());
            format!("{step} {partition}: {reason}")
        };
        runs.map(line).collect::<Vec<String>>()
    };
    assert_eq!(
        plan(DAY),
        [
            "clean_events 2026-03-04: marked as missing",
            "interactions 2026-03-04: marked as missing",
            "publish 2026-03-04: tables were made",
        ]
    );
    // It is there after all, and counts again.
    mark("clean_events,interactions", "done", "2026-03-04").ends_with(0);
    assert_eq!(plan(DAY), [""; 0]);
    insta::assert_snapshot!("why_it_counts_as_done", why(&sandbox, "interactions", "2026-03-04"));

    // A change that is known to leave all as it was.
    sandbox.edit("pipelines.yaml", "- expression: weight > 0", "- expression: weight >= 0");
    assert!(plan(DAY).contains(&"interactions 2026-03-04: changed: checks".to_owned()));
    let range = ["--from", "2026-03-01", "--to", DAY, "--as", "done", "--reason", "same rows"];
    let mut arguments = vec!["ledger", "mark", "interactions"];
    arguments.extend(range);
    sandbox.run(&arguments).ends_with(0);
    let left: Vec<String> =
        plan(DAY).into_iter().filter(|it| it.starts_with("interactions")).collect();
    assert_eq!(left, [""; 0]);

    let runs = sandbox.run(&["runs"]).ends_with(0).stdout;
    assert_eq!(runs.matches("mark, succeeded").count(), 3, "{runs}");
    let shown = sandbox.run(&["runs", "show", "last"]).ends_with(0).stdout;
    assert!(shown.contains("`interactions` set as done for 2026-03-01 … 2026-03-08 by"), "{shown}");
    let ledger = sandbox.run(&["ledger", "--to", DAY, "--select", "interactions"]).ends_with(0);
    insta::assert_snapshot!("a_ledger_with_marks", masked(&ledger.stdout));
}

#[test]
fn an_interrupted_run_goes_on_with_what_it_had() {
    let sandbox = Sandbox::prepared();
    let run = |more: &[&str]| {
        let mut arguments = vec!["run", "daily", "--date", DAY, "--threads", "2"];
        arguments.extend(more);
        sandbox.run(&arguments)
    };
    let set_last = |status: &str| {
        let state = rusqlite::Connection::open(sandbox.home().join("state.db")).unwrap();
        let sql = "UPDATE runs SET record = json_set(record, '$.status', ?1)";
        assert_eq!(state.execute(sql, [status]).unwrap(), 1);
    };
    sandbox.edit("pipelines.yaml", "- expression: weight > 0", "- expression: weight >= 0");
    let says = "goes on with its definition";
    let changed = "8 × `interactions`";
    // Its process died, or somebody stopped it.
    for status in ["running", "cancelled"] {
        set_last(status);
        let ran = run(&["--select", "interactions"]).ends_with(0);
        assert!(
            ran.stderr.contains(says) && ran.stderr.contains("nothing to do"),
            "{}",
            ran.stderr
        );
    }
    let runs = sandbox.run(&["runs"]).ends_with(0).stdout;
    assert!(runs.contains("cancelled"), "{runs} {changed}");
    set_last("running");
    let runs = sandbox.run(&["runs"]).ends_with(0).stdout;
    assert!(runs.contains("interrupted"), "{runs}");
    // One that failed is mended and started again.
    set_last("failed");
    let ran = run(&["--select", "interactions", "--definition", "kept"]).ends_with(0);
    assert!(ran.stderr.contains(says), "{}", ran.stderr);
    set_last("running");
    let ran = run(&["--select", "interactions", "--definition", "current"]).ends_with(0);
    assert!(!ran.stderr.contains(says) && ran.stderr.contains("interactions"), "{}", ran.stderr);
    // What died is written down by the next run, which is the last now.
    assert!(ran.stderr.contains("died: what it finished counts"), "{}", ran.stderr);
    let ran = run(&["--definition", "kept"]).ends_with(2);
    assert!(ran.stderr.contains("no run of `daily` for 2026-03-08 was left"), "{}", ran.stderr);
}
