use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use datafusion::parquet::arrow::ArrowWriter;
use recctl::adapters::local::SqliteWarehouse;
use recctl::pipeline::step::{SchemaChange, WarehouseLayout, WarehouseMode};
use recctl::ports::{
    ColumnEntry, FileEntry, LoadBatch, LoadOutcome, TableEntry, TableLoad, Warehouse,
};
use recctl::run::failure::FailureKind;

use super::{day, fenced, kind, lease};

/// A warehouse with the lake that it loads from.
#[async_trait]
pub trait WarehouseTarget {
    /// Opens a handle on the warehouse `name`.
    async fn open(&self, name: &str) -> Arc<dyn Warehouse>;
    /// Puts a file into the lake.
    async fn put_file(&self, path: &str, bytes: Vec<u8>);
    /// Whether a load that is asked for while it runs is the one that runs, so that both who asked
    /// are told that it was loaded now.
    fn attaches(&self) -> bool {
        false
    }
}

fn bytes(batch: &RecordBatch) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    bytes
}

fn entry(name: &str, by_day: bool, batch: &RecordBatch) -> TableEntry {
    let columns = batch
        .schema()
        .fields()
        .iter()
        .map(|field| ColumnEntry {
            name: field.name().clone(),
            kind: field.data_type().to_string(),
            nullable: field.is_nullable(),
        })
        .collect();
    TableEntry { name: name.to_owned(), columns, by_day, schema_change: SchemaChange::Stop }
}

fn numbers(rows: usize) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows as i64));
    let words: ArrayRef =
        Arc::new(StringArray::from_iter_values((0..rows).map(|n| format!("w{n}"))));
    RecordBatch::try_from_iter([("id", ids), ("word", words)]).unwrap()
}

struct Suite<'a> {
    target: &'a dyn WarehouseTarget,
}

impl Suite<'_> {
    /// Puts one file of the batch and makes a load of it.
    async fn table(&self, name: &str, date: Option<&str>, batch: &RecordBatch) -> TableLoad {
        let path = format!("{name}/{}/{}.parquet", date.unwrap_or("all"), batch.num_rows());
        self.target.put_file(&path, bytes(batch)).await;
        let rows = batch.num_rows() as u64;
        TableLoad {
            table: entry(name, date.is_some(), batch),
            date: date.map(day),
            files: vec![FileEntry { path, bytes: 0, rows }],
            rows,
            layout: WarehouseLayout::default(),
        }
    }
}

fn batch(token: &str, tables: Vec<TableLoad>) -> LoadBatch {
    LoadBatch { token: token.to_owned(), run: "run".to_owned(), lease: lease(), tables }
}

pub async fn warehouse_contract(target: &dyn WarehouseTarget) {
    let suite = Suite { target };
    suite.days_are_replaced().await;
    suite.whole_tables_are_replaced().await;
    suite.a_token_loads_once().await;
    suite.columns_change().await;
    suite.rows_are_merged().await;
    suite.failures_leave_nothing().await;
    suite.loads_are_seen_whole().await;
    suite.fences().await;
    suite.nothing_goes_on().await;
}

impl Suite<'_> {
    /// What was not begun, and what has ended, neither goes on nor can be stopped.
    async fn nothing_goes_on(&self) {
        let warehouse = self.target.open("going").await;
        let load = batch("r1/going", vec![self.table("going", None, &numbers(3)).await]);
        let tokens = [load.token.clone(), "r1/nobody".to_owned()];
        for rows in [None, Some(3)] {
            assert_eq!(warehouse.under_way(&tokens).await, Ok(vec![]));
            warehouse.cancel(&tokens).await.unwrap();
            assert_eq!(warehouse.count("going", None).await, Ok(rows));
            if rows.is_none() {
                assert_eq!(warehouse.load(&load).await, Ok(LoadOutcome::Loaded(3)));
            }
        }
        assert_eq!(warehouse.under_way(&[]).await, Ok(vec![]));
    }

    async fn days_are_replaced(&self) {
        let warehouse = self.target.open("days").await;
        let other = self.target.open("days").await;
        assert_eq!(warehouse.count("events", None).await, Ok(None));
        assert_eq!(warehouse.count("events", Some(day("2026-03-01"))).await, Ok(None));

        let first = self.table("events", Some("2026-03-01"), &numbers(5)).await;
        let mut second = self.table("events", Some("2026-03-02"), &numbers(7)).await;
        // Two files of one day.
        second.files.push(first.files[0].clone());
        second.rows = 12;
        let both = batch("1", vec![first.clone(), second]);
        assert_eq!(warehouse.load(&both).await, Ok(LoadOutcome::Loaded(17)));
        let counts = async || {
            let mut counts = BTreeMap::new();
            for date in ["2026-03-01", "2026-03-02", "2026-03-03"] {
                let rows = other.count("events", Some(day(date))).await.unwrap().unwrap();
                counts.insert(date, rows);
            }
            let all = other.count("events", None).await.unwrap().unwrap();
            assert_eq!(all, counts.values().sum::<u64>());
            counts.into_values().collect::<Vec<_>>()
        };
        assert_eq!(counts().await, [5, 12, 0]);
        let again = self.table("events", Some("2026-03-01"), &numbers(3)).await;
        warehouse.load(&batch("2", vec![again])).await.unwrap();
        assert_eq!(counts().await, [3, 12, 0]);
        // A day of no rows replaces, too.
        let empty = TableLoad { files: vec![], rows: 0, ..first };
        assert_eq!(warehouse.load(&batch("3", vec![empty])).await, Ok(LoadOutcome::Loaded(0)));
        assert_eq!(counts().await, [0, 12, 0]);
        assert_eq!(other.count("missing", None).await, Ok(None));
    }

    async fn whole_tables_are_replaced(&self) {
        let warehouse = self.target.open("whole").await;
        for (token, rows) in [("1", 20_000), ("2", 4)] {
            let load = self.table("items", None, &numbers(rows)).await;
            let outcome = warehouse.load(&batch(token, vec![load])).await;
            assert_eq!(outcome, Ok(LoadOutcome::Loaded(rows as u64)));
            assert_eq!(warehouse.count("items", None).await, Ok(Some(rows as u64)));
        }
    }

    /// Who was taken over loads nothing any more.
    async fn fences(&self) {
        let late = self.target.open("fences").await;
        let other = self.target.open("fences").await;
        let load = async |token: &str, rows: usize, lease| {
            let load = self.table("items", None, &numbers(rows)).await;
            LoadBatch { lease, ..batch(token, vec![load]) }
        };
        let held = |fence| fenced("daily/1", fence);
        // Before anything was ever loaded.
        other.fence(&held(6)).await.unwrap();
        other.fence(&held(6)).await.unwrap();
        let refused = load("1", 3, held(5)).await;
        assert_eq!(kind(late.load(&refused).await), FailureKind::Conflict);
        assert_eq!(other.count("items", None).await.unwrap().unwrap_or(0), 0);
        other.load(&load("2", 4, held(6)).await).await.unwrap();
        // As it loads.
        other.load(&load("3", 5, held(8)).await).await.unwrap();
        let refused = load("4", 6, held(6)).await;
        assert_eq!(kind(late.load(&refused).await), FailureKind::Conflict);
        assert_eq!(kind(late.fence(&held(6)).await), FailureKind::Conflict);
        assert_eq!(other.count("items", None).await, Ok(Some(5)));
        // Other leases have other fences.
        late.load(&load("5", 7, fenced("daily/2", 1)).await).await.unwrap();
        assert_eq!(other.count("items", None).await, Ok(Some(7)));
    }

    async fn a_token_loads_once(&self) {
        let warehouse = self.target.open("token").await;
        let other = self.target.open("token").await;
        let load = batch("t", vec![self.table("items", None, &numbers(4)).await]);
        assert_eq!(warehouse.load(&load).await, Ok(LoadOutcome::Loaded(4)));
        assert_eq!(warehouse.load(&load).await, Ok(LoadOutcome::AlreadyLoaded));
        assert_eq!(other.load(&load).await, Ok(LoadOutcome::AlreadyLoaded));
        // What came later is not put back by it.
        let later = batch("u", vec![self.table("items", None, &numbers(6)).await]);
        other.load(&later).await.unwrap();
        assert_eq!(warehouse.load(&load).await, Ok(LoadOutcome::AlreadyLoaded));
        assert_eq!(warehouse.count("items", None).await, Ok(Some(6)));
        // At once from two sides, it is loaded by one of them.
        let load = batch("v", vec![self.table("items", None, &numbers(9)).await]);
        let (one, two) = tokio::join!(warehouse.load(&load), other.load(&load));
        let mut outcomes = [one.unwrap(), two.unwrap()];
        outcomes.sort_by_key(|outcome| *outcome == LoadOutcome::AlreadyLoaded);
        assert_eq!(outcomes[0], LoadOutcome::Loaded(9));
        let attached = self.target.attaches() && outcomes[1] == LoadOutcome::Loaded(9);
        assert!(attached || outcomes[1] == LoadOutcome::AlreadyLoaded, "{outcomes:?}");
        assert_eq!(warehouse.count("items", None).await, Ok(Some(9)));
    }

    async fn columns_change(&self) {
        let warehouse = self.target.open("columns").await;
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        let price: ArrayRef = Arc::new(Float64Array::from(vec![Some(0.5), None]));
        let old = RecordBatch::try_from_iter([("id", Arc::clone(&ids))]).unwrap();
        let date = Some("2026-03-01");
        warehouse.load(&batch("1", vec![self.table("c", date, &old).await])).await.unwrap();
        // A column more, and of another place.
        let wide =
            RecordBatch::try_from_iter([("price", price), ("id", Arc::clone(&ids))]).unwrap();
        let wide = self.table("c", Some("2026-03-02"), &wide).await;
        warehouse.load(&batch("2", vec![wide])).await.unwrap();
        assert_eq!(warehouse.count("c", None).await, Ok(Some(4)));
        // A column less.
        let narrow = self.table("c", Some("2026-03-03"), &old).await;
        warehouse.load(&batch("3", vec![narrow])).await.unwrap();
        assert_eq!(warehouse.count("c", None).await, Ok(Some(6)));
        // Another type.
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
        let changed =
            RecordBatch::try_from_iter([("id", ids.slice(0, 1)), ("price", texts)]).unwrap();
        let changed = batch("4", vec![self.table("c", Some("2026-03-02"), &changed).await]);
        let failure = warehouse.load(&changed).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Usage);
        assert!(failure.message.contains("`c.price`"), "{failure}");
        assert_eq!(warehouse.count("c", Some(day("2026-03-02"))).await, Ok(Some(2)));
    }

    async fn rows_are_merged(&self) {
        let warehouse = self.target.open("merged").await;
        let on = |load: TableLoad| {
            let mode = WarehouseMode::Merge { on: vec!["id".to_owned()] };
            TableLoad { layout: WarehouseLayout { mode, ..WarehouseLayout::default() }, ..load }
        };
        for (token, rows, all) in [("1", 3, 3), ("2", 5, 5), ("3", 2, 5)] {
            let load = on(self.table("m", None, &numbers(rows)).await);
            let outcome = warehouse.load(&batch(token, vec![load])).await;
            assert_eq!(outcome, Ok(LoadOutcome::Loaded(rows as u64)));
            assert_eq!(warehouse.count("m", None).await, Ok(Some(all)), "{token}");
        }
        // One file twice has every key twice.
        let mut twice = on(self.table("m", None, &numbers(4)).await);
        twice.files.push(twice.files[0].clone());
        twice.rows = 8;
        assert_eq!(kind(warehouse.load(&batch("4", vec![twice])).await), FailureKind::Quality);
        assert_eq!(warehouse.count("m", None).await, Ok(Some(5)));
    }

    async fn failures_leave_nothing(&self) {
        let warehouse = self.target.open("failures").await;
        let good = self.table("good", None, &numbers(2)).await;
        warehouse.load(&batch("0", vec![good])).await.unwrap();

        let good = self.table("good", None, &numbers(3)).await;
        let new = self.table("new", Some("2026-03-01"), &numbers(3)).await;
        let missing = TableLoad {
            files: vec![FileEntry { path: "nowhere.parquet".to_owned(), bytes: 1, rows: 3 }],
            ..new.clone()
        };
        self.target.put_file("broken.parquet", b"PAR1 not really".to_vec()).await;
        let broken = TableLoad {
            files: vec![FileEntry { path: "broken.parquet".to_owned(), bytes: 1, rows: 3 }],
            ..new.clone()
        };
        let more = TableLoad { rows: 4, ..new.clone() };
        let fewer = TableLoad { rows: 2, ..new.clone() };
        for (bad, expected) in [
            (missing, FailureKind::Input),
            (broken, FailureKind::Input),
            (more, FailureKind::Quality),
            (fewer, FailureKind::Quality),
        ] {
            let both = batch("1", vec![good.clone(), bad]);
            assert_eq!(kind(warehouse.load(&both).await), expected);
            assert_eq!(warehouse.count("good", None).await, Ok(Some(2)), "{expected:?}");
            assert_eq!(warehouse.count("new", None).await, Ok(None), "{expected:?}");
        }
        // The token of a failed load is not used up.
        let both = batch("1", vec![good, new]);
        assert_eq!(warehouse.load(&both).await, Ok(LoadOutcome::Loaded(6)));
        assert_eq!(warehouse.count("good", None).await, Ok(Some(3)));
    }

    /// A reader never sees a day half loaded or away.
    async fn loads_are_seen_whole(&self) {
        let warehouse = self.target.open("seen").await;
        let reader = self.target.open("seen").await;
        let load = self.table("items", None, &numbers(1_000)).await;
        warehouse.load(&batch("first", vec![load.clone()])).await.unwrap();
        let loads: Vec<LoadBatch> =
            (0..20).map(|n| batch(&n.to_string(), vec![load.clone()])).collect();
        let writing = tokio::spawn(async move {
            for load in &loads {
                assert_eq!(warehouse.load(load).await, Ok(LoadOutcome::Loaded(1_000)));
            }
        });
        let mut looks = 0;
        while !writing.is_finished() {
            assert_eq!(reader.count("items", None).await, Ok(Some(1_000)));
            looks += 1;
        }
        writing.await.unwrap();
        assert!(looks > 0);
    }
}

struct SqliteTarget {
    folder: tempfile::TempDir,
}

impl SqliteTarget {
    fn lake(&self) -> PathBuf {
        self.folder.path().join("lake")
    }
}

#[async_trait]
impl WarehouseTarget for SqliteTarget {
    async fn open(&self, name: &str) -> Arc<dyn Warehouse> {
        let path = self.folder.path().join(format!("{name}.db"));
        Arc::new(SqliteWarehouse::open(&path, &self.lake()).await.unwrap())
    }

    async fn put_file(&self, path: &str, bytes: Vec<u8>) {
        let path = self.lake().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_warehouse() {
    warehouse_contract(&SqliteTarget { folder: tempfile::tempdir().unwrap() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_warehouse_rolls_back_a_load_that_is_dropped() {
    let target = SqliteTarget { folder: tempfile::tempdir().unwrap() };
    let warehouse = target.open("w").await;
    let load = Suite { target: &target }.table("items", None, &numbers(300_000)).await;
    let dropped = batch("1", vec![load]);
    // Polled once, the load has begun.
    let loading = warehouse.load(&dropped);
    assert!(futures::FutureExt::now_or_never(loading).is_none());
    // Whether it was rolled back or had gone through by then, the next call sees all or nothing.
    let outcome = warehouse.load(&dropped).await.unwrap();
    let rows = warehouse.count("items", None).await.unwrap();
    assert_eq!((outcome, rows), (LoadOutcome::Loaded(300_000), Some(300_000)));
}
