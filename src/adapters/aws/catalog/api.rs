//! The calls of Glue, with its limits and its errors.

use std::collections::HashMap;

use aws_sdk_glue::Client;
use aws_sdk_glue::types::{
    BatchUpdatePartitionRequestEntry, DatabaseInput, ErrorDetail, Partition, PartitionInput,
    PartitionValueList, Table, TableInput,
};
use aws_smithy_types::error::operation::BuildError;

use super::super::AwsSession;
use super::super::error;
use crate::run::failure::{Failure, FailureKind, Outcome};

/// Partitions that one call creates or updates.
/// <https://docs.aws.amazon.com/glue/latest/webapi/API_BatchCreatePartition.html>
pub(super) const CHANGED_AT_ONCE: usize = 100;
/// Partitions that one call reads.
/// <https://docs.aws.amazon.com/glue/latest/webapi/API_BatchGetPartition.html>
const READ_AT_ONCE: usize = 1_000;
/// Partitions that one call deletes.
/// <https://docs.aws.amazon.com/glue/latest/webapi/API_BatchDeletePartition.html>
const DELETED_AT_ONCE: usize = 25;

const NOT_FOUND: &str = "EntityNotFoundException";
pub(super) const ALREADY_EXISTS: &str = "AlreadyExistsException";
const CHANGED: &str = "ConcurrentModificationException";

/// Values of the partition keys.
pub(super) type Values = Vec<String>;

/// A partition that a batch operation did not take.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    /// Which one.
    pub(super) values: Values,
    /// Glue's code.
    pub(super) code: String,
    words: String,
}

impl Refused {
    fn new(values: Option<Values>, detail: Option<ErrorDetail>) -> Self {
        let code = detail.as_ref().and_then(|detail| detail.error_code.clone());
        Self {
            values: values.unwrap_or_default(),
            code: code.unwrap_or_else(|| "an unknown error".to_owned()),
            words: detail.and_then(|detail| detail.error_message).unwrap_or_default(),
        }
    }

    pub(super) fn failure(&self, table: &str) -> Failure {
        let partition = self.values.join("/");
        let doing = format!("publish partition `{partition}` of table `{table}`");
        error::entry_failure(doing, &self.code, &self.words, kind)
    }
}

/// One database of a catalog.
#[derive(Debug, Clone)]
pub(super) struct Glue {
    client: Client,
    pub(super) database: String,
    catalog: Option<String>,
    tags: HashMap<String, String>,
}

/// What Glue's own codes mean.
fn kind(code: &str) -> Option<FailureKind> {
    Some(match code {
        NOT_FOUND => FailureKind::NotFound,
        ALREADY_EXISTS => FailureKind::Conflict,
        CHANGED
        | "InternalServiceException"
        | "ResourceNotReadyException"
        | "FederationSourceRetryableException" => FailureKind::Transient,
        "GlueEncryptionException" => FailureKind::Denied,
        _ => return None,
    })
}

pub(super) fn incomplete(error: BuildError) -> Failure {
    Failure::new(FailureKind::Internal, format!("cannot describe a table for Glue: {error}"))
}

impl Glue {
    pub(super) fn new(session: &AwsSession) -> Self {
        let options = &session.target().catalog;
        Self {
            client: session.glue(),
            database: options.database.clone(),
            catalog: options.catalog_id.clone(),
            tags: session.target().tags.clone().into_iter().collect(),
        }
    }

    /// All tables; none if there is no such database.
    pub(super) async fn tables(&self) -> Outcome<Vec<Table>> {
        let mut pages = self
            .client
            .get_tables()
            .set_catalog_id(self.catalog.clone())
            .database_name(&self.database)
            .into_paginator()
            .send();
        let mut tables = Vec::new();
        while let Some(page) = pages.next().await {
            match page {
                Ok(page) => tables.extend(page.table_list.unwrap_or_default()),
                Err(failed) if error::code(&failed) == Some(NOT_FOUND) => return Ok(Vec::new()),
                Err(failed) => {
                    let doing = format!("list the tables of database `{}`", self.database);
                    return Err(error::failure(doing, &failed, kind));
                }
            }
        }
        Ok(tables)
    }

    /// A table; `None` if there is no such table or database.
    pub(super) async fn table(&self, name: &str) -> Outcome<Option<Table>> {
        let request = self
            .client
            .get_table()
            .set_catalog_id(self.catalog.clone())
            .database_name(&self.database)
            .name(name);
        match request.send().await {
            Ok(answer) => Ok(answer.table),
            Err(failed) if error::code(&failed) == Some(NOT_FOUND) => Ok(None),
            Err(failed) => Err(error::failure(format!("read table `{name}`"), &failed, kind)),
        }
    }

    /// Creates a table, and the database if it is missing. False if there is such a table already.
    pub(super) async fn create_table(&self, input: &TableInput) -> Outcome<bool> {
        let mut database_made = false;
        loop {
            let request = self
                .client
                .create_table()
                .set_catalog_id(self.catalog.clone())
                .database_name(&self.database)
                .table_input(input.clone());
            match request.send().await {
                Ok(_) => return Ok(true),
                Err(failed) if error::code(&failed) == Some(ALREADY_EXISTS) => return Ok(false),
                Err(failed) if error::code(&failed) == Some(NOT_FOUND) && !database_made => {
                    self.create_database().await?;
                    database_made = true;
                }
                Err(failed) => {
                    let doing = format!("create table `{}`", input.name);
                    return Err(error::failure(doing, &failed, kind));
                }
            }
        }
    }

    async fn create_database(&self) -> Outcome<()> {
        let input = DatabaseInput::builder().name(&self.database).build().map_err(incomplete)?;
        let tags = Some(self.tags.clone()).filter(|tags| !tags.is_empty());
        let request = self
            .client
            .create_database()
            .set_catalog_id(self.catalog.clone())
            .database_input(input)
            .set_tags(tags);
        match request.send().await {
            Ok(_) => Ok(()),
            // Nothing of a database is recctl's but its name.
            Err(failed) if error::code(&failed) == Some(ALREADY_EXISTS) => Ok(()),
            Err(failed) => {
                let doing = format!("create database `{}`", self.database);
                Err(error::failure(doing, &failed, kind))
            }
        }
    }

    /// Replaces a table's definition. False if it is no longer the version that it was made from.
    pub(super) async fn update_table(
        &self,
        input: &TableInput,
        version: Option<&str>,
    ) -> Outcome<bool> {
        let request = self
            .client
            .update_table()
            .set_catalog_id(self.catalog.clone())
            .database_name(&self.database)
            .table_input(input.clone())
            .set_version_id(version.map(str::to_owned))
            // Versions count against a quota, and what recctl changes has a history of its own.
            .skip_archive(true);
        match request.send().await {
            Ok(_) => Ok(true),
            Err(failed) if error::code(&failed) == Some(CHANGED) => Ok(false),
            Err(failed) => {
                Err(error::failure(format!("update table `{}`", input.name), &failed, kind))
            }
        }
    }

    /// All partitions of a table, without their columns; none if there is no such table.
    pub(super) async fn partitions(&self, table: &str) -> Outcome<Vec<Partition>> {
        let mut pages = self
            .client
            .get_partitions()
            .set_catalog_id(self.catalog.clone())
            .database_name(&self.database)
            .table_name(table)
            .exclude_column_schema(true)
            .into_paginator()
            .send();
        let mut partitions = Vec::new();
        while let Some(page) = pages.next().await {
            match page {
                Ok(page) => partitions.extend(page.partitions.unwrap_or_default()),
                Err(failed) if error::code(&failed) == Some(NOT_FOUND) => return Ok(Vec::new()),
                Err(failed) => {
                    let doing = format!("list the partitions of table `{table}`");
                    return Err(error::failure(doing, &failed, kind));
                }
            }
        }
        Ok(partitions)
    }

    /// Those of these partitions that there are.
    pub(super) async fn some_partitions(
        &self,
        table: &str,
        wanted: &[Values],
    ) -> Outcome<HashMap<Values, Partition>> {
        let mut found = HashMap::new();
        for chunk in wanted.chunks(READ_AT_ONCE) {
            let mut keys: Vec<PartitionValueList> = Vec::with_capacity(chunk.len());
            for values in chunk {
                let key = PartitionValueList::builder().set_values(Some(values.clone()));
                keys.push(key.build().map_err(incomplete)?);
            }
            while !keys.is_empty() {
                let asked = keys.len();
                let request = self
                    .client
                    .batch_get_partition()
                    .set_catalog_id(self.catalog.clone())
                    .database_name(&self.database)
                    .table_name(table)
                    .set_partitions_to_get(Some(keys));
                let answer = request.send().await.map_err(|failed| {
                    error::failure(format!("read partitions of table `{table}`"), &failed, kind)
                })?;
                for partition in answer.partitions.unwrap_or_default() {
                    found.insert(partition.values.clone().unwrap_or_default(), partition);
                }
                keys = answer.unprocessed_keys.unwrap_or_default();
                // Some of what is not processed may not be there. Taking it for absent is safe:
                // creating it says so if it is not, and then it is read again.
                if keys.len() == asked {
                    break;
                }
            }
        }
        Ok(found)
    }

    /// Creates up to [`CHANGED_AT_ONCE`] partitions; returns those that it did not.
    pub(super) async fn create_partitions(
        &self,
        table: &str,
        inputs: Vec<PartitionInput>,
    ) -> Outcome<Vec<Refused>> {
        let request = self
            .client
            .batch_create_partition()
            .set_catalog_id(self.catalog.clone())
            .database_name(&self.database)
            .table_name(table)
            .set_partition_input_list(Some(inputs));
        let answer = request.send().await.map_err(|failed| {
            error::failure(format!("create partitions of table `{table}`"), &failed, kind)
        })?;
        let errors = answer.errors.unwrap_or_default();
        Ok(errors.into_iter().map(|e| Refused::new(e.partition_values, e.error_detail)).collect())
    }

    /// Replaces up to [`CHANGED_AT_ONCE`] partitions; returns those that it did not.
    pub(super) async fn update_partitions(
        &self,
        table: &str,
        inputs: Vec<PartitionInput>,
    ) -> Outcome<Vec<Refused>> {
        let mut entries = Vec::with_capacity(inputs.len());
        for input in inputs {
            let entry = BatchUpdatePartitionRequestEntry::builder()
                .set_partition_value_list(Some(input.values().to_vec()))
                .partition_input(input)
                .build()
                .map_err(incomplete)?;
            entries.push(entry);
        }
        let request = self
            .client
            .batch_update_partition()
            .set_catalog_id(self.catalog.clone())
            .database_name(&self.database)
            .table_name(table)
            .set_entries(Some(entries));
        let answer = request.send().await.map_err(|failed| {
            error::failure(format!("update partitions of table `{table}`"), &failed, kind)
        })?;
        let errors = answer.errors.unwrap_or_default();
        let refused = |e: aws_sdk_glue::types::BatchUpdatePartitionFailureEntry| {
            Refused::new(e.partition_value_list, e.error_detail)
        };
        Ok(errors.into_iter().map(refused).collect())
    }

    /// Deletes partitions; those that are gone already are no error.
    pub(super) async fn delete_partitions(
        &self,
        table: &str,
        partitions: &[Values],
    ) -> Outcome<()> {
        for chunk in partitions.chunks(DELETED_AT_ONCE) {
            let mut keys = Vec::with_capacity(chunk.len());
            for values in chunk {
                let key = PartitionValueList::builder().set_values(Some(values.clone()));
                keys.push(key.build().map_err(incomplete)?);
            }
            let request = self
                .client
                .batch_delete_partition()
                .set_catalog_id(self.catalog.clone())
                .database_name(&self.database)
                .table_name(table)
                .set_partitions_to_delete(Some(keys));
            let answer = request.send().await.map_err(|failed| {
                error::failure(format!("delete partitions of table `{table}`"), &failed, kind)
            })?;
            for one in answer.errors.unwrap_or_default() {
                let refused = Refused::new(one.partition_values, one.error_detail);
                if refused.code != NOT_FOUND {
                    return Err(refused.failure(table));
                }
            }
        }
        Ok(())
    }
}
