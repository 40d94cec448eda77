//! The state store in DynamoDB: one table, read by key and by ranges of keys, never scanned.
//!
//! | item | pk | sk |
//! |---|---|---|
//! | run | `run#<id>` | `run` |
//! | step of a run | `run#<id>` | `step#<step>#<action>#<partition>` |
//! | run in the list of all | `runs` | `<start in microseconds>#<id>` |
//! | row of the ledger | `ledger#<pipeline>` | `<step>#<partition>` |
//! | decision | `decision#<pipeline>#<step>` | `<date>` |
//! | publication that was begun, in parts | `publications` | `<id>#<part>` |
//! | lease | `lease#<name>` | `lease` |

mod collisions;
mod item;
mod lease;
mod publications;
mod table;

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{Delete, Put, TransactWriteItem};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;

use self::collisions::Collisions;
use self::item::{Item, PK, SK, build, key, text};
use super::error::failure;
use super::session::AwsSession;
use crate::pipeline::interval::LogicalDate;
use crate::pipeline::name::Name;
use crate::ports::{Holding, Lease, Publication, StateStore};
use crate::run::failure::{Failure, FailureKind, Outcome};
use crate::run::record::{Decision, LedgerRow, RunId, RunRecord, StepRecord};

/// Actions of one TransactWriteItems call, and bytes of all its items.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html>
const TRANSACTION_ACTIONS: usize = 100;
const TRANSACTION_BYTES: usize = 4 * 1024 * 1024;
/// The sort key of the only item of its kind under a partition key.
const RUN: &str = "run";
const RUNS: &str = "runs";

/// Keeps the state in a table of DynamoDB.
///
/// Every read is consistent: plans and leases follow from what is read.
#[derive(Debug, Clone)]
pub struct DynamoDbStateStore {
    client: Client,
    table: String,
}

impl DynamoDbStateStore {
    /// Opens the target's table.
    ///
    /// Errors: `NotFound` if it is missing, `Usage` if its keys are not those of a table of state.
    pub async fn open(session: &AwsSession) -> Outcome<Self> {
        let store = Self::new(session);
        match table::find(&store.client, &store.table).await? {
            Some(found) => table::check(&store.table, &found)?,
            None => {
                let text = format!("there is no table `{}` of state yet", store.table);
                return Err(Failure::new(FailureKind::NotFound, text)
                    .with_hint("run a pipeline first, for example `recctl run daily`"));
            }
        }
        Ok(store)
    }

    /// Opens the target's table and makes it if it is missing: billed by request, protected from
    /// deletion, with backups of every second and the target's tags.
    ///
    /// Errors: as of [`Self::open`]; `Transient` if the table does not become active in time.
    pub async fn create(session: &AwsSession) -> Outcome<Self> {
        let store = Self::new(session);
        table::create(&store.client, &store.table, &session.target().tags).await?;
        Ok(store)
    }

    fn new(session: &AwsSession) -> Self {
        let client = session.dynamodb();
        let config = client.config().to_builder().retry_classifier(Collisions).build();
        Self { client: Client::from_conf(config), table: session.target().state.table.clone() }
    }

    async fn get(&self, doing: &str, pk: &str, sk: &str) -> Outcome<Option<Item>> {
        let request = self.client.get_item().table_name(&self.table).consistent_read(true);
        let found = request.set_key(Some(key(pk, sk))).send().await;
        Ok(found.map_err(|error| self.failed(doing, &error))?.item)
    }

    async fn put(&self, doing: &str, item: Item) -> Outcome<()> {
        let request = self.client.put_item().table_name(&self.table).set_item(Some(item));
        request.send().await.map_err(|error| self.failed(doing, &error))?;
        Ok(())
    }

    /// Records under a partition key in the order of their sort keys, page by page.
    async fn query<T: DeserializeOwned>(&self, query: Range<'_>) -> Outcome<Vec<T>> {
        self.items_of(query).await?.iter().map(item::record).collect()
    }

    /// All items under a partition key, or those whose sort key begins so.
    async fn items(&self, doing: &str, pk: &str, sk: Option<&str>) -> Outcome<Vec<Item>> {
        let range = Range {
            doing,
            condition: match sk {
                Some(_) => "#pk = :pk AND begins_with(#sk, :sk)",
                None => "#pk = :pk",
            },
            pk: pk.to_owned(),
            sk: sk.map(str::to_owned),
            newest_first: false,
            limit: usize::MAX,
        };
        self.items_of(range).await
    }

    async fn items_of(&self, query: Range<'_>) -> Outcome<Vec<Item>> {
        let mut items = Vec::new();
        let mut start: Option<Item> = None;
        while items.len() < query.limit {
            let names = HashMap::from([("#pk", PK), ("#sk", SK)]);
            let names = names.into_iter().filter(|(name, _)| query.condition.contains(name));
            let mut request = self
                .client
                .query()
                .table_name(&self.table)
                .consistent_read(true)
                .key_condition_expression(query.condition)
                .expression_attribute_values(":pk", text(&query.pk))
                .scan_index_forward(!query.newest_first)
                .set_exclusive_start_key(start);
            for (name, value) in names {
                request = request.expression_attribute_names(name, value);
            }
            if let Some(sk) = &query.sk {
                request = request.expression_attribute_values(":sk", text(sk));
            }
            // A page holds at most 1 MB anyway.
            if let Ok(limit) = i32::try_from(query.limit - items.len()) {
                request = request.limit(limit);
            }
            let page = request.send().await.map_err(|error| self.failed(query.doing, &error))?;
            start = page.last_evaluated_key;
            items.extend(page.items.unwrap_or_default());
            if start.is_none() {
                break;
            }
        }
        Ok(items)
    }

    /// Writes all or nothing, under a lease or without one.
    async fn transact(
        &self,
        doing: &str,
        lease: Option<&Lease>,
        mut actions: Vec<TransactWriteItem>,
    ) -> Outcome<()> {
        if let Some(lease) = lease {
            actions.insert(0, self.held(lease)?);
        }
        let request = self.client.transact_write_items().set_transact_items(Some(actions));
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) => match (lease, lost_condition(&error)) {
                (Some(lease), Some(item)) => Err(lease.lost_to(lease::holder(&item))),
                _ => Err(self.failed(doing, &error)),
            },
        }
    }

    /// Rows of the ledger as part of a transaction of which so many other actions are part.
    fn ledger_actions(&self, rows: &[LedgerRow], others: usize) -> Outcome<Vec<TransactWriteItem>> {
        let mut actions = Vec::with_capacity(rows.len());
        let mut bytes = 0;
        for row in rows {
            let pk = format!("ledger#{}", row.pipeline);
            let sk = format!("{}#{}", row.step, row.partition.key());
            let doing = format!("write the ledger of `{}`", row.step);
            let item = item::of_record(&pk, &sk, &doing, row)?;
            bytes += item::size(&item);
            actions.push(self.put_action(item)?);
        }
        // One is the check of the lease. More would take several transactions, between which a reader
        // would take half for whole.
        if actions.len() + others >= TRANSACTION_ACTIONS || bytes > TRANSACTION_BYTES {
            let text = format!(
                "cannot write {} rows of {bytes} bytes to the ledger at once: DynamoDB takes {} of {TRANSACTION_BYTES} bytes",
                rows.len(),
                TRANSACTION_ACTIONS - 1 - others,
            );
            return Err(Failure::new(FailureKind::Exhausted, text)
                .with_hint("divide the pipeline: all tables of a day are published together"));
        }
        Ok(actions)
    }

    fn put_action(&self, item: Item) -> Outcome<TransactWriteItem> {
        let put = Put::builder().table_name(&self.table).set_item(Some(item));
        Ok(TransactWriteItem::builder().put(build(put.build())?).build())
    }

    fn failed<E>(&self, doing: &str, error: &SdkError<E, HttpResponse>) -> Failure
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        failure(format!("{doing} in table `{}`", self.table), error, of_code)
    }
}

/// Which items are read.
struct Range<'a> {
    doing: &'a str,
    condition: &'a str,
    pk: String,
    sk: Option<String>,
    newest_first: bool,
    limit: usize,
}

/// The lease's item, if a transaction came to nothing because its condition, the first, failed.
fn lost_condition(error: &SdkError<TransactWriteItemsError, HttpResponse>) -> Option<Item> {
    match error.as_service_error() {
        Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
            let reason = cancelled.cancellation_reasons().first()?;
            (reason.code() == Some("ConditionalCheckFailed"))
                .then(|| reason.item().cloned().unwrap_or_default())
        }
        _ => None,
    }
}

/// Codes of DynamoDB.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html>
fn of_code(code: &str) -> Option<FailureKind> {
    Some(match code {
        "ResourceNotFoundException" => FailureKind::NotFound,
        "ConditionalCheckFailedException" => FailureKind::Conflict,
        "TransactionConflictException"
        | "TransactionCanceledException"
        | "TransactionInProgressException"
        | "ResourceInUseException"
        | "TableInUseException" => FailureKind::Transient,
        _ => return None,
    })
}

#[async_trait]
impl StateStore for DynamoDbStateStore {
    async fn put_run(&self, run: &RunRecord) -> Outcome<()> {
        let doing = format!("write run `{}`", run.id);
        let pk = format!("run#{}", run.id);
        let listed = format!("{:020}#{}", run.started.timestamp_micros().max(0), run.id);
        let mut item = item::of_record(&pk, RUN, &doing, run)?;
        item.insert("listed".to_owned(), text(&listed));
        let entry = item::of_record(RUNS, &listed, &doing, run)?;
        let mut actions = vec![self.put_action(item)?, self.put_action(entry)?];
        // A run whose start is another one now must not be in the list twice.
        let known = self.get(&doing, &pk, RUN).await?;
        let old = known.as_ref().and_then(|item| item.get("listed")?.as_s().ok());
        if let Some(old) = old.filter(|old| **old != listed) {
            let delete = Delete::builder().table_name(&self.table).set_key(Some(key(RUNS, old)));
            actions.push(TransactWriteItem::builder().delete(build(delete.build())?).build());
        }
        self.transact(&doing, None, actions).await
    }

    async fn run(&self, id: &RunId) -> Outcome<Option<RunRecord>> {
        let found = self.get(&format!("read run `{id}`"), &format!("run#{id}"), RUN).await?;
        found.as_ref().map(item::record).transpose()
    }

    async fn runs(&self, limit: usize) -> Outcome<Vec<RunRecord>> {
        let range = Range {
            doing: "list the runs",
            condition: "#pk = :pk",
            pk: RUNS.to_owned(),
            sk: None,
            newest_first: true,
            limit,
        };
        self.query(range).await
    }

    async fn remove_run(&self, id: &RunId) -> Outcome<()> {
        let doing = format!("remove run `{id}`");
        let pk = format!("run#{id}");
        let known = self.get(&doing, &pk, RUN).await?;
        let listed = known.as_ref().and_then(|item| item.get("listed")?.as_s().ok());
        // The list first: a run that is not in it is not looked for.
        let mut keys: Vec<Item> = listed.map(|listed| key(RUNS, listed)).into_iter().collect();
        for step in self.steps(id).await? {
            let sk = format!("step#{}#{}#{}", step.step, step.action, step.partition.key());
            keys.push(key(&pk, &sk));
        }
        keys.push(key(&pk, RUN));
        for keys in keys.chunks(TRANSACTION_ACTIONS) {
            let mut actions = Vec::with_capacity(keys.len());
            for key in keys {
                let delete = Delete::builder().table_name(&self.table).set_key(Some(key.clone()));
                actions.push(TransactWriteItem::builder().delete(build(delete.build())?).build());
            }
            self.transact(&doing, None, actions).await?;
        }
        Ok(())
    }

    async fn put_step(&self, step: &StepRecord) -> Outcome<()> {
        let doing = format!("write step `{}` of run `{}`", step.step, step.run);
        let sk = format!("step#{}#{}#{}", step.step, step.action, step.partition.key());
        self.put(&doing, item::of_record(&format!("run#{}", step.run), &sk, &doing, step)?).await
    }

    async fn steps(&self, run: &RunId) -> Outcome<Vec<StepRecord>> {
        let range = Range {
            doing: &format!("read the steps of run `{run}`"),
            condition: "#pk = :pk AND begins_with(#sk, :sk)",
            pk: format!("run#{run}"),
            sk: Some("step#".to_owned()),
            newest_first: false,
            limit: usize::MAX,
        };
        let mut steps: Vec<StepRecord> = self.query(range).await?;
        steps.sort_by_key(|step| step.started);
        Ok(steps)
    }

    async fn ledger(&self, pipeline: &Name) -> Outcome<Vec<LedgerRow>> {
        let range = Range {
            doing: &format!("read the ledger of `{pipeline}`"),
            condition: "#pk = :pk",
            pk: format!("ledger#{pipeline}"),
            sk: None,
            newest_first: false,
            limit: usize::MAX,
        };
        self.query(range).await
    }

    async fn put_ledger(&self, rows: &[LedgerRow], lease: &Lease) -> Outcome<()> {
        let actions = self.ledger_actions(rows, 0)?;
        self.transact("write the ledger", Some(lease), actions).await
    }

    async fn begin_publication(&self, publication: &Publication, lease: &Lease) -> Outcome<()> {
        self.put_publication(publication, lease).await
    }

    async fn publications(&self) -> Outcome<Vec<Publication>> {
        self.open_publications().await
    }

    async fn end_publication(&self, id: &str, rows: &[LedgerRow], lease: &Lease) -> Outcome<()> {
        self.forget_publication(id, rows, lease).await
    }

    async fn decision_before(
        &self,
        pipeline: &Name,
        step: &Name,
        date: LogicalDate,
    ) -> Outcome<Option<Decision>> {
        let range = Range {
            doing: &format!("read the last decision of `{step}`"),
            condition: "#pk = :pk AND #sk < :sk",
            pk: format!("decision#{pipeline}#{step}"),
            sk: Some(date.to_string()),
            newest_first: true,
            limit: 1,
        };
        Ok(self.query(range).await?.pop())
    }

    async fn put_decision(
        &self,
        pipeline: &Name,
        step: &Name,
        decision: &Decision,
        lease: &Lease,
    ) -> Outcome<()> {
        let doing = format!("write the decision of `{step}`");
        let pk = format!("decision#{pipeline}#{step}");
        let item = item::of_record(&pk, &decision.date.to_string(), &doing, decision)?;
        let actions = vec![self.put_action(item)?];
        self.transact(&doing, Some(lease), actions).await
    }

    async fn acquire(
        &self,
        name: &str,
        holder: &str,
        time: Duration,
        now: DateTime<Utc>,
    ) -> Outcome<Lease> {
        self.take_lease(name, holder, time, now).await
    }

    async fn holding(&self, name: &str, now: DateTime<Utc>) -> Outcome<Option<Holding>> {
        self.holding_of(name, now).await
    }

    async fn renew(&self, lease: &Lease, time: Duration, now: DateTime<Utc>) -> Outcome<()> {
        self.renew_lease(lease, time, now).await
    }

    async fn release(&self, lease: &Lease) -> Outcome<()> {
        self.release_lease(lease).await
    }
}
