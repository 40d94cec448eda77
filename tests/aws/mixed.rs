//! A process that dies between two flips of Glue leaves a mixed day: whoever starts next makes it
//! whole, whatever else it is about to do, and makes nothing again.

use std::process::Stdio;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use recctl::adapters::aws::{DynamoDbStateStore, GlueCatalog};
use recctl::adapters::local::SystemClock;
use recctl::ports::{Catalog, Clock, Publication, StateStore};
use serde_json::json;
use stand_ins::faults::Microburst;
use stand_ins::recorder::Accident;
use stand_ins::stack;

use super::cloud::Cloud;
use super::planned;
use crate::sandbox::{DAY, Sandbox};

/// How many partitions of a publication readers see.
async fn visible(catalog: &GlueCatalog, publication: &Publication) -> usize {
    let mut visible = 0;
    for flip in &publication.flips {
        let keys = std::slice::from_ref(&flip.to.key);
        let shown = catalog.some(&flip.to.table, keys).await.unwrap();
        visible += shown.iter().filter(|it| it.is_same(&flip.to)).count();
    }
    visible
}

#[tokio::test(flavor = "multi_thread")]
async fn who_dies_between_two_flips_is_finished_by_whoever_comes() {
    let Some(stack) = stack::or_skip() else { return };
    let prepared = tokio::task::spawn_blocking(Sandbox::prepared).await.unwrap();
    let mut cloud = Cloud::new(stack, prepared).await;
    // Slow, so that there is time between two flips.
    let glue = Microburst::start(&cloud.recorder.url()).unwrap();
    glue.rule(&json!([{"service": "glue", "latency": 200}]));
    let quick = cloud.variables.clone();
    cloud.variables = quick.clone().with("GLUE", &glue.url());
    let arguments = ["run", "daily", "--date", DAY, "--select", "+interactions", "--threads", "2"];
    let mut command = cloud.command(&arguments);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let flipped = || {
        let calls = cloud.recorder.requests();
        calls
            .iter()
            .any(|call| call.operation == "BatchCreatePartition" && call.status == Some(200))
    };
    while !flipped() {
        assert_eq!(child.try_wait().unwrap(), None, "it ended before it flipped anything");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    child.kill().unwrap();
    child.wait().unwrap();

    let session = cloud.session();
    let state = DynamoDbStateStore::open(&session).await.unwrap();
    let catalog = GlueCatalog::new(&session).unwrap();
    let open = state.publications().await.unwrap();
    let mut mixed = 0;
    for publication in &open {
        let visible = visible(&catalog, publication).await;
        mixed += usize::from(visible > 0 && visible < publication.flips.len());
    }
    assert!(mixed > 0, "no day is mixed: {} publications are open", open.len());

    // Its lease runs out, and nobody gave it back.
    let later = SystemClock.now() + TimeDelta::minutes(5);
    let name = format!("daily/{DAY}");
    let lease = state.acquire(&name, "undertaker", Duration::from_secs(1), later).await.unwrap();
    state.renew(&lease, Duration::ZERO, SystemClock.now()).await.unwrap();
    cloud.variables = quick;
    let told = cloud.run(&["ledger", "daily", "--to", DAY]).await.ends_with(0).stdout;
    assert!(
        told.contains("half done") && told.contains("the next start finishes it first"),
        "{told}"
    );

    // Another selection, which has nothing to do with these tables.
    let clock = Instant::now();
    let other = ["run", "daily", "--date", DAY, "--select", "products", "--threads", "2"];
    let ran = cloud.run(&other).await.ends_with(0);
    println!("{mixed} mixed days whole, and a run besides, in {:?}", clock.elapsed());
    let said = ran.stderr.matches("finished, and nothing made again").count();
    assert_eq!(said, open.len(), "{}", ran.stderr);
    assert_eq!(state.publications().await, Ok(vec![]));
    let ledger = state.ledger(&open[0].pipeline).await.unwrap();
    for publication in &open {
        assert_eq!(visible(&catalog, publication).await, publication.flips.len());
        for row in &publication.rows {
            let known = ledger
                .iter()
                .find(|known| (&known.step, known.partition) == (&row.step, row.partition));
            assert_eq!(known.map(|known| &known.run), Some(&publication.run), "{row:?}");
        }
        for load in publication.loads.iter().flat_map(|load| &load.tables) {
            let Some(day) = load.date else { continue };
            let sql = format!("SELECT count(*) FROM rec.{} WHERE dt = '{day}'", load.table.name);
            let rows = cloud.redshift.query(&sql).await.unwrap();
            assert_eq!(rows[0][0], Some(load.rows.to_string()), "{sql}");
        }
    }
    // The rest of what died is done, and of what was finished nothing is.
    let ran = cloud.run(&arguments).await.ends_with(0);
    let again = open.iter().flat_map(|publication| &publication.rows);
    for row in again.filter(|row| row.step.as_str() == "interactions") {
        let line = format!("interactions     sql      {}", row.partition);
        assert!(!ran.stderr.contains(&line), "{}", ran.stderr);
    }
}

/// One that was refused its second flip took back the first, and gave its lease back: what the next
/// start finishes is in its plan.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_finished_first_is_in_the_plan() {
    let Some(stack) = stack::or_skip() else { return };
    let prepared = tokio::task::spawn_blocking(Sandbox::prepared).await.unwrap();
    let cloud = Cloud::new(stack, prepared).await;
    cloud.recorder.upset(("glue", "BatchCreatePartition"), 1, 1, Accident::Denied);
    let arguments = ["run", "daily", "--date", DAY, "--select", "+interactions", "--threads", "2"];
    cloud.run(&arguments).await.ends_with(2);
    assert_eq!(cloud.recorder.calm(), 0);

    let plan = planned::asking(&cloud, DAY, &["--select", "products"]).await;
    cloud.forget();
    let other = ["run", "daily", "--date", DAY, "--select", "products", "--threads", "2"];
    let ran = cloud.run(&other).await.ends_with(0);
    assert!(ran.stderr.contains("finished, and nothing made again"), "{}", ran.stderr);
    planned::hold(&cloud, &plan);
}
