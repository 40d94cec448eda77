//! Requests about single items: reads, conditional writes and transactions.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    AttributeValue, ConditionCheck, KeysAndAttributes, Put, ReturnValuesOnConditionCheckFailure,
    TransactWriteItem, Update,
};

use super::failure::{built, of_code};
use super::item::{Attributes, PK, SK, decode};
use super::meta::{Metas, RESERVED, key, s};
use super::table::ServedTable;
use super::writer::{PATIENCE, given_up};
use crate::adapters::aws::error::failure;
use crate::ports::ServingItem;
use crate::run::failure::{Failure, FailureKind, Outcome};

/// Keys of a BatchGetItem.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html>
const BATCH: usize = 100;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A change of one item, or a condition on one, in the words of DynamoDB's expressions. Names are
/// written `#name` and stand for themselves, so that none of them is a reserved word.
#[derive(Debug, Clone, Default)]
pub(super) struct Change {
    key: Attributes,
    update: Option<&'static str>,
    condition: &'static str,
    values: HashMap<String, AttributeValue>,
}

impl Change {
    /// Of the item with this key, if the condition holds.
    pub fn of(key: Attributes, condition: &'static str) -> Self {
        Self { key, condition, ..Self::default() }
    }

    /// What to do.
    pub fn update(mut self, update: &'static str) -> Self {
        self.update = Some(update);
        self
    }

    /// What `:name` stands for.
    pub fn value(mut self, name: &str, value: AttributeValue) -> Self {
        self.values.insert(format!(":{name}"), value);
        self
    }

    fn names(&self) -> HashMap<String, String> {
        names(&[self.update.unwrap_or_default(), self.condition])
    }

    fn values(&self) -> Option<HashMap<String, AttributeValue>> {
        (!self.values.is_empty()).then(|| self.values.clone())
    }

    /// As part of a transaction: an update, or a check where there is nothing to do.
    pub fn into_transaction(self, table: &str) -> Outcome<TransactWriteItem> {
        let (names, values) = (Some(self.names()), self.values());
        let item = TransactWriteItem::builder();
        Ok(match self.update {
            Some(update) => {
                let update = Update::builder()
                    .table_name(table)
                    .set_key(Some(self.key))
                    .update_expression(update)
                    .condition_expression(self.condition)
                    .set_expression_attribute_names(names)
                    .set_expression_attribute_values(values);
                item.update(built(update.build())?).build()
            }
            None => {
                let check = ConditionCheck::builder()
                    .table_name(table)
                    .set_key(Some(self.key))
                    .condition_expression(self.condition)
                    .set_expression_attribute_names(names)
                    .set_expression_attribute_values(values);
                item.condition_check(built(check.build())?).build()
            }
        })
    }

    /// As part of a transaction that puts a whole item; the key is in it.
    pub fn put_in_transaction(self, table: &str, item: Attributes) -> Outcome<TransactWriteItem> {
        let (names, values) = (Some(self.names()), self.values());
        let put = Put::builder()
            .table_name(table)
            .set_item(Some(item))
            .condition_expression(self.condition)
            .set_expression_attribute_names(names)
            .set_expression_attribute_values(values);
        Ok(TransactWriteItem::builder().put(built(put.build())?).build())
    }
}

/// What became of a conditional write.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Done {
    /// It is done.
    Yes,
    /// The condition did not hold; the item as it is, if there is one and the request asked.
    No(Option<Attributes>),
}

/// The names in expressions: `#name` stands for `name`.
pub(super) fn names(expressions: &[&str]) -> HashMap<String, String> {
    let words = expressions.iter().flat_map(|expression| {
        expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '#'))
    });
    let names = words.filter_map(|word| Some((word, word.strip_prefix('#')?)));
    names.map(|(word, name)| (word.to_owned(), name.to_owned())).collect()
}

/// A pause before the next try: half to all of twice the last.
pub(super) fn pause(attempt: u32) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(1 << attempt.min(10)).min(LONGEST_PAUSE);
    doubled.mul_f64(0.5 + 0.5 * rand::random::<f64>())
}

impl ServedTable {
    /// An item as it is now.
    pub async fn item(&self, key: Attributes) -> Outcome<Option<Attributes>> {
        let request = self.client.get_item().table_name(&self.name).set_key(Some(key));
        match request.consistent_read(true).send().await {
            Ok(answer) => Ok(answer.item),
            Err(error) => Err(failure(format_args!("read table `{}`", self.name), &error, of_code)),
        }
    }

    /// Pointer and generations, as they are now; one by one, not at one instant.
    pub async fn metas(&self) -> Outcome<Metas> {
        let mut items = Vec::new();
        let mut next = None;
        loop {
            let request = self.client.query().table_name(&self.name).consistent_read(true);
            let request = request
                .key_condition_expression("#pk = :reserved")
                .set_expression_attribute_names(Some(names(&["#pk"])))
                .expression_attribute_values(":reserved", s(RESERVED))
                .set_exclusive_start_key(next);
            let answer = request.send().await.map_err(|error| {
                failure(format_args!("read table `{}`", self.name), &error, of_code)
            })?;
            items.extend(answer.items.unwrap_or_default());
            next = answer.last_evaluated_key;
            if next.is_none() {
                return Metas::read(&self.name, items);
            }
        }
    }

    /// Lists by their keys, as they are now; those that are missing are left out.
    pub async fn lists(&self, keys: &[&str], version: &str) -> Outcome<Vec<ServingItem>> {
        let mut found = Vec::with_capacity(keys.len());
        for keys in keys.chunks(BATCH) {
            let keys = keys.iter().map(|pk| key(pk, version)).collect();
            let wanted = KeysAndAttributes::builder().set_keys(Some(keys)).consistent_read(true);
            let mut wanted = Some(built(wanted.build())?);
            let mut attempt = 0;
            while let Some(some) = wanted.take() {
                let request = self.client.batch_get_item().request_items(&self.name, some);
                let answer = request.send().await.map_err(|error| {
                    failure(format_args!("read table `{}`", self.name), &error, of_code)
                })?;
                let mut items = answer.responses.unwrap_or_default();
                let items = items.remove(&self.name).unwrap_or_default();
                // Answers end at 16 MB, so that there may be more without anything being wrong.
                attempt = if items.is_empty() { attempt + 1 } else { 0 };
                for item in items {
                    if let Some(AttributeValue::S(pk)) = item.get(PK) {
                        found.push(decode(&pk.clone(), item)?);
                    }
                }
                wanted = answer.unprocessed_keys.and_then(|mut keys| keys.remove(&self.name));
                if wanted.is_some() && attempt > 0 {
                    if attempt > 30 {
                        let message = format!("table `{}` gives no items", self.name);
                        let failure = Failure::new(FailureKind::Transient, message);
                        return Err(given_up(failure, PATIENCE));
                    }
                    tokio::time::sleep(pause(attempt)).await;
                }
            }
        }
        Ok(found)
    }

    /// Puts a whole item if a condition holds.
    pub async fn put_if(&self, item: Attributes, change: Change) -> Outcome<Done> {
        let request = self.client.put_item().table_name(&self.name).set_item(Some(item));
        let sent = request
            .condition_expression(change.condition)
            .set_expression_attribute_names(Some(change.names()))
            .set_expression_attribute_values(change.values())
            .send()
            .await;
        match sent {
            Ok(_) => Ok(Done::Yes),
            Err(error) => match error.as_service_error() {
                Some(known) if known.is_conditional_check_failed_exception() => Ok(Done::No(None)),
                _ => Err(failure(format_args!("write table `{}`", self.name), &error, of_code)),
            },
        }
    }

    /// Changes an item if a condition holds.
    pub async fn update_if(&self, change: Change) -> Outcome<Done> {
        use aws_sdk_dynamodb::operation::update_item::UpdateItemError::ConditionalCheckFailedException;
        let sent = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_expression_attribute_names(Some(change.names()))
            .set_expression_attribute_values(change.values())
            .set_update_expression(change.update.map(str::to_owned))
            .condition_expression(change.condition)
            .set_key(Some(change.key))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match sent {
            Ok(_) => Ok(Done::Yes),
            Err(error) => match error.as_service_error() {
                Some(ConditionalCheckFailedException(known)) => Ok(Done::No(known.item.clone())),
                _ => Err(failure(format_args!("write table `{}`", self.name), &error, of_code)),
            },
        }
    }

    /// Deletes an item if a condition holds; nothing is wrong if it does not.
    pub async fn delete_if(&self, change: Change) -> Outcome<()> {
        let request = self.client.delete_item().table_name(&self.name);
        let sent = request
            .set_expression_attribute_names(Some(change.names()))
            .set_expression_attribute_values(change.values())
            .condition_expression(change.condition)
            .set_key(Some(change.key))
            .send()
            .await;
        match sent {
            Ok(_) => Ok(()),
            Err(error) => match error.as_service_error() {
                Some(known) if known.is_conditional_check_failed_exception() => Ok(()),
                _ => Err(failure(format_args!("write table `{}`", self.name), &error, of_code)),
            },
        }
    }

    /// Does all or nothing. The SDK sends a token along, so that a repeated request does it once.
    ///
    /// Errors: `Transient` if others write the same items all the time, or there is no capacity.
    pub async fn transact(&self, items: &[TransactWriteItem]) -> Outcome<Done> {
        let mut attempt = 0;
        loop {
            let request = self.client.transact_write_items();
            let sent = request.set_transact_items(Some(items.to_vec())).send().await;
            let Err(error) = sent else { return Ok(Done::Yes) };
            let doing = format!("write table `{}`", self.name);
            let failure = match error.as_service_error() {
                Some(TransactWriteItemsError::TransactionCanceledException(known)) => {
                    let reasons = known.cancellation_reasons().iter();
                    let codes: Vec<_> = reasons.filter_map(|reason| reason.code()).collect();
                    if codes.contains(&"ConditionalCheckFailed") {
                        return Ok(Done::No(None));
                    }
                    // The code of the whole says nothing; those of the parts do.
                    let passing = [
                        "None",
                        "TransactionConflict",
                        "ThrottlingError",
                        "ProvisionedThroughputExceeded",
                    ];
                    let kind = match codes.iter().all(|code| passing.contains(code)) {
                        true => FailureKind::Transient,
                        false => FailureKind::Step,
                    };
                    failure(doing, &error, |_| Some(kind))
                }
                _ => failure(doing, &error, of_code),
            };
            if failure.kind != FailureKind::Transient || attempt == 8 {
                return Err(failure);
            }
            tokio::time::sleep(pause(attempt)).await;
            attempt += 1;
        }
    }
}

/// The two parts of an item's key.
pub(super) fn key_of(mut item: Attributes) -> Option<(String, String)> {
    let mut part = |name| match item.remove(name) {
        Some(AttributeValue::S(text)) => Some(text),
        _ => None,
    };
    Some((part(PK)?, part(SK)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_for_themselves() {
        let found = names(&["SET #state = :s, #items_expire=:e", "#state <> :s AND size(#a)"]);
        let mut found: Vec<_> = found.into_iter().collect();
        found.sort();
        let expected = [("#a", "a"), ("#items_expire", "items_expire"), ("#state", "state")];
        assert_eq!(found, expected.map(|(word, name)| (word.to_owned(), name.to_owned())));
    }
}
