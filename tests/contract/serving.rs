use std::sync::Arc;

use recctl::adapters::local::{MAX_ITEM_BYTES, SqliteServingStore};
use recctl::ports::{RecommendedItem, ServingItem, ServingStore};
use recctl::run::failure::FailureKind;

use super::{at, fenced, kind, lease};

const TABLE: &str = "recommendations";

fn item(key: &str, words: &[&str]) -> ServingItem {
    let items = words.iter().enumerate().map(|(n, word)| RecommendedItem {
        item: (*word).to_owned(),
        score: 1.0 / (n as f64 + 3.0),
    });
    ServingItem { key: key.to_owned(), items: items.collect() }
}

/// A generation of `users` users who are all recommended its name.
async fn load(store: &dyn ServingStore, generation: &str, users: usize) {
    store.begin(TABLE, generation, "als", at(0)).await.unwrap();
    let items: Vec<_> = (0..users).map(|n| item(&format!("user#{n}"), &[generation])).collect();
    store.put(TABLE, generation, &items).await.unwrap();
    store.seal_and_flip(TABLE, generation, users as u64, &lease()).await.unwrap();
}

/// Generations as `2026 sealed visible`, in words.
async fn words(store: &dyn ServingStore) -> Vec<String> {
    let word = |yes, word: &'static str| if yes { word } else { "" };
    let all = store.generations(TABLE).await.unwrap();
    all.iter()
        .map(|one| format!("{}{}{}", one.generation, word(one.sealed, "s"), word(one.visible, "v")))
        .collect()
}

async fn served(store: &dyn ServingStore, key: &str) -> Option<String> {
    let found = store.get(TABLE, key).await.unwrap()?;
    Some(found.item.items[0].item.clone())
}

pub async fn serving_store_contract(open: impl AsyncFn(&str) -> Arc<dyn ServingStore>) {
    empty(&*open("empty").await).await;
    life(&*open("life").await, &*open("life").await).await;
    refusals(&*open("refusals").await).await;
    too_large(&*open("large").await).await;
    miscounted(&*open("miscounted").await).await;
    flips(&*open("flips").await).await;
    prune(&*open("prune").await).await;
    prune_after_a_rollback(&*open("rollback").await).await;
    tables(&*open("tables").await).await;
    fences(&*open("fences").await, &*open("fences").await).await;
    discarded(&*open("discarded").await).await;
    checkpoints(open("checkpoints").await, open("checkpoints").await).await;
    never_mixed(open("mixed").await, open("mixed").await).await;
}

async fn empty(store: &dyn ServingStore) {
    assert_eq!(store.tables().await, Ok(vec![]));
    assert_eq!(store.generations(TABLE).await, Ok(vec![]));
    assert_eq!(kind(store.get(TABLE, "user#1").await), FailureKind::NotFound);
    assert_eq!(store.prune(TABLE, 1).await, Ok(0));
}

async fn life(store: &dyn ServingStore, other: &dyn ServingStore) {
    store.begin(TABLE, "2026", "als with 32 factors", at(0)).await.unwrap();
    store.put(TABLE, "2026", &[item("user#1", &["old"]), item("segment##", &["x"])]).await.unwrap();
    // Not visible before it is sealed.
    assert_eq!(kind(other.get(TABLE, "user#1").await), FailureKind::NotFound);
    let unsealed = other.generations(TABLE).await.unwrap();
    assert_eq!((unsealed[0].items, unsealed[0].sealed, unsealed[0].visible), (0, false, false));

    // Begun again, it goes on; what was put stays and is replaced by key.
    other.begin(TABLE, "2026", "als with 32 factors", at(60)).await.unwrap();
    other.put(TABLE, "2026", &[item("user#1", &["a", "b", "é\"\\"])]).await.unwrap();
    other
        .put(TABLE, "2026", &[item("user#2", &["first"]), item("user#2", &["second"])])
        .await
        .unwrap();
    other.put(TABLE, "2026", &[item("user#3", &[])]).await.unwrap();
    other.put(TABLE, "2026", &[]).await.unwrap();
    other.seal_and_flip(TABLE, "2026", 4, &lease()).await.unwrap();

    let found = store.get(TABLE, "user#1").await.unwrap().unwrap();
    assert_eq!(found.item, item("user#1", &["a", "b", "é\"\\"]));
    let generation = found.generation;
    assert_eq!(generation.generation, "2026");
    assert_eq!(generation.table, TABLE);
    assert_eq!(generation.model, "als with 32 factors");
    assert_eq!(generation.created, at(0));
    assert_eq!((generation.items, generation.sealed, generation.visible), (4, true, true));
    assert_eq!(store.generations(TABLE).await, Ok(vec![generation]));
    assert_eq!(served(store, "user#2").await.as_deref(), Some("second"));
    assert_eq!(store.get(TABLE, "user#3").await.unwrap().unwrap().item, item("user#3", &[]));
    assert_eq!(store.get(TABLE, "user#").await, Ok(None));
    assert_eq!(store.get(TABLE, "USER#1").await, Ok(None));

    // Sealing the visible generation again changes nothing.
    store.seal_and_flip(TABLE, "2026", 4, &lease()).await.unwrap();
    assert_eq!(words(store).await, ["2026sv"]);
}

async fn refusals(store: &dyn ServingStore) {
    let one = [item("user#1", &["a"])];
    assert_eq!(kind(store.put(TABLE, "1", &one).await), FailureKind::NotFound);
    assert_eq!(kind(store.put(TABLE, "1", &[]).await), FailureKind::NotFound);
    load(store, "1", 1).await;
    assert_eq!(kind(store.begin(TABLE, "1", "m", at(0)).await), FailureKind::Conflict);
    assert_eq!(kind(store.put(TABLE, "1", &one).await), FailureKind::Conflict);
    assert_eq!(served(store, "user#0").await.as_deref(), Some("1"));
    // Another table has its own generations.
    assert_eq!(kind(store.put("other", "1", &one).await), FailureKind::NotFound);
    store.begin("other", "1", "m", at(0)).await.unwrap();
    assert_eq!(kind(store.get("other", "user#0").await), FailureKind::NotFound);
}

/// Who was taken over makes nothing visible any more.
async fn fences(store: &dyn ServingStore, other: &dyn ServingStore) {
    let (first, second) = (fenced("daily/1", 5), fenced("daily/1", 6));
    let begin = async |generation: &str| {
        store.begin(TABLE, generation, "m", at(0)).await.unwrap();
        store.put(TABLE, generation, &[item("user#1", &[generation])]).await.unwrap();
    };
    begin("1").await;
    store.seal_and_flip(TABLE, "1", 1, &first).await.unwrap();
    begin("2").await;
    other.fence(TABLE, &second).await.unwrap();
    other.fence(TABLE, &second).await.unwrap();
    assert_eq!(kind(store.seal_and_flip(TABLE, "2", 1, &first).await), FailureKind::Conflict);
    assert_eq!(kind(other.fence(TABLE, &first).await), FailureKind::Conflict);
    assert_eq!(words(other).await, ["2", "1sv"]);
    // What he put is there for who goes on.
    other.seal_and_flip(TABLE, "2", 1, &second).await.unwrap();
    assert_eq!(kind(store.flip(TABLE, "1", &first).await), FailureKind::Conflict);
    assert_eq!(words(other).await, ["2sv", "1s"]);
    // Other leases have other fences.
    store.flip(TABLE, "1", &fenced("daily/2", 1)).await.unwrap();
    other.flip(TABLE, "2", &second).await.unwrap();
    assert_eq!(served(store, "user#1").await.as_deref(), Some("2"));
}

/// Any generation can go but the visible one.
async fn discarded(store: &dyn ServingStore) {
    assert_eq!(store.discard(TABLE, "1").await, Ok(true));
    for generation in ["1", "2"] {
        load(store, generation, 3).await;
    }
    store.begin(TABLE, "3", "m", at(0)).await.unwrap();
    store.put(TABLE, "3", &[item("user#1", &["x"])]).await.unwrap();
    assert_eq!(store.discard(TABLE, "2").await, Ok(false));
    assert_eq!(store.discard(TABLE, "3").await, Ok(true));
    assert_eq!(words(store).await, ["2sv", "1s"]);
    assert_eq!(store.discard(TABLE, "1").await, Ok(true));
    assert_eq!(store.discard(TABLE, "1").await, Ok(true));
    assert_eq!(words(store).await, ["2sv"]);
    assert_eq!(served(store, "user#1").await.as_deref(), Some("2"));
}

async fn too_large(store: &dyn ServingStore) {
    store.begin(TABLE, "1", "m", at(0)).await.unwrap();
    let large = |bytes: usize| {
        let mut item = item("user#large", &["x"]);
        item.items[0].item = "x".repeat(bytes);
        item
    };
    // Many small ones before it, so that an adapter that writes in pieces has written some.
    let mut items: Vec<_> = (0..12_000).map(|n| item(&format!("user#{n}"), &["a"])).collect();
    items.push(large(400 * 1024));
    assert_eq!(kind(store.put(TABLE, "1", &items).await), FailureKind::Usage);
    // None is written: the generation is sealed as empty.
    store.put(TABLE, "1", &[large(300 * 1024)]).await.unwrap();
    store.seal_and_flip(TABLE, "1", 1, &lease()).await.unwrap();
    assert_eq!(store.get(TABLE, "user#0").await, Ok(None));
    assert_eq!(served(store, "user#large").await.unwrap().len(), 300 * 1024);
}

async fn miscounted(store: &dyn ServingStore) {
    load(store, "1", 1).await;
    store.begin(TABLE, "2", "m", at(0)).await.unwrap();
    store.put(TABLE, "2", &[item("user#0", &["2"])]).await.unwrap();
    for wrong in [0, 2] {
        assert_eq!(
            kind(store.seal_and_flip(TABLE, "2", wrong, &lease()).await),
            FailureKind::Quality
        );
        assert_eq!(words(store).await, ["2", "1sv"]);
        assert_eq!(served(store, "user#0").await.as_deref(), Some("1"));
    }
    // It stays open and can be put right.
    store.put(TABLE, "2", &[item("user#1", &["2"])]).await.unwrap();
    store.seal_and_flip(TABLE, "2", 2, &lease()).await.unwrap();
    assert_eq!(words(store).await, ["2sv", "1s"]);
    // Even none can be what was asked for.
    store.begin(TABLE, "3", "m", at(0)).await.unwrap();
    store.seal_and_flip(TABLE, "3", 0, &lease()).await.unwrap();
    assert_eq!(store.get(TABLE, "user#0").await, Ok(None));
}

async fn flips(store: &dyn ServingStore) {
    load(store, "1", 1).await;
    load(store, "2", 1).await;
    store.begin(TABLE, "3", "m", at(0)).await.unwrap();
    assert_eq!(served(store, "user#0").await.as_deref(), Some("2"));
    store.flip(TABLE, "1", &lease()).await.unwrap();
    store.flip(TABLE, "1", &lease()).await.unwrap();
    assert_eq!(served(store, "user#0").await.as_deref(), Some("1"));
    assert_eq!(words(store).await, ["3", "2s", "1sv"]);
    for missing in ["3", "4"] {
        assert_eq!(kind(store.flip(TABLE, missing, &lease()).await), FailureKind::NotFound);
    }
    assert_eq!(kind(store.flip("other", "1", &lease()).await), FailureKind::NotFound);
    assert_eq!(served(store, "user#0").await.as_deref(), Some("1"));
}

async fn prune(store: &dyn ServingStore) {
    for generation in ["1", "2", "3"] {
        load(store, generation, 2).await;
    }
    // An abandoned one that is older than the visible one does not count among those kept.
    store.begin(TABLE, "25", "m", at(0)).await.unwrap();
    store.begin(TABLE, "4", "m", at(0)).await.unwrap();
    store.put(TABLE, "4", &[item("user#0", &["4"])]).await.unwrap();
    assert_eq!(store.prune(TABLE, 2).await, Ok(2));
    assert_eq!(words(store).await, ["4", "3sv", "2s"]);
    assert_eq!(store.prune(TABLE, 2).await, Ok(0));
    assert_eq!(kind(store.flip(TABLE, "1", &lease()).await), FailureKind::NotFound);
    store.flip(TABLE, "2", &lease()).await.unwrap();
    assert_eq!(served(store, "user#1").await.as_deref(), Some("2"));
    store.flip(TABLE, "3", &lease()).await.unwrap();
    // Never the visible one.
    assert_eq!(store.prune(TABLE, 0).await, Ok(1));
    assert_eq!(words(store).await, ["4", "3sv"]);
    assert_eq!(served(store, "user#0").await.as_deref(), Some("3"));
    // The load that is under way goes on.
    store.seal_and_flip(TABLE, "4", 1, &lease()).await.unwrap();
    assert_eq!(served(store, "user#0").await.as_deref(), Some("4"));
    // A removed identity can be used again, without what it held.
    store.begin(TABLE, "1", "m", at(0)).await.unwrap();
    store.seal_and_flip(TABLE, "1", 0, &lease()).await.unwrap();
    assert_eq!(store.get(TABLE, "user#0").await, Ok(None));
}

async fn prune_after_a_rollback(store: &dyn ServingStore) {
    for generation in ["1", "2", "3", "4"] {
        load(store, generation, 1).await;
    }
    store.flip(TABLE, "2", &lease()).await.unwrap();
    // 4 is the newest; 3 is younger than the visible 2.
    assert_eq!(store.prune(TABLE, 1).await, Ok(1));
    assert_eq!(words(store).await, ["4s", "3s", "2sv"]);
    assert_eq!(served(store, "user#0").await.as_deref(), Some("2"));
}

async fn tables(store: &dyn ServingStore) {
    for table in ["b", "a"] {
        for generation in ["1", "2"] {
            store.begin(table, generation, "m", at(0)).await.unwrap();
            store.put(table, generation, &[item("user#0", &[table])]).await.unwrap();
            store.seal_and_flip(table, generation, 1, &lease()).await.unwrap();
        }
    }
    assert_eq!(store.tables().await, Ok(vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(store.prune("a", 1).await, Ok(1));
    assert_eq!(store.generations("b").await.unwrap().len(), 2);
    let found = store.get("b", "user#0").await.unwrap().unwrap();
    assert_eq!((found.item.items[0].item.as_str(), found.generation.table.as_str()), ("b", "b"));
}

/// Readers poll while generations come and go: what they get is always of one generation that is
/// complete, and never older than what they got before.
async fn never_mixed(store: Arc<dyn ServingStore>, reader: Arc<dyn ServingStore>) {
    load(&*store, "000", 30).await;
    let writing = tokio::spawn(async move {
        for number in 1..=40 {
            load(&*store, &format!("{number:03}"), 30).await;
            store.prune(TABLE, 1).await.unwrap();
        }
    });
    let mut last = String::new();
    let mut changes = 0;
    let mut user = 0;
    while !writing.is_finished() {
        user = (user + 7) % 30;
        // Every generation has every user, so a missing one would be a generation half there.
        let found = reader.get(TABLE, &format!("user#{user}")).await.unwrap().expect("the item");
        assert_eq!(found.item.items[0].item, found.generation.generation);
        assert!(found.generation.sealed && found.generation.visible);
        assert!(found.generation.generation >= last, "{last} was seen before {found:?}");
        changes += usize::from(found.generation.generation != last);
        last = found.generation.generation;
        let all = reader.generations(TABLE).await.unwrap();
        assert_eq!(all.iter().filter(|one| one.visible).count(), 1, "{all:?}");
    }
    writing.await.unwrap();
    assert!(changes > 1, "the reader saw {changes} generations");
    assert_eq!(served(&*reader, "user#1").await.as_deref(), Some("040"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_serving_store() {
    let folder = tempfile::tempdir().unwrap();
    serving_store_contract(async |name| {
        let path = folder.path().join(format!("{name}.db"));
        let store: Arc<dyn ServingStore> = Arc::new(SqliteServingStore::open(&path).await.unwrap());
        store
    })
    .await;
}

#[tokio::test]
async fn sqlite_serving_store_is_stricter_than_dynamodb() {
    const { assert!(MAX_ITEM_BYTES < 400 * 1024) };
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteServingStore::open(&folder.path().join("s.db")).await.unwrap();
    store.begin(TABLE, "1", "m", at(0)).await.unwrap();
    for key in [String::new(), "x".repeat(1025)] {
        assert_eq!(kind(store.put(TABLE, "1", &[item(&key, &["a"])]).await), FailureKind::Usage);
    }
    let mut bad = item("user#1", &["a"]);
    bad.items[0].score = f64::NAN;
    assert_eq!(kind(store.put(TABLE, "1", &[bad]).await), FailureKind::Quality);
    store.seal_and_flip(TABLE, "1", 0, &lease()).await.unwrap();
}

/// A load that goes on learns how far the last one came.
async fn checkpoints(store: Arc<dyn ServingStore>, other: Arc<dyn ServingStore>) {
    assert_eq!(kind(store.checkpoint(TABLE, "1", 1).await), FailureKind::NotFound);
    assert_eq!(store.begin(TABLE, "1", "m", at(0)).await, Ok(0));
    store.put(TABLE, "1", &[item("user#0", &["1"]), item("user#1", &["1"])]).await.unwrap();
    assert_eq!(other.begin(TABLE, "1", "m", at(60)).await, Ok(0));
    store.checkpoint(TABLE, "1", 2).await.unwrap();
    assert_eq!(other.begin(TABLE, "1", "m", at(60)).await, Ok(2));
    other.put(TABLE, "1", &[item("user#2", &["1"])]).await.unwrap();
    other.checkpoint(TABLE, "1", 3).await.unwrap();
    other.seal_and_flip(TABLE, "1", 3, &lease()).await.unwrap();
    assert_eq!(kind(store.checkpoint(TABLE, "1", 3).await), FailureKind::Conflict);
}
