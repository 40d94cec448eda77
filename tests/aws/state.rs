use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use recctl::adapters::aws::{AwsSession, DynamoDbStateStore};
use recctl::pipeline::interval::{LogicalDate, Partition};
use recctl::ports::{Lease, StateStore};
use recctl::run::failure::FailureKind;
use recctl::run::record::LedgerRow;
use serde_json::json;
use stand_ins::faults::Microburst;
use stand_ins::stack::{Stack, or_skip};

use super::session::{open, target};
use crate::contract::state::{ledger_row, run, state_store_contract};
use crate::contract::{at, kind, name};

const MINUTE: Duration = Duration::from_secs(60);

/// A session of an account of its own, which has no tables.
fn session(stack: &Stack) -> AwsSession {
    open(&target(&stack.ministack()))
}

async fn store(session: &AwsSession) -> DynamoDbStateStore {
    DynamoDbStateStore::create(session).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dynamodb_state_store() {
    let Some(stack) = or_skip() else { return };
    let account = open(&target(&stack.ministack()));
    state_store_contract(async |name| {
        let mut target = account.target().clone();
        target.state.table = format!("state-{name}");
        let session = AwsSession::new(&target, account.config().clone()).unwrap();
        let store: Arc<dyn StateStore> = Arc::new(store(&session).await);
        store
    })
    .await;
}

#[tokio::test]
async fn the_table_is_made_once_as_it_should_be() {
    let Some(stack) = or_skip() else { return };
    let session = session(stack);
    let missing = DynamoDbStateStore::open(&session).await.unwrap_err();
    assert_eq!(missing.kind, FailureKind::NotFound, "{missing}");
    // Whoever comes second finds it.
    let (first, second) =
        tokio::join!(DynamoDbStateStore::create(&session), DynamoDbStateStore::create(&session));
    first.unwrap().put_run(&run("r1", 1)).await.unwrap();
    let known = second.unwrap().runs(1).await.unwrap();
    assert_eq!(DynamoDbStateStore::open(&session).await.unwrap().runs(1).await, Ok(known));

    let client = session.dynamodb();
    let table = client.describe_table().table_name("recctl-state").send().await.unwrap();
    let table = table.table.unwrap();
    let billing = table.billing_mode_summary().and_then(|billing| billing.billing_mode());
    assert_eq!(billing, Some(&BillingMode::PayPerRequest));
    assert_eq!(table.deletion_protection_enabled(), Some(true));
    let arn = table.table_arn().unwrap();
    let tags = client.list_tags_of_resource().resource_arn(arn).send().await.unwrap();
    let tags: Vec<_> = tags.tags().iter().map(|tag| (tag.key(), tag.value())).collect();
    assert_eq!(tags, [("team", "rec")]);
    let backups = client.describe_continuous_backups().table_name("recctl-state").send();
    let backups = backups.await.unwrap().continuous_backups_description.unwrap();
    let recovery = backups.point_in_time_recovery_description().unwrap();
    assert_eq!(recovery.point_in_time_recovery_status().unwrap().as_str(), "ENABLED");
}

#[tokio::test]
async fn a_table_of_something_else_is_refused() {
    let Some(stack) = or_skip() else { return };
    let session = session(stack);
    let id = AttributeDefinition::builder().attribute_name("id");
    let key = KeySchemaElement::builder().attribute_name("id").key_type(KeyType::Hash);
    session
        .dynamodb()
        .create_table()
        .table_name("recctl-state")
        .attribute_definitions(id.attribute_type(ScalarAttributeType::S).build().unwrap())
        .key_schema(key.build().unwrap())
        .billing_mode(BillingMode::PayPerRequest)
        .send()
        .await
        .unwrap();
    for refused in
        [DynamoDbStateStore::open(&session).await, DynamoDbStateStore::create(&session).await]
    {
        assert_eq!(refused.unwrap_err().kind, FailureKind::Usage);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_who_want_a_lease_one_gets_it() {
    let Some(stack) = or_skip() else { return };
    let session = session(stack);
    let store = Arc::new(store(&session).await);
    let mut fence = 0;
    for round in 0..20_i64 {
        // Free at first, then because time is up or because it was given back.
        let tasks: Vec<_> = (0..16)
            .map(|task| {
                let store = Arc::clone(&store);
                let holder = format!("host/{task}/{round}");
                tokio::spawn(async move {
                    store.acquire("daily", &holder, MINUTE, at(round * 60)).await
                })
            })
            .collect();
        let mut won: Vec<Lease> = Vec::new();
        for task in tasks {
            match task.await.unwrap() {
                Ok(lease) => won.push(lease),
                Err(failure) => assert_eq!(failure.kind, FailureKind::Held, "{failure}"),
            }
        }
        assert_eq!(won.len(), 1, "round {round}: {won:?}");
        assert!(round == 0 || won[0].fence == fence + 1, "round {round}: {won:?}");
        fence = won[0].fence;
        if round % 2 == 0 {
            store.release(&won[0]).await.unwrap();
        }
    }
}

/// Rows of a year and more, as large as those of a selecting step.
fn rows(count: u32) -> Vec<LedgerRow> {
    let first: LogicalDate = "2022-01-01".parse().unwrap();
    let text: String = ('a'..='z').cycle().take(3_000).collect();
    (0..count)
        .map(|number| LedgerRow {
            partition: Partition::Day(first.plus(number)),
            output: json!({"number": number, "reason": text}),
            ..ledger_row("clean_events", "2022-01-01", "r1")
        })
        .collect()
}

#[tokio::test]
async fn a_ledger_of_many_pages_is_read_whole_and_in_order() {
    let Some(stack) = or_skip() else { return };
    let session = session(stack);
    let store = store(&session).await;
    let lease = store.acquire("daily", "one/1/a", MINUTE, at(0)).await.unwrap();
    let rows = rows(1_500);
    for some in rows.chunks(99) {
        store.put_ledger(some, &lease).await.unwrap();
    }
    // 5 MB of records, of which a page holds one.
    assert!(store.ledger(&name("daily")).await.unwrap() == rows);
}

#[tokio::test]
async fn rows_that_do_not_go_into_one_transaction_are_refused_whole() {
    let Some(stack) = or_skip() else { return };
    let session = session(stack);
    let store = store(&session).await;
    let lease = store.acquire("daily", "one/1/a", MINUTE, at(0)).await.unwrap();
    let refused = store.put_ledger(&rows(100), &lease).await.unwrap_err();
    assert_eq!(refused.kind, FailureKind::Exhausted, "{refused}");
    assert_eq!(store.ledger(&name("daily")).await, Ok(vec![]));
}

#[tokio::test]
async fn a_record_larger_than_an_item_is_packed() {
    let Some(stack) = or_skip() else { return };
    let session = session(stack);
    let store = store(&session).await;
    let lease = store.acquire("daily", "one/1/a", MINUTE, at(0)).await.unwrap();
    let text: String = ('a'..='z').cycle().take(1_000_000).collect();
    let row = LedgerRow { output: json!(text), ..ledger_row("a", "2026-03-01", "r1") };
    store.put_ledger(std::slice::from_ref(&row), &lease).await.unwrap();
    assert!(store.ledger(&name("daily")).await.unwrap() == [row]);
}

#[tokio::test]
async fn a_run_that_starts_anew_is_listed_once() {
    let Some(stack) = or_skip() else { return };
    let session = session(stack);
    let store = store(&session).await;
    for (id, started) in [("r1", 10), ("r2", 20), ("r1", 30)] {
        store.put_run(&run(id, started)).await.unwrap();
    }
    let listed = store.runs(10).await.unwrap();
    assert_eq!(listed, [run("r1", 30), run("r2", 20)]);
    // More of them than a page's limit, asked for one at a time.
    assert_eq!(store.runs(1).await, Ok(vec![run("r1", 30)]));
}

#[tokio::test]
async fn writes_that_collide_are_sent_again_and_lost_answers_do_no_harm() {
    let Some(stack) = or_skip() else { return };
    let faults = Microburst::start(&stack.ministack()).unwrap();
    let session = open(&target(&faults.url()));
    let store = store(&session).await;
    let of = |operation: &str, code: &str, fields: serde_json::Value| {
        json!({"service": "dynamodb", "operation": operation, "times": 2,
            "error": {"code": code, "status": 400, "fields": fields}})
    };
    let collision =
        json!({"CancellationReasons": [{"Code": "TransactionConflict"}, {"Code": "None"}]});
    faults.rule(&json!([
        of("UpdateItem", "TransactionConflictException", json!({})),
        of("TransactWriteItems", "TransactionCanceledException", collision),
    ]));
    let lease = store.acquire("daily", "one/1/a", MINUTE, at(0)).await.unwrap();
    store.put_ledger(&[ledger_row("a", "2026-03-01", "r1")], &lease).await.unwrap();
    assert_eq!(faults.fired().len(), 4);

    // The lease is taken and the answer cut off: the SDK asks again, and is told that it has it.
    faults.clear();
    faults.rule(&json!({"service": "dynamodb", "operation": "UpdateItem", "times": 1,
        "response": {"abort_frac": 0.5}}));
    let weekly = store.acquire("weekly", "one/1/a", MINUTE, at(0)).await.unwrap();
    let first = u64::try_from(at(0).timestamp()).unwrap() + 1;
    assert_eq!((weekly.fence, faults.fired().len()), (first, 1));
    assert_eq!(kind(store.acquire("weekly", "two/2/b", MINUTE, at(59)).await), FailureKind::Held);
}

#[tokio::test]
async fn a_table_that_is_gone_is_named() {
    let Some(stack) = or_skip() else { return };
    let session = session(stack);
    let store = store(&session).await;
    let client = session.dynamodb();
    let update = client.update_table().table_name("recctl-state");
    update.deletion_protection_enabled(false).send().await.unwrap();
    client.delete_table().table_name("recctl-state").send().await.unwrap();
    let failure = store.ledger(&name("daily")).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::NotFound);
    assert!(failure.message.contains("`recctl-state`"), "{failure}");
}
