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
    let plan = planned::asking(&cloud, NEXT_DAY, &[]).await;
    cloud.forget();
    cloud.run(&["run", "daily", "--date", NEXT_DAY, "--threads", "2"]).await.ends_with(0);
    planned::hold(&cloud, &plan);
    a_table_goes_back_and_rubbish_goes(&cloud).await;
}

/// A table back to the run before, in the catalog and in the warehouse; then all goes that nobody
/// needs, by what the policy of a run allows.
async fn a_table_goes_back_and_rubbish_goes(cloud: &Cloud) {
    let users = async || cloud.run(&["tables", "users"]).await.ends_with(0).stdout;
    let before = users().await;
    let first = before.lines().last().unwrap().split_whitespace().rev().nth(1).unwrap().to_owned();
    // Named, since the policy of a run lets nobody list the tables.
    let anyone = ["recommend", "--anyone", "--table", "recommendations"];
    let anyone = async || cloud.run(&anyone).await.ends_with(0).stdout;
    let served = anyone().await;
    let count = async || cloud.redshift.query("SELECT count(*) FROM rec.users").await.unwrap();
    let loaded = count().await;
    let force = ["run", "daily", "--date", NEXT_DAY, "--force", "--select", "users"];
    cloud.run(&force).await.ends_with(0);
    assert!(!users().await.contains(&first));
    let told = cloud.run(&["rollback", "users", "--to", &first]).await.ends_with(0).stdout;
    // The table, and what its step refused.
    assert!(told.contains("2 partitions rolled back, "), "{told}");
    assert_eq!(users().await, before);
    assert_eq!(count().await, loaded);
    let runs = cloud.run(&["runs"]).await.ends_with(0).stdout;
    assert!(runs.contains("rollback, succeeded"), "{runs}");

    let all = ["gc", "--keep", "0", "--older-than", "0", "--grace", "0"];
    let told = cloud.run(&all).await.ends_with(0).stdout;
    assert!(told.contains("generations of tables past their keep"), "{told}");
    let told = cloud.run(&all).await.ends_with(0).stdout;
    assert_eq!(told, "nothing to remove\n");
    assert_eq!(users().await, before);
    assert_eq!(anyone().await, served);
    let again = cloud.run(&["run", "daily", "--date", NEXT_DAY]).await.ends_with(0);
    assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
    super::allowed::everything_that_was_asked(cloud);
}

/// Rows and content hash of each table.
pub fn hashes(tables: &str) -> BTreeMap<String, String> {
    let mut hashes = BTreeMap::new();
    for line in tables.lines().skip(1) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let rows_and_hash = format!("{} {}", words[words.len() - 4], words[words.len() - 1]);
        hashes.insert(words[0].to_owned(), rows_and_hash);
    }
    assert!(hashes.len() > 8, "{tables}");
    hashes
}
