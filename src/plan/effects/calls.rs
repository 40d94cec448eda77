//! By which calls of a target's services effects come about.

use std::collections::BTreeMap;

use serde::Serialize;

use super::operation::{self, Subject};
use super::{
    Amount, Content, Effect, Files, Generation, Jobs, LoadMode, PartitionChange, Record,
    TableChange, WarehouseTable, Work, Writer,
};
use crate::pipeline::target::{AwsTarget, Target};
use crate::ports::limits::dynamodb::BATCH_ITEMS;
use crate::ports::limits::redshift::BATCH;
use crate::query::upload::PART_BYTES;

/// A kind of call that changes something, and how often it is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Call {
    /// The service: as signatures name it, or `files` and `sqlite` of the embedded target.
    pub service: &'static str,
    /// The operation, by its name in the API; `write` and `remove` on the embedded target.
    pub operation: &'static str,
    /// What it is about: `bucket/folder/`, `database.table`, a table, the beginning of a job's name;
    /// on the embedded target a folder or `file.db:table`.
    pub resource: String,
    /// How often; on the embedded target, how many writes it stands for.
    pub count: Amount,
}

/// The calls by which an effect comes about on a target.
pub fn calls(effect: &Effect, target: &Target) -> Vec<Call> {
    match target {
        Target::Local => local(effect),
        Target::Aws(target) => aws(effect, target),
    }
}

/// All calls of effects; those of one operation on one resource are counted together.
pub fn totals<'a>(effects: impl Iterator<Item = &'a Effect>, target: &Target) -> Vec<Call> {
    let mut sums: BTreeMap<(&str, String, &str), Amount> = BTreeMap::new();
    for call in effects.flat_map(|effect| calls(effect, target)) {
        let sum = sums.entry((call.service, call.resource, call.operation)).or_insert(Amount::NONE);
        *sum = *sum + call.count;
    }
    let call =
        |((service, resource, operation), count)| Call { service, operation, resource, count };
    sums.into_iter().map(call).filter(|call: &Call| !call.count.is_none()).collect()
}

fn call(
    subject: Subject,
    operation: &'static str,
    resource: impl Into<String>,
    count: Amount,
) -> Call {
    Call { service: subject.service(), operation, resource: resource.into(), count }
}

fn aws(effect: &Effect, target: &AwsTarget) -> Vec<Call> {
    let glue = |table: &str| format!("{}.{table}", target.catalog.database);
    let on = |subject, operation, resource: String, count| {
        vec![call(subject, operation, resource, count)]
    };
    match effect {
        Effect::Files(files) => objects(files, target),
        Effect::FilesRemoved { folders, .. } => {
            on(Subject::Lake, operation::DELETE_OBJECTS, target.lake.bucket.clone(), *folders)
        }
        Effect::DatabaseMade { database, number } => {
            on(Subject::Database, operation::CREATE_DATABASE, database.clone(), *number)
        }
        Effect::Table { table, change } => {
            let operation = match change {
                TableChange::Made => operation::CREATE_TABLE,
                TableChange::Flipped => operation::UPDATE_TABLE,
            };
            on(Subject::Tables, operation, glue(table), Amount::ONE)
        }
        Effect::Partitions { table, change, .. } => {
            let operation = match change {
                PartitionChange::Added => operation::CREATE_PARTITIONS,
                PartitionChange::Flipped => operation::UPDATE_PARTITIONS,
            };
            // The table remembers the fence of each lease that publishes.
            let fence =
                call(Subject::Tables, operation::UPDATE_TABLE, glue(table), Amount::AtMost(1));
            vec![call(Subject::Tables, operation, glue(table), Amount::ONE), fence]
        }
        Effect::Load { tables, statements } => loads(tables, *statements, target),
        Effect::Jobs(jobs) => job_calls(jobs),
        Effect::ModelRegistered { group, new_group } => vec![
            call(Subject::Registry, operation::CREATE_GROUP, group, *new_group),
            call(Subject::Registry, operation::CREATE_PACKAGE, group, Amount::ONE),
        ],
        Effect::ServedTableMade { table, number } => {
            on(Subject::Served, operation::CREATE_TABLE, table.clone(), *number)
        }
        Effect::Generation(generation) => generation_calls(generation),
        Effect::GenerationsRemoved { table, generations, items, expire, .. } => {
            let mut calls = vec![call(Subject::Served, operation::TRANSACT, table, *generations)];
            if !expire {
                let batches = items.in_groups_of(BATCH_ITEMS as u64);
                calls.push(call(Subject::Served, operation::WRITE_ITEMS, table, batches));
                calls.push(call(Subject::Served, operation::DELETE_ITEM, table, *generations));
            }
            calls
        }
        Effect::State { record, writes } => state(*record, *writes, &target.state.table),
        Effect::Sample { .. } => Vec::new(),
    }
}

/// Objects: in one go, or in parts where they are large.
fn objects(files: &Files, target: &AwsTarget) -> Vec<Call> {
    let key = target.lake.key(&place(files));
    let resource = format!("{}/{key}", target.lake.bucket);
    let one = |operation, count| call(Subject::Lake, operation, resource.clone(), count);
    match files.by {
        Writer::Job => Vec::new(),
        Writer::Copy => vec![one(operation::COPY_OBJECT, files.files)],
        Writer::Run => {
            let small = vec![one(operation::PUT_OBJECT, files.files)];
            let may_be_large = match files.content {
                Content::Table | Content::TrainingSet => {
                    files.bytes.number().is_none_or(|it| it >= PART_BYTES as u64)
                }
                Content::Quarantine
                | Content::Manifest
                | Content::LoadList
                | Content::Model
                | Content::Recommendations
                | Content::JobSettings
                | Content::RegisteredModel
                | Content::Definition => false,
            };
            if !may_be_large {
                return small;
            }
            let most = files.files.number().map_or(Amount::Unknown, Amount::AtMost);
            let parts = match files.bytes {
                Amount::Unknown => Amount::Unknown,
                bytes => bytes.in_groups_of(PART_BYTES as u64),
            };
            vec![
                one(operation::PUT_OBJECT, most),
                one(operation::CREATE_UPLOAD, most),
                one(operation::UPLOAD_PART, parts),
                one(operation::COMPLETE_UPLOAD, most),
            ]
        }
    }
}

/// The folder under which files are counted together: that of the table, or of all of their kind.
fn place(files: &Files) -> String {
    let depth = match files.content {
        Content::Manifest => 4,
        Content::Table | Content::Quarantine | Content::RegisteredModel | Content::Definition => 2,
        Content::LoadList
        | Content::TrainingSet
        | Content::Model
        | Content::Recommendations
        | Content::JobSettings => 1,
    };
    let parts: Vec<&str> = files.folder.split('/').take(depth).collect();
    format!("{}/", parts.join("/"))
}

/// One transaction; where its statements are too many, tables are made before it.
fn loads(tables: &[WarehouseTable], statements: Amount, target: &AwsTarget) -> Vec<Call> {
    let Some(redshift) = &target.warehouse else { return Vec::new() };
    // A table that is made, the ledger and the schema take a statement each.
    let most = statements.number().unwrap_or_default() + tables.len() as u64 + 2;
    let mut batches = if most > BATCH as u64 { Amount::About(2) } else { Amount::ONE };
    if tables.iter().any(|table| table.mode == LoadMode::External) {
        batches = batches + Amount::AtMost(1);
    }
    vec![call(Subject::Warehouse, operation::EXECUTE_BATCH, &redshift.database, batches)]
}

fn job_calls(jobs: &Jobs) -> Vec<Call> {
    let resource = jobs.names.join(" or ");
    let (subject, operation) = match jobs.work {
        Work::Fit => (Subject::Training, operation::CREATE_TRAINING),
        Work::Search => (Subject::Search, operation::CREATE_SEARCH),
        Work::Score => (Subject::Processing, operation::CREATE_PROCESSING),
        // The service starts them by itself.
        Work::Trial => return Vec::new(),
    };
    vec![call(subject, operation, resource, jobs.number)]
}

/// A load: entry, lists, checkpoints, and the transaction that seals and shows it.
fn generation_calls(generation: &Generation) -> Vec<Call> {
    let one = |operation, count| call(Subject::Served, operation, &generation.table, count);
    let mut calls = vec![
        one(operation::PUT_ITEM, Amount::ONE),
        one(operation::WRITE_ITEMS, generation.items.in_groups_of(BATCH_ITEMS as u64)),
        one(operation::UPDATE_ITEM, generation.checkpoints),
        one(operation::TRANSACT, Amount::ONE),
    ];
    if generation.expire {
        let most = Amount::AtMost(1);
        calls.push(call(Subject::Expiry, operation::SET_EXPIRY, &generation.table, most));
    }
    calls
}

fn state(record: Record, writes: Amount, table: &str) -> Vec<Call> {
    let one = |operation, count| call(Subject::State, operation, table, count);
    match record {
        Record::Table => {
            vec![one(operation::CREATE_TABLE, writes), one(operation::SET_BACKUPS, writes)]
        }
        Record::Lease | Record::LeaseRenewal => vec![one(operation::UPDATE_ITEM, writes)],
        // A publication is forgotten in the transaction of the ledger.
        Record::Run | Record::Publication | Record::Ledger | Record::Decision => {
            vec![one(operation::TRANSACT, writes)]
        }
        Record::Step => vec![one(operation::PUT_ITEM, writes)],
    }
}

fn local(effect: &Effect) -> Vec<Call> {
    let write = |service, resource: &str, count| Call {
        service,
        operation: "write",
        resource: resource.to_owned(),
        count,
    };
    let tables = |database: &str, names: &[&str], count: Amount| -> Vec<Call> {
        let resource = |name: &&str| write("sqlite", &format!("{database}.db:{name}"), count);
        names.iter().map(resource).collect()
    };
    // Columns that stay as they are make no other entry of the table.
    let flips = |keys: u64| {
        let mut calls = tables("catalog", &["generations", "pointers"], Amount::Exactly(keys));
        calls.extend(tables("catalog", &["tables", "fences"], Amount::AtMost(1)));
        calls
    };
    match effect {
        Effect::Files(files) => {
            vec![write("files", &format!("lake/{}", place(files)), files.files)]
        }
        Effect::FilesRemoved { folder, folders, .. } => vec![Call {
            operation: "remove",
            ..write("files", &format!("lake/{folder}"), *folders)
        }],
        Effect::Table { change: TableChange::Made, .. } => {
            tables("catalog", &["tables"], Amount::ONE)
        }
        Effect::Table { change: TableChange::Flipped, .. } => flips(1),
        Effect::Partitions { keys, .. } => flips(keys.len() as u64),
        Effect::Load { tables: loaded, .. } => {
            let names: Vec<&str> = loaded.iter().map(|one| one.table.as_str()).collect();
            let mut calls = tables("warehouse", &names, Amount::ONE);
            calls.extend(tables("warehouse", &["recctl_loads"], Amount::ONE));
            calls.extend(tables("warehouse", &["recctl_fences"], Amount::AtMost(1)));
            calls
        }
        Effect::Jobs(jobs) => {
            let below = |folder: &str, end: &str| {
                let all: Vec<String> =
                    jobs.names.iter().map(|name| format!("{folder}{name}{end}")).collect();
                write("files", &all.join(" or "), jobs.number)
            };
            vec![below("jobs/", "/"), below("jobs/.locks/", "")]
        }
        Effect::ModelRegistered { .. } => tables("models", &["versions"], Amount::ONE),
        Effect::Generation(generation) => {
            let mut calls = tables("serving", &["generations", "pointers"], Amount::ONE);
            calls.extend(tables("serving", &["fences"], Amount::AtMost(1)));
            calls.extend(tables("serving", &["items"], generation.items));
            calls
        }
        Effect::GenerationsRemoved { generations, items, .. } => {
            let mut calls = tables("serving", &["generations", "rubbish"], *generations);
            calls.extend(tables("serving", &["items"], *items));
            calls
        }
        Effect::State { record, writes } => {
            let name = match record {
                Record::Table => return Vec::new(),
                Record::Lease | Record::LeaseRenewal => "leases",
                Record::Run => "runs",
                Record::Step => "steps",
                Record::Publication => "publications",
                Record::Ledger => "ledger",
                Record::Decision => "decisions",
            };
            tables("state", &[name], *writes)
        }
        Effect::Sample { folder, .. } => {
            vec![write("files", &format!("lake/{folder}"), Amount::Unknown)]
        }
        Effect::DatabaseMade { .. } | Effect::ServedTableMade { .. } => Vec::new(),
    }
}
