//! DynamoDB tables of state and of served lists.

use aws_sdk_dynamodb::types::{
    BillingMode, KeySchemaElement, KeyType, PointInTimeRecoveryStatus, ScalarAttributeType,
    TableDescription, TableStatus,
};

use super::super::error::code;
use super::super::session::AwsSession;
use super::unread;
use crate::ports::preflight::Finding;

/// Looks at the tables; one that is not there will be made.
pub async fn check(session: &AwsSession, served: &[String]) -> Vec<Finding> {
    let client = session.dynamodb();
    let mut findings = Vec::new();
    let state = &session.target().state.table;
    if let Some(table) = table(&client, state, &mut findings).await {
        findings.push(protection(state, &table));
        findings.push(backups(&client, state).await);
    }
    if let Some(serving) = &session.target().serving {
        for name in served.iter().map(|name| format!("{}{name}", serving.table_prefix)) {
            if let Some(table) = table(&client, &name, &mut findings).await {
                findings.extend(room(&name, &table, serving.max_write_units));
            }
        }
    }
    findings
}

fn subject(table: &str) -> String {
    format!("table {table}")
}

async fn table(
    client: &aws_sdk_dynamodb::Client,
    name: &str,
    findings: &mut Vec<Finding>,
) -> Option<TableDescription> {
    let subject = subject(name);
    let description = match client.describe_table().table_name(name).send().await {
        Ok(found) => found.table?,
        Err(error) if code(&error) == Some("ResourceNotFoundException") => {
            findings.push(Finding::ok(subject, "the table will be made, paid for by request"));
            return None;
        }
        Err(error) => {
            let action = "dynamodb:DescribeTable";
            findings.push(unread(subject, "look at the table", action, &error));
            return None;
        }
    };
    if !has_our_keys(&description) {
        let what = "is not one of recctl's: its keys are not the texts `pk` and `sk`";
        findings
            .push(Finding::fail(subject, what).hint("give the target another name of the table"));
        return None;
    }
    findings.push(match description.table_status() {
        Some(TableStatus::Active | TableStatus::Updating) => {
            Finding::ok(subject, format!("is there, {}", mode(&description)))
        }
        status => {
            let status = status.map_or("in no state", |status| status.as_str());
            Finding::fail(subject, format!("cannot be used: it is {status}"))
                .hint("wait until it is ACTIVE")
        }
    });
    Some(description)
}

/// Whether its keys are those that tables of state and of served lists have.
fn has_our_keys(table: &TableDescription) -> bool {
    let named = |kind| {
        let mut keys = table.key_schema().iter();
        keys.find(|key| *key.key_type() == kind).map(KeySchemaElement::attribute_name)
    };
    let is_text = |name| {
        let mut attributes = table.attribute_definitions().iter();
        attributes
            .any(|it| it.attribute_name() == name && *it.attribute_type() == ScalarAttributeType::S)
    };
    let is = |kind, name| named(kind) == Some(name) && is_text(name);
    is(KeyType::Hash, "pk") && is(KeyType::Range, "sk")
}

/// Write units a second; none where every request is paid for by itself.
fn write_units(table: &TableDescription) -> Option<u64> {
    let by_request = table
        .billing_mode_summary()
        .is_some_and(|summary| summary.billing_mode() == Some(&BillingMode::PayPerRequest));
    let units = table.provisioned_throughput()?.write_capacity_units()?;
    u64::try_from(units).ok().filter(|units| !by_request && *units > 0)
}

fn mode(table: &TableDescription) -> String {
    match write_units(table) {
        Some(units) => format!("provisioned with {units} write units"),
        None => "paid for by request".to_owned(),
    }
}

fn protection(name: &str, table: &TableDescription) -> Finding {
    match table.deletion_protection_enabled() {
        Some(true) => Finding::ok(subject(name), "is protected from deletion"),
        _ => Finding::warn(subject(name), "is not protected from deletion")
            .hint("without it every day counts as never run: switch deletion protection on"),
    }
}

async fn backups(client: &aws_sdk_dynamodb::Client, name: &str) -> Finding {
    let found = match client.describe_continuous_backups().table_name(name).send().await {
        Ok(found) => found,
        Err(error) => {
            let action = "dynamodb:DescribeContinuousBackups";
            return unread(subject(name), "look at the table's backups", action, &error);
        }
    };
    let status = found
        .continuous_backups_description()
        .and_then(|backups| backups.point_in_time_recovery_description())
        .and_then(|recovery| recovery.point_in_time_recovery_status());
    match status {
        Some(PointInTimeRecoveryStatus::Enabled) => {
            Finding::ok(subject(name), "can be restored to a point in time")
        }
        _ => Finding::warn(subject(name), "cannot be restored to a point in time")
            .hint("switch point-in-time recovery on"),
    }
}

/// Whether the table gives what a load may take.
fn room(name: &str, table: &TableDescription, wanted: Option<u32>) -> Option<Finding> {
    let (given, wanted) = (write_units(table)?, u64::from(wanted?));
    (given < wanted).then(|| {
        let text = format!("gives {given} write units a second, loads may take {wanted}");
        Finding::warn(subject(name), text)
            .hint("loads slow down to what the table gives: raise it, or take it by request")
    })
}
