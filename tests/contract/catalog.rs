use std::sync::Arc;

use recctl::adapters::local::SqliteCatalog;
use recctl::pipeline::step::SchemaChange;
use recctl::ports::{Catalog, ColumnEntry, FileEntry, Flip, PartitionEntry, TableEntry};
use recctl::run::failure::FailureKind;

use super::{at, day, fenced, kind, lease};

fn columns(names: &[&str]) -> Vec<ColumnEntry> {
    let column = |name: &&str| ColumnEntry {
        name: (*name).to_owned(),
        kind: "Timestamp(µs, \"UTC\")".to_owned(),
        nullable: true,
    };
    names.iter().map(column).collect()
}

fn table(name: &str) -> TableEntry {
    TableEntry {
        name: name.to_owned(),
        columns: columns(&["ts"]),
        by_day: true,
        schema_change: SchemaChange::Stop,
    }
}

fn partition(table: &str, key: &str, generation: &str) -> PartitionEntry {
    PartitionEntry {
        table: table.to_owned(),
        key: key.to_owned(),
        date: key.parse().ok(),
        generation: generation.to_owned(),
        files: vec![FileEntry { path: format!("{table}/{key}/{generation}"), bytes: 1, rows: 2 }],
        rows: 2,
        content_hash: "0".repeat(32),
        fingerprint: "f".repeat(16),
        published: at(0),
    }
}

fn generations(partitions: &[PartitionEntry]) -> Vec<&str> {
    partitions.iter().map(|one| one.generation.as_str()).collect()
}

pub async fn catalog_contract(open: impl AsyncFn(&str) -> Arc<dyn Catalog>) {
    empty(open("empty").await).await;
    entries(open("entries").await, open("entries").await).await;
    history(open("history").await).await;
    breaking(open("breaking").await).await;
    all_or_none(open("none").await).await;
    other_keys(open("keys").await).await;
    fences(open("fences").await, open("fences").await).await;
    forgotten(open("forgotten").await).await;
}

async fn empty(catalog: Arc<dyn Catalog>) {
    assert_eq!(catalog.tables().await, Ok(vec![]));
    assert_eq!(catalog.table("a").await, Ok(None));
    assert_eq!(catalog.partitions("a").await, Ok(vec![]));
    assert_eq!(catalog.history("a", "all").await, Ok(vec![]));
    assert_eq!(catalog.publish(&[], &[], &lease()).await, Ok(()));
}

/// Entries come back as they were, in order, also by another handle.
async fn entries(catalog: Arc<dyn Catalog>, other: Arc<dyn Catalog>) {
    let days = [partition("b", "2026-03-02", "r1"), partition("b", "2026-03-01", "r1")];
    catalog.publish(&[table("b"), table("a")], &days, &lease()).await.unwrap();
    assert_eq!(other.tables().await, Ok(vec![table("a"), table("b")]));
    assert_eq!(other.table("b").await, Ok(Some(table("b"))));
    assert_eq!(other.table("c").await, Ok(None));
    assert_eq!(other.partitions("a").await, Ok(vec![]));
    assert_eq!(other.partitions("b").await, Ok(vec![days[1].clone(), days[0].clone()]));
    assert_eq!(other.partitions("b").await.unwrap()[0].date, Some(day("2026-03-01")));

    // A table's entry is replaced, its partitions stay.
    let changed = TableEntry { columns: columns(&["ts", "id"]), ..table("b") };
    catalog.publish(std::slice::from_ref(&changed), &[], &lease()).await.unwrap();
    assert_eq!(other.table("b").await, Ok(Some(changed)));
    assert_eq!(other.partitions("b").await.unwrap().len(), 2);
    assert_eq!(other.table("a").await, Ok(Some(table("a"))));
}

/// A publication that would break readers stops before anything of it is visible.
async fn breaking(catalog: Arc<dyn Catalog>) {
    let old = TableEntry { columns: columns(&["ts", "id"]), ..table("c") };
    catalog
        .publish(std::slice::from_ref(&old), &[partition("c", "2026-03-01", "r1")], &lease())
        .await
        .unwrap();
    let new = partition("c", "2026-03-01", "r2");
    let beside = partition("d", "2026-03-01", "r2");
    let both = [table("d"), table("c")];
    let outcome = catalog.publish(&both, &[beside.clone(), new.clone()], &lease()).await;
    assert_eq!(kind(outcome), FailureKind::Usage);
    assert_eq!(catalog.table("c").await, Ok(Some(old)));
    assert_eq!(catalog.table("d").await, Ok(None));
    assert_eq!(catalog.partitions("c").await.unwrap()[0].generation, "r1");
    assert_eq!(catalog.partitions("d").await, Ok(vec![]));

    let allowed = TableEntry { schema_change: SchemaChange::Allow, ..table("c") };
    catalog.publish(&[allowed], &[new], &lease()).await.unwrap();
    assert_eq!(catalog.table("c").await, Ok(Some(table("c"))));
    assert_eq!(catalog.partitions("c").await.unwrap()[0].generation, "r2");
}

async fn history(catalog: Arc<dyn Catalog>) {
    let publish = async |generation: &str, seconds: i64| {
        let entry =
            PartitionEntry { published: at(seconds), ..partition("t", "2026-03-01", generation) };
        catalog.publish(&[table("t")], &[entry], &lease()).await.unwrap();
    };
    let seen = async || {
        let visible = catalog.partitions("t").await.unwrap();
        let before = catalog.history("t", "2026-03-01").await.unwrap();
        format!("{:?} {:?}", generations(&visible), generations(&before))
    };
    publish("r1", 0).await;
    assert_eq!(seen().await, r#"["r1"] []"#);
    // The names do not say the order.
    publish("r3", 1).await;
    publish("r2", 2).await;
    assert_eq!(seen().await, r#"["r2"] ["r3", "r1"]"#);
    // What is visible already changes nothing, not even the time.
    publish("r2", 3).await;
    assert_eq!(seen().await, r#"["r2"] ["r3", "r1"]"#);
    assert_eq!(catalog.partitions("t").await.unwrap()[0].published, at(2));
    // A rollback is a publication like any other.
    publish("r1", 4).await;
    assert_eq!(seen().await, r#"["r1"] ["r2", "r3"]"#);
    assert_eq!(catalog.history("t", "2026-03-02").await, Ok(vec![]));
    assert_eq!(catalog.history("u", "2026-03-01").await, Ok(vec![]));
}

/// Tables that are not by day: replaced whole, or the quarantine, whose parts belong to steps.
async fn other_keys(catalog: Arc<dyn Catalog>) {
    let whole = TableEntry { by_day: false, ..table("w") };
    let quarantine = TableEntry { by_day: false, ..table("quarantine") };
    let tables = [whole.clone(), quarantine.clone()];
    let keys = ["clean/2026-03-01", "clean/all", "other/2026-03-01"];
    let publish = async |generation: &str| {
        let mut all = vec![partition("w", "all", generation)];
        // An empty one has no file to tell where it is.
        let empty = PartitionEntry {
            files: Vec::new(),
            rows: 0,
            ..partition("quarantine", keys[1], generation)
        };
        all.push(partition("quarantine", keys[0], generation));
        all.push(empty);
        all.push(partition("quarantine", keys[2], generation));
        catalog.publish(&tables, &all, &lease()).await.unwrap();
        all
    };
    let first = publish("r1").await;
    let second = publish("r2").await;
    assert_eq!(catalog.tables().await, Ok(vec![quarantine, whole]));
    assert_eq!(catalog.partitions("w").await.as_deref(), Ok(&second[..1]));
    assert_eq!(catalog.partitions("quarantine").await.as_deref(), Ok(&second[1..]));
    assert_eq!(catalog.history("w", "all").await.as_deref(), Ok(&first[..1]));
    for (key, before) in keys.iter().zip(&first[1..]) {
        let history = catalog.history("quarantine", key).await;
        assert_eq!(history.as_deref(), Ok(std::slice::from_ref(before)));
    }
    publish("r1").await;
    assert_eq!(catalog.history("w", "all").await.as_deref(), Ok(&second[..1]));
}

/// Who was taken over publishes nothing any more, whatever he was about to do.
async fn fences(catalog: Arc<dyn Catalog>, other: Arc<dyn Catalog>) {
    let (first, second) = (fenced("daily/1", 5), fenced("daily/1", 6));
    let whole = TableEntry { by_day: false, ..table("w") };
    let quarantine = TableEntry { by_day: false, ..table("quarantine") };
    let tables = [table("t"), whole, quarantine];
    let publish = async |catalog: &dyn Catalog, day: &str, run: &str, lease: &_| {
        let quarantined = format!("t/{day}");
        let all = [("t", day), ("w", "all"), ("quarantine", quarantined.as_str())];
        let all = all.map(|(table, key)| partition(table, key, run));
        catalog.publish(&tables, &all, lease).await
    };
    let visible = async || {
        let mut seen = Vec::new();
        for table in ["t", "w", "quarantine"] {
            let partitions = other.partitions(table).await.unwrap();
            seen.extend(partitions.iter().map(|one| format!("{} {}", one.key, one.generation)));
        }
        seen.join(", ")
    };
    publish(&*catalog, "2026-03-01", "r1", &first).await.unwrap();
    publish(&*catalog, "2026-03-02", "r1", &first).await.unwrap();
    let before = "2026-03-01 r1, 2026-03-02 r1, all r1, t/2026-03-01 r1, t/2026-03-02 r1";
    assert_eq!(visible().await, before);

    // Taken over: from then on, before the next holder publishes anything.
    let names: Vec<String> = tables.iter().map(|table| table.name.clone()).collect();
    other.fence(&names, &second).await.unwrap();
    other.fence(&names, &second).await.unwrap();
    other.fence(&["nothing".to_owned()], &second).await.unwrap();
    for day in ["2026-03-01", "2026-03-03"] {
        let late = publish(&*catalog, day, "r2", &first).await;
        assert_eq!(kind(late), FailureKind::Conflict);
    }
    assert_eq!(kind(catalog.fence(&names, &first).await), FailureKind::Conflict);
    assert_eq!(visible().await, before);
    publish(&*other, "2026-03-02", "r3", &second).await.unwrap();

    // Or as he publishes.
    let third = fenced("daily/1", 9);
    publish(&*other, "2026-03-01", "r4", &third).await.unwrap();
    assert_eq!(kind(publish(&*catalog, "2026-03-02", "r5", &second).await), FailureKind::Conflict);
    // What was refused is not half there, and other leases have other fences.
    let after = "2026-03-01 r4, 2026-03-02 r3, all r4, t/2026-03-01 r4, t/2026-03-02 r3";
    assert_eq!(visible().await, after);
    publish(&*catalog, "2026-03-02", "r6", &fenced("daily/2", 1)).await.unwrap();
    let after = "2026-03-01 r4, 2026-03-02 r6, all r6, t/2026-03-01 r4, t/2026-03-02 r6";
    assert_eq!(visible().await, after);
    assert_eq!(other.history("w", "all").await.unwrap().len(), 3);
}

/// A publication is undone where it is still what readers see, and nowhere else. Apart from the rest,
/// as a stand-in deletes no partitions.
pub async fn taken_back(catalog: Arc<dyn Catalog>, other: Arc<dyn Catalog>) {
    let whole = |name: &str| TableEntry { by_day: false, ..table(name) };
    let wide = TableEntry { columns: columns(&["ts", "id"]), ..table("t") };
    let seen = async || {
        let mut seen = Vec::new();
        for table in other.tables().await.unwrap() {
            let partitions = other.partitions(&table.name).await.unwrap();
            let keys: Vec<String> = partitions.iter().map(|one| one.key.clone()).collect();
            // Those that are asked for are those that there are.
            let some = other.some(&table.name, &keys).await.unwrap();
            assert_eq!(some, partitions, "{}", table.name);
            seen.extend(partitions.iter().map(|one| format!("{} {}", one.table, one.generation)));
        }
        seen.join(", ")
    };
    let two = [partition("t", "2026-03-01", "r1"), partition("w", "all", "r1")];
    catalog.publish(&[table("t"), whole("w")], &two, &fenced("daily/1", 5)).await.unwrap();
    let before = seen().await;
    assert_eq!(before, "t r1, w r1");

    let new = [
        partition("t", "2026-03-01", "r2"),
        partition("t", "2026-03-02", "r2"),
        partition("w", "all", "r2"),
        partition("v", "all", "r2"),
        partition("quarantine", "t/2026-03-01", "r2"),
    ];
    let flips: Vec<Flip> = new
        .iter()
        .map(|to| Flip {
            to: to.clone(),
            from: two.iter().find(|from| (&from.table, &from.key) == (&to.table, &to.key)).cloned(),
        })
        .collect();
    let tables = [wide.clone(), whole("w"), whole("v"), whole("quarantine")];
    let former = [table("t"), whole("w")];
    let lease = fenced("daily/1", 6);
    // Nothing of it is visible yet: nothing changes.
    catalog.take_back(&former, &flips, &lease).await.unwrap();
    assert_eq!(seen().await, before);
    catalog.publish(&tables, &new, &lease).await.unwrap();
    assert_eq!(seen().await, "quarantine r2, t r2, t r2, v r2, w r2");
    assert_eq!(other.some("t", &["2026-03-02".to_owned()]).await.unwrap(), [new[1].clone()]);
    assert_eq!(other.some("t", &["2026-04-01".to_owned()]).await, Ok(vec![]));
    assert_eq!(other.some("t", &["no key".to_owned()]).await, Ok(vec![]));
    assert_eq!(other.some("nothing", &["all".to_owned()]).await, Ok(vec![]));

    // Who was taken over takes nothing back.
    let late = catalog.take_back(&former, &flips, &fenced("daily/1", 5)).await;
    assert_eq!(kind(late), FailureKind::Conflict);
    assert_eq!(seen().await, "quarantine r2, t r2, t r2, v r2, w r2");
    for _ in 0..2 {
        other.take_back(&former, &flips, &lease).await.unwrap();
        assert_eq!(seen().await, before);
        assert_eq!(catalog.table("t").await.unwrap().unwrap().columns, columns(&["ts"]));
    }
    // Who took it back had a fence, which stays.
    let late = catalog.publish(&tables, &new, &fenced("daily/1", 5)).await;
    assert_eq!(kind(late), FailureKind::Conflict);

    // It can come again, in part; what came after it stays.
    catalog.publish(&tables[1..3], &new[2..4], &lease).await.unwrap();
    let newer = partition("t", "2026-03-01", "r3");
    catalog.publish(std::slice::from_ref(&wide), &[newer], &lease).await.unwrap();
    assert_eq!(seen().await, "t r3, v r2, w r2");
    catalog.take_back(&former, &flips, &lease).await.unwrap();
    assert_eq!(seen().await, "t r3, w r1");
    assert_eq!(other.table("t").await, Ok(Some(wide)), "nothing of `t` was taken back");
}

/// What was visible before is known of all partitions at once, until it is forgotten.
async fn forgotten(catalog: Arc<dyn Catalog>) {
    assert_eq!(catalog.earlier("t").await, Ok(vec![]));
    for run in ["r1", "r2", "r3"] {
        let all = ["2026-03-02", "2026-03-01"].map(|day| partition("t", day, run));
        let quarantined = partition("quarantine", "t/2026-03-01", run);
        let quarantine = TableEntry { by_day: false, ..table("quarantine") };
        catalog.publish(&[table("t")], &all, &lease()).await.unwrap();
        catalog.publish(&[quarantine], &[quarantined], &lease()).await.unwrap();
    }
    let earlier = async |table: &str| {
        let all = catalog.earlier(table).await.unwrap();
        all.iter().map(|one| format!("{} {}", one.key, one.generation)).collect::<Vec<_>>()
    };
    let all = ["2026-03-01 r2", "2026-03-01 r1", "2026-03-02 r2", "2026-03-02 r1"];
    assert_eq!(earlier("t").await, all);
    assert_eq!(earlier("quarantine").await, ["t/2026-03-01 r2", "t/2026-03-01 r1"]);
    let forget = async |table: &str, key: &str, generations: &[&str]| {
        let generations: Vec<String> = generations.iter().map(ToString::to_string).collect();
        catalog.forget(table, key, &generations).await.unwrap()
    };
    // What is visible stays; what nobody knows is not known afterwards either.
    assert_eq!(forget("t", "2026-03-01", &["r1", "r3", "r0"]).await, ["r1", "r0"]);
    assert_eq!(forget("quarantine", "t/2026-03-01", &["r2"]).await, ["r2"]);
    assert_eq!(earlier("t").await, ["2026-03-01 r2", "2026-03-02 r2", "2026-03-02 r1"]);
    assert_eq!(earlier("quarantine").await, ["t/2026-03-01 r1"]);
    assert_eq!(generations(&catalog.history("t", "2026-03-01").await.unwrap()), ["r2"]);
    assert_eq!(generations(&catalog.partitions("t").await.unwrap()), ["r3", "r3"]);
    // It can come again.
    catalog.publish(&[table("t")], &[partition("t", "2026-03-01", "r1")], &lease()).await.unwrap();
    assert_eq!(generations(&catalog.history("t", "2026-03-01").await.unwrap()), ["r3", "r2"]);
}

async fn all_or_none(catalog: Arc<dyn Catalog>) {
    catalog.publish(&[table("a")], &[partition("a", "2026-03-01", "r1")], &lease()).await.unwrap();
    let outcome = catalog
        .publish(
            &[table("a"), table("b")],
            &[partition("a", "2026-03-01", "r2"), partition("x", "2026-03-01", "r2")],
            &lease(),
        )
        .await;
    assert_eq!(kind(outcome), FailureKind::Usage);
    assert_eq!(catalog.tables().await, Ok(vec![table("a")]));
    assert_eq!(generations(&catalog.partitions("a").await.unwrap()), ["r1"]);
    assert_eq!(catalog.history("a", "2026-03-01").await, Ok(vec![]));
    assert_eq!(catalog.partitions("x").await, Ok(vec![]));
    // A table that is known does not count: it has to be among those given.
    let known = catalog.publish(&[], &[partition("a", "2026-03-01", "r2")], &lease()).await;
    assert_eq!(kind(known), FailureKind::Usage);
}

/// A reader never sees some partitions of one publication and some of another. Only for adapters
/// whose service can promise it.
pub async fn whole_states(catalog: Arc<dyn Catalog>, reader: Arc<dyn Catalog>) {
    let keys: Vec<String> = (1..=9).map(|n| format!("2026-03-0{n}")).collect();
    let writing = tokio::spawn(async move {
        for generation in 0..50 {
            let generation = format!("r{generation}");
            let all: Vec<_> = keys.iter().map(|key| partition("t", key, &generation)).collect();
            catalog.publish(&[table("t")], &all, &lease()).await.unwrap();
        }
    });
    let mut looks = 0;
    while !writing.is_finished() {
        let seen = reader.partitions("t").await.unwrap();
        assert!(seen.is_empty() || seen.len() == 9, "{seen:?}");
        assert!(seen.iter().all(|one| one.generation == seen[0].generation), "{seen:?}");
        looks += 1;
    }
    writing.await.unwrap();
    assert!(looks > 0);
    assert_eq!(generations(&reader.partitions("t").await.unwrap()), ["r49"; 9]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_catalog() {
    let folder = tempfile::tempdir().unwrap();
    let open = async |name: &str| {
        let path = folder.path().join(format!("{name}.db"));
        let store: Arc<dyn Catalog> = Arc::new(SqliteCatalog::open(&path).await.unwrap());
        store
    };
    catalog_contract(open).await;
    taken_back(open("back").await, open("back").await).await;
    whole_states(open("whole").await, open("whole").await).await;
}
