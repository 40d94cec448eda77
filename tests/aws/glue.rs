use std::collections::HashMap;
use std::sync::Arc;

use aws_credential_types::provider::ProvideCredentials;
use aws_sdk_glue::types::{DatabaseInput, StorageDescriptor, Table, TableInput};
use datafusion::prelude::SessionContext;
use recctl::adapters::aws::{AwsSession, GlueCatalog, lake_store};
use recctl::pipeline::interval::Partition;
use recctl::pipeline::step::SchemaChange;
use recctl::pipeline::target::AwsTarget;
use recctl::ports::{Catalog, ColumnEntry, FileEntry, PartitionEntry, TableEntry};
use recctl::query::catalog_schema::to_entries;
use recctl::query::checks::Scan;
use recctl::query::raw::tally::Tally;
use recctl::query::write::{Destination, stored_schema, write};
use recctl::run::failure::FailureKind;
use serde_json::json;
use stand_ins::faults::Microburst;
use stand_ins::recorder::Recorder;
use stand_ins::stack::{Stack, bucket_name, or_skip};

use super::athena::Athena;
use super::session::{open, target};
use crate::contract::catalog::{catalog_contract, taken_back, whole_states};
use crate::contract::{at, kind, lease};

/// A session with a bucket and a database of its own; Glue is at `glue`.
async fn place(stack: &Stack, glue: &str) -> AwsSession {
    let mut target = target(&stack.ministack());
    target.lake.bucket = bucket_name("lake");
    "rec/lake".clone_into(&mut target.lake.prefix);
    target.catalog.database = bucket_name("rec").replace('-', "_");
    target.endpoints.insert("glue".to_owned(), glue.to_owned());
    let session = open(&target);
    let made = session.s3().create_bucket().bucket(&target.lake.bucket);
    let region = aws_sdk_s3::types::BucketLocationConstraint::from(session.region());
    let place = aws_sdk_s3::types::CreateBucketConfiguration::builder();
    made.create_bucket_configuration(place.location_constraint(region).build())
        .send()
        .await
        .unwrap();
    session
}

/// The same account with other settings.
fn again(session: &AwsSession, edit: impl FnOnce(&mut AwsTarget)) -> AwsSession {
    let mut target = session.target().clone();
    edit(&mut target);
    AwsSession::new(&target, session.config().clone()).unwrap()
}

fn catalog(session: &AwsSession) -> GlueCatalog {
    GlueCatalog::new(session).unwrap()
}

fn columns(kinds: &[(&str, &str)]) -> Vec<ColumnEntry> {
    let entry = |(name, kind): &(&str, &str)| ColumnEntry {
        name: (*name).to_owned(),
        kind: (*kind).to_owned(),
        nullable: true,
    };
    kinds.iter().map(entry).collect()
}

fn table(name: &str, kinds: &[(&str, &str)]) -> TableEntry {
    TableEntry {
        name: name.to_owned(),
        columns: columns(kinds),
        by_day: true,
        schema_change: SchemaChange::Stop,
    }
}

fn partition(table: &str, key: &str, generation: &str) -> PartitionEntry {
    let folder = format!("tables/{table}/{key}/{generation}");
    PartitionEntry {
        table: table.to_owned(),
        key: key.to_owned(),
        date: key.parse().ok(),
        generation: generation.to_owned(),
        files: vec![FileEntry { path: format!("{folder}/part-0000.parquet"), bytes: 1, rows: 2 }],
        rows: 2,
        content_hash: "0".repeat(32),
        fingerprint: "f".repeat(16),
        published: at(0),
    }
}

fn days(count: u32) -> Vec<String> {
    let first: recctl::pipeline::interval::LogicalDate = "2026-01-01".parse().unwrap();
    (0..count).map(|n| first.plus(n).to_string()).collect()
}

async fn glue_table(session: &AwsSession, name: &str) -> Table {
    let database = &session.target().catalog.database;
    let request = session.glue().get_table().database_name(database).name(name);
    request.send().await.unwrap().table.unwrap()
}

async fn generations(catalog: &dyn Catalog, table: &str) -> Vec<String> {
    let partitions = catalog.partitions(table).await.unwrap();
    partitions.iter().map(|one| format!("{} {}", one.key, one.generation)).collect()
}

/// A catalog in a database of that name beside the session's own.
fn beside(session: &AwsSession, name: &str) -> Arc<dyn Catalog> {
    let session = again(session, |target| {
        target.catalog.database = format!("{}_{name}", target.catalog.database);
    });
    Arc::new(catalog(&session))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contract_over_ministack() {
    let Some(stack) = or_skip() else { return };
    let session = place(stack, &stack.ministack()).await;
    catalog_contract(async |name| beside(&session, name)).await;
    // Here a call is one step; Glue does not promise it.
    whole_states(beside(&session, "whole"), beside(&session, "whole")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contract_over_moto() {
    let Some(stack) = or_skip() else { return };
    let session = place(stack, &stack.moto()).await;
    catalog_contract(async |name| beside(&session, name)).await;
    taken_back(beside(&session, "back"), beside(&session, "back")).await;
}

/// What Glue holds is what Athena's and Spectrum's documents ask for.
#[tokio::test]
async fn tables_are_described_for_hive() {
    let Some(stack) = or_skip() else { return };
    let session = place(stack, &stack.ministack()).await;
    let entry = table("t", &[("Id", "Int64"), ("amount", "Decimal128(10, 2)")]);
    let one = partition("t", "2026-03-01", "r1");
    let whole = TableEntry { name: "w".to_owned(), by_day: false, ..entry.clone() };
    let quarantine = TableEntry {
        name: "quarantine".to_owned(),
        by_day: false,
        ..table("", &[("step", "Utf8"), ("raw", "Utf8")])
    };
    catalog(&session).publish(&[entry, whole, quarantine], &[one], &lease()).await.unwrap();
    let keys = |table: &Table| -> String {
        let all =
            table.partition_keys().iter().chain(table.storage_descriptor().unwrap().columns());
        all.map(|column| format!("{} {}", column.name(), column.r#type().unwrap()))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let made = glue_table(&session, "t").await;
    assert_eq!(keys(&made), "dt date, id bigint, amount decimal(10,2)");
    assert_eq!(made.table_type(), Some("EXTERNAL_TABLE"));
    assert_eq!(made.parameters().unwrap()["classification"], "parquet");
    let storage = made.storage_descriptor().unwrap();
    assert!(storage.input_format().unwrap().ends_with("MapredParquetInputFormat"));
    assert!(storage.output_format().unwrap().ends_with("MapredParquetOutputFormat"));
    let serde = storage.serde_info().unwrap();
    assert!(serde.serialization_library().unwrap().ends_with("ParquetHiveSerDe"));
    let made = glue_table(&session, "w").await;
    assert_eq!(made.partition_keys.as_deref(), Some(&[][..]), "Athena wants the empty list");
    // A key and a column of one name would make the table unreadable.
    let made = glue_table(&session, "quarantine").await;
    assert_eq!(keys(&made), "step string, day string, raw string");

    let database = &session.target().catalog.database;
    let request = session.glue().get_partitions().database_name(database).table_name("t");
    let partitions = request.send().await.unwrap().partitions.unwrap();
    let storage = partitions[0].storage_descriptor().unwrap();
    assert_eq!(
        storage.location().unwrap(),
        format!("{}/", session.target().lake.url("tables/t/2026-03-01/r1"))
    );
    assert!(storage.serde_info().is_some() && storage.columns().len() == 2);
}

/// Writes the rows of a query as recctl does, and describes them.
async fn written(
    session: &AwsSession,
    entry: PartitionEntry,
    sql: &str,
) -> (TableEntry, PartitionEntry) {
    let context = SessionContext::new();
    let plan = context.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
    let partition = entry.date.map_or(Partition::Whole, Partition::Day);
    let schema = stored_schema(&plan.schema(), partition);
    let folder = match entry.date {
        Some(day) => format!("tables/{}/dt={day}/{}", entry.table, entry.generation),
        None => format!("tables/{}/all/{}", entry.table, entry.generation),
    };
    let destination = Destination { store: lake_store(session).unwrap(), folder, partition };
    let scratch = tempfile::tempdir().unwrap();
    let tally = Tally::new(&entry.table, partition, scratch.path());
    let written =
        write(plan, context.task_ctx(), destination, tally, &Scan::default()).await.unwrap();
    let table = TableEntry {
        name: entry.table.clone(),
        columns: to_entries(&schema),
        by_day: entry.date.is_some(),
        schema_change: SchemaChange::Stop,
    };
    let hash = written.hash.to_string();
    let entry =
        PartitionEntry { rows: written.kept, files: written.files, content_hash: hash, ..entry };
    (table, entry)
}

async fn athena(session: &AwsSession, url: &str) -> Athena {
    let chain = session.credentials().unwrap();
    let credentials = chain.provide_credentials().await.unwrap();
    let target = session.target();
    Athena::new(url, credentials.access_key_id(), &target.catalog.database, &target.lake.bucket)
}

/// Each type with what DuckDB calls the type that it finds in the file.
const TYPES: [(&str, &str, &str, &str); 15] = [
    ("flag", "true", "boolean", "BOOLEAN"),
    ("tiny", "CAST(n AS TINYINT)", "tinyint", "TINYINT"),
    ("small", "CAST(n AS SMALLINT)", "smallint", "SMALLINT"),
    ("whole", "CAST(n AS INT)", "int", "INTEGER"),
    ("big", "CAST(n AS BIGINT)", "bigint", "BIGINT"),
    ("real", "CAST(n AS REAL)", "float", "FLOAT"),
    ("double", "CAST(n AS DOUBLE) / 4", "double", "DOUBLE"),
    ("price", "CAST(n AS DECIMAL(10, 2))", "decimal(10,2)", "DECIMAL(10,2)"),
    ("item", "concat('i', n)", "string", "VARCHAR"),
    ("bytes", "CAST(concat('b', n) AS BYTEA)", "binary", "BLOB"),
    ("day", "DATE '2026-03-05'", "date", "DATE"),
    ("ts", "CAST('2026-03-05T01:02:03.000004' AS TIMESTAMP(6))", "timestamp", "TIMESTAMP"),
    (
        "instant",
        "arrow_cast('2026-03-05T01:02:03', 'Timestamp(Microsecond, Some(\"UTC\"))')",
        "timestamp",
        "TIMESTAMP WITH TIME ZONE",
    ),
    ("tags", "make_array(concat('t', n), 'x')", "array<string>", "VARCHAR[]"),
    (
        "place",
        "named_struct('x', CAST(n AS BIGINT), 'y', 'z')",
        "struct<x:bigint,y:string>",
        "STRUCT(x BIGINT, y VARCHAR)",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn athena_reads_what_is_published() {
    let Some(stack) = or_skip() else { return };
    let session = place(stack, &stack.ministack()).await;
    let store = catalog(&session);
    let select: Vec<String> =
        TYPES.iter().map(|(name, sql, ..)| format!("{sql} AS {name}")).collect();
    let sql = |rows: u32, day: &str| {
        format!(
            "SELECT {}, DATE '{day}' AS dt FROM (SELECT unnest(range(0, {rows})) AS n)",
            select.join(", ")
        )
    };
    let mut made = Vec::new();
    for (day, rows) in [("2026-03-01", 3), ("2026-03-02", 5), ("2026-03-03", 0)] {
        let entry = partition("t", day, "r1");
        made.push(written(&session, entry, &sql(rows, day)).await);
    }
    let partitions: Vec<_> = made.iter().map(|(_, entry)| entry.clone()).collect();
    store.publish(&[made[0].0.clone()], &partitions, &lease()).await.unwrap();
    assert_eq!(store.partitions("t").await.unwrap(), partitions);

    let storage = glue_table(&session, "t").await.storage_descriptor.unwrap();
    let kinds: Vec<_> = storage.columns().iter().map(|c| c.r#type().unwrap()).collect();
    assert_eq!(kinds, TYPES.map(|(_, _, kind, _)| kind));
    let athena = athena(&session, &stack.ministack()).await;
    let found =
        athena.rows("SELECT dt, count(*), sum(big), sum(price) FROM t GROUP BY dt ORDER BY dt");
    assert_eq!(found.await, [["2026-03-01", "3", "3", "3.00"], ["2026-03-02", "5", "10", "10.00"]]);
    let found = athena.rows("SELECT count(*), max(item) FROM t WHERE dt = DATE '2026-03-02'");
    assert_eq!(found.await, [["5", "i4"]]);
    let typeof_each: Vec<_> = TYPES.iter().map(|(name, ..)| format!("typeof({name})")).collect();
    let found = athena.rows(&format!("SELECT DISTINCT {} FROM t", typeof_each.join(", "))).await;
    assert_eq!(found, [TYPES.map(|(_, _, _, kind)| kind)]);

    // A table without partitions shows its visible generation and no other.
    for (generation, rows) in [("r1", 2), ("r2", 4)] {
        let entry = PartitionEntry { date: None, ..partition("w", "all", generation) };
        let sql = format!("SELECT unnest(range(0, {rows})) AS n");
        let (table, entry) = written(&session, entry, &sql).await;
        store.publish(&[table], &[entry], &lease()).await.unwrap();
        let found = athena.rows("SELECT count(*) FROM w").await;
        assert_eq!(found, [[rows.to_string()]]);
    }
    let before = store.history("w", "all").await.unwrap();
    store.publish(&[store.table("w").await.unwrap().unwrap()], &before, &lease()).await.unwrap();
    assert_eq!(athena.rows("SELECT count(*) FROM w").await, [["2"]]);
}

/// The rows of a table by day as an engine sees them that goes to each partition's location. The
/// stand-in for Athena goes to the table's, so each partition is given to it as a table.
async fn rows_by_day(session: &AwsSession, athena: &Athena, name: &str) -> Vec<Vec<String>> {
    let database = &session.target().catalog.database;
    let glue = session.glue();
    let request = glue.get_partitions().database_name(database).table_name(name);
    let mut found = Vec::new();
    for partition in request.send().await.unwrap().partitions.unwrap() {
        let probe = bucket_name("probe").replace('-', "_");
        let input = TableInput::builder()
            .name(&probe)
            .parameters("classification", "parquet")
            .set_storage_descriptor(partition.storage_descriptor.clone())
            .build()
            .unwrap();
        let made = glue.create_table().database_name(database).table_input(input);
        made.send().await.unwrap();
        let day = partition.values()[0].clone();
        let rows = athena.rows(&format!("SELECT count(*), sum(n) FROM {probe}")).await;
        found.push([vec![day], rows[0].clone()].concat());
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flip_shows_one_generation_of_each_day() {
    let Some(stack) = or_skip() else { return };
    let session = place(stack, &stack.ministack()).await;
    let store = catalog(&session);
    let athena = athena(&session, &stack.ministack()).await;
    let publish = async |day: &str, generation: &str, rows: u32| {
        let sql = format!("SELECT unnest(range(0, {rows})) AS n, DATE '{day}' AS dt");
        let entry = partition("t", day, generation);
        let (table, entry) = written(&session, entry, &sql).await;
        store.publish(&[table], &[entry], &lease()).await.unwrap();
    };
    publish("2026-03-01", "r1", 3).await;
    publish("2026-03-02", "r1", 4).await;
    publish("2026-03-01", "r2", 5).await;
    publish("2026-03-02", "r2", 0).await;
    assert_eq!(
        rows_by_day(&session, &athena, "t").await,
        [["2026-03-01", "5", "10"], ["2026-03-02", "0", "-"]]
    );
    let before = store.history("t", "2026-03-02").await.unwrap();
    let entry = store.table("t").await.unwrap().unwrap();
    store.publish(&[entry], &before, &lease()).await.unwrap();
    assert_eq!(
        rows_by_day(&session, &athena, "t").await,
        [["2026-03-01", "5", "10"], ["2026-03-02", "4", "6"]]
    );
}

/// Two processes at once: all days are there, and of a table without partitions every generation
/// is visible or in its history.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_publishers_lose_nothing() {
    let Some(stack) = or_skip() else { return };
    let session = place(stack, &stack.ministack()).await;
    let all = days(40);
    let publish = |from: usize, name: &'static str| {
        let (store, session, all) = (catalog(&session), session.clone(), all.clone());
        async move {
            let whole = TableEntry { by_day: false, ..table("w", &[("a", "Int64")]) };
            for (n, day) in all.iter().skip(from).step_by(2).enumerate() {
                let generation = format!("{name}{n}");
                // A day that both make, to the same end.
                let shared = partition("t", "2027-01-01", "same");
                let some =
                    [partition("t", day, &generation), shared, partition("w", "all", &generation)];
                let tables = [table("t", &[("a", "Int64")]), whole.clone()];
                store.publish(&tables, &some, &lease()).await.unwrap();
                note(&session, "t", &format!("{name}{n}")).await;
            }
        }
    };
    let (one, other) = tokio::join!(tokio::spawn(publish(0, "a")), tokio::spawn(publish(1, "b")));
    one.and(other).unwrap();
    let store = catalog(&session);
    assert_eq!(store.partitions("t").await.unwrap().len(), 41);
    let mut seen: Vec<String> =
        store.history("w", "all").await.unwrap().into_iter().map(|one| one.generation).collect();
    seen.extend(store.partitions("w").await.unwrap().into_iter().map(|one| one.generation));
    seen.sort();
    let mut expected: Vec<String> =
        (0..20).flat_map(|n| [format!("a{n}"), format!("b{n}")]).collect();
    expected.sort();
    assert_eq!(seen, expected);
    let notes = glue_table(&session, "t").await.parameters.unwrap();
    assert_eq!(notes.keys().filter(|name| name.starts_with("note.")).count(), 40);
}

/// Adds a parameter to a table, as another tool would.
async fn note(session: &AwsSession, name: &str, text: &str) {
    let glue = session.glue();
    loop {
        let table = glue_table(session, name).await;
        let mut parameters = table.parameters.clone().unwrap();
        parameters.insert(format!("note.{text}"), text.to_owned());
        let mut storage = table.storage_descriptor.clone().unwrap();
        for column in storage.columns.iter_mut().flatten() {
            column.comment = Some("said by a person".to_owned());
        }
        let input = TableInput::builder()
            .name(name)
            .owner("somebody")
            .set_table_type(table.table_type)
            .set_partition_keys(table.partition_keys)
            .set_storage_descriptor(Some(storage))
            .set_parameters(Some(parameters))
            .build()
            .unwrap();
        let update = glue
            .update_table()
            .database_name(&session.target().catalog.database)
            .table_input(input)
            .set_version_id(table.version_id);
        match update.send().await {
            Ok(_) => return,
            Err(error) => {
                let error = error.into_service_error();
                assert!(error.is_concurrent_modification_exception(), "{error:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_schema_grows_and_others_words_stay() {
    let Some(stack) = or_skip() else { return };
    for glue in [stack.ministack(), stack.moto()] {
        let session = place(stack, &glue).await;
        let store = catalog(&session);
        let old = table("t", &[("a", "Int32"), ("b", "Utf8")]);
        let first = partition("t", "2026-03-01", "r1");
        store.publish(&[old], std::slice::from_ref(&first), &lease()).await.unwrap();
        note(&session, "t", "kept").await;

        let grown = table("t", &[("new", "Date32"), ("b", "Utf8View"), ("a", "Int64")]);
        let second = partition("t", "2026-03-02", "r2");
        store.publish(std::slice::from_ref(&grown), &[second], &lease()).await.unwrap();
        let found = glue_table(&session, "t").await;
        assert_eq!(found.parameters().unwrap()["note.kept"], "kept");
        assert_eq!(found.owner(), Some("somebody"));
        let shown = |storage: Option<&StorageDescriptor>| -> Vec<String> {
            let columns = storage.unwrap().columns().iter();
            columns
                .map(|c| {
                    let (kind, comment) = (c.r#type().unwrap(), c.comment().unwrap_or_default());
                    format!("{} {kind} {comment}", c.name())
                })
                .collect()
        };
        assert_eq!(
            shown(found.storage_descriptor()),
            ["a bigint said by a person", "b string said by a person", "new date "]
        );
        assert_eq!(store.table("t").await, Ok(Some(grown)));
        // A partition says what its own files hold.
        let database = &session.target().catalog.database;
        let request = session.glue().get_partitions().database_name(database).table_name("t");
        let partitions = request.send().await.unwrap().partitions.unwrap();
        assert_eq!(shown(partitions[0].storage_descriptor()), ["a int ", "b string "]);
        assert_eq!(shown(partitions[1].storage_descriptor()).len(), 3);
        assert_eq!(generations(&store, "t").await, ["2026-03-01 r1", "2026-03-02 r2"]);
    }
}

/// Sends S3 and Glue through a proxy that writes down what is asked.
fn recorded(session: &AwsSession) -> (Recorder, AwsSession) {
    let recorder = Recorder::start(session.endpoint("glue").unwrap()).unwrap();
    let session = again(session, |target| {
        target.endpoints.insert("glue".to_owned(), recorder.url());
        target.endpoints.insert("s3".to_owned(), recorder.url());
    });
    (recorder, session)
}

#[tokio::test]
async fn what_stops_stops_before_the_first_change() {
    let Some(stack) = or_skip() else { return };
    let session = place(stack, &stack.ministack()).await;
    let (recorder, session) = recorded(&session);
    let store = catalog(&session);
    let old = table("t", &[("a", "Int64"), ("b", "Utf8")]);
    store.publish(&[old], &[partition("t", "2026-03-01", "r1")], &lease()).await.unwrap();
    let database = session.target().catalog.database.clone();
    let foreign = TableInput::builder().name("theirs").parameters("by", "crawler").build().unwrap();
    let made = session.glue().create_table().database_name(&database).table_input(foreign);
    made.send().await.unwrap();
    // What Athena would read beside the files of the partition.
    let lake = lake_store(&session).unwrap();
    let stray = "tables/t/2026-03-02/r2/part-0001.parquet";
    object_store::ObjectStoreExt::put(&*lake, &stray.into(), "stray".into()).await.unwrap();
    recorder.clear();

    let beside = table("new", &[("a", "Int64")]);
    let new = partition("new", "2026-03-01", "r2");
    let publish = async |entry: TableEntry, one: PartitionEntry| {
        let outcome = store.publish(&[beside.clone(), entry], &[new.clone(), one], &lease()).await;
        outcome.unwrap_err()
    };
    let day = |table: &str| partition(table, "2026-03-02", "r2");
    let broken = publish(table("t", &[("a", "Int32")]), day("t")).await;
    assert_eq!(broken.kind, FailureKind::Usage);
    assert!(broken.message.contains("column `b` is gone"), "{broken}");
    let untyped = publish(table("u", &[("total", "UInt64")]), day("u")).await;
    assert_eq!(untyped.kind, FailureKind::Usage);
    assert!(untyped.message.contains("`total`"), "{untyped}");
    let theirs = publish(table("theirs", &[("a", "Int64")]), day("theirs")).await;
    assert_eq!(theirs.kind, FailureKind::Conflict);
    let mut scattered = day("s");
    scattered.files.push(FileEntry { path: "elsewhere/p".to_owned(), bytes: 1, rows: 0 });
    let scattered = publish(table("s", &[("a", "Int64")]), scattered).await;
    assert!(scattered.message.contains("one folder"), "{scattered}");
    let undated = publish(table("s", &[("a", "Int64")]), partition("s", "all", "r2")).await;
    assert_eq!(undated.kind, FailureKind::Internal);
    let mut whole = table("t", &[("a", "Int64"), ("b", "Utf8")]);
    whole.by_day = false;
    whole.schema_change = SchemaChange::Allow;
    let whole = publish(whole, partition("t", "all", "r2")).await;
    assert!(whole.message.contains("partitioned in another way"), "{whole}");
    let strange = publish(table("t", &[("a", "Int64"), ("b", "Utf8")]), day("t")).await;
    assert_eq!(strange.kind, FailureKind::Conflict);
    assert!(strange.message.contains("part-0001"), "{strange}");

    let sent: Vec<String> = recorder.mutating().iter().map(|call| call.operation.clone()).collect();
    assert!(sent.is_empty(), "{sent:?}");
    assert_eq!(store.table("theirs").await, Ok(None));
    assert_eq!(store.tables().await.unwrap().len(), 1);
    assert_eq!(generations(&store, "t").await, ["2026-03-01 r1"]);
}

#[tokio::test]
async fn what_is_visible_is_not_sent_again() {
    let Some(stack) = or_skip() else { return };
    let session = place(stack, &stack.ministack()).await;
    let (recorder, session) = recorded(&session);
    let store = catalog(&session);
    let entry = table("t", &[("a", "Int64")]);
    let whole = TableEntry { name: "w".to_owned(), by_day: false, ..entry.clone() };
    let tables = [entry, whole];
    let mut all: Vec<_> = days(250).iter().map(|day| partition("t", day, "r1")).collect();
    all.push(partition("w", "all", "r1"));
    // More files than parameters are for.
    all[3].files = (0..500)
        .map(|n| FileEntry {
            path: format!("tables/t/many/part-{n:04}.parquet"),
            bytes: n,
            rows: n,
        })
        .collect();
    store.publish(&tables, &all, &lease()).await.unwrap();
    let count =
        |name: &str| recorder.requests().iter().filter(|call| call.operation == name).count();
    assert_eq!(count("BatchCreatePartition"), 3, "a hundred at a time");
    let long = recorder.requests().iter().any(|call| {
        call.body["PartitionInputList"].as_array().is_some_and(|list| list.len() > 100)
    });
    assert!(!long);

    recorder.clear();
    for one in &mut all {
        one.published = at(1);
    }
    store.publish(&tables, &all, &lease()).await.unwrap();
    let sent: Vec<String> = recorder.mutating().iter().map(|call| call.operation.clone()).collect();
    assert!(sent.is_empty(), "{sent:?}");

    recorder.clear();
    let seen = store.partitions("t").await.unwrap();
    assert_eq!(seen.len(), 250);
    assert_eq!(seen[3].files, all[3].files);
    assert_eq!(recorder.requests().len(), 3, "the table, its partitions, one manifest");
}

/// Sends Glue through a proxy that breaks things.
fn troubled(session: &AwsSession) -> Option<(Microburst, AwsSession)> {
    let trouble = stand_ins::python::or_skip(Microburst::start(session.endpoint("glue")?))?;
    let url = trouble.url();
    let session = again(session, |target| {
        target.endpoints.insert("glue".to_owned(), url);
    });
    Some((trouble, session))
}

#[tokio::test]
async fn a_failed_flip_takes_back_those_before() {
    let Some(stack) = or_skip() else { return };
    // The other one cannot delete partitions in a batch.
    let session = place(stack, &stack.moto()).await;
    let calm = catalog(&session);
    let tables = ["a", "w", "z"]
        .map(|name| TableEntry { by_day: name != "w", ..table(name, &[("n", "Int64")]) });
    let all = |generation: &str, day: &str| {
        [
            partition("a", "2026-03-01", generation),
            partition("a", day, generation),
            partition("w", "all", generation),
            partition("z", "2026-03-01", generation),
        ]
    };
    calm.publish(&tables, &all("r1", "2026-03-02"), &lease()).await.unwrap();
    let state = async || {
        let mut state = Vec::new();
        for name in ["a", "w", "z"] {
            state.extend(calm.partitions(name).await.unwrap());
            state.extend(calm.history(name, "2026-03-01").await.unwrap());
            state.extend(calm.history(name, "all").await.unwrap());
        }
        state
    };
    let before = state().await;
    let Some((trouble, session)) = troubled(&session) else { return };
    // The answer is good, but for one entry.
    trouble.rule(&json!({
        "service": "glue", "operation": "BatchUpdatePartition", "body": "TableName == 'z'",
        "error": {"code": "X", "status": 200, "fields": {"Errors": [{
            "PartitionValueList": ["2026-03-01"],
            "ErrorDetail": {"ErrorCode": "InternalServiceException", "ErrorMessage": "not now."},
        }]}},
    }));
    let store = catalog(&session);
    let failure = store.publish(&tables, &all("r2", "2026-03-03"), &lease()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Transient);
    assert_eq!(
        failure.message,
        "cannot publish partition `2026-03-01` of table `z`: InternalServiceException: not now; \
         3 partitions were visible and were flipped back"
    );
    assert!(!trouble.fired().is_empty());
    assert_eq!(state().await, before);

    // What cannot be taken back is said, and the rest is taken back all the same.
    trouble.rule(&json!({
        "service": "glue", "operation": "BatchDeletePartition",
        "error": {"code": "AccessDeniedException"},
    }));
    let failure = store.publish(&tables, &all("r2", "2026-03-03"), &lease()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Transient);
    assert!(failure.message.contains("; 2 partitions were visible"), "{failure}");
    assert!(failure.message.contains("stays visible: cannot delete partitions"), "{failure}");
    assert_eq!(generations(&calm, "a").await, ["2026-03-01 r1", "2026-03-02 r1", "2026-03-03 r2"]);
    assert_eq!(generations(&calm, "w").await, ["all r1"]);

    // The same again goes through.
    trouble.clear();
    store.publish(&tables, &all("r2", "2026-03-03"), &lease()).await.unwrap();
    assert_eq!(generations(&calm, "a").await, ["2026-03-01 r2", "2026-03-02 r1", "2026-03-03 r2"]);
    assert_eq!(generations(&calm, "w").await, ["all r2"]);
}

#[tokio::test]
async fn throttles_and_races_are_waited_out() {
    let Some(stack) = or_skip() else { return };
    let session = place(stack, &stack.ministack()).await;
    catalog(&session).publish(&[table("t", &[("a", "Int32")])], &[], &lease()).await.unwrap();
    let Some((trouble, session)) = troubled(&session) else { return };
    trouble.rule(&json!([
        {"service": "glue", "operation": "UpdateTable", "times": 3,
         "error": {"code": "ConcurrentModificationException"}},
        {"service": "glue", "operation": "BatchCreatePartition", "times": 2,
         "error": {"code": "ThrottlingException"}},
    ]));
    let store = catalog(&session);
    let grown = table("t", &[("a", "Int64")]);
    let one = partition("t", "2026-03-01", "r1");
    store.publish(std::slice::from_ref(&grown), &[one], &lease()).await.unwrap();
    assert_eq!(trouble.fired().len(), 5);
    assert_eq!(store.table("t").await, Ok(Some(grown)));
    assert_eq!(generations(&store, "t").await, ["2026-03-01 r1"]);

    trouble.clear();
    trouble.rule(&json!({"service": "glue", "operation": "BatchGetPartition",
        "error": {"code": "AccessDeniedException"}}));
    let denied = store
        .publish(&[table("t", &[("a", "Int64")])], &[partition("t", "2026-03-02", "r1")], &lease())
        .await;
    assert_eq!(kind(denied), FailureKind::Denied);
}

/// A partition that somebody else added is left alone.
#[tokio::test]
async fn partitions_of_others_are_not_replaced() {
    let Some(stack) = or_skip() else { return };
    let session = place(stack, &stack.ministack()).await;
    let store = catalog(&session);
    let entry = table("t", &[("a", "Int64")]);
    let database = session.target().catalog.database.clone();
    let request = session.glue().create_database();
    let input = DatabaseInput::builder().name(&database).build().unwrap();
    request.database_input(input).send().await.unwrap();
    store.publish(std::slice::from_ref(&entry), &[], &lease()).await.unwrap();
    let input = aws_sdk_glue::types::PartitionInput::builder()
        .values("2026-03-01")
        .set_parameters(Some(HashMap::from([("by".to_owned(), "crawler".to_owned())])))
        .build();
    let made = session.glue().create_partition().database_name(&database).table_name("t");
    made.partition_input(input).send().await.unwrap();
    assert_eq!(store.partitions("t").await, Ok(vec![]));
    let outcome = store.publish(&[entry], &[partition("t", "2026-03-01", "r1")], &lease()).await;
    assert_eq!(kind(outcome), FailureKind::Conflict);
}
