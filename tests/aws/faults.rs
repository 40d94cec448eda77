//! Runs in bad weather: they succeed, or stop with a clear kind, and the next run goes on.

use serde_json::json;
use stand_ins::faults::Microburst;
use stand_ins::pressure::{Limit, Pressure};
use stand_ins::sagemaker::{Fault, Rule};
use stand_ins::stack::{self, Stack};

use super::cloud::Cloud;
use crate::sandbox::{DAY, Sandbox};

async fn cloud(stack: &'static Stack) -> Cloud {
    Cloud::new(stack, tokio::task::spawn_blocking(Sandbox::prepared).await.unwrap()).await
}

fn run<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["run", "daily", "--date", DAY, "--threads", "2"], more].concat()
}

/// The first instance type that the project asks for.
const FIRST_CHOICE: &str = "ml.m5.xlarge";

#[tokio::test(flavor = "multi_thread")]
async fn throttles_errors_lost_answers_and_short_capacity_change_nothing_of_what_is_served() {
    let Some(stack) = stack::or_skip() else { return };
    let mut cloud = cloud(stack).await;
    // Glue and DynamoDB answer badly now and then; DynamoDB takes part of a batch beside.
    let pressed =
        Pressure::start(&cloud.recorder.url(), Limit { units_per_second: 400.0, burst: 50.0 })
            .unwrap();
    let dynamodb = Microburst::start(&pressed.url()).unwrap();
    for (code, status) in
        [("ProvisionedThroughputExceededException", 400), ("InternalServerError", 500)]
    {
        dynamodb.rule(&json!([{"service": "dynamodb", "probability": 0.03,
            "error": {"code": code, "status": status}}]));
    }
    dynamodb.rule(&json!([{"service": "dynamodb", "probability": 0.02, "reset": true}]));
    let glue = Microburst::start(&cloud.recorder.url()).unwrap();
    for (code, status) in [("ThrottlingException", 400), ("InternalServiceException", 500)] {
        glue.rule(&json!([{"service": "glue", "probability": 0.04,
            "error": {"code": code, "status": status}}]));
    }
    glue.rule(&json!([{"service": "glue", "probability": 0.1, "latency": 300}]));
    cloud.variables =
        cloud.variables.clone().with("DYNAMODB", &dynamodb.url()).with("GLUE", &glue.url());
    cloud.sagemaker.throttle(None, 3);
    cloud.sagemaker.add_rule(Rule::new(Fault::Capacity).instance(FIRST_CHOICE).times(2));
    cloud.sagemaker.add_rule(Rule::new(Fault::ResourceLimit).instance(FIRST_CHOICE).times(1));
    cloud.redshift.throttle(3);
    cloud.redshift.drop_next_answer();

    let ran = cloud.run(&run(&[])).await;
    assert!(!dynamodb.fired().is_empty() && !glue.fired().is_empty(), "the weather was fine");
    ran.ends_with(0);
    cloud.serves_what_the_embedded_target_serves().await;
    cloud.the_warehouse_holds_what_the_embedded_one_holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_training_tells_why_and_the_next_run_goes_on() {
    let Some(stack) = stack::or_skip() else { return };
    let cloud = cloud(stack).await;
    let only = run(&["--select", "+popularity"]);
    cloud.sagemaker.fail_next(Fault::Failure("AlgorithmError: the disk is full".to_owned()));
    let ran = cloud.run(&only).await.ends_with(1);
    assert!(ran.stderr.contains("failed: the disk is full"), "{}", ran.stderr);
    let again = cloud.run(&only).await.ends_with(0);
    assert!(!again.stderr.contains("clean_events     sql"), "tables stay: {}", again.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_copy_loads_nothing_and_the_next_run_loads_once() {
    let Some(stack) = stack::or_skip() else { return };
    let cloud = cloud(stack).await;
    let only = run(&["--select", "products"]);
    cloud.redshift.fail_next_copy("Spectrum Scan Error: Access Denied");
    let ran = cloud.run(&only).await.ends_with(1);
    assert!(ran.stderr.contains("Spectrum Scan Error"), "{}", ran.stderr);
    let tables = "SELECT count(*) FROM information_schema.tables \
                  WHERE table_schema = 'rec' AND table_name = 'products'";
    let there = cloud.redshift.query(tables).await.unwrap()[0][0].clone();
    if there.as_deref() == Some("1") {
        let rows = cloud.redshift.query("SELECT count(*) FROM rec.products").await.unwrap();
        assert_eq!(rows[0][0].as_deref(), Some("0"));
    }
    cloud.run(&only).await.ends_with(0);
    let rows = cloud.redshift.query("SELECT count(*), count(DISTINCT item_id) FROM rec.products");
    let rows = rows.await.unwrap();
    assert!(rows[0][0] == rows[0][1] && rows[0][0].as_deref() != Some("0"), "{rows:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_credentials_are_told_as_such() {
    let Some(stack) = stack::or_skip() else { return };
    let mut cloud = cloud(stack).await;
    let dynamodb = Microburst::start(&cloud.recorder.url()).unwrap();
    dynamodb.rule(&json!([{"service": "dynamodb", "error":
        {"code": "ExpiredTokenException", "status": 400}}]));
    let plain = cloud.variables.clone();
    cloud.variables = plain.clone().with("DYNAMODB", &dynamodb.url());
    let ran = cloud.run(&run(&[])).await.ends_with(2);
    assert!(ran.stderr.contains("ExpiredTokenException"), "{}", ran.stderr);
    assert!(ran.stderr.contains("recctl doctor"), "{}", ran.stderr);
    assert_eq!(cloud.mutating(), Default::default(), "nothing was begun");

    cloud.variables = plain;
    cloud.redshift.refuse(Some("BatchExecuteStatement"), "ExpiredTokenException", 1);
    let only = run(&["--select", "products"]);
    let ran = cloud.run(&only).await.ends_with(2);
    assert!(ran.stderr.contains("ExpiredTokenException"), "{}", ran.stderr);
    cloud.run(&only).await.ends_with(0);
}
