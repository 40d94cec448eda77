//! The hash of a table's rows depends on the rows alone.

use std::sync::Arc;

use datafusion::prelude::SessionContext;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recctl::pipeline::interval::Partition;
use recctl::query::content_hash::ContentHash;
use recctl::query::raw::RawTable;
use recctl::query::raw::reader::RawFile;
use recctl::query::raw::tally::Tally;
use recctl::query::session::config;

use super::reader::source;

/// Hashes what a query makes of files, and counts the rows.
async fn hash(files: &[Vec<String>], partitions: usize, sql: &str) -> (ContentHash, usize) {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let mut raw = Vec::new();
    for (ordinal, lines) in files.iter().enumerate() {
        let text = lines.join("\n");
        let location = object_store::path::Path::from(format!("part-{ordinal}.json"));
        let bytes = text.len() as u64;
        store.put(&location, text.into_bytes().into()).await.unwrap();
        raw.push(RawFile { shown: location.to_string(), location, bytes, ordinal });
    }
    let scratch = tempfile::tempdir().unwrap();
    let tally = Tally::new("t", Partition::Whole, scratch.path());
    let context = SessionContext::new_with_config(config(partitions));
    let table = RawTable::new(Arc::new(source()), store, raw, tally);
    context.register_table("events", Arc::new(table)).unwrap();
    let batches = context.sql(sql).await.unwrap().collect().await.unwrap();
    let mut hash = ContentHash::default();
    for batch in &batches {
        hash.add(batch).unwrap();
    }
    (hash, batches.iter().map(|batch| batch.num_rows()).sum())
}

fn lines(seed: u64) -> Vec<String> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..500)
        .map(|n| {
            let (item, count) = (rng.random_range(0..40), rng.random_range(0..9));
            format!(r#"{{"id":"e{n}","ts":"2026-03-01T00:00:00Z","n":{count},"item":"i{item}"}}"#)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_partitions_nor_files_nor_order_show() {
    let mut all = lines(1);
    let in_files = |lines: &[String], size: usize| -> Vec<Vec<String>> {
        lines.chunks(size).map(<[String]>::to_vec).collect()
    };
    for sql in [
        "SELECT id, n, item FROM events",
        "SELECT item, sum(n) AS n, count(*) AS rows FROM events GROUP BY item",
        "SELECT id, row_number() OVER (PARTITION BY item ORDER BY id) AS place FROM events",
    ] {
        let (expected, rows) = hash(&in_files(&all, 500), 1, sql).await;
        assert!(rows >= 40);
        for (size, partitions) in [(500, 4), (70, 1), (70, 2), (7, 5)] {
            let (found, count) = hash(&in_files(&all, size), partitions, sql).await;
            assert_eq!(
                (found, count),
                (expected, rows),
                "{size} lines a file, {partitions}: {sql}"
            );
        }
        all.shuffle(&mut ChaCha8Rng::seed_from_u64(2));
        assert_eq!(hash(&in_files(&all, 70), 2, sql).await, (expected, rows), "shuffled: {sql}");
    }
    let (whole, _) = hash(&in_files(&all, 70), 2, "SELECT id, n, item FROM events").await;
    let last = all.pop().unwrap();
    let (less, _) = hash(&in_files(&all, 70), 2, "SELECT id, n, item FROM events").await;
    assert_ne!(less, whole, "a row less");
    all.push(last.replace("\"n\":", "\"n\":1"));
    let (other, _) = hash(&in_files(&all, 70), 2, "SELECT id, n, item FROM events").await;
    assert_ne!(other, whole, "a row that is different");
}
