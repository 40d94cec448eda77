//! The table of state itself.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, PointInTimeRecoverySpecification,
    ScalarAttributeType, TableDescription, TableStatus, Tag,
};

use super::item::{PK, SK, build};
use super::of_code;
use crate::adapters::aws::error::{code, failure};
use crate::run::failure::{Failure, FailureKind, Outcome};

/// A new table is active within seconds; minutes mean that something is wrong.
const ACTIVE_TIMEOUT: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_secs(1);

/// The table, if there is one.
pub(super) async fn find(client: &Client, table: &str) -> Outcome<Option<TableDescription>> {
    match client.describe_table().table_name(table).send().await {
        Ok(found) => Ok(found.table),
        Err(error) if code(&error) == Some("ResourceNotFoundException") => Ok(None),
        Err(error) => Err(failure(format!("describe table `{table}`"), &error, of_code)),
    }
}

/// Refuses a table whose keys are others.
pub(super) fn check(table: &str, found: &TableDescription) -> Outcome<()> {
    let text = |name: &str| {
        found.attribute_definitions().iter().any(|attribute| {
            attribute.attribute_name() == name
                && *attribute.attribute_type() == ScalarAttributeType::S
        })
    };
    let keys: Vec<_> =
        found.key_schema().iter().map(|key| (key.attribute_name(), key.key_type())).collect();
    if keys == [(PK, &KeyType::Hash), (SK, &KeyType::Range)] && text(PK) && text(SK) {
        return Ok(());
    }
    let text = format!("table `{table}` is no table of state");
    Err(Failure::new(FailureKind::Usage, text)
        .with_hint("name another one at `state` in pipelines.yaml; recctl makes it"))
}

/// Makes the table if it is missing, and waits until it can be used.
pub(super) async fn create(
    client: &Client,
    table: &str,
    tags: &BTreeMap<String, String>,
) -> Outcome<()> {
    let made = match find(client, table).await? {
        Some(_) => false,
        None => make(client, table, tags).await?,
    };
    let active = async {
        loop {
            let found = find(client, table).await?;
            let status = found.as_ref().and_then(TableDescription::table_status);
            match (&found, status) {
                // Neither keeps a table from being read and written.
                (Some(found), Some(TableStatus::Active | TableStatus::Updating)) => {
                    return check(table, found);
                }
                (None, _) | (_, Some(TableStatus::Creating)) => tokio::time::sleep(POLL).await,
                (_, status) => {
                    let status = status.map_or("in an unknown state", TableStatus::as_str);
                    let text = format!("table `{table}` cannot be used: it is {status}");
                    return Err(Failure::new(FailureKind::Transient, text));
                }
            }
        }
    };
    tokio::time::timeout(ACTIVE_TIMEOUT, active).await.unwrap_or_else(|_| {
        let text =
            format!("table `{table}` did not become active within {} s", ACTIVE_TIMEOUT.as_secs());
        Err(Failure::new(FailureKind::Transient, text))
    })?;
    if made {
        back_up(client, table).await;
    }
    Ok(())
}

/// Makes the table; `false` if somebody else was quicker.
async fn make(client: &Client, table: &str, tags: &BTreeMap<String, String>) -> Outcome<bool> {
    let attribute = |name: &str| {
        let attribute = AttributeDefinition::builder().attribute_name(name);
        build(attribute.attribute_type(ScalarAttributeType::S).build())
    };
    let element = |name: &str, kind: KeyType| {
        build(KeySchemaElement::builder().attribute_name(name).key_type(kind).build())
    };
    let tags = tags
        .iter()
        .map(|(key, value)| build(Tag::builder().key(key).value(value).build()))
        .collect::<Outcome<Vec<_>>>()?;
    let request = client
        .create_table()
        .table_name(table)
        .attribute_definitions(attribute(PK)?)
        .attribute_definitions(attribute(SK)?)
        .key_schema(element(PK, KeyType::Hash)?)
        .key_schema(element(SK, KeyType::Range)?)
        .billing_mode(BillingMode::PayPerRequest)
        .deletion_protection_enabled(true)
        .set_tags((!tags.is_empty()).then_some(tags));
    match request.send().await {
        Ok(_) => Ok(true),
        Err(error) if code(&error) == Some("ResourceInUseException") => Ok(false),
        Err(error) => Err(failure(format!("create table `{table}`"), &error, of_code)),
    }
}

/// Turns on backups of every second. A table without them works all the same.
async fn back_up(client: &Client, table: &str) {
    let on = PointInTimeRecoverySpecification::builder().point_in_time_recovery_enabled(true);
    let failed = match build(on.build()) {
        Ok(on) => {
            let request = client.update_continuous_backups().table_name(table);
            let done = request.point_in_time_recovery_specification(on).send().await;
            done.err().map(|error| failure(format!("back up table `{table}`"), &error, of_code))
        }
        Err(failure) => Some(failure),
    };
    if let Some(failure) = failed {
        tracing::warn!(%failure, "the table of state has no point-in-time recovery");
    }
}
