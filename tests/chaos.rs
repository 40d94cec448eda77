//! Runs that are killed at any moment, and what they said before.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

/// How many kills a test makes; more where this variable says so.
const KILLS: &str = "RECCTL_TEST_KILLS";

/// The kills that are asked for, or a few.
pub fn kills(few: usize) -> usize {
    std::env::var(KILLS).ok().map_or(few, |kills| kills.parse().unwrap())
}

/// A unit of work in the log: step, what is done, partition.
pub type Unit = (String, String, String);

/// What a run said that it began, and what it ended.
pub struct Said {
    pub started: BTreeSet<Unit>,
    pub done: BTreeSet<Unit>,
}

/// A run in a process group of its own, with its jobs.
pub struct Victim {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStderr>>,
    done: BTreeSet<Unit>,
    started: BTreeSet<Unit>,
}

impl Victim {
    /// Starts a run that logs as JSON lines.
    pub fn start(mut command: Command) -> Self {
        command.stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, lines, done: BTreeSet::new(), started: BTreeSet::new() }
    }

    /// Reads up to so many lines; whether there were as many.
    fn read(&mut self, lines: usize) -> bool {
        for _ in 0..lines {
            let Some(Ok(line)) = self.lines.next() else { return false };
            // The last line of a process that is killed may be cut off.
            let Ok(line) = serde_json::from_str::<serde_json::Value>(&line) else { continue };
            let text = |name: &str| line["unit"][name].as_str().unwrap_or_default().to_owned();
            let unit = (text("step"), text("action"), text("partition"));
            match line["event"].as_str() {
                Some("step_started") => _ = self.started.insert(unit),
                Some("step_finished") if line["status"] == "succeeded" => {
                    _ = self.done.insert(unit);
                }
                _ => {}
            }
        }
        true
    }

    /// Kills it some time within its first `lines` lines, unless it ends before: what it began and
    /// what it ended.
    pub fn kill_within(mut self, lines: usize, chance: &mut StdRng) -> Option<Said> {
        let reached = self.read(chance.random_range(0..lines));
        pause(chance.random_range(0..40));
        reached.then(|| self.kill())
    }

    /// As when a host goes: the run and its jobs end at once.
    fn kill(mut self) -> Said {
        let group = format!("-{}", self.child.id());
        let killed = Command::new("kill").args(["-KILL", "--", &group]).status().unwrap();
        assert!(killed.success());
        while self.read(1) {}
        self.child.wait().unwrap();
        Said { started: self.started, done: self.done }
    }

    /// Lets it end by itself: its exit code, and what it began.
    pub fn end(mut self) -> (Option<i32>, BTreeSet<Unit>) {
        while self.read(1) {}
        (self.child.wait().unwrap().code(), self.started)
    }
}

#[expect(clippy::disallowed_methods, reason = "nothing is awaited: any moment is a good one")]
pub fn pause(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}

/// What is written down when a unit has ended: all but queries, which last from their publication.
pub fn lasting(done: &BTreeSet<Unit>) -> BTreeSet<Unit> {
    let published: BTreeSet<&String> =
        done.iter().filter(|unit| unit.1 == "publish").map(|unit| &unit.2).collect();
    let lasts = |unit: &&Unit| unit.1 != "sql" || published.contains(&unit.2);
    done.iter().filter(lasts).cloned().collect()
}

#[track_caller]
pub fn assert_not_again(durable: &BTreeSet<Unit>, started: &BTreeSet<Unit>, kill: usize) {
    let again: Vec<&Unit> = durable.intersection(started).collect();
    assert!(again.is_empty(), "done before and begun again after kill {kill}: {again:?}");
}
