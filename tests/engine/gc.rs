//! Whatever runs, failures, rollbacks and removals come one after another: what is visible can be
//! read, what can be gone back to is there, and a second removal finds nothing.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use recctl::adapters::local::SystemClock;
use recctl::app::Opening;
use recctl::engine::gc::{Keep, Places, collect, survey};
use recctl::pipeline::fingerprint::Fingerprint;
use recctl::pipeline::interval::{LogicalDate, Partition};
use recctl::pipeline::name::Name;
use recctl::pipeline::step::SchemaChange;
use recctl::ports::{Clock, ColumnEntry, FileEntry, Lease, PartitionEntry, TableEntry};
use recctl::run::record::{LedgerRow, RunId, RunKind, RunRecord, Status};
use recctl::steps::context::Services;

use super::faults::app;
use crate::sandbox::Sandbox;

/// A clock that is set by hand.
struct Set(std::sync::Mutex<DateTime<Utc>>);

impl Clock for Set {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().unwrap()
    }
}

/// Numbers that are the same for every test run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

struct World {
    services: Arc<Services>,
    clock: Arc<Set>,
    dice: Dice,
    runs: u16,
    _sandbox: Sandbox,
}

const TABLES: [&str; 2] = ["clean", "labels"];
const DAYS: [&str; 3] = ["2026-03-01", "2026-03-02", "2026-03-03"];

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

impl World {
    async fn new(seed: u64) -> Self {
        let sandbox = Sandbox::new();
        let app = app(&sandbox);
        let services = app.target(Opening::Create).await.unwrap().services;
        // Files are as old as the clock on the wall says; this one is ahead of it.
        let clock = Arc::new(Set(std::sync::Mutex::new(SystemClock.now() + TimeDelta::days(400))));
        let services = Arc::try_unwrap(services).ok().unwrap();
        let services = Arc::new(Services { clock: Arc::clone(&clock) as _, ..services });
        Self { services, clock, dice: Dice(seed), runs: 0, _sandbox: sandbox }
    }

    fn later(&self, hours: i64) {
        *self.clock.0.lock().unwrap() += TimeDelta::hours(hours);
    }

    async fn lease(&self, date: &str) -> Lease {
        let (state, now) = (&self.services.state, self.clock.now());
        let time = std::time::Duration::from_secs(60);
        state.acquire(&format!("daily/{date}"), "here/1/x", time, now).await.unwrap()
    }

    async fn record(&mut self, date: &str, status: Status) -> RunRecord {
        self.runs += 1;
        let now = self.clock.now();
        let date: LogicalDate = date.parse().unwrap();
        let finished = (status != Status::Running).then_some(now);
        let record = RunRecord {
            id: RunId::new(&name("daily"), date, now, self.runs),
            pipeline: name("daily"),
            date,
            status,
            started: now,
            finished,
            version: String::new(),
            failure: None,
            definition: None,
            planned: std::collections::BTreeMap::new(),
            kind: RunKind::Pipeline,
            holder: None,
            note: None,
        };
        self.services.state.put_run(&record).await.unwrap();
        record
    }

    /// Writes what a run makes of a day, and publishes it if it is to come that far.
    async fn run(&mut self, date: &str, publishes: bool, status: Status) {
        let lease = self.lease(date).await;
        let record = self.record(date, status).await;
        let (mut tables, mut entries, mut rows) = (Vec::new(), Vec::new(), Vec::new());
        for table in TABLES {
            let part = Partition::Day(record.date);
            let path = format!("tables/{table}/{}/{}/0.parquet", part.folder(), record.id);
            self.services.query.lake().put(&path, b"rows".to_vec()).await.unwrap();
            tables.push(TableEntry {
                name: table.to_owned(),
                columns: vec![ColumnEntry {
                    name: "a".to_owned(),
                    kind: "Int64".to_owned(),
                    nullable: true,
                }],
                by_day: true,
                schema_change: SchemaChange::Stop,
            });
            entries.push(PartitionEntry {
                table: table.to_owned(),
                key: part.key(),
                date: Some(record.date),
                generation: record.id.to_string(),
                files: vec![FileEntry { path, bytes: 4, rows: 1 }],
                rows: 1,
                content_hash: "0".repeat(32),
                fingerprint: "f".repeat(16),
                published: self.clock.now(),
            });
            rows.push(LedgerRow {
                pipeline: name("daily"),
                step: name(table),
                partition: part,
                fingerprint: Fingerprint::default(),
                run: record.id.clone(),
                done: self.clock.now(),
                output: serde_json::json!({"artifact": format!("models/{}/model.tar.gz", record.id)}),
                inputs: Vec::new(),
                mark: None,
                rollback: None,
            });
        }
        // A model that is kept, one that nobody took, and a training set that was left.
        for folder in ["models", "datasets"] {
            for suffix in ["", "-trial"] {
                let path = format!("{folder}/{}{suffix}/model.tar.gz", record.id);
                self.services.query.lake().put(&path, b"model".to_vec()).await.unwrap();
            }
        }
        if publishes {
            self.services.catalog.publish(&tables, &entries, &lease).await.unwrap();
            self.services.state.put_ledger(&rows, &lease).await.unwrap();
        }
        // A run that died gives nothing back.
        if status != Status::Running {
            self.services.state.release(&lease).await.unwrap();
        }
    }

    /// Makes something that was visible before visible again.
    async fn roll_back(&mut self) {
        let table = TABLES[self.dice.below(2) as usize];
        let earlier = self.services.catalog.earlier(table).await.unwrap();
        if earlier.is_empty() {
            return;
        }
        let one = earlier[self.dice.below(earlier.len() as u64) as usize].clone();
        let one = PartitionEntry { published: self.clock.now(), ..one };
        let lease = self.lease(&one.key).await;
        let entry = self.services.catalog.table(table).await.unwrap().unwrap();
        self.services.catalog.publish(&[entry], &[one], &lease).await.unwrap();
        self.services.state.release(&lease).await.unwrap();
    }

    async fn collect(&mut self) -> usize {
        let keep = Keep {
            generations: self.dice.below(3) as usize,
            younger_than: TimeDelta::days(self.dice.below(3) as i64),
            grace: TimeDelta::hours(24),
        };
        let scratch = self.services.scratch.clone();
        let places = Places { scratch: &scratch, jobs: None };
        let first = survey(&self.services, places, keep).await.unwrap();
        let wanted = first.candidates.len();
        let removed = collect(&self.services, first, "here/1/gc").await.unwrap();
        assert_eq!((removed.candidates.len(), removed.spared.len()), (wanted, 0));
        let again = survey(&self.services, places, keep).await.unwrap();
        assert_eq!(again.candidates, [], "the second finds nothing");
        wanted
    }

    async fn check(&self) {
        let lake = self.services.query.lake();
        for table in TABLES {
            let mut entries = self.services.catalog.partitions(table).await.unwrap();
            let visible = entries.len();
            entries.extend(self.services.catalog.earlier(table).await.unwrap());
            for (at, entry) in entries.iter().enumerate() {
                for file in &entry.files {
                    let what = if at < visible { "visible" } else { "in the history" };
                    assert!(lake.holds(&file.path, file.bytes).await.unwrap(), "{what}: {entry:?}");
                }
            }
        }
        for row in self.services.state.ledger(&name("daily")).await.unwrap() {
            let model = row.output["artifact"].as_str().unwrap();
            assert!(lake.holds(model, 5).await.unwrap(), "{model} of {row:?}");
            assert!(self.services.state.run(&row.run).await.unwrap().is_some(), "{row:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_what_is_visible_can_be_read() {
    let mut all = 0;
    for seed in [3, 77, 2026] {
        let mut world = World::new(seed).await;
        for _ in 0..60 {
            let date = DAYS[world.dice.below(3) as usize];
            match world.dice.below(8) {
                0..=2 => world.run(date, true, Status::Succeeded).await,
                3 => world.run(date, false, Status::Failed).await,
                4 => {
                    // It died; its lease ends.
                    let publishes = world.dice.below(2) == 0;
                    world.run(date, publishes, Status::Running).await;
                    world.later(1);
                }
                5 => world.roll_back().await,
                _ => all += world.collect().await,
            }
            world.check().await;
            let hours = world.dice.below(40) as i64;
            world.later(hours);
        }
        world.later(24 * 60);
        all += world.collect().await;
        world.check().await;
    }
    assert!(all > 100, "{all} things were removed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_a_run_that_is_under_way_goes() {
    let mut world = World::new(1).await;
    world.run(DAYS[0], true, Status::Succeeded).await;
    world.run(DAYS[0], true, Status::Succeeded).await;
    world.later(24 * 30);
    world.run(DAYS[1], false, Status::Running).await;
    let keep =
        Keep { generations: 0, younger_than: TimeDelta::zero(), grace: TimeDelta::hours(24) };
    let scratch = world.services.scratch.clone();
    let places = Places { scratch: &scratch, jobs: None };
    let names = |survey: &recctl::engine::gc::Survey| {
        survey.candidates.iter().map(|one| one.name.clone()).collect::<Vec<_>>()
    };
    let during = survey(&world.services, places, keep).await.unwrap();
    assert_eq!(during.live.len(), 1);
    // Of tables only what was replaced; of what runs share, nothing.
    assert!(
        names(&during).iter().all(|it| it.contains("dt=2026-03-01")),
        "{:?}",
        during.candidates
    );
    assert_eq!(during.candidates.len(), 2);
    // What was judged before is looked at again: a rollback comes in between.
    let earlier = world.services.catalog.earlier("clean").await.unwrap().remove(0);
    let lease = world.lease(DAYS[0]).await;
    let table = world.services.catalog.table("clean").await.unwrap().unwrap();
    let back = PartitionEntry { published: world.clock.now(), ..earlier };
    world.services.catalog.publish(&[table], &[back], &lease).await.unwrap();
    let removed = collect(&world.services, during, "here/1/gc").await.unwrap();
    assert_eq!((removed.candidates.len(), removed.spared.len()), (1, 1));
    world.check().await;
    // The lease of the run is over: it is dead.
    world.later(1);
    let after = survey(&world.services, places, keep).await.unwrap();
    assert!(after.live.is_empty());
    assert!(names(&after).iter().any(|it| it.contains("dt=2026-03-02")), "{:?}", after.candidates);
    assert!(names(&after).iter().any(|it| it.starts_with("datasets/")), "{:?}", after.candidates);
}
