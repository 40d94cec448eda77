//! What a plan lists on the embedded target, next to what its run changes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::SystemTime;

use rusqlite::types::Value as Cell;
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use crate::sandbox::{DAY, NEXT_DAY, Sandbox};

/// Files by path with size and time, and tables of databases by `file.db:table` with their rows.
#[derive(Debug, Default, PartialEq)]
struct State {
    files: BTreeMap<String, (u64, SystemTime)>,
    tables: BTreeMap<String, BTreeSet<String>>,
}

fn state(sandbox: &Sandbox) -> State {
    let mut state = State::default();
    look(&sandbox.project(), "", &mut state);
    state
}

fn look(root: &Path, below: &str, state: &mut State) {
    for entry in std::fs::read_dir(root.join(below)).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let path = if below.is_empty() { name } else { format!("{below}/{name}") };
        if entry.file_type().unwrap().is_dir() {
            look(root, &path, state);
        } else if path.ends_with(".db") {
            rows(&entry.path(), path.trim_start_matches(".recctl/"), state);
        } else if !path.ends_with("-wal") && !path.ends_with("-shm") {
            let meta = entry.metadata().unwrap();
            state.files.insert(path, (meta.len(), meta.modified().unwrap()));
        }
    }
}

fn rows(file: &Path, name: &str, state: &mut State) {
    let database = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
    let mut query = database.prepare(tables).unwrap();
    let tables = query.query_map([], |row| row.get::<_, String>(0)).unwrap();
    for table in tables.map(Result::unwrap) {
        let mut query = database.prepare(&format!("SELECT * FROM \"{table}\"")).unwrap();
        let columns = query.column_count();
        let mut found = query.query([]).unwrap();
        let rows = state.tables.entry(format!("{name}:{table}")).or_default();
        while let Some(row) = found.next().unwrap() {
            let cells: Vec<Cell> = (0..columns).map(|at| row.get(at).unwrap()).collect();
            rows.insert(format!("{cells:?}"));
        }
    }
}

/// The plan as JSON.
fn plan(sandbox: &Sandbox, arguments: &[&str]) -> Value {
    let mut all = vec!["plan", "daily", "--threads", "2", "--format", "json"];
    all.extend(arguments);
    let ran = sandbox.run(&all).ends_with(0);
    assert_eq!(ran.stderr, "");
    serde_json::from_str(&ran.stdout).unwrap()
}

/// `a-*-b` against a text.
pub fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    true
}

/// Holds what changed against what was listed, in both directions.
fn hold(before: &State, after: &State, plan: &Value) {
    let calls = plan["sum"]["calls"].as_array().unwrap();
    let text = |call: &Value, member: &str| call[member].as_str().unwrap().to_owned();
    let listed: Vec<(String, String, Value)> = calls
        .iter()
        .filter(|call| text(call, "operation") == "write")
        .map(|call| (text(call, "service"), text(call, "resource"), call["count"].clone()))
        .collect();
    let mut seen: BTreeSet<usize> = BTreeSet::new();
    let mut unlisted: Vec<String> = Vec::new();
    let new_files =
        after.files.iter().filter(|(path, file)| before.files.get(*path) != Some(*file));
    for (path, _) in new_files {
        let path = path.trim_start_matches(".recctl/");
        let found: Vec<usize> = (0..listed.len())
            .filter(|at| listed[*at].0 == "files")
            .filter(|at| listed[*at].1.split(" or ").any(|pattern| matches(pattern, path)))
            .collect();
        seen.extend(&found);
        if found.is_empty() {
            unlisted.push(path.to_owned());
        }
    }
    for (table, rows) in &after.tables {
        if before.tables.get(table).unwrap_or(&BTreeSet::new()) == rows {
            continue;
        }
        match listed
            .iter()
            .position(|(service, resource, _)| service == "sqlite" && resource == table)
        {
            Some(at) => drop(seen.insert(at)),
            None => unlisted.push(table.clone()),
        }
    }
    assert!(unlisted.is_empty(), "changed and not listed: {unlisted:#?}");
    let kept: Vec<&String> =
        before.files.keys().filter(|it| !after.files.contains_key(*it)).collect();
    assert!(kept.is_empty(), "removed and not listed: {kept:#?}");
    let unseen: Vec<_> = listed
        .iter()
        .enumerate()
        .filter(|(at, (_, resource, count))| {
            // Training sets and publications come and go; the lease is as it was before.
            let comes_and_goes = ["lake/datasets/", "state.db:leases", "state.db:publications"];
            let comes_and_goes = comes_and_goes.contains(&resource.as_str());
            let is_certain = count.get("exactly").is_some() || count.get("about").is_some();
            !seen.contains(at) && !comes_and_goes && is_certain
        })
        .collect();
    assert!(unseen.is_empty(), "listed and not changed: {unseen:#?}");
    let removed = calls.iter().find(|call| call["operation"] == "remove");
    assert_eq!(removed.unwrap()["resource"], "lake/datasets/");
    assert!(!after.files.keys().any(|path| path.contains("datasets/")), "removed at the end");
}

#[test]
fn a_run_changes_what_its_plan_listed() {
    let sandbox = Sandbox::prepared();
    let before = state(&sandbox);
    let plan = plan(&sandbox, &["--date", NEXT_DAY]);
    assert_eq!(state(&sandbox), before, "a plan changes nothing");
    sandbox.run(&["run", "daily", "--date", NEXT_DAY, "--threads", "2"]).ends_with(0);
    hold(&before, &state(&sandbox), &plan);
}

#[test]
fn a_first_run_makes_the_sample_that_its_plan_listed() {
    let sandbox = Sandbox::new();
    let before = state(&sandbox);
    let plan = plan(&sandbox, &["--date", DAY]);
    assert_eq!(state(&sandbox), before, "not even the folder of the target is made");
    let sample = &plan["days"][0]["run_effects"][0];
    assert_eq!(sample["effect"], "sample");
    assert_eq!(sample["events"], 24_000);
    sandbox.run(&["run", "daily", "--date", DAY, "--threads", "2"]).ends_with(0);
    hold(&before, &state(&sandbox), &plan);
}

#[test]
fn planning_changes_nothing_whatever_is_asked() {
    let sandbox = Sandbox::prepared();
    let before = state(&sandbox);
    for arguments in [
        &["plan", "daily", "--date", DAY][..],
        &["plan", "daily", "--date", NEXT_DAY, "--format", "json"],
        &["plan", "daily", "--from", "2026-03-05", "--to", NEXT_DAY],
        &["plan", "daily", "--from", "2016-03-05", "--to", NEXT_DAY],
        &["plan", "daily", "--date", DAY, "--target", "aws"],
        &["run", "daily", "--date", DAY, "--dry-run", "--force"],
    ] {
        let ran = sandbox.run(arguments).ends_with(0);
        assert_eq!(ran.stderr, "", "{arguments:?}");
    }
    assert_eq!(state(&sandbox), before);
}
