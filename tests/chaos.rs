//! Work that is killed at any moment, again and again, and what it said before.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

/// How many kills a test makes; more where this variable says so.
const KILLS: &str = "RECCTL_TEST_KILLS";

/// Lines that work which is nearly done may still log: so that its end is struck too.
const LAST_LINES: usize = 8;

/// The kills that are asked for, or a few.
pub fn kills(few: usize) -> usize {
    std::env::var(KILLS).ok().map_or(few, |kills| kills.parse().unwrap())
}

/// A unit of work in the log: step, what is done, partition.
pub type Unit = (String, String, String);

/// What a process said that it began, and what it ended.
#[derive(Default)]
pub struct Said {
    pub started: BTreeSet<Unit>,
    pub done: BTreeSet<Unit>,
}

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strike {
    /// The process; jobs that it started as processes go on, as nobody tells them.
    Process,
    /// All that runs on its host.
    Host,
}

/// A process in a process group of its own. Each of its jobs is in another one.
pub struct Victim {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStderr>>,
    said: Said,
}

impl Victim {
    /// Starts one that logs as JSON lines.
    pub fn start(mut command: Command) -> Self {
        command.stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, lines, said: Said::default() }
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
                Some("step_started") => _ = self.said.started.insert(unit),
                Some("step_finished") if line["status"] == "succeeded" => {
                    _ = self.said.done.insert(unit);
                }
                _ => {}
            }
        }
        true
    }

    /// Kills it some time within its first `lines` lines, unless it ends before: what it began and
    /// what it ended.
    pub fn kill_within(
        mut self,
        lines: usize,
        strike: Strike,
        chance: &mut StdRng,
    ) -> Option<Said> {
        let reached = self.read(chance.random_range(0..lines.max(1)));
        // Mostly soon after a line, when something is being written down, and now and then in the
        // middle of what takes long.
        let longest = 1 << chance.random_range(0..=9);
        pause(chance.random_range(0..=longest));
        if reached {
            return Some(self.kill(strike));
        }
        self.child.wait().unwrap();
        None
    }

    fn kill(mut self, strike: Strike) -> Said {
        let pid = self.child.id();
        let mut groups = vec![pid.to_string()];
        if strike == Strike::Host {
            // So that it starts no job between this look and its end.
            signal("-STOP", &groups);
            groups.extend(children(pid));
        }
        signal("-KILL", &groups);
        while self.read(1) {}
        self.child.wait().unwrap();
        self.said
    }

    /// Lets it end by itself: its exit code, and what it said.
    pub fn end(mut self) -> (Option<i32>, Said) {
        while self.read(1) {}
        (self.child.wait().unwrap().code(), self.said)
    }
}

fn signal(signal: &str, groups: &[String]) {
    let groups = groups.iter().map(|group| format!("-{group}"));
    // A job may have ended just now, so that nobody is left to be told.
    let _ = Command::new("kill").args([signal, "--"]).args(groups).stderr(Stdio::null()).status();
}

/// The processes that a process has started, by any of its threads.
fn children(pid: u32) -> Vec<String> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    let of_threads = threads.map(|thread| thread.unwrap().path().join("children"));
    let of_threads = of_threads.filter_map(|path| std::fs::read_to_string(path).ok());
    of_threads
        .flat_map(|all| all.split(' ').map(str::to_owned).collect::<Vec<_>>())
        .filter(|pid| !pid.is_empty())
        .collect()
}

#[expect(clippy::disallowed_methods, reason = "nothing is awaited: any moment is a good one")]
pub fn pause(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}

/// What was done to runs and backfills and what came of it.
#[derive(Debug, Default)]
pub struct Counts {
    /// Days or backfills.
    pub works: usize,
    pub kills: usize,
    /// Times that something was started again after a kill.
    pub restarts: usize,
    /// Units that were begun again because they were not done for good.
    pub again: usize,
    /// The most partitions whose queries were done again after one kill.
    pub partitions_again: usize,
    /// Looks at each of the catalog, the warehouse and the serving store.
    pub polls: usize,
    /// Looks between two flips of one publication, where several tables cannot flip at once.
    pub halves: usize,
    /// For how long such a half was seen at most.
    pub longest_half: Duration,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { works, kills, restarts, again, partitions_again, polls, halves, .. } = self;
        let longest = self.longest_half.as_millis();
        write!(
            f,
            "{kills} kills of {works} pieces of work, {restarts} restarts, {again} units begun \
             again (queries of at most {partitions_again} partitions after a kill), {polls} polls \
             of each of the three stores, {halves} of them at half a day, for {longest} ms at most"
        )
    }
}

/// How long a day's run or a backfill is to which nothing happens.
#[derive(Debug, Clone, Copy)]
pub struct Length {
    /// Lines of its log.
    pub lines: usize,
    /// Units that it does.
    pub units: usize,
}

/// A day or a backfill that is killed until it ends.
pub struct Work<'a> {
    length: Length,
    begun: BTreeSet<Unit>,
    done: BTreeSet<Unit>,
    kills: usize,
    counts: &'a mut Counts,
}

impl<'a> Work<'a> {
    pub fn new(length: Length, counts: &'a mut Counts) -> Self {
        counts.works += 1;
        Self { length, begun: BTreeSet::new(), done: BTreeSet::new(), kills: 0, counts }
    }

    /// How often it was killed.
    pub fn kills(&self) -> usize {
        self.kills
    }

    /// Kills of all works so far.
    pub fn kills_of_all(&self) -> usize {
        self.counts.kills
    }

    /// Lines that are to come, about.
    pub fn lines_left(&self) -> usize {
        let Length { lines, units } = self.length;
        let left = units.saturating_sub(self.lasting().len());
        (lines * left / units).max(LAST_LINES)
    }

    /// What is written down when a unit has ended: all but queries, which last from their publication.
    fn lasting(&self) -> BTreeSet<Unit> {
        let publications = self.done.iter().filter(|unit| unit.1 == "publish");
        let published: BTreeSet<&String> = publications.map(|unit| &unit.2).collect();
        let lasts = |unit: &&Unit| unit.1 != "sql" || published.contains(&unit.2);
        self.done.iter().filter(lasts).cloned().collect()
    }

    /// Holds what was begun after a kill against what was done for good before it.
    #[track_caller]
    fn began(&mut self, started: BTreeSet<Unit>) {
        let lasting = self.lasting();
        let twice: Vec<&Unit> = lasting.intersection(&started).collect();
        let counts = &mut self.counts;
        let kills = counts.kills;
        assert!(twice.is_empty(), "done before and begun again after kill {kills}: {twice:?}");
        let lost: BTreeSet<&String> = self.done.difference(&lasting).map(|unit| &unit.2).collect();
        counts.partitions_again = counts.partitions_again.max(lost.len());
        counts.restarts += usize::from(self.kills > 0);
        counts.again += started.intersection(&self.begun).count();
        self.done = lasting;
        self.begun.extend(started);
    }

    /// Takes down what one that was killed had said.
    #[track_caller]
    pub fn killed(&mut self, said: Said) {
        self.began(said.started);
        self.done.extend(said.done);
        self.kills += 1;
        self.counts.kills += 1;
    }

    /// Takes down how it came to its end.
    #[track_caller]
    pub fn ended(&mut self, (code, said): (Option<i32>, Said)) {
        assert_eq!(code, Some(0), "after kill {}", self.counts.kills);
        self.began(said.started);
    }
}
