//! Writes many items: full batches, several at once, and what comes back goes out again.

use std::collections::{HashSet, VecDeque};
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::types::{
    AttributeValue, DeleteRequest, PutRequest, ReturnConsumedCapacity, WriteRequest,
};
use futures::StreamExt;
use futures::stream::FuturesUnordered;

use super::failure::{built, of_code};
use super::item::{Attributes, Encoded, PK, SK, write_units};
use super::limiter::Limiter;
use crate::adapters::aws::error::failure;
use crate::ports::limits::dynamodb::BATCH_ITEMS;
use crate::run::failure::{Failure, FailureKind, Outcome};

/// Bytes of a BatchWriteItem. A little is left for what is around the items.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html>
const BATCH_BYTES: usize = 16 * 1024 * 1024 - 64 * 1024;
/// What is around an item: `{"PutRequest":{"Item":{…}}},`.
pub(super) const REQUEST_BYTES: usize = 30;
/// Batches under way at once. An answer takes some 10 ms, so that these are about 40,000 items a
/// second: a table's default quota of write units.
const IN_FLIGHT: usize = 16;
/// How long a table may refuse everything before it is given up.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// A write that is to be done.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Write {
    request: WriteRequest,
    units: f64,
    wire: usize,
}

impl Write {
    /// Puts an item.
    pub fn put(item: Encoded) -> Outcome<Self> {
        let units = write_units(item.size);
        let wire = item.wire + REQUEST_BYTES;
        let put = built(PutRequest::builder().set_item(Some(item.attributes)).build())?;
        Ok(Self { request: WriteRequest::builder().put_request(put).build(), units, wire })
    }

    /// Deletes an item. What it weighs is not known; the answer says what it cost.
    pub fn delete(pk: String, sk: String) -> Outcome<Self> {
        let wire = pk.len() * 6 + sk.len() * 6 + 100;
        let key = Attributes::from([
            (PK.to_owned(), AttributeValue::S(pk)),
            (SK.to_owned(), AttributeValue::S(sk)),
        ]);
        let delete = built(DeleteRequest::builder().set_key(Some(key)).build())?;
        let request = WriteRequest::builder().delete_request(delete).build();
        Ok(Self { request, units: 1.0, wire })
    }
}

/// What became of a batch.
#[derive(Debug)]
struct Answer {
    /// What was not done.
    left: Vec<WriteRequest>,
    /// Units of what was, if the service says so.
    consumed: Option<f64>,
}

/// Does all writes. No two of them may be of the same key: DynamoDB refuses that within a batch,
/// and between batches their order would be left to chance.
///
/// Errors: `Transient` if the table took nothing for [`PATIENCE`]; what the service says otherwise.
/// Some are done then.
pub(super) async fn write_all(
    client: &aws_sdk_dynamodb::Client,
    table: &str,
    limiter: &Mutex<Limiter>,
    writes: Vec<Write>,
) -> Outcome<()> {
    let send = |requests: Vec<WriteRequest>| async move {
        let sent = client
            .batch_write_item()
            .request_items(table, requests)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .customize()
            // A refused batch is to be filled up with others and to slow all others down. The SDK
            // would send it as it is, and tell nobody.
            .config_override(
                aws_sdk_dynamodb::config::Builder::new().retry_config(RetryConfig::disabled()),
            )
            .send()
            .await;
        match sent {
            Ok(answer) => {
                let units =
                    answer.consumed_capacity().iter().filter_map(|one| one.capacity_units());
                let consumed = units.reduce(|one, other| one + other);
                let mut left = answer.unprocessed_items.unwrap_or_default();
                Ok(Answer { left: left.remove(table).unwrap_or_default(), consumed })
            }
            Err(error) => {
                Err(failure(format_args!("write items of table `{table}`"), &error, of_code))
            }
        }
    };
    write_with(send, limiter, writes, PATIENCE).await
}

async fn write_with<F>(
    send: impl Fn(Vec<WriteRequest>) -> F,
    limiter: &Mutex<Limiter>,
    writes: Vec<Write>,
    patience: Duration,
) -> Outcome<()>
where
    F: Future<Output = Outcome<Answer>>,
{
    let send = &send;
    let mut queue = VecDeque::from(writes);
    let mut flying = FuturesUnordered::new();
    // Since when nothing but refusals came. Waiting for the rate is no refusal.
    let mut refused = None;
    loop {
        // Less than a full batch waits for what those under way bring back.
        while flying.len() < IN_FLIGHT
            && (queue.len() >= BATCH_ITEMS || flying.is_empty() && !queue.is_empty())
        {
            let batch = next_batch(&mut queue);
            let units: f64 = batch.iter().map(|write| write.units).sum();
            let wait = lock(limiter).reserve(units, Instant::now());
            flying.push(async move {
                tokio::time::sleep(wait).await;
                // Others may have been refused in the meantime.
                loop {
                    let pause = lock(limiter).pause(Instant::now());
                    if pause.is_zero() {
                        break;
                    }
                    tokio::time::sleep(pause).await;
                }
                let sent = Instant::now();
                let requests = batch.iter().map(|write| write.request.clone()).collect();
                (send(requests).await, sent, units, batch)
            });
        }
        let Some((answer, sent, units, mut batch)) = flying.next().await else { return Ok(()) };
        let now = Instant::now();
        let whole = batch.len();
        let consumed = match answer {
            Ok(answer) => {
                let left: HashSet<_> = answer.left.iter().filter_map(key_of).collect();
                batch.retain(|write| key_of(&write.request).is_some_and(|key| left.contains(&key)));
                let done = units - batch.iter().map(|write| write.units).sum::<f64>();
                answer.consumed.unwrap_or(done)
            }
            Err(failure) if failure.kind == FailureKind::Transient => {
                if now.duration_since(*refused.get_or_insert(now)) > patience {
                    return Err(given_up(failure, patience));
                }
                0.0
            }
            Err(failure) => return Err(failure),
        };
        let mut limiter = lock(limiter);
        limiter.settle(units, consumed, now);
        if batch.is_empty() {
            limiter.taken(consumed);
        } else {
            limiter.throttled(sent, batch.len() < whole, rand::random(), now);
        }
        if batch.len() < whole {
            refused = None;
        }
        queue.extend(batch);
    }
}

/// As much as fits.
fn next_batch(queue: &mut VecDeque<Write>) -> Vec<Write> {
    let mut batch = Vec::with_capacity(BATCH_ITEMS);
    let mut bytes = 0;
    while batch.len() < BATCH_ITEMS
        && let Some(write) =
            queue.pop_front_if(|next| batch.is_empty() || bytes + next.wire <= BATCH_BYTES)
    {
        bytes += write.wire;
        batch.push(write);
    }
    batch
}

/// The two parts of the key that a request is about.
fn key_of(request: &WriteRequest) -> Option<(&str, &str)> {
    let attributes = match (&request.put_request, &request.delete_request) {
        (Some(put), _) => put.item(),
        (None, Some(delete)) => delete.key(),
        (None, None) => return None,
    };
    let part = |name: &str| attributes.get(name)?.as_s().ok().map(String::as_str);
    Some((part(PK)?, part(SK)?))
}

pub(super) fn lock(limiter: &Mutex<Limiter>) -> MutexGuard<'_, Limiter> {
    limiter.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is said of a table that refuses for too long.
pub(super) fn given_up(failure: Failure, patience: Duration) -> Failure {
    failure
        .while_doing(format!("nothing went through for {} s", patience.as_secs()))
        .with_hint("raise the table's capacity, or run it again later")
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::super::item::encode;
    use super::*;
    use crate::ports::{RecommendedItem, ServingItem};

    fn writes(count: usize, bytes: usize) -> Vec<Write> {
        let items = |n: usize| {
            let item = RecommendedItem { item: "x".repeat(bytes), score: 0.5 };
            ServingItem { key: format!("user#{n}"), items: vec![item] }
        };
        let encoded = (0..count).map(|n| encode(&items(n), "1", None).unwrap());
        encoded.map(|one| Write::put(one).unwrap()).collect()
    }

    fn fast() -> Mutex<Limiter> {
        Mutex::new(Limiter::new(1e9, 1e9, Instant::now()))
    }

    fn key(request: &WriteRequest) -> String {
        key_of(request).unwrap().0.to_owned()
    }

    const SHORT: Duration = Duration::from_millis(200);

    #[tokio::test]
    async fn leftovers_are_merged_into_full_batches() {
        // Each batch gets all but its last five done, until a hundred were left.
        let (sizes, done) = (RefCell::new(vec![]), RefCell::new(vec![]));
        let left = RefCell::new(0);
        let send = |mut requests: Vec<WriteRequest>| {
            sizes.borrow_mut().push(requests.len());
            let mut rest = vec![];
            if *left.borrow() < 100 {
                *left.borrow_mut() += 5;
                rest = requests.split_off(requests.len() - 5);
            }
            done.borrow_mut().extend(requests.iter().map(key));
            async move { Ok(Answer { left: rest, consumed: None }) }
        };
        write_with(send, &fast(), writes(1_010, 1), PATIENCE).await.unwrap();
        let mut done = done.into_inner();
        assert_eq!(done.len(), 1_010);
        done.sort_unstable();
        done.dedup();
        assert_eq!(done.len(), 1_010);
        // 1,010 and a hundred again, and only the last batch is not full.
        let sizes = sizes.into_inner();
        assert_eq!((sizes.len(), sizes.iter().sum::<usize>()), (45, 1_110));
        assert_eq!(sizes.iter().filter(|size| **size == 25).count(), 44);
        assert_eq!(sizes.last(), Some(&10));
    }

    #[tokio::test]
    async fn a_refused_batch_is_sent_again_and_slows_all_down() {
        let limiter = Mutex::new(Limiter::new(10_000.0, 1e9, Instant::now()));
        let refusals = RefCell::new(3);
        let done = RefCell::new(0);
        let send = |requests: Vec<WriteRequest>| {
            let refused = *refusals.borrow() > 0;
            if refused {
                *refusals.borrow_mut() -= 1;
            } else {
                *done.borrow_mut() += requests.len();
            }
            async move {
                if refused {
                    return Err(Failure::new(FailureKind::Transient, "too much"));
                }
                Ok(Answer { left: vec![], consumed: Some(25.0) })
            }
        };
        write_with(send, &limiter, writes(100, 1), PATIENCE).await.unwrap();
        assert_eq!(*done.borrow(), 100);
        assert!(lock(&limiter).rate() < 6_000.0, "{limiter:?}");
    }

    #[tokio::test]
    async fn a_table_that_takes_nothing_is_given_up() {
        let send = |_| async { Err(Failure::new(FailureKind::Transient, "too much")) };
        let failure = write_with(send, &fast(), writes(1, 1), SHORT).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Transient);
        let send = |_| async { Err(Failure::new(FailureKind::Denied, "no")) };
        let failure = write_with(send, &fast(), writes(1, 1), SHORT).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Denied);
    }

    #[test]
    fn a_batch_keeps_to_both_limits() {
        let mut small = VecDeque::from(writes(26, 1));
        assert_eq!(next_batch(&mut small).len(), 25);
        assert_eq!(next_batch(&mut small).len(), 1);
        // Many short texts take three times as much on the wire as in the table.
        let item = RecommendedItem { item: "x".to_owned(), score: 0.5 };
        let long = ServingItem { key: "user#1".to_owned(), items: vec![item; 70_000] };
        let one = Write::put(encode(&long, "1", None).unwrap()).unwrap();
        let mut large = VecDeque::from(vec![one.clone(); 25]);
        let batch = next_batch(&mut large);
        assert!(batch.len() < 25 && batch.len() * one.wire <= BATCH_BYTES, "{}", batch.len());
        assert!((batch.len() + 1) * one.wire > BATCH_BYTES);
    }
}
