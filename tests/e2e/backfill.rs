//! Many days at once come to what each day alone comes to, and nothing that serves changes.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::sandbox::{DAY, NEXT_DAY, Ran, Sandbox};

/// The days before [`NEXT_DAY`] that are filled; the window of training is cut to fit.
const FIRST: &str = "2026-03-06";

/// The prepared project, with windows so short that several days can be run, of which nothing but
/// raw input is left.
pub fn emptied() -> Sandbox {
    let sandbox = Sandbox::prepared();
    shorten(&sandbox);
    for file in ["state.db", "catalog.db", "serving.db", "warehouse.db"] {
        for end in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(sandbox.home().join(format!("{file}{end}")));
        }
    }
    std::fs::remove_dir_all(sandbox.lake().join("tables")).unwrap();
    sandbox
}

fn shorten(sandbox: &Sandbox) {
    let wide = "{window: 8d, validation: 2d, test: 2d}";
    sandbox.edit("pipelines.yaml", wide, "{window: 5d, validation: 1d, test: 1d}");
    sandbox.edit("pipelines.yaml", "{interactions: 8d}", "{interactions: 3d}");
}

fn backfill(sandbox: &Sandbox, from: &str, to: &str, more: &[&str]) -> Ran {
    let mut arguments = vec!["backfill", "daily", "--from", from, "--to", to];
    arguments.extend(more);
    sandbox.run(&arguments)
}

/// What the days alone come to.
fn one_by_one() -> &'static Sandbox {
    static SANDBOX: std::sync::OnceLock<Sandbox> = std::sync::OnceLock::new();
    SANDBOX.get_or_init(|| {
        let sandbox = emptied();
        for date in [FIRST, "2026-03-07", DAY, NEXT_DAY] {
            let arguments = ["run", "daily", "--date", date, "--exclude", "kind:load"];
            sandbox.run(&arguments).ends_with(0);
        }
        sandbox
    })
}

fn is_filled(sandbox: &Sandbox) {
    assert_eq!(sandbox.hashes(), one_by_one().hashes(), "row for row");
    let again = backfill(sandbox, FIRST, NEXT_DAY, &["--dry-run"]).ends_with(0);
    assert!(
        again.stdout.contains("done already: 4 days 2026-03-06 … 2026-03-09"),
        "{}",
        again.stdout
    );
}

#[test]
fn a_range_is_filled_as_day_by_day_and_nothing_is_served() {
    let sandbox = emptied();
    let none = backfill(&sandbox, FIRST, NEXT_DAY, &[]).ends_with(2);
    assert!(none.stderr.contains("hint: add --yes"), "{}", none.stderr);
    let ran = backfill(&sandbox, FIRST, NEXT_DAY, &["--yes", "--parallel", "2"]).ends_with(0);
    assert_eq!(ran.stdout, "");
    assert!(ran.stderr.contains("backfill succeeded in"), "{}", ran.stderr);
    is_filled(&sandbox);
    let served = sandbox.run(&["recommend", "--anyone"]).ends_with(2);
    assert!(served.stderr.contains("nothing is served yet"), "{}", served.stderr);
    // The day's own word shows its lists, and an older day's does not.
    sandbox.run(&["run", "daily", "--date", NEXT_DAY]).ends_with(0);
    let shown = sandbox.generations();
    let older = sandbox.run(&["run", "daily", "--date", DAY]).ends_with(0);
    let told = "`recommendations` shows the lists of 2026-03-09, and those of 2026-03-08 are older";
    assert!(older.stderr.contains(told), "{}", older.stderr);
    backfill(&sandbox, FIRST, DAY, &["--yes"]).ends_with(0);
    assert_eq!(sandbox.generations(), shown);
    // Until somebody says so.
    backfill(&sandbox, FIRST, DAY, &["--yes", "--serve"]).ends_with(0);
    assert_ne!(sandbox.generations(), shown);
}

#[test]
fn a_backfill_that_was_interrupted_goes_on() {
    let sandbox = emptied();
    let arguments = ["backfill", "daily", "--from", FIRST, "--to", NEXT_DAY, "--yes"];
    for signal in ["-INT", "-KILL"] {
        let mut command = sandbox.command(&arguments);
        command.args(["--log-format", "json"]).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let is_later = |line: &String| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["event"] == "step_finished" && line["unit"]["action"] == "publish"
        };
        lines.find(is_later).expect("a publication");
        let pid = child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        let last = lines.last();
        let code = child.wait().unwrap().code();
        if signal == "-INT" {
            assert_eq!(code, Some(130), "{last:?}");
            let last: serde_json::Value = serde_json::from_str(&last.unwrap()).unwrap();
            assert_eq!(last["event"], "backfill_finished");
            assert_eq!(last["status"], "cancelled");
            let again = last["again"].as_str().unwrap();
            assert!(again.starts_with("recctl backfill daily --from 2026-03-06"), "{again}");
        }
    }
    sandbox.run(&arguments).ends_with(0);
    is_filled(&sandbox);
}

#[test]
fn a_day_that_fails_stops_those_that_need_it_only() {
    let sandbox = emptied();
    // Each day's tables stand for themselves.
    let select = ["--yes", "--select", "clean_events"];
    let bad = sandbox.lake().join("raw/clickstream/2026/03/07/00/bad.json");
    std::fs::create_dir_all(bad.parent().unwrap()).unwrap();
    std::fs::write(&bad, "<html>\n".repeat(200)).unwrap();
    let ran = backfill(&sandbox, FIRST, NEXT_DAY, &select).ends_with(3);
    assert!(ran.stderr.contains("failed: 2026-03-07"), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("to go on: recctl backfill daily --from 2026-03-06"),
        "{}",
        ran.stderr
    );
    let days =
        sandbox.query("SELECT DISTINCT CAST(dt AS VARCHAR) AS day FROM clean_events ORDER BY 1");
    let days: Vec<&str> = days.iter().map(|row| row["day"].as_str().unwrap()).collect();
    assert_eq!(days, ["2026-03-06", "2026-03-08", "2026-03-09"]);
    std::fs::remove_file(bad).unwrap();
    let mut again = select.to_vec();
    again.extend(["--only", "failed,missing"]);
    let ran = backfill(&sandbox, FIRST, NEXT_DAY, &again).ends_with(0);
    assert!(ran.stderr.contains("1 of 4 days"), "{}", ran.stderr);
}
