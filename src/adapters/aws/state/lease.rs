//! Leases: one item each, changed only on conditions, so that of many who want one a single one
//! gets it. The item stays when the lease is given back, and with it the fence.
//!
//! Times are the callers'. A clock that is ahead takes a lease over early, one that is behind late;
//! neither lets two write, for what is written under a lease checks holder and fence, not time.

use std::time::Duration;

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{
    AttributeValue, ConditionCheck, ReturnValue, ReturnValuesOnConditionCheckFailure,
    TransactWriteItem,
};
use chrono::{DateTime, TimeDelta, Utc};

use super::DynamoDbStateStore;
use super::item::{Item, build, key, text};
use crate::ports::{Holding, Lease};
use crate::run::failure::{Failure, FailureKind, Outcome};

const LEASE: &str = "lease";
const HOLDER: &str = "holder";
const FENCE: &str = "fence";
const UNTIL: &str = "until";
const SINCE: &str = "since";
/// That the lease is still the holder's.
const IS_HELD: &str = "#holder = :holder AND #fence = :fence";

impl DynamoDbStateStore {
    pub(super) async fn take_lease(
        &self,
        name: &str,
        holder: &str,
        time: Duration,
        now: DateTime<Utc>,
    ) -> Outcome<Lease> {
        // A table that was lost does not bring small fences back.
        let first = now.timestamp().max(0);
        let request = self
            .lease_update(name)
            .update_expression(
                "SET #holder = :holder, #until = :until, #since = :now, \
                 #fence = if_not_exists(#fence, :first) + :one",
            )
            .condition_expression(
                "attribute_not_exists(#holder) OR (#until <= :now AND #holder <> :holder)",
            )
            .expression_attribute_names("#holder", HOLDER)
            .expression_attribute_names("#until", UNTIL)
            .expression_attribute_names("#since", SINCE)
            .expression_attribute_names("#fence", FENCE)
            .expression_attribute_values(":holder", text(holder))
            .expression_attribute_values(":until", micros(end(now, time)))
            .expression_attribute_values(":now", micros(now))
            .expression_attribute_values(":first", AttributeValue::N(first.to_string()))
            .expression_attribute_values(":one", AttributeValue::N("1".to_owned()))
            .return_values(ReturnValue::AllOld);
        match self.update(&format!("take the lease of `{name}`"), request).await? {
            Update::Done(before) => Ok(Lease {
                name: name.to_owned(),
                holder: holder.to_owned(),
                fence: fence(&before).unwrap_or(first.unsigned_abs()) + 1,
                seized: self::holder(&before).is_some(),
            }),
            // A renewal, or the SDK's retry of a call whose answer got lost: the fence stays. From
            // whom it was taken is not known any more.
            Update::Refused(item) if self::holder(&item) == Some(holder) => {
                let lease = lease(name, holder, &item)?;
                self.renew_lease(&lease, time, now).await?;
                Ok(lease)
            }
            Update::Refused(item) => Err(held(&item).refused(name)),
        }
    }

    pub(super) async fn holding_of(
        &self,
        name: &str,
        now: DateTime<Utc>,
    ) -> Outcome<Option<Holding>> {
        let item = self.get(&format!("read the lease of `{name}`"), &pk(name), LEASE).await?;
        let item = item.filter(|item| holder(item).is_some());
        Ok(item.map(|item| held(&item)).filter(|held| now < held.until))
    }

    pub(super) async fn renew_lease(
        &self,
        lease: &Lease,
        time: Duration,
        now: DateTime<Utc>,
    ) -> Outcome<()> {
        let request = self
            .held_update(lease)
            .update_expression("SET #until = :until")
            .expression_attribute_names("#until", UNTIL)
            .expression_attribute_values(":until", micros(end(now, time)));
        match self.update(&format!("renew the lease of `{}`", lease.name), request).await? {
            Update::Done(_) => Ok(()),
            Update::Refused(item) => Err(lease.lost_to(holder(&item))),
        }
    }

    pub(super) async fn release_lease(&self, lease: &Lease) -> Outcome<()> {
        let request = self.held_update(lease).update_expression("REMOVE #holder");
        // One that was taken over is left alone.
        self.update(&format!("give back the lease of `{}`", lease.name), request).await?;
        Ok(())
    }

    /// The part of a transaction that makes it come to nothing if the lease is lost.
    pub(super) fn held(&self, lease: &Lease) -> Outcome<TransactWriteItem> {
        let check = ConditionCheck::builder()
            .table_name(&self.table)
            .set_key(Some(lease_key(&lease.name)))
            .condition_expression(IS_HELD)
            .expression_attribute_names("#holder", HOLDER)
            .expression_attribute_names("#fence", FENCE)
            .expression_attribute_values(":holder", text(&lease.holder))
            .expression_attribute_values(":fence", AttributeValue::N(lease.fence.to_string()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        Ok(TransactWriteItem::builder().condition_check(build(check.build())?).build())
    }

    fn lease_update(&self, name: &str) -> UpdateItemFluentBuilder {
        self.client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(lease_key(name)))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    }

    fn held_update(&self, lease: &Lease) -> UpdateItemFluentBuilder {
        self.lease_update(&lease.name)
            .condition_expression(IS_HELD)
            .expression_attribute_names("#holder", HOLDER)
            .expression_attribute_names("#fence", FENCE)
            .expression_attribute_values(":holder", text(&lease.holder))
            .expression_attribute_values(":fence", AttributeValue::N(lease.fence.to_string()))
    }

    async fn update(&self, doing: &str, request: UpdateItemFluentBuilder) -> Outcome<Update> {
        let error = match request.send().await {
            Ok(done) => return Ok(Update::Done(done.attributes.unwrap_or_default())),
            Err(error) => error,
        };
        match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(refused)) => {
                Ok(Update::Refused(refused.item().cloned().unwrap_or_default()))
            }
            _ => Err(self.failed(doing, &error)),
        }
    }
}

/// What became of a change on condition.
enum Update {
    /// Done; the item as asked for.
    Done(Item),
    /// The condition did not hold; the item as it is.
    Refused(Item),
}

/// Who holds the lease of an item.
pub(super) fn holder(item: &Item) -> Option<&str> {
    item.get(HOLDER)?.as_s().ok().map(String::as_str)
}

fn fence(item: &Item) -> Option<u64> {
    number(item, FENCE).and_then(|fence| u64::try_from(fence).ok())
}

fn lease(name: &str, holder: &str, item: &Item) -> Outcome<Lease> {
    let fence = fence(item).ok_or_else(|| {
        Failure::new(FailureKind::Input, format!("the lease of `{name}` has no fence"))
    })?;
    Ok(Lease { name: name.to_owned(), holder: holder.to_owned(), fence, seized: true })
}

/// Who holds the lease of an item that has a holder.
fn held(item: &Item) -> Holding {
    let time = |name| number(item, name).and_then(DateTime::from_timestamp_micros);
    Holding {
        holder: holder(item).unwrap_or("another").to_owned(),
        since: time(SINCE),
        until: time(UNTIL).unwrap_or(DateTime::<Utc>::MAX_UTC),
    }
}

fn pk(name: &str) -> String {
    format!("lease#{name}")
}

fn lease_key(name: &str) -> Item {
    key(&pk(name), LEASE)
}

fn number(item: &Item, name: &str) -> Option<i64> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

fn micros(time: DateTime<Utc>) -> AttributeValue {
    AttributeValue::N(time.timestamp_micros().to_string())
}

/// From when on a lease is nobody's.
fn end(now: DateTime<Utc>, time: Duration) -> DateTime<Utc> {
    let time = TimeDelta::from_std(time).ok();
    time.and_then(|time| now.checked_add_signed(time)).unwrap_or(DateTime::<Utc>::MAX_UTC)
}
