//! A day's run is killed at seeded moments, again and again, while readers look on all the time.
//! What is there in the end is what an undisturbed run makes, and nobody ever saw half of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rusqlite::{Connection, OpenFlags};

use crate::chaos::{Unit, Victim, assert_not_again, kills, lasting, pause};
use crate::sandbox::{NEXT_DAY, Sandbox, reference};

/// Kills of a test run, unless more are asked for.
const FEW: usize = 5;
/// After so many kills a day may end in peace, so that each is judged at its end.
const KILLS_OF_A_DAY: usize = 4;
/// Lines that the log of an undisturbed run has, about.
const LINES: usize = 70;
const RUN: [&str; 8] =
    ["run", "daily", "--date", NEXT_DAY, "--log-format", "json", "--threads", "2"];

/// Somebody who looks at the day in the catalog, the warehouse and the serving store all the time.
struct Readers {
    stop: Arc<AtomicBool>,
    polls: Arc<AtomicUsize>,
    thread: JoinHandle<Vec<String>>,
}

impl Readers {
    fn start(sandbox: &Sandbox, whole: &Whole) -> Self {
        let (stop, polls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let eyes = Eyes { home: sandbox.home(), whole: whole.clone() };
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&polls));
        let thread = std::thread::spawn(move || {
            let mut seen = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                seen.extend(
                    [eyes.catalog(), eyes.warehouse(), eyes.serving()].into_iter().flatten(),
                );
                counted.fetch_add(1, Ordering::Relaxed);
                // It yields, so that the run is not slowed down by those who look on.
                pause(3);
            }
            seen
        });
        Self { stop, polls, thread }
    }

    /// Number of polls, and what was seen that must not be.
    fn stop(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let seen = self.thread.join().unwrap();
        (self.polls.load(Ordering::Relaxed), seen)
    }
}

/// What the day is when it is whole: tables that become visible together, rows in the warehouse,
/// and lists by the day of their generation.
#[derive(Debug, Clone)]
struct Whole {
    tables: BTreeSet<String>,
    warehouse: BTreeMap<String, i64>,
}

impl Whole {
    fn of(sandbox: &Sandbox) -> Self {
        let eyes = Eyes {
            home: sandbox.home(),
            whole: Self { tables: BTreeSet::new(), warehouse: BTreeMap::new() },
        };
        let tables = eyes.visible().into_iter().map(|(table, ..)| table).collect();
        let names = ["interactions", "item_popularity", "user_profiles"];
        let warehouse = names.map(|name| (name.to_owned(), eyes.rows(name))).into();
        Self { tables, warehouse }
    }
}

struct Eyes {
    home: PathBuf,
    whole: Whole,
}

impl Eyes {
    fn open(&self, file: &str) -> Connection {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let connection = Connection::open_with_flags(self.home.join(file), flags).unwrap();
        connection.busy_timeout(Duration::from_secs(20)).unwrap();
        connection
    }

    /// Tables of the day with generation and files, as one reader sees them at one time.
    fn visible(&self) -> Vec<(String, String, Vec<String>)> {
        let catalog = self.open("catalog.db");
        let mut rows = catalog
            .prepare(
                "SELECT g.table_name, g.generation, g.entry FROM pointers p JOIN generations g \
                 USING (table_name, key, generation) WHERE p.key = ?1 \
                 AND p.table_name NOT LIKE 'recs%'",
            )
            .unwrap();
        let rows = rows.query_map([NEXT_DAY], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
        rows.unwrap()
            .map(|row| {
                let (table, generation, entry): (String, String, String) = row.unwrap();
                let entry: serde_json::Value = serde_json::from_str(&entry).unwrap();
                let files = entry["files"].as_array().unwrap().iter();
                let files = files.map(|file| file["path"].as_str().unwrap().to_owned()).collect();
                (table, generation, files)
            })
            .collect()
    }

    fn catalog(&self) -> Option<String> {
        let visible = self.visible();
        let tables: BTreeSet<String> = visible.iter().map(|(table, ..)| table.clone()).collect();
        let runs: BTreeSet<&String> = visible.iter().map(|(_, generation, _)| generation).collect();
        if !tables.is_empty() && tables != self.whole.tables {
            return Some(format!("half a day in the catalog: {tables:?}"));
        }
        if runs.len() > 1 {
            return Some(format!("a day of several runs: {runs:?}"));
        }
        let lake = self.home.join("lake");
        let missing =
            visible.iter().flat_map(|(.., files)| files).find(|f| !lake.join(f).is_file());
        missing.map(|file| format!("the catalog shows `{file}`, which is not there"))
    }

    fn rows(&self, table: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM \"{table}\" WHERE dt = ?1");
        self.open("warehouse.db").query_row(&sql, [NEXT_DAY], |row| row.get(0)).unwrap()
    }

    fn warehouse(&self) -> Option<String> {
        let columns: Vec<String> = self
            .whole
            .warehouse
            .keys()
            .map(|table| format!("(SELECT count(*) FROM \"{table}\" WHERE dt = '{NEXT_DAY}')"))
            .collect();
        let sql = format!("SELECT {}", columns.join(", "));
        let found: Vec<i64> = self
            .open("warehouse.db")
            .query_row(&sql, [], |row| (0..columns.len()).map(|at| row.get(at)).collect())
            .unwrap();
        let whole: Vec<i64> = self.whole.warehouse.values().copied().collect();
        let good = found == whole || found.iter().all(|rows| *rows == 0);
        (!good).then(|| format!("the warehouse holds {found:?} rows of {whole:?}"))
    }

    fn serving(&self) -> Option<String> {
        let sql = "SELECT g.sealed, g.items, \
                   (SELECT count(*) FROM items i WHERE i.generation_id = g.id) \
                   FROM pointers p JOIN generations g ON g.id = p.generation_id";
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        let found: (bool, i64, i64) = self.open("serving.db").query_row(sql, [], row).ok()?;
        let good = found.0 && found.1 == found.2 && found.1 > 0;
        (!good).then(|| format!("an unfinished generation is visible: {found:?}"))
    }
}

#[test]
fn a_day_that_is_killed_again_and_again_ends_as_one_that_was_not() {
    let kills = kills(FEW);
    let mut chance = StdRng::seed_from_u64(20_261_121);
    let whole = {
        let sandbox = Sandbox::prepared();
        sandbox.run(&RUN).ends_with(0);
        Whole::of(&sandbox)
    };
    assert!(whole.tables.len() >= 5, "{whole:?}");
    let (mut killed, mut polled, mut days) = (0, 0, 0);
    while killed < kills {
        days += 1;
        let sandbox = Sandbox::prepared();
        let readers = Readers::start(&sandbox, &whole);
        let mut durable: BTreeSet<Unit> = BTreeSet::new();
        for _ in 0..KILLS_OF_A_DAY {
            let victim = Victim::start(sandbox.command(&RUN));
            let Some(said) = victim.kill_within(LINES, &mut chance) else { break };
            killed += 1;
            assert_not_again(&durable, &said.started, killed);
            durable.extend(lasting(&said.done));
            // What is not durable does not outlive a host. Jobs are those of another service.
            std::fs::remove_dir_all(sandbox.home().join("tmp")).unwrap();
        }
        let (code, started) = Victim::start(sandbox.command(&RUN)).end();
        assert_eq!(code, Some(0), "after kill {killed}");
        assert_not_again(&durable, &started, killed);
        let (polls, seen) = readers.stop();
        assert_eq!(seen, Vec::<String>::new(), "up to kill {killed}");
        polled += polls;
        assert_eq!(sandbox.hashes(), reference().hashes, "after kill {killed}");
        assert_eq!(sandbox.served(), reference().served, "after kill {killed}");
        let generations = sandbox.generations();
        assert_eq!(generations.lines().count(), 3, "a list was loaded twice:\n{generations}");
    }
    println!("{killed} kills in {days} days, {polled} polls of each of the three stores");
}
