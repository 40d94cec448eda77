//! The daily pipeline on all services at once.

use std::collections::BTreeMap;

use stand_ins::stack;

use super::cloud::Cloud;
use super::planned;
use crate::sandbox::{DAY, NEXT_DAY, Sandbox};

#[tokio::test(flavor = "multi_thread")]
async fn the_sample_runs_on_all_services_and_serves_what_the_embedded_target_serves() {
    let Some(stack) = stack::or_skip() else { return };
    let cloud =
        Cloud::new(stack, tokio::task::spawn_blocking(Sandbox::prepared).await.unwrap()).await;
    let arguments = ["run", "daily", "--date", DAY, "--threads", "2"];
    let plan = planned::without_asking(&cloud, DAY);
    let ran = cloud.run(&arguments).await.ends_with(0);
    assert!(ran.stderr.contains("succeeded"), "{}", ran.stderr);
    super::allowed::everything_that_was_asked(&cloud);
    planned::hold(&cloud, &plan);

    // Tables: the same rows.
    let tables = cloud.run(&["tables"]).await.ends_with(0).stdout;
    assert_eq!(hashes(&tables), hashes(&cloud.sandbox.run(&["tables"]).ends_with(0).stdout));

    cloud.serves_what_the_embedded_target_serves().await;
    let anyone = ["recommend", "--anyone"];
    let lines = |text: &str| text.lines().skip(2).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(
        lines(&cloud.run(&anyone).await.ends_with(0).stdout),
        lines(&cloud.sandbox.run(&anyone).ends_with(0).stdout),
    );

    cloud.the_warehouse_holds_what_the_embedded_one_holds().await;

    // Again: nothing is changed anywhere.
    cloud.forget();
    let again = cloud.run(&arguments).await.ends_with(0);
    assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
    assert_eq!(cloud.mutating(), BTreeMap::new());
    assert!(!cloud.recorder.requests().is_empty(), "it looked");

    // The day after: what is there is known, and what is done before is not done again.
    let plan = planned::asking(&cloud, NEXT_DAY).await;
    cloud.forget();
    cloud.run(&["run", "daily", "--date", NEXT_DAY, "--threads", "2"]).await.ends_with(0);
    planned::hold(&cloud, &plan);
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
