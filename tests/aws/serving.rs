use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, KeySchemaElement, KeyType, ProvisionedThroughput,
    ScalarAttributeType,
};
use chrono::TimeDelta;
use recctl::adapters::aws::{AwsSession, DynamoDbServingStore};
use recctl::adapters::local::FixedClock;
use recctl::pipeline::target::{Removal, ServingOptions};
use recctl::ports::{RecommendedItem, ServingItem, ServingStore};
use recctl::run::failure::FailureKind;
use serde_json::json;
use stand_ins::faults::Microburst;
use stand_ins::pressure::{Limit, Pressure};
use stand_ins::stack::or_skip;

use super::session::{open, target};
use crate::contract::serving::serving_store_contract;
use crate::contract::{at, kind, lease};

const TABLE: &str = "recommendations";
const PREFIX: &str = "acme-";
/// The name of the DynamoDB table.
const NAME: &str = "acme-recommendations";

fn options(removal: Removal) -> ServingOptions {
    ServingOptions { table_prefix: PREFIX.to_owned(), max_write_units: None, removal }
}

/// A session of an account of its own that deletes old generations.
fn session(url: &str) -> AwsSession {
    session_with(url, options(Removal::Delete))
}

fn session_with(url: &str, options: ServingOptions) -> AwsSession {
    let mut target = target(url);
    target.serving = Some(options);
    open(&target)
}

/// The same account by another way.
fn through(session: &AwsSession, url: &str) -> AwsSession {
    let mut target = session.target().clone();
    target.endpoints.insert("dynamodb".to_owned(), url.to_owned());
    AwsSession::new(&target, session.config().clone()).unwrap()
}

/// A handle, as another process would have it.
fn handle(session: &AwsSession) -> DynamoDbServingStore {
    DynamoDbServingStore::new(session, Arc::new(FixedClock::new(at(0)))).unwrap()
}

fn list(number: usize) -> ServingItem {
    let items = (0..5).map(|rank| RecommendedItem {
        item: format!("i{:05}", (number * 31 + rank * 7) % 10_000),
        score: 1.0 / (rank as f64 + 3.0),
    });
    ServingItem { key: format!("user#{number}"), items: items.collect() }
}

fn lists(count: usize) -> Vec<ServingItem> {
    (0..count).map(list).collect()
}

/// All lists of a version, as they lie in the table.
async fn stored(session: &AwsSession, version: &str) -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::new();
    let mut next = None;
    loop {
        let page = session.dynamodb().scan().table_name(NAME).set_exclusive_start_key(next);
        let page = page.send().await.unwrap();
        for item in page.items() {
            let text = |name: &str| item[name].as_s().unwrap().clone();
            if text("pk") != "#recctl" && text("sk") == version {
                let items = item["items"].as_l().unwrap().iter();
                let items = items.map(|one| one.as_s().unwrap().clone()).collect();
                assert!(found.insert(text("pk"), items).is_none());
            }
        }
        next = page.last_evaluated_key;
        if next.is_none() {
            return found;
        }
    }
}

fn expected(lists: &[ServingItem]) -> BTreeMap<String, Vec<String>> {
    let items = |list: &ServingItem| list.items.iter().map(|one| one.item.clone()).collect();
    lists.iter().map(|list| (list.key.clone(), items(list))).collect()
}

async fn load(store: &dyn ServingStore, generation: &str, lists: &[ServingItem]) {
    store.begin(TABLE, generation, "als", at(0)).await.unwrap();
    store.put(TABLE, generation, lists).await.unwrap();
    store.seal_and_flip(TABLE, generation, lists.len() as u64, &lease()).await.unwrap();
}

async fn names(store: &dyn ServingStore) -> Vec<String> {
    let all = store.generations(TABLE).await.unwrap();
    all.into_iter().map(|one| one.generation).collect()
}

/// An item under recctl's own key.
async fn entry(session: &AwsSession, sk: &str) -> HashMap<String, AttributeValue> {
    let request = session.dynamodb().get_item().table_name(NAME);
    let request = request.key("pk", AttributeValue::S("#recctl".to_owned()));
    let answer = request.key("sk", AttributeValue::S(sk.to_owned())).send().await.unwrap();
    answer.item.unwrap_or_default()
}

async fn make_table(
    session: &AwsSession,
    keys: &[(&str, KeyType, ScalarAttributeType)],
    units: i64,
) {
    let mut request = session.dynamodb().create_table().table_name(NAME);
    for (name, role, kind) in keys {
        let definition = AttributeDefinition::builder().attribute_name(*name);
        let definition = definition.attribute_type(kind.clone()).build().unwrap();
        let key = KeySchemaElement::builder().attribute_name(*name).key_type(role.clone());
        request = request.attribute_definitions(definition).key_schema(key.build().unwrap());
    }
    let paid =
        ProvisionedThroughput::builder().write_capacity_units(units).read_capacity_units(units);
    request.provisioned_throughput(paid.build().unwrap()).send().await.unwrap();
}

async fn contract(removal: Removal) {
    let Some(stack) = or_skip() else { return };
    let base = session(&stack.ministack());
    serving_store_contract(async |name| {
        let mut target = base.target().clone();
        let options = ServingOptions { table_prefix: format!("{name}-"), ..options(removal) };
        target.serving = Some(options);
        let session = AwsSession::new(&target, base.config().clone()).unwrap();
        let store: Arc<dyn ServingStore> = Arc::new(handle(&session));
        store
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contract_where_old_generations_are_deleted() {
    contract(Removal::Delete).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contract_where_old_generations_expire() {
    contract(Removal::Expire).await;
}

#[tokio::test]
async fn tables_are_made_as_the_target_says() {
    let Some(stack) = or_skip() else { return };
    let session = session(&stack.ministack());
    let store = handle(&session);
    store.begin(TABLE, "1", "als", at(0)).await.unwrap();
    let found = session.dynamodb().describe_table().table_name(NAME).send().await.unwrap();
    let found = found.table.unwrap();
    let mode = found.billing_mode_summary().unwrap().billing_mode().unwrap();
    assert_eq!(mode.as_str(), "PAY_PER_REQUEST");
    let tags = session.dynamodb().list_tags_of_resource();
    let tags = tags.resource_arn(found.table_arn().unwrap()).send().await.unwrap();
    let tags: Vec<_> = tags.tags().iter().map(|tag| (tag.key(), tag.value())).collect();
    assert_eq!(tags, [("team", "rec")]);
    // Another handle finds it.
    assert_eq!(handle(&session).begin(TABLE, "1", "als", at(0)).await, Ok(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_services_read_lists_with_two_reads() {
    let Some(stack) = or_skip() else { return };
    let session = session(&stack.ministack());
    load(&handle(&session), "2026", &lists(3)).await;
    let pointer = entry(&session, "pointer").await;
    assert_eq!(pointer["model"].as_s().unwrap(), "als");
    assert_eq!(pointer["created"].as_s().unwrap(), "2036-03-02T03:00:00.000000Z");
    assert_eq!(pointer["items"].as_n().unwrap(), "3");
    let request = session.dynamodb().get_item().table_name(NAME);
    let request = request.key("pk", AttributeValue::S("user#1".to_owned()));
    let found = request.key("sk", pointer["version"].clone()).send().await.unwrap();
    let found = found.item.unwrap();
    let items: Vec<_> =
        found["items"].as_l().unwrap().iter().map(|one| one.as_s().unwrap()).collect();
    assert_eq!(items, ["i00031", "i00038", "i00045", "i00052", "i00059"]);
    assert_eq!(found["scores"].as_l().unwrap()[2].as_n().unwrap(), "0.2");
    assert_eq!(found.len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_throttled_table_is_loaded_whole_in_full_batches() {
    let Some(stack) = or_skip() else { return };
    // A new on-demand table is thought to give ten times of this.
    let limit = Limit { units_per_second: 400.0, burst: 200.0 };
    let pressure = Pressure::start(&stack.ministack(), limit).unwrap();
    let direct = session(&stack.ministack());
    let store = handle(&through(&direct, &pressure.url()));
    let all = lists(2_010);
    store.begin(TABLE, "1", "als", at(0)).await.unwrap();
    pressure.clear();
    store.put(TABLE, "1", &all[..1_005]).await.unwrap();
    store.put(TABLE, "1", &all[1_005..]).await.unwrap();
    let log = pressure.log();
    store.seal_and_flip(TABLE, "1", 2_010, &lease()).await.unwrap();
    assert_eq!(stored(&direct, "1").await, expected(&all));

    let asked: usize = log.iter().map(|write| write.asked).sum();
    let accepted: usize = log.iter().map(|write| write.accepted).sum();
    assert!(asked > accepted, "nothing was refused");
    assert_eq!(accepted, 2_010, "something was written twice");
    // The ends of the two calls may be less, and may be refused a few times.
    let small = log.iter().filter(|write| write.asked < 25).count();
    assert!(small * 10 < log.len(), "{small} of {} batches are not full", log.len());
    let partly = log.iter().filter(|write| (1..write.asked).contains(&write.accepted)).count();
    assert!(partly > 0, "no batch came back in part");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_units_are_used_than_the_target_says() {
    let Some(stack) = or_skip() else { return };
    let pressure = Pressure::start(&stack.ministack(), Limit::NONE).unwrap();
    let options = ServingOptions { max_write_units: Some(200), ..options(Removal::Delete) };
    let store = handle(&session_with(&pressure.url(), options));
    store.begin(TABLE, "1", "als", at(0)).await.unwrap();
    pressure.clear();
    let begin = Instant::now();
    store.put(TABLE, "1", &lists(400)).await.unwrap();
    let mut used = 0.0;
    for write in pressure.log() {
        used += write.units;
        // What may be saved up is a tenth of a second's worth.
        let most = 20.0 + 200.0 * write.at.duration_since(begin).as_secs_f64();
        assert!(used <= most, "{used} of {most} units");
    }
    assert_eq!(used, 400.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_that_is_cut_off_goes_on_from_its_checkpoint() {
    let Some(stack) = or_skip() else { return };
    let limit = Limit { units_per_second: 1_000.0, burst: 100.0 };
    let pressure = Pressure::start(&stack.ministack(), limit).unwrap();
    let direct = session(&stack.ministack());
    let throttled = through(&direct, &pressure.url());
    let all = lists(1_000);
    let run = async |store: DynamoDbServingStore| {
        let durable = store.begin(TABLE, "1", "als", at(0)).await.unwrap();
        for (number, chunk) in all.chunks(200).enumerate() {
            let done = (number as u64 + 1) * 200;
            if done > durable {
                store.put(TABLE, "1", chunk).await.unwrap();
                store.checkpoint(TABLE, "1", done).await.unwrap();
            }
        }
        store.seal_and_flip(TABLE, "1", 1_000, &lease()).await.unwrap();
    };
    let half = async {
        while pressure.accepted(NAME) < 500 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = run(handle(&throttled)) => panic!("it was not cut off"),
        () = half => {}
    }
    let again = handle(&direct);
    assert_eq!(again.generations(TABLE).await.unwrap()[0].items, 0);
    assert_eq!(kind(again.get(TABLE, "user#1").await), FailureKind::NotFound);
    let durable = again.begin(TABLE, "1", "als", at(0)).await.unwrap();
    assert!(durable == 400 || durable == 200, "{durable}");
    run(again).await;
    assert_eq!(stored(&direct, "1").await, expected(&all));
    assert_eq!(handle(&direct).generations(TABLE).await.unwrap()[0].items, 1_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_are_lost_change_nothing() {
    let Some(stack) = or_skip() else { return };
    let burst = match Microburst::start(&stack.ministack()) {
        Ok(burst) => burst,
        Err(skip) => panic!("{}", skip.reason),
    };
    burst.rule(&json!([
        {"service": "dynamodb", "operation": "BatchWriteItem", "times": 3,
         "error": {"code": "InternalServerError", "status": 500}},
        {"service": "dynamodb", "operation": "TransactWriteItems", "times": 1,
         "error": {"code": "InternalServerError", "status": 500}},
    ]));
    let direct = session(&stack.ministack());
    let all = lists(300);
    load(&handle(&through(&direct, &burst.url())), "1", &all).await;
    assert_eq!(burst.fired().len(), 4);
    assert_eq!(stored(&direct, "1").await, expected(&all));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_loaders_of_one_generation_do_no_harm() {
    let Some(stack) = or_skip() else { return };
    let session = session(&stack.ministack());
    let all = lists(600);
    let put = async |store: &DynamoDbServingStore, lists: Vec<&[ServingItem]>| {
        store.begin(TABLE, "1", "als", at(0)).await.unwrap();
        for (number, chunk) in lists.into_iter().enumerate() {
            store.put(TABLE, "1", chunk).await.unwrap();
            store.checkpoint(TABLE, "1", (number as u64 + 1) * 100).await.unwrap();
        }
    };
    let (one, other) = (handle(&session), handle(&session));
    tokio::join!(put(&one, all.chunks(100).collect()), put(&other, all.rchunks(100).collect()),);
    // Of both, only the right number is taken.
    assert_eq!(kind(one.seal_and_flip(TABLE, "1", 599, &lease()).await), FailureKind::Quality);
    let ours = lease();
    let (first, second) = tokio::join!(
        one.seal_and_flip(TABLE, "1", 600, &ours),
        other.seal_and_flip(TABLE, "1", 600, &ours)
    );
    assert_eq!((first, second), (Ok(()), Ok(())));
    assert_eq!(kind(one.seal_and_flip(TABLE, "1", 601, &lease()).await), FailureKind::Quality);
    assert_eq!(stored(&session, "1").await, expected(&all));
    let generations = one.generations(TABLE).await.unwrap();
    assert_eq!((generations.len(), generations[0].items), (1, 600));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loader_that_was_paused_does_not_bring_yesterday_back() {
    let Some(stack) = or_skip() else { return };
    let session = session(&stack.ministack());
    let (paused, other) = (handle(&session), handle(&session));
    let all = lists(3);
    paused.begin(TABLE, "1", "als", at(0)).await.unwrap();
    paused.put(TABLE, "1", &all).await.unwrap();
    load(&other, "2", &all).await;
    assert_eq!(kind(paused.seal_and_flip(TABLE, "1", 3, &lease()).await), FailureKind::Conflict);
    assert_eq!(other.get(TABLE, "user#1").await.unwrap().unwrap().generation.generation, "2");
    // Who begins it anew wants it.
    paused.begin(TABLE, "1", "als", at(0)).await.unwrap();
    paused.seal_and_flip(TABLE, "1", 3, &lease()).await.unwrap();
    assert_eq!(other.get(TABLE, "user#1").await.unwrap().unwrap().generation.generation, "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loader_of_a_removed_generation_writes_nothing_more() {
    let Some(stack) = or_skip() else { return };
    for removal in [Removal::Delete, Removal::Expire] {
        let session = session_with(&stack.ministack(), options(removal));
        let (paused, other) = (handle(&session), handle(&session));
        paused.begin(TABLE, "0", "als", at(0)).await.unwrap();
        paused.put(TABLE, "0", &lists(2)).await.unwrap();
        load(&other, "1", &lists(3)).await;
        assert_eq!(other.prune(TABLE, 1).await, Ok(1));
        for outcome in [
            paused.put(TABLE, "0", &lists(3)).await,
            paused.checkpoint(TABLE, "0", 3).await,
            paused.seal_and_flip(TABLE, "0", 2, &lease()).await,
        ] {
            assert_eq!(kind(outcome), FailureKind::NotFound);
        }
        // Begun again by somebody else, it is another load.
        assert_eq!(other.begin(TABLE, "0", "als", at(0)).await, Ok(0));
        if removal == Removal::Expire {
            assert_eq!(kind(paused.put(TABLE, "0", &lists(3)).await), FailureKind::NotFound);
            assert_eq!(kind(paused.checkpoint(TABLE, "0", 3).await), FailureKind::NotFound);
        }
        other.put(TABLE, "0", &lists(1)).await.unwrap();
        other.seal_and_flip(TABLE, "0", 1, &lease()).await.unwrap();
        assert_eq!(other.get(TABLE, "user#1").await, Ok(None));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_bad_item_stops_the_call_before_anything_is_written() {
    let Some(stack) = or_skip() else { return };
    let pressure = Pressure::start(&stack.ministack(), Limit::NONE).unwrap();
    let store = handle(&session(&pressure.url()));
    store.begin(TABLE, "1", "als", at(0)).await.unwrap();
    pressure.clear();
    let mut bad = lists(4);
    bad[0].items[0].item = "x".repeat(400 * 1024);
    bad[1].items[0].score = 1e-200;
    bad[2].key = "#recctl".to_owned();
    bad[3].key = String::new();
    let kinds = [FailureKind::Usage, FailureKind::Quality, FailureKind::Usage, FailureKind::Usage];
    for (bad, expected) in bad.into_iter().zip(kinds) {
        let mut all = lists(200);
        all.push(bad);
        assert_eq!(kind(store.put(TABLE, "1", &all).await), expected);
    }
    assert_eq!(pressure.log(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_items_go_through() {
    let Some(stack) = or_skip() else { return };
    let session = session(&stack.ministack());
    let store = handle(&session);
    // 30 items of nearly 400 KB, which are 12 MB: more than a batch of 25 may be.
    let mut all = lists(30);
    for list in &mut all {
        list.items[0].item = "\"".repeat(399 * 1024);
    }
    load(&store, "1", &all).await;
    assert_eq!(store.get(TABLE, "user#29").await.unwrap().unwrap().item, all[29]);
}

#[tokio::test]
async fn a_table_of_others_is_left_alone() {
    let Some(stack) = or_skip() else { return };
    let session = session(&stack.ministack());
    let keys = [("id", KeyType::Hash, ScalarAttributeType::N)];
    make_table(&session, &keys, 5).await;
    let store = handle(&session);
    let failure = store.begin(TABLE, "1", "als", at(0)).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Usage);
    assert_eq!(
        failure.message,
        "table `acme-recommendations` is not one of recctl's: its keys are `id` (HASH) instead of \
         texts `pk` (HASH) and `sk` (RANGE)"
    );
    assert!(failure.hint.unwrap().contains("table_prefix"));
    assert_eq!(kind(store.get(TABLE, "user#1").await), FailureKind::Usage);
    assert_eq!(store.tables().await, Ok(vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_read_back_must_be_what_was_put() {
    let Some(stack) = or_skip() else { return };
    let session = session(&stack.ministack());
    let store = handle(&session);
    let all = lists(50);
    load(&store, "1", &all).await;
    store.begin(TABLE, "2", "als", at(0)).await.unwrap();
    store.put(TABLE, "2", &all).await.unwrap();
    let key = |user: &str| {
        let pk = AttributeValue::S(user.to_owned());
        HashMap::from([("pk".to_owned(), pk), ("sk".to_owned(), AttributeValue::S("2".to_owned()))])
    };
    let delete = session.dynamodb().delete_item().table_name(NAME);
    delete.set_key(Some(key("user#7"))).send().await.unwrap();
    let failure = store.seal_and_flip(TABLE, "2", 50, &lease()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Quality);
    assert_eq!(
        failure.message,
        "the item `user#7` in generation `2` of `recommendations` is missing"
    );
    // A process that put nothing itself counts.
    let other = handle(&session);
    other.begin(TABLE, "2", "als", at(0)).await.unwrap();
    let failure = other.seal_and_flip(TABLE, "2", 50, &lease()).await.unwrap_err();
    assert!(failure.message.ends_with("holds 49 items instead of 50"), "{failure}");
    store.put(TABLE, "2", &[list(7)]).await.unwrap();
    let mut changed = key("user#8");
    changed.insert("items".to_owned(), AttributeValue::L(vec![]));
    changed.insert("scores".to_owned(), AttributeValue::L(vec![]));
    let put = session.dynamodb().put_item().table_name(NAME);
    put.set_item(Some(changed)).send().await.unwrap();
    let failure = store.seal_and_flip(TABLE, "2", 50, &lease()).await.unwrap_err();
    assert!(failure.message.ends_with("is not what was put"), "{failure}");
    assert_eq!(store.get(TABLE, "user#7").await.unwrap().unwrap().generation.generation, "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_that_is_cut_off_is_finished_by_the_next() {
    let Some(stack) = or_skip() else { return };
    let limit = Limit { units_per_second: 300.0, burst: 100.0 };
    let pressure = Pressure::start(&stack.ministack(), limit).unwrap();
    let direct = session(&stack.ministack());
    let store = handle(&direct);
    let all = lists(400);
    for generation in ["1", "2"] {
        load(&store, generation, &all).await;
    }
    let throttled = handle(&through(&direct, &pressure.url()));
    let half = async {
        while pressure.accepted(NAME) < 150 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        outcome = throttled.prune(TABLE, 1) => panic!("it was not cut off: {outcome:?}"),
        () = half => {}
    }
    let left = stored(&direct, "1").await.len();
    assert!((1..400).contains(&left), "{left}");
    // It cannot be seen any more, nor be loaded on top of what is left.
    assert_eq!(names(&store).await, ["2"]);
    assert_eq!(kind(store.flip(TABLE, "1", &lease()).await), FailureKind::NotFound);
    assert_eq!(kind(store.begin(TABLE, "1", "als", at(0)).await), FailureKind::Conflict);
    assert_eq!(store.prune(TABLE, 1).await, Ok(0));
    assert_eq!(stored(&direct, "1").await, BTreeMap::new());
    assert_eq!(entry(&direct, "generation#1").await, HashMap::new());
    assert_eq!(stored(&direct, "2").await, expected(&all));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_generations_expire_nothing_is_deleted() {
    let Some(stack) = or_skip() else { return };
    let pressure = Pressure::start(&stack.ministack(), Limit::NONE).unwrap();
    let direct = session_with(&stack.ministack(), options(Removal::Expire));
    let clock = Arc::new(FixedClock::new(at(0)));
    let session = through(&direct, &pressure.url());
    let store = DynamoDbServingStore::new(&session, clock.clone()).unwrap();
    for generation in ["1", "2", "3"] {
        load(&store, generation, &lists(30)).await;
    }
    let ttl = direct.dynamodb().describe_time_to_live().table_name(NAME).send().await.unwrap();
    let ttl = ttl.time_to_live_description.unwrap();
    assert_eq!(ttl.attribute_name(), Some("expires"));
    pressure.clear();
    assert_eq!(store.prune(TABLE, 2).await, Ok(1));
    let log = pressure.log();
    assert!(log.iter().all(|write| write.operation == "TransactWriteItems"), "{log:?}");
    assert_eq!((log.len(), store.prune(TABLE, 2).await), (1, Ok(0)));
    assert_eq!(names(&store).await, ["3", "2"]);
    assert_eq!(stored(&direct, "1").await.len(), 30);

    // Items go after 30 days; what is said of them goes later, and the pointer never.
    let expiry = (at(0) + TimeDelta::days(30)).timestamp();
    let item = direct.dynamodb().get_item().table_name(NAME);
    let item = item.key("pk", AttributeValue::S("user#1".to_owned()));
    let item = item.key("sk", AttributeValue::S("3".to_owned())).send().await.unwrap();
    assert_eq!(item.item.unwrap()["expires"].as_n().unwrap(), &expiry.to_string());
    let pointer = entry(&direct, "pointer").await;
    assert_eq!(pointer["items_expire"].as_n().unwrap(), &expiry.to_string());
    assert!(!pointer.contains_key("expires"));
    assert!(!entry(&direct, "generation#3").await.contains_key("expires"));
    let removed: i64 =
        entry(&direct, "generation#1").await["expires"].as_n().unwrap().parse().unwrap();
    assert!(removed > expiry);
    clock.advance(Duration::from_secs(31 * 24 * 60 * 60));
    assert_eq!(kind(store.flip(TABLE, "2", &lease()).await), FailureKind::NotFound);
}

/// Prints how fast the client is, in the build that runs the tests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_is_not_the_bottleneck() {
    let Some(stack) = or_skip() else { return };
    let sink = Pressure::sink(&stack.ministack(), Limit::NONE).unwrap();
    let session = session(&sink.url());
    let keys = [
        ("pk", KeyType::Hash, ScalarAttributeType::S),
        ("sk", KeyType::Range, ScalarAttributeType::S),
    ];
    // Its units are where the rate begins.
    make_table(&session, &keys, 1_000_000).await;
    let store = handle(&session);
    store.begin(TABLE, "1", "als", at(0)).await.unwrap();
    for (count, length) in [(10_000, 5), (4_000, 50)] {
        let mut all = lists(count);
        for list in &mut all {
            list.items = list.items.iter().cycle().take(length).cloned().collect();
        }
        sink.clear();
        let begin = Instant::now();
        for chunk in all.chunks(2_000) {
            store.put(TABLE, "1", chunk).await.unwrap();
        }
        let rate = count as f64 / begin.elapsed().as_secs_f64();
        println!("{rate:.0} lists of {length} a second into a server that drops them");
        assert_eq!(sink.accepted(NAME), count);
        let log = sink.log();
        assert!(log.iter().all(|write| write.asked == 25), "not all batches are full");
        // An unoptimised client on a busy machine; a new table gives 4,000 units a second.
        assert!(rate > 100.0, "{rate}");
    }
}
