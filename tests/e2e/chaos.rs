//! A day's run, and a backfill, are killed at seeded moments, again and again, while readers look on
//! all the time. What is there in the end is what an undisturbed one makes, and nobody ever saw half
//! of it.

use std::io::ErrorKind;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::backfill::emptied;
use super::readers::{Lasting, Readers};
use crate::chaos::{Counts, Length, Strike, Victim, Work, kills};
use crate::sandbox::{DAY, NEXT_DAY, Sandbox};

/// Kills of a test run, unless more are asked for.
const FEW: usize = 5;
/// After so many kills a day, or a backfill, may end in peace, so that each is judged at its end.
const KILLS_OF_A_DAY: usize = 8;
const KILLS_OF_A_BACKFILL: usize = 20;

const RUN: &[&str] = &["run", "daily", "--date", NEXT_DAY, "--log-format", "json"];
const BACKFILL: &[&str] =
    &["backfill", "daily", "--from", DAY, "--to", NEXT_DAY, "--yes", "--log-format", "json"];

/// What a command does to copies of a project, with kills and without.
struct Chaos<'a> {
    command: &'a [&'a str],
    project: &'a Sandbox,
    before: Lasting,
    after: Lasting,
    length: Length,
}

impl<'a> Chaos<'a> {
    fn of(command: &'a [&'a str], project: &'a Sandbox) -> Self {
        let undisturbed = project.copied();
        let log = undisturbed.run(command).ends_with(0).stderr;
        let (before, after) = (Lasting::of(project), Lasting::of(&undisturbed));
        assert_ne!(before, after);
        let ended = |line: &&str| line.contains("\"event\":\"step_finished\"");
        let (lines, units) = (log.lines().count(), log.lines().filter(ended).count());
        Self { command, project, before, after, length: Length { lines, units } }
    }

    /// Kills it until so many kills were made in all or it ends by itself, then lets it end.
    fn strike(&self, most: usize, of_all: usize, chance: &mut StdRng, counts: &mut Counts) {
        let sandbox = self.project.copied();
        let (before, after) = (self.before.sight.clone(), self.after.sight.clone());
        let readers = Readers::start(&sandbox, before, after);
        let mut work = Work::new(self.length, counts);
        while work.kills() < most && work.kills_of_all() < of_all {
            let victim = Victim::start(sandbox.command(self.command));
            let strike = if chance.random() { Strike::Host } else { Strike::Process };
            let lines = work.lines_left();
            let Some(said) = victim.kill_within(lines, strike, chance) else { break };
            work.killed(said);
            // What is not durable does not outlive a host.
            if strike == Strike::Host {
                match std::fs::remove_dir_all(sandbox.home().join("tmp")) {
                    Err(error) if error.kind() != ErrorKind::NotFound => panic!("{error}"),
                    // Killed right away, it has made none.
                    _ => {}
                }
            }
        }
        work.ended(Victim::start(sandbox.command(self.command)).end());
        let (polls, wrong) = readers.stop();
        counts.polls += polls;
        assert_eq!(wrong, Vec::<String>::new(), "{counts}");
        assert_eq!(Lasting::of(&sandbox), self.after, "{counts}");
    }

    fn all(&self, few: usize, most: usize, seed: u64) -> Counts {
        let (of_all, mut chance) = (kills(few), StdRng::seed_from_u64(seed));
        let mut counts = Counts::default();
        while counts.kills < of_all {
            self.strike(most, of_all, &mut chance, &mut counts);
        }
        counts
    }
}

#[test]
fn a_day_that_is_killed_again_and_again_ends_as_one_that_was_not() {
    let sandbox = Sandbox::prepared();
    let counts = Chaos::of(RUN, &sandbox).all(FEW, KILLS_OF_A_DAY, 20_261_121);
    println!("daily run, embedded: {counts}");
}

/// The backfill makes days and models that are missing, and a day anew that readers see: a file came
/// late. What is served stays.
#[test]
fn a_backfill_that_is_killed_again_and_again_ends_as_one_that_was_not() {
    let sandbox = emptied();
    let hour = sandbox.lake().join("raw/clickstream").join(DAY.replace('-', "/")).join("17");
    let aside = sandbox.home().join("late");
    std::fs::rename(&hour, &aside).unwrap();
    sandbox.run(&["run", "daily", "--date", NEXT_DAY]).ends_with(0);
    std::fs::rename(aside, hour).unwrap();
    let chaos = Chaos::of(BACKFILL, &sandbox);
    let (before, after) = (&chaos.before, &chaos.after);
    assert_eq!(before.sight.served(), after.sight.served());
    assert_ne!(before.sight.rows(DAY), after.sight.rows(DAY));
    let counts = chaos.all(FEW, KILLS_OF_A_BACKFILL, 20_261_122);
    println!("backfill, embedded: {counts}");
}
