//! The daily pipeline on all services at once.

use std::collections::BTreeMap;

use recctl::adapters::aws::DynamoDbServingStore;
use recctl::adapters::local::{LocalTarget, SystemClock};
use recctl::ports::{ServingItem, ServingStore};
use stand_ins::stack;

use super::cloud::Cloud;
use crate::sandbox::{DAY, Sandbox};

#[tokio::test(flavor = "multi_thread")]
async fn the_sample_runs_on_all_services_and_serves_what_the_embedded_target_serves() {
    let Some(stack) = stack::or_skip() else { return };
    let cloud =
        Cloud::new(stack, tokio::task::spawn_blocking(Sandbox::prepared).await.unwrap()).await;
    let arguments = ["run", "daily", "--date", DAY, "--threads", "2"];
    let ran = cloud.run(&arguments).await.ends_with(0);
    assert!(ran.stderr.contains("succeeded"), "{}", ran.stderr);
    super::allowed::everything_that_was_asked(&cloud);

    // Tables: the same rows.
    let tables = cloud.run(&["tables"]).await.ends_with(0).stdout;
    assert_eq!(hashes(&tables), hashes(&cloud.sandbox.run(&["tables"]).ends_with(0).stdout));

    // Lists: the same, item by item.
    let embedded = LocalTarget::open(&cloud.sandbox.home()).unwrap().serving_store().await.unwrap();
    let served =
        DynamoDbServingStore::new(&cloud.session(), std::sync::Arc::new(SystemClock)).unwrap();
    let visible = |generations: Vec<recctl::ports::GenerationEntry>| {
        generations.into_iter().find(|one| one.visible).unwrap()
    };
    let here = visible(embedded.generations("recommendations").await.unwrap());
    let there = visible(served.generations("recommendations").await.unwrap());
    assert_eq!(there.items, here.items);
    assert_eq!(there.model, here.model);
    let keys = keys(&cloud.sandbox);
    assert_eq!(keys.len() as u64, here.items);
    for key in keys {
        let list = async |store: &dyn ServingStore| -> ServingItem {
            store.get("recommendations", &key).await.unwrap().unwrap().item
        };
        assert_eq!(list(&served).await, list(&embedded).await, "{key}");
    }
    let anyone = ["recommend", "--anyone"];
    let lines = |text: &str| text.lines().skip(2).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(
        lines(&cloud.run(&anyone).await.ends_with(0).stdout),
        lines(&cloud.sandbox.run(&anyone).ends_with(0).stdout),
    );

    // The warehouse: as many rows as the embedded one has.
    let warehouse = rusqlite::Connection::open(cloud.sandbox.home().join("warehouse.db")).unwrap();
    for table in ["products", "users", "interactions", "item_popularity", "user_profiles"] {
        let count = format!("SELECT count(*) FROM {table}");
        let here: i64 = warehouse.query_row(&count, [], |row| row.get(0)).unwrap();
        let there =
            cloud.redshift.query(&format!("SELECT count(*) FROM rec.{table}")).await.unwrap();
        assert_eq!(there[0][0], Some(here.to_string()), "{table}");
    }

    // Again: nothing is changed anywhere.
    cloud.forget();
    let again = cloud.run(&arguments).await.ends_with(0);
    assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
    assert_eq!(cloud.mutating(), BTreeMap::new());
    assert!(!cloud.recorder.requests().is_empty(), "it looked");
}

/// Rows and content hash of each table.
fn hashes(tables: &str) -> BTreeMap<String, String> {
    let mut hashes = BTreeMap::new();
    for line in tables.lines().skip(1) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let rows_and_hash = format!("{} {}", words[words.len() - 4], words[words.len() - 1]);
        hashes.insert(words[0].to_owned(), rows_and_hash);
    }
    assert!(hashes.len() > 8, "{tables}");
    hashes
}

/// All keys of the embedded target's visible generation.
fn keys(sandbox: &Sandbox) -> Vec<String> {
    let database = rusqlite::Connection::open(sandbox.home().join("serving.db")).unwrap();
    let mut query = database
        .prepare(
            "SELECT i.key FROM items i JOIN pointers p ON p.generation_id = i.generation_id \
             WHERE p.table_name = 'recommendations' ORDER BY i.key",
        )
        .unwrap();
    let keys = query.query_map([], |row| row.get::<_, String>(0)).unwrap();
    keys.map(Result::unwrap).collect()
}
