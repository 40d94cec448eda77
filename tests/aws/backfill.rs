//! Many days at once on all services.

use std::sync::{Arc, OnceLock};

use recctl::adapters::aws::DynamoDbServingStore;
use recctl::adapters::local::SystemClock;
use recctl::ports::{Clock, RecommendedItem, ServingItem, ServingStore};
use serde_json::{Value, json};
use stand_ins::stack;

use super::cloud::Cloud;
use super::daily::hashes;
use crate::contract::lease;
use crate::e2e::backfill::emptied;
use crate::sandbox::{DAY, NEXT_DAY, Sandbox};

pub const DAYS: &[&str] = &[DAY, NEXT_DAY];
pub const BACKFILL: &[&str] =
    &["backfill", "daily", "--from", DAY, "--to", NEXT_DAY, "--yes", "--threads", "2"];

/// The generation that is served before.
pub const SERVED: &str = "20260301T000000-by-hand";

/// A project whose days the embedded target has filled.
pub fn filled() -> Sandbox {
    static FILLED: OnceLock<Sandbox> = OnceLock::new();
    let filled = FILLED.get_or_init(|| {
        let sandbox = emptied();
        sandbox.run(BACKFILL).ends_with(0);
        sandbox
    });
    filled.copied()
}

/// Serves a list that no run made.
pub async fn serve_by_hand(cloud: &Cloud) {
    let store = DynamoDbServingStore::new(&cloud.session(), Arc::new(SystemClock)).unwrap();
    let item = RecommendedItem { item: "i00001".to_owned(), score: 1.0 };
    let list = ServingItem { key: "segment##".to_owned(), items: vec![item] };
    store.begin("recommendations", SERVED, "by hand", SystemClock.now()).await.unwrap();
    store.put("recommendations", SERVED, &[list]).await.unwrap();
    store.seal_and_flip("recommendations", SERVED, 1, &lease()).await.unwrap();
}

/// Holds what the days came to against what they came to on the embedded target.
pub async fn is_filled(cloud: &Cloud) {
    let tables = cloud.run(&["tables"]).await.ends_with(0).stdout;
    assert_eq!(hashes(&tables), hashes(&cloud.sandbox.run(&["tables"]).ends_with(0).stdout));
    cloud.the_warehouse_holds_what_the_embedded_one_holds().await;
    let again = cloud.run(&[BACKFILL, &["--dry-run"]].concat()).await.ends_with(0).stdout;
    assert!(again.contains("done already: 2 days 2026-03-08 … 2026-03-09"), "{again}");
}

/// The end of a backfill of tables, one day after the other, that may cost so much.
async fn fill_tables(cloud: &Cloud, max_cost: &str, code: i32) -> Value {
    let bounded = ["--select", "+interactions", "--parallel", "1", "--max-cost", max_cost];
    let arguments = [BACKFILL, &bounded, &["--log-format", "json"]].concat();
    let ran = cloud.run(&arguments).await.ends_with(code);
    serde_json::from_str(ran.stderr.lines().last().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_whose_money_is_spent_stops_and_goes_on_with_more() {
    let Some(stack) = stack::or_skip() else { return };
    let emptied = tokio::task::spawn_blocking(emptied).await.unwrap();
    // A load is billed for a minute at least. How long one takes is not known before the first.
    let prices = "{version: 1, date: 2026-03-01, source: a test, currency: USD, regions: \
                  {eu-central-1: {redshift_serverless: {rpu_hour: 0.6, rpus: 8}}}}";
    std::fs::write(emptied.project().join("prices.yaml"), prices).unwrap();
    let cloud = Cloud::new(stack, emptied).await;
    let ended = fill_tables(&cloud, "0.05", 6).await;
    assert_eq!((&ended["done"], &ended["left"]), (&json!([DAY]), &json!([NEXT_DAY])), "{ended}");
    assert!((0.08..0.09).contains(&ended["spent"].as_f64().unwrap()), "{ended}");
    let told = ended["failure"]["message"].as_str().unwrap();
    assert!(told.starts_with("the run of 2026-03-09 may cost 0.0"), "{told}");
    // What a load costs is known now, so nothing is begun.
    let ended = fill_tables(&cloud, "0.05", 6).await;
    let told = ended["message"].as_str().unwrap();
    assert_eq!(told, "the backfill may cost 0.08, which is more than 0.05");
    let ended = fill_tables(&cloud, "0.1", 0).await;
    assert_eq!((&ended["done"], &ended["left"]), (&json!(DAYS), &json!([])), "{ended}");
    // Neither day was loaded twice.
    let loads = cloud.redshift.query("SELECT token FROM rec.recctl_loads").await.unwrap();
    assert_eq!(loads.len(), DAYS.len(), "{loads:?}");
    super::allowed::everything_that_was_asked(&cloud);
}
