//! A day's run, and a backfill, on all services are killed at seeded moments and go on as another
//! task with an empty disk, while readers look on all the time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use recctl::adapters::aws::{DynamoDbServingStore, DynamoDbStateStore, GlueCatalog};
use recctl::adapters::local::SystemClock;
use recctl::ports::{Catalog, Clock, ServingStore, StateStore};
use stand_ins::stack;

use super::backfill::{self, serve_by_hand};
use super::cloud::Cloud;
use crate::chaos::{Counts, Length, Strike, Victim, Work, kills};
use crate::e2e::readers::BY_DAY;
use crate::sandbox::{DAY, Sandbox};

/// Kills of a test run, unless more are asked for.
const FEW: usize = 2;
/// After so many kills a day may end in peace, so that each is judged at its end.
const KILLS_OF_A_DAY: usize = 6;
const KILLS_OF_A_BACKFILL: usize = 10;

const RUN: &[&str] = &["run", "daily", "--date", DAY, "--log-format", "json", "--threads", "2"];

/// What is killed.
struct Kind {
    command: Vec<&'static str>,
    /// Whose leases a killed one leaves.
    days: &'static [&'static str],
    /// About.
    length: Length,
    /// The generation that is served all the time, if it is to stay.
    served: Option<&'static str>,
}

/// What readers saw that must not be, and how often they looked.
#[derive(Default)]
struct Seen {
    polls: usize,
    wrong: BTreeSet<String>,
    /// Looks between two flips of one publication: Glue has no flip of several tables.
    halves: usize,
    /// Since when such a half is seen, and the longest that one was.
    half_since: Option<Instant>,
    longest: Duration,
}

struct Eyes<'a> {
    cloud: &'a Cloud,
    kind: &'a Kind,
    catalog: GlueCatalog,
    serving: DynamoDbServingStore,
    /// Rows of each table by day, of an undisturbed one.
    whole: BTreeMap<String, Vec<i64>>,
}

impl<'a> Eyes<'a> {
    fn new(cloud: &'a Cloud, kind: &'a Kind) -> Self {
        let session = cloud.session();
        let embedded =
            rusqlite::Connection::open(cloud.sandbox.home().join("warehouse.db")).unwrap();
        let days = format!("SELECT DISTINCT CAST(dt AS TEXT) FROM {}", BY_DAY[0]);
        let mut days = embedded.prepare(&days).unwrap();
        let days = days.query_map([], |row| row.get::<_, String>(0)).unwrap().map(Result::unwrap);
        let rows = |table: &str, day: &str| {
            let count = format!("SELECT count(*) FROM {table} WHERE dt = '{day}'");
            embedded.query_row(&count, [], |row| row.get(0)).unwrap()
        };
        let whole = days.map(|day| (day.clone(), BY_DAY.map(|table| rows(table, &day)).into()));
        Self {
            cloud,
            kind,
            catalog: GlueCatalog::new(&session).unwrap(),
            serving: DynamoDbServingStore::new(&session, Arc::new(SystemClock)).unwrap(),
            whole: whole.collect(),
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
        // As it stays.
        self.catalog(&mut seen).await;
        seen
    }

    /// A day of a table has all of its rows, and only those of one run.
    async fn catalog(&self, seen: &mut Seen) {
        let mut there: BTreeMap<&str, usize> = BTreeMap::new();
        for (at, table) in BY_DAY.iter().enumerate() {
            // The database is made by the run.
            let Ok(partitions) = self.catalog.partitions(table).await else { return };
            for day in &partitions {
                let rows: u64 = day.files.iter().map(|file| file.rows).sum();
                let whole = self.whole.get(&day.key).map(|whole| whole[at]);
                if rows != day.rows || i64::try_from(rows).ok() != whole {
                    let text = format!("`{table}` shows {rows} rows of {whole:?} for {}", day.key);
                    seen.wrong.insert(text);
                }
                for file in day.files.iter().filter(|file| !file.path.contains(&day.generation)) {
                    let text = format!("`{table}` shows a file of another run: {}", file.path);
                    seen.wrong.insert(text);
                }
                if let Some((day, _)) = self.whole.get_key_value(&day.key) {
                    *there.entry(day).or_default() += 1;
                }
            }
        }
        // Of days before the first one not all tables are needed.
        let made = |day: &str| self.whole[day].iter().filter(|rows| **rows > 0).count();
        if there.iter().any(|(day, tables)| *tables < made(day)) {
            seen.halves += 1;
            let since = *seen.half_since.get_or_insert_with(Instant::now);
            seen.longest = seen.longest.max(since.elapsed());
        } else {
            seen.half_since = None;
        }
    }

    /// The tables of a day are loaded together.
    async fn warehouse(&self, seen: &mut Seen) {
        let of_tables = BY_DAY.iter().enumerate().map(|(at, table)| {
            format!("SELECT {at}, CAST(dt AS TEXT), count(*) FROM rec.{table} GROUP BY dt")
        });
        let sql = of_tables.collect::<Vec<_>>().join(" UNION ALL ");
        // There are no tables before the first load.
        let Ok(rows) = self.cloud.redshift.query(&sql).await else { return };
        let mut loaded: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        for row in rows {
            let row: Vec<String> = row.into_iter().map(Option::unwrap).collect();
            let of_day = loaded.entry(row[1].clone()).or_insert_with(|| vec![0; BY_DAY.len()]);
            of_day[row[0].parse::<usize>().unwrap()] = row[2].parse().unwrap();
        }
        for (day, rows) in loaded {
            let whole = self.whole.get(&day);
            if Some(&rows) != whole {
                let text = format!("the warehouse holds {rows:?} rows of {whole:?} for {day}");
                seen.wrong.insert(text);
            }
        }
    }

    async fn serving(&self, seen: &mut Seen) {
        let Ok(known) = self.serving.generations("recommendations").await else { return };
        let visible = known.iter().find(|one| one.visible);
        if let Some(served) = self.kind.served
            && visible.is_none_or(|visible| visible.generation != served)
        {
            seen.wrong.insert(format!("{visible:?} is served in place of {served}"));
        }
        let Some(visible) = visible else { return };
        if !visible.sealed || visible.items == 0 {
            seen.wrong.insert(format!("an unfinished generation is visible: {visible:?}"));
        }
        match self.serving.get("recommendations", "segment##").await {
            Ok(Some(list)) if !list.item.items.is_empty() => {}
            other => _ = seen.wrong.insert(format!("nobody is recommended anything: {other:?}")),
        }
    }
}

/// Lets the time of a dead holder's leases pass: to a clock that is ahead it has.
async fn outlive_the_leases(cloud: &Cloud, days: &[&str]) {
    // Killed before it made the table, there is no lease.
    let Ok(state) = DynamoDbStateStore::open(&cloud.session()).await else { return };
    for day in days {
        let (name, later) = (format!("daily/{day}"), SystemClock.now() + TimeDelta::minutes(5));
        let time = Duration::from_secs(1);
        let lease = state.acquire(&name, "undertaker", time, later).await.unwrap();
        state.release(&lease).await.unwrap();
    }
}

/// Kills it until so many were killed in all or one ended, then lets it end.
async fn strike(
    cloud: &Cloud,
    kind: &Kind,
    (most, of_all): (usize, usize),
    chance: &mut StdRng,
    counts: &mut Counts,
) {
    let mut work = Work::new(kind.length, counts);
    while work.kills() < most && work.kills_of_all() < of_all {
        let (command, lines) = (cloud.command(&kind.command), work.lines_left());
        let mut own = StdRng::seed_from_u64(chance.random());
        // Its jobs are those of a service.
        let killing = move || Victim::start(command).kill_within(lines, Strike::Process, &mut own);
        let Some(said) = tokio::task::spawn_blocking(killing).await.unwrap() else { break };
        work.killed(said);
        outlive_the_leases(cloud, kind.days).await;
    }
    let command = cloud.command(&kind.command);
    work.ended(tokio::task::spawn_blocking(move || Victim::start(command).end()).await.unwrap());
}

/// The same while readers look on.
async fn strike_watched(
    cloud: &Cloud,
    kind: &Kind,
    kills: (usize, usize),
    chance: &mut StdRng,
    counts: &mut Counts,
) {
    let (eyes, stop) = (Eyes::new(cloud, kind), AtomicBool::new(false));
    let work = async {
        strike(cloud, kind, kills, chance, counts).await;
        stop.store(true, Ordering::Relaxed);
    };
    let ((), seen) = tokio::join!(work, eyes.look_until(&stop));
    counts.polls += seen.polls;
    counts.halves += seen.halves;
    counts.longest_half = counts.longest_half.max(seen.longest);
    assert_eq!(seen.wrong, BTreeSet::new(), "{counts}");
    assert!(seen.half_since.is_none(), "a day stays mixed");
    let known = eyes.serving.generations("recommendations").await.unwrap();
    assert_eq!(known.len(), 1, "a list was loaded twice: {known:?}");
    no_job_twice(cloud);
    no_load_twice(cloud).await;
}

/// Every job was made once, and its container started once.
pub fn no_job_twice(cloud: &Cloud) {
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

/// The warehouse keeps what each of its transactions loaded.
pub async fn no_load_twice(cloud: &Cloud) {
    let loads = cloud.redshift.query("SELECT tables FROM rec.recctl_loads").await.unwrap();
    let distinct: BTreeSet<_> = loads.iter().collect();
    assert!(distinct.len() > 1 && distinct.len() == loads.len(), "{loads:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_whose_tasks_are_killed_ends_as_one_that_was_not() {
    let Some(stack) = stack::or_skip() else { return };
    let (of_all, mut chance) = (kills(FEW), StdRng::seed_from_u64(20_261_121));
    let length = Length { lines: 150, units: 51 };
    let kind = Kind { command: RUN.to_vec(), days: &[DAY], length, served: None };
    let mut counts = Counts::default();
    while counts.kills < of_all {
        let prepared = tokio::task::spawn_blocking(Sandbox::prepared).await.unwrap();
        let cloud = Cloud::new(stack, prepared).await;
        let most = (KILLS_OF_A_DAY, of_all);
        strike_watched(&cloud, &kind, most, &mut chance, &mut counts).await;
        cloud.serves_what_the_embedded_target_serves().await;
        cloud.the_warehouse_holds_what_the_embedded_one_holds().await;
    }
    println!("daily run, AWS stand-ins: {counts}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_whose_tasks_are_killed_ends_as_one_that_was_not() {
    let Some(stack) = stack::or_skip() else { return };
    let (of_all, mut chance) = (kills(FEW), StdRng::seed_from_u64(20_261_122));
    let command = [backfill::BACKFILL, &["--log-format", "json"]].concat();
    let served = Some(backfill::SERVED);
    let length = Length { lines: 220, units: 47 };
    let kind = Kind { command, days: backfill::DAYS, length, served };
    let mut counts = Counts::default();
    while counts.kills < of_all {
        let filled = tokio::task::spawn_blocking(backfill::filled).await.unwrap();
        let cloud = Cloud::new(stack, filled).await;
        serve_by_hand(&cloud).await;
        let most = (KILLS_OF_A_BACKFILL, of_all);
        strike_watched(&cloud, &kind, most, &mut chance, &mut counts).await;
        backfill::is_filled(&cloud).await;
    }
    println!("backfill, AWS stand-ins: {counts}");
}
