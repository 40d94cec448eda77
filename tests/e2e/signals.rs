//! What is asked to stop stops, gives its lease back, and goes on the next time.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use recctl::adapters::local::{LocalTarget, SystemClock};
use recctl::ports::{Clock, StateStore};

use super::accidents::{goes_on, leftovers};
use crate::sandbox::{NEXT_DAY, Sandbox};

const RUN: [&str; 6] = ["run", "daily", "--date", NEXT_DAY, "--log-format", "json"];

/// A run under way and what it says.
struct Under {
    child: Child,
    lines: Box<dyn Iterator<Item = String>>,
}

impl Under {
    /// Starts a run and reads on to the line of an event of a step of the day.
    fn way(sandbox: &Sandbox, more: &[&str], event: &str, step: &str) -> Self {
        let mut command = sandbox.command(&RUN);
        command.args(more).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let mut lines: Box<dyn Iterator<Item = String>> = Box::new(lines);
        let is_it = |line: &serde_json::Value| {
            line["event"] == event
                && line["unit"]["step"] == step
                && line["unit"]["partition"] == NEXT_DAY
        };
        lines.find(|line| is_it(&parsed(line))).expect("the step's event");
        Self { child, lines }
    }

    fn send(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Waits for the end, and returns the exit code with the events that were told till then.
    fn end(mut self) -> (Option<i32>, Vec<serde_json::Value>) {
        let rest = self.lines.map(|line| parsed(&line)).collect();
        (self.child.wait().unwrap().code(), rest)
    }
}

#[track_caller]
fn parsed(line: &str) -> serde_json::Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// Everything that a run which was stopped leaves behind.
#[track_caller]
fn stopped_well(sandbox: &Sandbox, code: i32, ended: (Option<i32>, Vec<serde_json::Value>)) {
    let (found, lines) = ended;
    assert_eq!(found, Some(code), "{lines:#?}");
    let last = lines.last().unwrap();
    let run = last["run"].as_str().unwrap_or_default();
    assert!(run.starts_with("daily-20260309-"), "{last}");
    assert_eq!(
        (&last["event"], &last["status"], &last["exit_code"]),
        (&"run_exited".into(), &"cancelled".into(), &code.into())
    );
    assert_eq!(processes_of(sandbox), Vec::<String>::new(), "jobs ended with the run");
    let runs = sandbox.run(&["runs", "-n", "1"]).ends_with(0).stdout;
    assert!(runs.contains(run) && runs.contains("cancelled"), "{runs}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        // From another machine, which cannot look whether a process is gone: only a lease that was
        // given back can be had there.
        let target = LocalTarget::open(&sandbox.home()).unwrap();
        let state = target.state_store("elsewhere").await.unwrap();
        let (name, time) = (format!("daily/{NEXT_DAY}"), Duration::from_secs(600));
        let lease = state.acquire(&name, "elsewhere/1/x", time, SystemClock.now()).await.unwrap();
        state.release(&lease).await.unwrap();
    });
}

#[test]
fn a_run_terminated_before_its_publication_goes_on() {
    let sandbox = Sandbox::prepared();
    let run = Under::way(&sandbox, &[], "step_finished", "clean_events");
    run.send("-TERM");
    stopped_well(&sandbox, 143, run.end());
    assert_eq!(leftovers(&sandbox), Vec::<String>::new());
    goes_on(&sandbox);
}

#[test]
fn a_run_interrupted_in_its_training_goes_on() {
    let sandbox = Sandbox::prepared();
    let run = Under::way(&sandbox, &[], "step_started", "als");
    run.send("-INT");
    stopped_well(&sandbox, 130, run.end());
    assert_eq!(leftovers(&sandbox), Vec::<String>::new());
    goes_on(&sandbox);
}

/// The warehouse is locked until the run has ended: its load waits longer than the run may.
#[test]
fn what_does_not_end_in_time_is_given_up() {
    let sandbox = Sandbox::prepared();
    let more = ["--stop-timeout", "1", "--parallel", "1"];
    let run = Under::way(&sandbox, &more, "step_started", "clean_events");
    let lock = rusqlite::Connection::open(sandbox.home().join("warehouse.db")).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut run = run;
    let is_publication = |line: &String| {
        let line = parsed(line);
        line["event"] == "step_started" && line["unit"]["action"] == "publish"
    };
    run.lines.find(is_publication).expect("the publication");
    run.send("-TERM");
    let ended = run.end();
    let given_up = ended.1.iter().find(|line| line["failure"]["message"].is_string()).unwrap();
    assert_eq!(given_up["failure"]["message"], "did not end within 1 s of being asked to");
    lock.execute_batch("ROLLBACK").unwrap();
    stopped_well(&sandbox, 143, ended);
    sandbox.run(&["run", "daily", "--date", NEXT_DAY]).ends_with(0);
    assert_eq!(sandbox.hashes(), crate::sandbox::reference().hashes);
    assert_eq!(sandbox.served(), crate::sandbox::reference().served);
}

#[test]
fn a_second_signal_ends_at_once() {
    let sandbox = Sandbox::prepared();
    let run = Under::way(&sandbox, &["--parallel", "1"], "step_started", "clean_events");
    let lock = rusqlite::Connection::open(sandbox.home().join("warehouse.db")).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut run = run;
    let told = |event: &'static str, action: &'static str| {
        move |line: &String| {
            let line = parsed(line);
            line["event"] == event && (action.is_empty() || line["unit"]["action"] == action)
        }
    };
    run.lines.find(told("step_started", "publish")).expect("the publication");
    run.send("-TERM");
    run.lines.find(told("noticed", "")).expect("that the signal was heard");
    run.send("-TERM");
    let (code, rest) = run.end();
    assert_eq!((code, rest.len()), (Some(143), 0), "{rest:#?}");
    lock.execute_batch("ROLLBACK").unwrap();
    // The lease is that of a process which is gone.
    sandbox.run(&["run", "daily", "--date", NEXT_DAY]).ends_with(0);
    assert_eq!(sandbox.hashes(), crate::sandbox::reference().hashes);
}

/// Command lines of processes that work in a sandbox.
fn processes_of(sandbox: &Sandbox) -> Vec<String> {
    let folder = sandbox.project().to_str().unwrap().to_owned();
    let entries = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(&folder)).collect()
}
