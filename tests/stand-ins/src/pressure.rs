//! A DynamoDB that takes only so much: the throttling that no stand-in does by itself.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use hyper::header::{CONTENT_LENGTH, HeaderName};
use serde_json::{Map, Value, json};

pub use crate::capacity::Limit;
use crate::capacity::{TokenBucket, item_size, write_units};
use crate::http::{Handler, Request, Response, Server};
use crate::upstream::Upstream;

/// The most requests that one BatchWriteItem may hold.
const BATCH: usize = 25;
const THROTTLED: &str = "ProvisionedThroughputExceededException";
const THROTTLED_MESSAGE: &str =
    "The level of configured provisioned throughput for the table was exceeded";

/// What one request asked of one table, and got.
#[derive(Debug, Clone, PartialEq)]
pub struct Write {
    /// When it came.
    pub at: Instant,
    /// The table.
    pub table: String,
    /// The operation.
    pub operation: String,
    /// How many items it would write or delete.
    pub asked: usize,
    /// How many of them went on to the upstream.
    pub accepted: usize,
    /// Write units of those.
    pub units: f64,
}

/// The proxy. It stops when this is dropped.
///
/// Each table has a bucket of write units. BatchWriteItem gets what fits written and the rest back as
/// `UnprocessedItems`; if nothing fits it fails, as do PutItem, UpdateItem and DeleteItem that do not fit,
/// with ProvisionedThroughputExceededException; TransactWriteItems is cancelled as a whole. Reads pass.
///
/// A delete counts one unit; an update counts its key and values, as the item is not known here.
#[derive(Debug)]
pub struct Pressure {
    server: Server,
    tables: Arc<Tables>,
}

impl Pressure {
    /// Starts one in front of a stand-in; the limit holds for every table by itself.
    pub fn start(upstream: &str, limit: Limit) -> std::io::Result<Self> {
        Self::serve(upstream, limit, false)
    }

    /// The same, but what BatchWriteItem writes is dropped: for measuring how fast a client can be.
    /// All other operations reach the upstream.
    pub fn sink(upstream: &str, limit: Limit) -> std::io::Result<Self> {
        Self::serve(upstream, limit, true)
    }

    fn serve(upstream: &str, limit: Limit, drops: bool) -> std::io::Result<Self> {
        let tables = Arc::new(Tables::new(limit));
        let proxy =
            Proxy { upstream: Upstream::new(upstream)?, tables: Arc::clone(&tables), drops };
        Ok(Self { server: Server::start(Arc::new(proxy))?, tables })
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Gives a table another limit from now on, and a full bucket.
    pub fn limit(&self, table: &str, limit: Limit) {
        let bucket = TokenBucket::new(limit, Instant::now());
        self.tables.state().buckets.insert(table.to_owned(), bucket);
    }

    /// Every write that was asked for, in the order in which they came; a batch over several tables is
    /// there once for each.
    pub fn log(&self) -> Vec<Write> {
        self.tables.state().log.clone()
    }

    /// How many items a table has got.
    pub fn accepted(&self, table: &str) -> usize {
        let state = self.tables.state();
        state.log.iter().filter(|write| write.table == table).map(|write| write.accepted).sum()
    }

    /// Forgets the log.
    pub fn clear(&self) {
        self.tables.state().log.clear();
    }
}

#[derive(Debug)]
struct Tables {
    default: Limit,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    buckets: BTreeMap<String, TokenBucket>,
    log: Vec<Write>,
}

impl State {
    fn take(&mut self, table: &str, units: f64, default: Limit, now: Instant) -> bool {
        let bucket = self.buckets.entry(table.to_owned());
        bucket.or_insert_with(|| TokenBucket::new(default, now)).take(units, now)
    }
}

impl Tables {
    fn new(default: Limit) -> Self {
        Self { default, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one write fits.
    fn admit(&self, table: &str, operation: &str, units: f64) -> bool {
        let now = Instant::now();
        let mut state = self.state();
        let fits = state.take(table, units, self.default, now);
        state.log.push(Write {
            at: now,
            table: table.to_owned(),
            operation: operation.to_owned(),
            asked: 1,
            accepted: usize::from(fits),
            units: if fits { units } else { 0.0 },
        });
        fits
    }

    /// Splits the requests of a batch into those that fit and the others.
    fn split(&self, items: Map<String, Value>) -> Split {
        let now = Instant::now();
        let mut split = Split::default();
        let mut state = self.state();
        for (table, requests) in items {
            let Value::Array(requests) = requests else { continue };
            let asked = requests.len();
            let (mut yes, mut no, mut units) = (Vec::new(), Vec::new(), 0.0);
            for request in requests {
                let cost = write_units(item_size(&request["PutRequest"]["Item"]));
                if state.take(&table, cost, self.default, now) {
                    units += cost;
                    yes.push(request);
                } else {
                    no.push(request);
                }
            }
            state.log.push(Write {
                at: now,
                table: table.clone(),
                operation: "BatchWriteItem".to_owned(),
                asked,
                accepted: yes.len(),
                units,
            });
            for (part, requests) in [(&mut split.fitting, yes), (&mut split.left, no)] {
                if !requests.is_empty() {
                    part.insert(table.clone(), Value::Array(requests));
                }
            }
            if units > 0.0 {
                split.consumed.push((table, units));
            }
        }
        split
    }
}

/// The two parts of a batch, by table and without empty ones.
#[derive(Debug, Default)]
struct Split {
    fitting: Map<String, Value>,
    left: Map<String, Value>,
    /// The units of those that fit, by table.
    consumed: Vec<(String, f64)>,
}

#[derive(Debug)]
struct Proxy {
    upstream: Upstream,
    tables: Arc<Tables>,
    drops: bool,
}

impl Handler for Proxy {
    fn handle(
        self: Arc<Self>,
        request: Request,
    ) -> Pin<Box<dyn Future<Output = Response> + Send + 'static>> {
        Box::pin(async move {
            match request.operation().unwrap_or_default().to_owned().as_str() {
                "BatchWriteItem" => self.batch(request).await,
                operation @ ("PutItem" | "UpdateItem" | "DeleteItem") => {
                    self.single(request, operation).await
                }
                "TransactWriteItems" => self.transaction(request).await,
                _ => self.pass(request).await,
            }
        })
    }
}

impl Proxy {
    async fn pass(&self, request: Request) -> Response {
        self.upstream
            .exchange(request)
            .await
            .unwrap_or_else(|error| Response::error(502, "InternalServerError", &error.to_string()))
    }

    async fn batch(&self, mut request: Request) -> Response {
        let mut body = request.json();
        let Some(Value::Object(items)) = body.get_mut("RequestItems").map(Value::take) else {
            return self.pass(request).await;
        };
        let count: usize = items.values().filter_map(Value::as_array).map(Vec::len).sum();
        // Not ours to judge, and must not be made good by taking a part of it.
        if count == 0 || count > BATCH {
            return if self.drops {
                Response::error(400, "ValidationException", "1 to 25 requests make a batch")
            } else {
                self.pass(request).await
            };
        }
        let Split { fitting, left, consumed } = self.tables.split(items);
        if fitting.is_empty() {
            return Response::error(400, THROTTLED, THROTTLED_MESSAGE);
        }
        let capacity = wanted(&body).map(|detail| {
            consumed.iter().map(|(table, units)| capacity(table, *units, detail)).collect()
        });
        let mut answer = if self.drops {
            Response::json(&json!({}))
        } else {
            body["RequestItems"] = Value::Object(fitting);
            request.body = Bytes::from(body.to_string());
            self.pass(request).await
        };
        if answer.status.is_success() {
            amend(&mut answer, |answer| {
                let unprocessed = answer.entry("UnprocessedItems").or_insert_with(|| json!({}));
                for (table, requests) in left {
                    let (Value::Object(tables), Value::Array(requests)) =
                        (&mut *unprocessed, requests)
                    else {
                        continue;
                    };
                    let known = tables.entry(table).or_insert_with(|| json!([]));
                    if let Value::Array(known) = known {
                        known.extend(requests);
                    }
                }
                if let Some(capacity) = capacity {
                    answer.insert("ConsumedCapacity".to_owned(), capacity);
                }
            });
        }
        answer
    }

    async fn single(&self, request: Request, operation: &str) -> Response {
        let body = request.json();
        let Some(table) = body["TableName"].as_str() else { return self.pass(request).await };
        let units = write_units(written(&body));
        if !self.tables.admit(table, operation, units) {
            return Response::error(400, THROTTLED, THROTTLED_MESSAGE);
        }
        let mut answer = self.pass(request).await;
        if let Some(detail) = wanted(&body)
            && answer.status.is_success()
        {
            amend(&mut answer, |answer| {
                answer.insert("ConsumedCapacity".to_owned(), capacity(table, units, detail));
            });
        }
        answer
    }

    /// A transaction costs twice, and goes as a whole or not at all.
    async fn transaction(&self, request: Request) -> Response {
        let body = request.json();
        let mut units: BTreeMap<&str, f64> = BTreeMap::new();
        for action in body["TransactItems"].as_array().into_iter().flatten() {
            let Some(action) = action.as_object().and_then(|action| action.values().next()) else {
                continue;
            };
            let table = action["TableName"].as_str().unwrap_or_default();
            *units.entry(table).or_default() += 2.0 * write_units(written(action));
        }
        for (table, units) in &units {
            if !self.tables.admit(table, "TransactWriteItems", *units) {
                let reasons: Vec<Value> = body["TransactItems"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|_| json!({ "Code": "ThrottlingError", "Message": THROTTLED_MESSAGE }))
                    .collect();
                let mut answer =
                    Response::error(400, "TransactionCanceledException", THROTTLED_MESSAGE);
                amend(&mut answer, |answer| {
                    answer.insert("CancellationReasons".to_owned(), reasons.into());
                });
                return answer;
            }
        }
        let mut answer = self.pass(request).await;
        if let Some(detail) = wanted(&body)
            && answer.status.is_success()
        {
            amend(&mut answer, |answer| {
                let all = units.iter().map(|(table, units)| capacity(table, *units, detail));
                answer.insert("ConsumedCapacity".to_owned(), all.collect());
            });
        }
        answer
    }
}

/// The bytes that a request for one item writes, as far as it says so.
fn written(body: &Value) -> usize {
    let key = item_size(&body["Key"]);
    let values = body["ExpressionAttributeValues"].as_object().into_iter().flatten();
    let values: usize = values.map(|(_, value)| item_size(&json!({ "": value }))).sum();
    item_size(&body["Item"]) + key + values
}

/// Whether the client wants to know what was consumed, and if so whether by table and index.
fn wanted(body: &Value) -> Option<bool> {
    match body["ReturnConsumedCapacity"].as_str()? {
        "INDEXES" => Some(true),
        "TOTAL" => Some(false),
        _ => None,
    }
}

fn capacity(table: &str, units: f64, detail: bool) -> Value {
    let mut capacity =
        json!({ "TableName": table, "CapacityUnits": units, "WriteCapacityUnits": units });
    if detail {
        capacity["Table"] = json!({ "CapacityUnits": units, "WriteCapacityUnits": units });
    }
    capacity
}

/// Changes the body of an answer, and takes away what was true of the old one.
fn amend(answer: &mut Response, change: impl FnOnce(&mut Map<String, Value>)) {
    let mut body: Map<String, Value> = serde_json::from_slice(&answer.body).unwrap_or_default();
    change(&mut body);
    answer.body = Bytes::from(Value::Object(body).to_string());
    answer.headers.remove(CONTENT_LENGTH);
    answer.headers.remove(HeaderName::from_static("x-amz-crc32"));
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use hyper::header::HeaderMap;
    use hyper::{Method, Uri};

    use super::*;
    use crate::stack;

    /// A client of one account.
    struct Client {
        upstream: Upstream,
        account: String,
    }

    impl Client {
        fn new(url: &str, account: &str) -> Self {
            Self { upstream: Upstream::new(url).unwrap(), account: account.to_owned() }
        }

        async fn call(&self, operation: &str, body: &Value) -> (u16, Value) {
            let mut headers = HeaderMap::new();
            let target = format!("DynamoDB_20120810.{operation}");
            let scope = stack::signature(&self.account, "dynamodb");
            let json = "application/x-amz-json-1.0".to_owned();
            for (name, value) in
                [("x-amz-target", target), ("authorization", scope), ("content-type", json)]
            {
                headers.insert(name, value.parse().unwrap());
            }
            let request = Request {
                method: Method::POST,
                uri: Uri::from_static("/"),
                headers,
                body: Bytes::from(body.to_string()),
            };
            let answer = self.upstream.exchange(request).await.unwrap();
            (answer.status.as_u16(), serde_json::from_slice(&answer.body).unwrap())
        }

        async fn table(&self, name: &str) {
            let (status, answer) = self
                .call(
                    "CreateTable",
                    &json!({
                        "TableName": name,
                        "BillingMode": "PAY_PER_REQUEST",
                        "AttributeDefinitions": [{"AttributeName": "k", "AttributeType": "S"}],
                        "KeySchema": [{"AttributeName": "k", "KeyType": "HASH"}],
                    }),
                )
                .await;
            assert_eq!(status, 200, "{answer}");
        }

        async fn count(&self, table: &str) -> Value {
            let scan = json!({ "TableName": table, "Select": "COUNT" });
            self.call("Scan", &scan).await.1["Count"].clone()
        }
    }

    fn puts(range: std::ops::Range<usize>, bytes: usize) -> Vec<Value> {
        let item = |number: usize| {
            json!({"PutRequest": {"Item": {
                "k": {"S": format!("{number:05}")},
                "v": {"S": "x".repeat(bytes)},
            }}})
        };
        range.map(item).collect()
    }

    fn batch(table: &str, requests: &[Value]) -> Value {
        json!({"RequestItems": {table: requests}, "ReturnConsumedCapacity": "TOTAL"})
    }

    /// So slow that no unit comes back during a test.
    fn once(burst: f64) -> Limit {
        Limit { units_per_second: 1e-9, burst }
    }

    #[tokio::test]
    async fn a_batch_is_taken_in_part_and_the_rest_comes_back() {
        let Some(stack) = stack::or_skip() else { return };
        let pressure = Pressure::start(&stack.ministack(), once(30.0)).unwrap();
        let client = Client::new(&pressure.url(), &stack::account());
        client.table("items").await;

        // Two units each: 15 fit.
        let (status, answer) =
            client.call("BatchWriteItem", &batch("items", &puts(0..25, 1500))).await;
        assert_eq!(status, 200, "{answer}");
        let left = answer["UnprocessedItems"]["items"].as_array().unwrap();
        assert_eq!(left.as_slice(), &puts(15..25, 1500));
        assert_eq!(answer["ConsumedCapacity"][0]["TableName"], "items");
        assert_eq!(answer["ConsumedCapacity"][0]["CapacityUnits"], 30.0);
        assert_eq!(client.count("items").await, 15);

        let (status, answer) = client.call("BatchWriteItem", &batch("items", left)).await;
        assert_eq!(status, 400);
        assert_eq!(answer["__type"], THROTTLED);
        let put = json!({"TableName": "items", "Item": {"k": {"S": "a"}}});
        assert_eq!(client.call("PutItem", &put).await.1["__type"], THROTTLED);

        pressure.limit("items", once(100.0));
        let (status, answer) = client.call("BatchWriteItem", &batch("items", left)).await;
        assert_eq!((status, &answer["UnprocessedItems"]), (200, &json!({})));
        let put = json!({
            "TableName": "items", "Item": {"k": {"S": "a"}}, "ReturnConsumedCapacity": "INDEXES",
        });
        let (_, answer) = client.call("PutItem", &put).await;
        assert_eq!(answer["ConsumedCapacity"]["Table"]["CapacityUnits"], 1.0);
        assert_eq!(client.count("items").await, 26);

        let told: Vec<_> =
            pressure.log().iter().map(|write| (write.asked, write.accepted, write.units)).collect();
        assert_eq!(told, [(25, 15, 30.0), (10, 0, 0.0), (1, 0, 0.0), (10, 10, 20.0), (1, 1, 1.0)]);
        assert_eq!(pressure.accepted("items"), 26);
    }

    #[tokio::test]
    async fn a_batch_that_is_wrong_stays_wrong() {
        let Some(stack) = stack::or_skip() else { return };
        let pressure = Pressure::start(&stack.ministack(), once(10.0)).unwrap();
        let client = Client::new(&pressure.url(), &stack::account());
        client.table("items").await;
        let (status, answer) =
            client.call("BatchWriteItem", &batch("items", &puts(0..26, 1))).await;
        assert_eq!(status, 400);
        assert!(answer["__type"].as_str().unwrap().ends_with("ValidationException"), "{answer}");
        assert!(pressure.log().is_empty());
    }

    #[tokio::test]
    async fn a_transaction_is_cancelled_as_a_whole() {
        let Some(stack) = stack::or_skip() else { return };
        let pressure = Pressure::start(&stack.ministack(), once(4.0)).unwrap();
        let client = Client::new(&pressure.url(), &stack::account());
        client.table("items").await;
        let put = |key: &str| json!({"Put": {"TableName": "items", "Item": {"k": {"S": key}}}});
        let both = json!({"TransactItems": [put("a"), put("b")]});
        assert_eq!(client.call("TransactWriteItems", &both).await.0, 200);
        let (status, answer) = client.call("TransactWriteItems", &both).await;
        assert_eq!(status, 400);
        assert_eq!(answer["__type"], "TransactionCanceledException");
        assert_eq!(answer["CancellationReasons"][1]["Code"], "ThrottlingError");
    }

    #[tokio::test]
    async fn the_sink_takes_all_and_keeps_nothing() {
        let Some(stack) = stack::or_skip() else { return };
        let sink = Pressure::sink(&stack.ministack(), Limit::NONE).unwrap();
        let client = Client::new(&sink.url(), &stack::account());
        client.table("items").await;
        let begin = Instant::now();
        let batches = futures::stream::iter(0..40).map(|start| {
            let body = batch("items", &puts(start * 25..(start + 1) * 25, 500));
            let client = &client;
            async move {
                let (status, answer) = client.call("BatchWriteItem", &body).await;
                assert_eq!((status, &answer["UnprocessedItems"]), (200, &json!({})));
            }
        });
        batches.buffer_unordered(8).collect::<Vec<()>>().await;
        println!("1,000 items in {:?}", begin.elapsed());
        assert_eq!(sink.accepted("items"), 1000);
        assert_eq!(client.count("items").await, 0);
    }
}
