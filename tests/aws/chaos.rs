//! A day's run on all services is killed at seeded moments and goes on as another task with an empty
//! disk, while readers look on all the time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::TimeDelta;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use recctl::adapters::aws::{DynamoDbServingStore, DynamoDbStateStore, GlueCatalog};
use recctl::adapters::local::SystemClock;
use recctl::ports::{Catalog, Clock, ServingStore, StateStore};
use stand_ins::stack;

use super::cloud::Cloud;
use crate::chaos::{Said, Unit, Victim, assert_not_again, kills, lasting};
use crate::sandbox::{DAY, Sandbox};

/// Kills of a test run, unless more are asked for.
const FEW: usize = 2;
/// After so many kills a day may end in peace, so that each is judged at its end.
const KILLS_OF_A_DAY: usize = 6;
/// Lines that the log of an undisturbed run has, about.
const LINES: usize = 200;
const RUN: [&str; 8] = ["run", "daily", "--date", DAY, "--log-format", "json", "--threads", "2"];

/// Tables of the warehouse that are by day.
const BY_DAY: [&str; 3] = ["interactions", "item_popularity", "user_profiles"];

/// What readers saw that must not be, and how often they looked.
#[derive(Default)]
struct Seen {
    polls: usize,
    wrong: BTreeSet<String>,
    /// Looks between two flips of one publication: Glue has no flip of several tables.
    between: usize,
}

struct Eyes<'a> {
    cloud: &'a Cloud,
    catalog: GlueCatalog,
    serving: DynamoDbServingStore,
    /// Rows of the day by table, of an undisturbed run.
    whole: Vec<i64>,
}

impl<'a> Eyes<'a> {
    fn new(cloud: &'a Cloud) -> Self {
        let session = cloud.session();
        let warehouse =
            rusqlite::Connection::open(cloud.sandbox.home().join("warehouse.db")).unwrap();
        let rows = |table: &str| {
            let count = format!("SELECT count(*) FROM {table} WHERE dt = '{DAY}'");
            warehouse.query_row(&count, [], |row| row.get(0)).unwrap()
        };
        Self {
            cloud,
            catalog: GlueCatalog::new(&session).unwrap(),
            serving: DynamoDbServingStore::new(&session, Arc::new(SystemClock)).unwrap(),
            whole: BY_DAY.map(rows).into(),
        }
    }

    async fn look_until(&self, stop: &AtomicBool) -> Seen {
        let mut seen = Seen::default();
        while !stop.load(Ordering::Relaxed) {
            self.catalog(&mut seen).await;
            self.warehouse(&mut seen).await;
            self.serving(&mut seen).await;
            seen.polls += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        seen
    }

    /// A day of a table has all of its rows, and only those of one run.
    async fn catalog(&self, seen: &mut Seen) {
        let mut there = 0;
        for (table, whole) in BY_DAY.iter().zip(&self.whole) {
            // The database is made by the run.
            let Ok(partitions) = self.catalog.partitions(table).await else { return };
            let Some(day) = partitions.iter().find(|one| one.key == DAY) else { continue };
            there += 1;
            let rows: u64 = day.files.iter().map(|file| file.rows).sum();
            if rows != day.rows || i64::try_from(rows) != Ok(*whole) {
                seen.wrong.insert(format!("`{table}` shows {rows} rows of {whole}"));
            }
            for file in day.files.iter().filter(|file| !file.path.contains(&day.generation)) {
                seen.wrong.insert(format!("`{table}` shows a file of another run: {}", file.path));
            }
        }
        if there > 0 && there < BY_DAY.len() {
            seen.between += 1;
        }
    }

    /// The tables of a day are loaded together.
    async fn warehouse(&self, seen: &mut Seen) {
        let columns =
            BY_DAY.map(|table| format!("(SELECT count(*) FROM rec.{table} WHERE dt = '{DAY}')"));
        // There are no tables before the first load.
        let sql = format!("SELECT {}", columns.join(", "));
        let Ok(rows) = self.cloud.redshift.query(&sql).await else { return };
        let rows: Vec<i64> =
            rows[0].iter().map(|count| count.as_deref().unwrap().parse().unwrap()).collect();
        if rows != self.whole && rows.iter().any(|rows| *rows != 0) {
            seen.wrong.insert(format!("the warehouse holds {rows:?} rows of {:?}", self.whole));
        }
    }

    async fn serving(&self, seen: &mut Seen) {
        let Ok(known) = self.serving.generations("recommendations").await else { return };
        let Some(visible) = known.iter().find(|one| one.visible) else { return };
        if !visible.sealed || visible.items == 0 {
            seen.wrong.insert(format!("an unfinished generation is visible: {visible:?}"));
        }
        match self.serving.get("recommendations", "segment##").await {
            Ok(Some(list)) if !list.item.items.is_empty() => {}
            other => _ = seen.wrong.insert(format!("nobody is recommended anything: {other:?}")),
        }
    }
}

/// Kills a run some time within it; `None` if it ended before.
async fn kill_one(cloud: &Cloud, chance: &mut StdRng) -> Option<Said> {
    let (command, mut own) = (cloud.command(&RUN), StdRng::seed_from_u64(chance.random()));
    let killing = move || Victim::start(command).kill_within(LINES, &mut own);
    tokio::task::spawn_blocking(killing).await.unwrap()
}

/// Lets the time of a dead holder's lease pass: to a clock that is ahead it has.
async fn outlive_the_lease(cloud: &Cloud) {
    // Killed before it made the table, there is no lease.
    let Ok(state) = DynamoDbStateStore::open(&cloud.session()).await else { return };
    let (name, later) = (format!("daily/{DAY}"), SystemClock.now() + TimeDelta::minutes(5));
    let lease = state.acquire(&name, "undertaker", Duration::from_secs(1), later).await.unwrap();
    state.release(&lease).await.unwrap();
}

/// Kills runs of a day until so many were killed or one ended, then lets the day end; how many were
/// killed.
async fn day(cloud: &Cloud, most: usize, chance: &mut StdRng) -> usize {
    let (mut killed, mut durable): (usize, BTreeSet<Unit>) = (0, BTreeSet::new());
    while killed < most {
        let Some(said) = kill_one(cloud, chance).await else { break };
        killed += 1;
        assert_not_again(&durable, &said.started, killed);
        durable.extend(lasting(&said.done));
        outlive_the_lease(cloud).await;
    }
    let command = cloud.command(&RUN);
    let (code, started) =
        tokio::task::spawn_blocking(move || Victim::start(command).end()).await.unwrap();
    assert_eq!(code, Some(0), "after {killed} kills");
    assert_not_again(&durable, &started, killed);
    killed
}

/// Every job was made once, and its container started once.
fn no_job_twice(cloud: &Cloud) {
    let made = cloud.sagemaker.requests();
    let made = made.iter().filter(|one| {
        let jobs = ["CreateTrainingJob", "CreateHyperParameterTuningJob", "CreateProcessingJob"];
        jobs.contains(&one.operation.as_str()) && one.status == 200
    });
    let names: Vec<&String> = made.map(|one| &one.name).collect();
    let distinct: BTreeSet<&&String> = names.iter().collect();
    assert_eq!(distinct.len(), names.len(), "a job was made twice: {names:?}");
    for name in names {
        assert!(cloud.sagemaker.starts(name) <= 1, "`{name}` was started twice");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_whose_tasks_are_killed_ends_as_one_that_was_not() {
    let Some(stack) = stack::or_skip() else { return };
    let kills = kills(FEW);
    let mut chance = StdRng::seed_from_u64(20_261_121);
    let (mut killed, mut days, mut polls, mut between) = (0, 0, 0, 0);
    while killed < kills {
        let prepared = tokio::task::spawn_blocking(Sandbox::prepared).await.unwrap();
        let cloud = Cloud::new(stack, prepared).await;
        let (eyes, stop) = (Eyes::new(&cloud), AtomicBool::new(false));
        let work = async {
            let killed = day(&cloud, KILLS_OF_A_DAY.min(kills - killed), &mut chance).await;
            stop.store(true, Ordering::Relaxed);
            killed
        };
        let (of_day, seen) = tokio::join!(work, eyes.look_until(&stop));
        killed += of_day;
        days += 1;
        polls += seen.polls;
        between += seen.between;
        assert_eq!(seen.wrong, BTreeSet::new(), "up to kill {killed}");
        cloud.serves_what_the_embedded_target_serves().await;
        cloud.the_warehouse_holds_what_the_embedded_one_holds().await;
        let known = eyes.serving.generations("recommendations").await.unwrap();
        assert_eq!(known.len(), 1, "a list was loaded twice: {known:?}");
        no_job_twice(&cloud);
    }
    println!(
        "{killed} kills in {days} days, {polls} polls of each of the three stores, \
         {between} of them between the flips of one publication"
    );
}
