//! Readers of the embedded target: what they see of it at one time, and what of that must not be.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use recctl::pipeline::fingerprint::digest;
use recctl::ports::ServingItem;
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};
use serde_json::Value as Json;

use crate::chaos::pause;
use crate::sandbox::Sandbox;

/// Tables of the warehouse that are by day, and those that are not.
pub const BY_DAY: [&str; 3] = ["interactions", "item_popularity", "user_profiles"];
const WHOLE: [&str; 2] = ["products", "users"];

/// A partition, and whether it is of the lists: those become visible when they are scored, the other
/// tables of a partition together.
type Together = (String, bool);

/// What readers see at one time, without what names a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Sight {
    /// Content of each table.
    catalog: BTreeMap<Together, BTreeMap<String, String>>,
    /// Rows of each table, by partition.
    warehouse: BTreeMap<String, BTreeMap<String, i64>>,
    /// What the lists are made from, and their number.
    served: Option<(String, i64)>,
}

impl Sight {
    /// What the lists are made from, and their number.
    pub fn served(&self) -> Option<&(String, i64)> {
        self.served.as_ref()
    }

    /// Rows of the warehouse's tables for a day.
    pub fn rows(&self, date: &str) -> Option<&BTreeMap<String, i64>> {
        self.warehouse.get(date)
    }
}

/// Looks at an embedded target.
pub struct Eyes {
    home: PathBuf,
}

impl Eyes {
    pub fn of(sandbox: &Sandbox) -> Self {
        Self { home: sandbox.home() }
    }

    fn open(&self, file: &str) -> Connection {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let connection = Connection::open_with_flags(self.home.join(file), flags).unwrap();
        connection.busy_timeout(Duration::from_secs(20)).unwrap();
        connection
    }

    /// What is seen, and what is broken.
    pub fn look(&self) -> (Sight, Vec<String>) {
        let mut broken = Vec::new();
        let catalog = self.catalog(&mut broken);
        let sight =
            Sight { catalog, warehouse: self.warehouse(), served: self.served(&mut broken) };
        (sight, broken)
    }

    fn catalog(&self, broken: &mut Vec<String>) -> BTreeMap<Together, BTreeMap<String, String>> {
        let visible = "SELECT g.table_name, g.key, g.entry FROM pointers p \
                       JOIN generations g USING (table_name, key, generation)";
        let mut seen: BTreeMap<Together, BTreeMap<String, String>> = BTreeMap::new();
        for row in rows(&self.open("catalog.db"), visible) {
            let [Value::Text(table), Value::Text(key), Value::Text(entry)] = &row[..] else {
                panic!("{row:?}")
            };
            let entry: Json = serde_json::from_str(entry).unwrap();
            for file in entry["files"].as_array().unwrap() {
                let path = file["path"].as_str().unwrap();
                if !self.home.join("lake").join(path).is_file() {
                    broken.push(format!("the catalog shows `{path}`, which is not there"));
                }
            }
            // What was refused is by the table that refused it: `clean_events/2026-03-08`.
            let (of, partition) = key.rsplit_once('/').unwrap_or(("", key));
            let together = (partition.to_owned(), table.starts_with("recs"));
            let content = entry["content_hash"].as_str().unwrap().to_owned();
            seen.entry(together).or_default().insert(format!("{table} {of}"), content);
        }
        seen
    }

    fn warehouse(&self) -> BTreeMap<String, BTreeMap<String, i64>> {
        let by_day = BY_DAY.map(|table| {
            format!("SELECT '{table}', CAST(dt AS TEXT), count(*) FROM {table} GROUP BY dt")
        });
        let whole = WHOLE.map(|table| format!("SELECT '{table}', 'all', count(*) FROM {table}"));
        let sql = [by_day.as_slice(), whole.as_slice()].concat().join(" UNION ALL ");
        let mut seen: BTreeMap<String, BTreeMap<String, i64>> = BTreeMap::new();
        for row in rows(&self.open("warehouse.db"), &sql) {
            let [Value::Text(table), Value::Text(partition), Value::Integer(rows)] = &row[..]
            else {
                panic!("{row:?}")
            };
            seen.entry(partition.clone()).or_default().insert(table.clone(), *rows);
        }
        seen
    }

    fn served(&self, broken: &mut Vec<String>) -> Option<(String, i64)> {
        let sql = "SELECT g.generation, g.sealed, g.items, \
                   (SELECT count(*) FROM items i WHERE i.generation_id = g.id) \
                   FROM pointers p JOIN generations g ON g.id = p.generation_id";
        let row = rows(&self.open("serving.db"), sql).pop()?;
        let [Value::Text(name), Value::Integer(sealed), Value::Integer(items), there] = &row[..]
        else {
            panic!("{row:?}")
        };
        if *sealed != 1 || *items == 0 || *there != Value::Integer(*items) {
            broken.push(format!("an unfinished generation is visible: {row:?}"));
        }
        let (_, work) = name.rsplit_once('-').unwrap();
        Some((work.to_owned(), *items))
    }

    /// Each row of each table of the warehouse, in a digest.
    fn loaded(&self) -> BTreeMap<String, (usize, String)> {
        let warehouse = self.open("warehouse.db");
        let tables = BY_DAY.iter().chain(&WHOLE).map(|table| {
            let all = rows(&warehouse, &format!("SELECT * FROM {table}"));
            let mut all: Vec<String> = all.iter().map(|row| format!("{row:?}")).collect();
            all.sort_unstable();
            ((*table).to_owned(), (all.len(), digest(all.join("\n").as_bytes())))
        });
        tables.collect()
    }

    /// The texts of a query's single column, sorted.
    fn texts(&self, file: &str, sql: &str) -> Vec<String> {
        let text = |row: Vec<Value>| match row.into_iter().next() {
            Some(Value::Text(text)) => text,
            other => panic!("{other:?}"),
        };
        let mut texts: Vec<String> = rows(&self.open(file), sql).into_iter().map(text).collect();
        texts.sort_unstable();
        texts
    }
}

fn rows(connection: &Connection, sql: &str) -> Vec<Vec<Value>> {
    let mut query = connection.prepare(sql).unwrap();
    let columns = query.column_count();
    let row = |row: &rusqlite::Row<'_>| (0..columns).map(|at| row.get(at)).collect();
    query.query_map([], row).unwrap().map(Result::unwrap).collect()
}

/// All that lasts, without what names a run: of two that came to the same, these are equal.
#[derive(Debug, PartialEq)]
pub struct Lasting {
    pub sight: Sight,
    /// Rows of each table of the warehouse with a digest of them.
    loaded: BTreeMap<String, (usize, String)>,
    /// What each transaction of the warehouse loaded: none twice.
    loads: Vec<String>,
    /// Partitions of tables, once for each time that they were published: none twice.
    published: Vec<String>,
    /// Step, partition and what it is made from.
    ledger: Vec<String>,
    lists: Vec<ServingItem>,
    /// Generations of lists: none loaded twice.
    generations: usize,
}

impl Lasting {
    pub fn of(sandbox: &Sandbox) -> Self {
        let eyes = Eyes::of(sandbox);
        let (sight, broken) = eyes.look();
        assert_eq!(broken, Vec::<String>::new());
        let ledger = eyes.texts("state.db", "SELECT record FROM ledger").into_iter().map(|row| {
            let row: Json = serde_json::from_str(&row).unwrap();
            format!("{} {} {}", row["step"], row["partition"], row["fingerprint"])
        });
        let mut ledger: Vec<String> = ledger.collect();
        ledger.sort_unstable();
        Self {
            sight,
            loaded: eyes.loaded(),
            loads: eyes.texts("warehouse.db", "SELECT tables FROM recctl_loads"),
            published: eyes.texts("catalog.db", "SELECT table_name || ' ' || key FROM generations"),
            ledger,
            lists: sandbox.served(),
            generations: eyes.texts("serving.db", "SELECT generation FROM generations").len(),
        }
    }
}

/// Readers who look on all the time. What they see changes from what was before to what comes after,
/// for each day at once and never back.
pub struct Readers {
    stop: Arc<AtomicBool>,
    polls: Arc<AtomicUsize>,
    thread: JoinHandle<Vec<String>>,
}

impl Readers {
    pub fn start(sandbox: &Sandbox, before: Sight, after: Sight) -> Self {
        let (stop, polls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let eyes = Eyes::of(sandbox);
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&polls));
        let thread = std::thread::spawn(move || {
            let (mut wrong, mut last) = (Vec::new(), before);
            while !stopped.load(Ordering::Relaxed) {
                let (seen, broken) = eyes.look();
                wrong.extend(broken);
                turned("the catalog", &last.catalog, &seen.catalog, &after.catalog, &mut wrong);
                let warehouse = (&last.warehouse, &seen.warehouse, &after.warehouse);
                turned("the warehouse", warehouse.0, warehouse.1, warehouse.2, &mut wrong);
                if seen.served != last.served && seen.served != after.served {
                    wrong.push(format!("{:?} are served", seen.served));
                }
                last = seen;
                counted.fetch_add(1, Ordering::Relaxed);
                // It yields, so that the run is not slowed down by those who look on.
                pause(3);
            }
            wrong
        });
        Self { stop, polls, thread }
    }

    /// Number of polls, and what was seen that must not be.
    pub fn stop(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let seen = self.thread.join().unwrap();
        (self.polls.load(Ordering::Relaxed), seen)
    }
}

/// Holds that each part is as it was or as it is to be.
fn turned<K: Ord + Debug, V: PartialEq + Debug>(
    whose: &str,
    last: &BTreeMap<K, V>,
    seen: &BTreeMap<K, V>,
    after: &BTreeMap<K, V>,
    wrong: &mut Vec<String>,
) {
    for key in last.keys().chain(seen.keys()).chain(after.keys()) {
        let now = seen.get(key);
        if now != last.get(key) && now != after.get(key) {
            let (last, after) = (last.get(key), after.get(key));
            let text = format!("{whose}, {key:?}: {now:?} between {last:?} and {after:?}");
            if !wrong.contains(&text) {
                wrong.push(text);
            }
        }
    }
}
