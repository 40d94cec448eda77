use std::sync::Arc;

use async_trait::async_trait;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use datafusion::arrow::array::{ArrayRef, Int64Array, ListArray, RecordBatch, StringArray};
use datafusion::arrow::datatypes::Int64Type;
use datafusion::parquet::arrow::ArrowWriter;
use object_store::{ObjectStore, ObjectStoreExt};
use recctl::adapters::aws::{AwsSession, RedshiftWarehouse, lake_store};
use recctl::pipeline::step::{SchemaChange, WarehouseLayout, WarehouseMode};
use recctl::pipeline::target::{
    AwsTarget, GlueOptions, RedshiftEndpoint, RedshiftOptions, S3Location, S3Options, StateOptions,
};
use recctl::ports::{
    ColumnEntry, FileEntry, LoadBatch, LoadOutcome, TableEntry, TableLoad, Warehouse,
};
use recctl::run::failure::FailureKind;
use stand_ins::redshift_data::{Config, RedshiftData};
use stand_ins::stack::{self, REGION};

use crate::contract::warehouse::{WarehouseTarget, warehouse_contract};
use crate::contract::{day, kind, lease};

const ROLE: &str = "arn:aws:iam::123456789012:role/copy";

/// Redshift over PostgreSQL, with a bucket.
struct Redshift {
    data: RedshiftData,
    config: SdkConfig,
    target: AwsTarget,
    store: Arc<dyn ObjectStore>,
}

impl Redshift {
    async fn start() -> Option<Self> {
        let stack = stack::or_skip()?;
        let (s3, account) = (stack.ministack(), stack::account());
        let data = RedshiftData::start(Config {
            postgres: stack.postgres(),
            s3_endpoint: s3.clone(),
            access_key: account.clone(),
            region: REGION.to_owned(),
        });
        let data = data.await.unwrap();
        let credentials = Credentials::new(account, "secret", None, None, "test");
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .build();
        let target = AwsTarget {
            name: "aws".to_owned(),
            region: Some(REGION.to_owned()),
            lake: S3Location { bucket: stack::bucket_name("lake"), prefix: "some/lake".to_owned() },
            s3: S3Options::default(),
            catalog: GlueOptions { database: "rec".to_owned(), catalog_id: None },
            warehouse: None,
            trainer: None,
            serving: None,
            state: StateOptions { table: "recctl-state".to_owned() },
            endpoints: [("s3".to_owned(), s3), ("redshiftdata".to_owned(), data.url())].into(),
            tags: Default::default(),
        };
        let session = AwsSession::new(&target, config.clone()).unwrap();
        let region = aws_sdk_s3::types::BucketLocationConstraint::from(REGION);
        let place = aws_sdk_s3::types::CreateBucketConfiguration::builder()
            .location_constraint(region)
            .build();
        let bucket = session.s3().create_bucket().bucket(&target.lake.bucket);
        bucket.create_bucket_configuration(place).send().await.unwrap();
        let store = lake_store(&session).unwrap();
        Some(Self { data, config, target, store })
    }

    fn warehouse_with(&self, schema: &str, endpoint: RedshiftEndpoint) -> RedshiftWarehouse {
        let options = RedshiftOptions {
            endpoint,
            database: "dev".to_owned(),
            schema: schema.to_owned(),
            copy_role: ROLE.to_owned(),
            secret: None,
            external_schema: format!("{schema}_lake"),
        };
        let target = AwsTarget { warehouse: Some(options), ..self.target.clone() };
        let session = AwsSession::new(&target, self.config.clone()).unwrap();
        RedshiftWarehouse::new(&session, Arc::clone(&self.store)).unwrap()
    }

    fn warehouse(&self, schema: &str) -> RedshiftWarehouse {
        self.warehouse_with(schema, RedshiftEndpoint::Workgroup("rec".to_owned()))
    }

    async fn put(&self, path: &str, bytes: Vec<u8>) {
        self.store.put(&path.into(), bytes.into()).await.unwrap();
    }

    /// A load of one table from one file that holds the batch.
    async fn table(&self, name: &str, date: Option<&str>, batch: &RecordBatch) -> TableLoad {
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
        writer.write(batch).unwrap();
        writer.close().unwrap();
        let rows = batch.num_rows() as u64;
        let path = format!("{name}/{}/{}.parquet", date.unwrap_or("all"), bytes.len());
        let size = bytes.len() as u64;
        self.put(&path, bytes).await;
        let columns = batch
            .schema()
            .fields()
            .iter()
            .map(|field| ColumnEntry {
                name: field.name().clone(),
                kind: field.data_type().to_string(),
                nullable: true,
            })
            .collect();
        TableLoad {
            table: TableEntry {
                name: name.to_owned(),
                columns,
                by_day: date.is_some(),
                schema_change: SchemaChange::Stop,
            },
            date: date.map(day),
            files: vec![FileEntry { path, bytes: size, rows }],
            rows,
            layout: WarehouseLayout::default(),
        }
    }

    async fn rows(&self, sql: &str) -> Vec<String> {
        let rows = self.data.query(sql).await.unwrap();
        let shown = |row: Vec<Option<String>>| {
            let cells = row.into_iter().map(|cell| cell.unwrap_or_else(|| "-".to_owned()));
            cells.collect::<Vec<_>>().join(" ")
        };
        rows.into_iter().map(shown).collect()
    }

    fn submitted(&self) -> usize {
        let requests = self.data.requests();
        requests.iter().filter(|request| request.mutating && request.refused.is_none()).count()
    }
}

#[async_trait]
impl WarehouseTarget for Redshift {
    async fn open(&self, name: &str) -> Arc<dyn Warehouse> {
        Arc::new(self.warehouse(name))
    }

    async fn put_file(&self, path: &str, bytes: Vec<u8>) {
        self.put(path, bytes).await;
    }

    fn attaches(&self) -> bool {
        true
    }
}

fn numbers(rows: i64) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
    let words: ArrayRef =
        Arc::new(StringArray::from_iter_values((0..rows).map(|n| format!("it's \\{n}"))));
    RecordBatch::try_from_iter([("id", ids), ("word", words)]).unwrap()
}

fn batch(token: &str, tables: Vec<TableLoad>) -> LoadBatch {
    LoadBatch { token: token.to_owned(), run: "run".to_owned(), lease: lease(), tables }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redshift_warehouse() {
    let Some(redshift) = Redshift::start().await else { return };
    warehouse_contract(&redshift).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redshift_tables_are_made_as_the_layout_says() {
    let Some(redshift) = Redshift::start().await else { return };
    let cluster = RedshiftEndpoint::Cluster { cluster: "c".to_owned(), user: Some("u".to_owned()) };
    let warehouse = redshift.warehouse_with("s", cluster);
    let mut load = redshift.table("events", Some("2026-03-01"), &numbers(3)).await;
    load.layout.dist_key = Some("id".to_owned());
    load.layout.sort_keys = vec!["dt".to_owned(), "id".to_owned()];
    let outcome = warehouse.load(&batch("1", vec![load])).await;
    assert_eq!(outcome, Ok(LoadOutcome::Loaded(3)));
    let made = "SELECT style, dist_key, sort_keys FROM redshift.layout WHERE table_id = 's.events'::regclass";
    assert_eq!(redshift.rows(made).await, ["KEY id {dt,id}"]);
    let rows = "SELECT id, word, dt FROM s.events ORDER BY id DESC LIMIT 1";
    assert_eq!(redshift.rows(rows).await, [r"2 it's \2 2026-03-01"]);
    let ledger = "SELECT token, run, tables, rows FROM s.recctl_loads";
    assert_eq!(
        redshift.rows(ledger).await,
        [r#"1 run [{"date":"2026-03-01","rows":3,"table":"events"}] 3"#]
    );
    // Nested values, and names that need quotes.
    let lists: ArrayRef =
        Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1), None])]));
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![7]));
    let odd = RecordBatch::try_from_iter([("select \"x\"", lists), ("order", ids)]).unwrap();
    let odd = redshift.table("table", None, &odd).await;
    warehouse.load(&batch("2", vec![odd])).await.unwrap();
    let rows = redshift.rows("SELECT * FROM s.\"table\"").await;
    assert_eq!(rows, ["[1, null] 7"]);
    assert_eq!(warehouse.count("table", None).await, Ok(Some(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redshift_merges_on_keys() {
    let Some(redshift) = Redshift::start().await else { return };
    let warehouse = redshift.warehouse("s");
    let merged = WarehouseLayout {
        mode: WarehouseMode::Merge { on: vec!["id".to_owned()] },
        ..WarehouseLayout::default()
    };
    let mut load = redshift.table("t", Some("2026-03-01"), &numbers(5)).await;
    load.layout = merged.clone();
    warehouse.load(&batch("1", vec![load])).await.unwrap();
    let mut load = redshift.table("t", Some("2026-03-02"), &numbers(3)).await;
    load.layout = merged.clone();
    warehouse.load(&batch("2", vec![load])).await.unwrap();
    let days = "SELECT dt, count(*) FROM s.t GROUP BY dt ORDER BY dt";
    assert_eq!(redshift.rows(days).await, ["2026-03-01 2", "2026-03-02 3"]);
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 1]));
    let twice = RecordBatch::try_from_iter([("id", ids)]).unwrap();
    let mut load = redshift.table("t", Some("2026-03-03"), &twice).await;
    load.layout = merged;
    assert_eq!(kind(warehouse.load(&batch("3", vec![load])).await), FailureKind::Quality);
    assert_eq!(redshift.rows(days).await, ["2026-03-01 2", "2026-03-02 3"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redshift_reads_tables_where_they_lie() {
    let Some(redshift) = Redshift::start().await else { return };
    let warehouse = redshift.warehouse("s");
    let mut outside = redshift.table("t", Some("2026-03-01"), &numbers(5)).await;
    outside.layout.mode = WarehouseMode::External;
    let beside = redshift.table("copied", None, &numbers(2)).await;
    let both = batch("1", vec![outside, beside]);
    assert_eq!(warehouse.load(&both).await, Ok(LoadOutcome::Loaded(2)));
    assert_eq!(warehouse.load(&both).await, Ok(LoadOutcome::AlreadyLoaded));
    let made = "SELECT schemaname, databasename FROM redshift.svv_external_schemas";
    assert_eq!(redshift.rows(made).await, ["s_lake rec"]);
    assert_eq!(warehouse.count("t", None).await, Ok(None));
    redshift.data.query("CREATE TABLE s_lake.t (dt date)").await.unwrap();
    redshift.data.query("INSERT INTO s_lake.t VALUES ('2026-03-01')").await.unwrap();
    assert_eq!(warehouse.count("t", Some(day("2026-03-01"))).await, Ok(Some(1)));
    // One over another database is not taken.
    redshift.data.query("UPDATE redshift.external SET database = 'other'").await.unwrap();
    assert_eq!(kind(warehouse.load(&batch("2", both.tables)).await), FailureKind::Usage);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redshift_loads_once_whatever_happens() {
    let Some(redshift) = Redshift::start().await else { return };
    let warehouse = redshift.warehouse("s");
    let rows = async || warehouse.count("t", None).await.unwrap();
    let load = |token: &str, table: &TableLoad| batch(token, vec![table.clone()]);
    let table = redshift.table("t", None, &numbers(4)).await;
    warehouse.load(&load("0", &table)).await.unwrap();

    // The answer gets lost: the SDK asks again under the same token.
    redshift.data.forget_requests();
    redshift.data.refuse(Some("DescribeStatement"), "ThrottlingException", 2);
    let again = load("1", &table);
    redshift.data.drop_next_answer();
    assert_eq!(warehouse.load(&again).await, Ok(LoadOutcome::Loaded(4)));
    // Much later, when nobody remembers the token.
    redshift.data.forget_tokens();
    redshift.data.forget_requests();
    assert_eq!(warehouse.load(&again).await, Ok(LoadOutcome::AlreadyLoaded));
    assert_eq!(redshift.submitted(), 0);

    // The process dies while the load runs; the next one finds it and waits for it.
    redshift.data.hold(usize::MAX);
    let lost = load("2", &table);
    let asked = |operation: &str| {
        let requests = redshift.data.requests();
        requests.iter().filter(|request| request.operation == operation).count()
    };
    let until = async |condition: &dyn Fn() -> bool| {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    let under_way = || redshift.submitted() == 1;
    tokio::select! {
        outcome = warehouse.load(&lost) => panic!("the load was not held: {outcome:?}"),
        () = until(&under_way) => {}
    }
    let looks = asked("ListStatements");
    let found = async {
        let looked = || asked("ListStatements") > looks;
        until(&looked).await;
        redshift.data.release();
    };
    let (outcome, ()) = tokio::join!(warehouse.load(&lost), found);
    assert_eq!(outcome, Ok(LoadOutcome::Loaded(4)));
    assert_eq!(redshift.submitted(), 1);

    // Or finds it by its name, in another process, and stops it: nothing of it is visible.
    let more = redshift.table("t", None, &numbers(6)).await;
    redshift.data.hold(usize::MAX);
    redshift.data.forget_requests();
    let lost = load("5", &more);
    tokio::select! {
        outcome = warehouse.load(&lost) => panic!("it was not held: {outcome:?}"),
        () = until(&under_way) => {}
    }
    let other = redshift.warehouse("s");
    let tokens = ["2".to_owned(), "5".to_owned(), "6".to_owned()];
    let found = other.under_way(&tokens).await.unwrap();
    let [name] = &found[..] else { panic!("{found:?}") };
    assert!(name.starts_with("recctl-load-"), "{name}");
    assert_eq!(redshift.warehouse("s2").under_way(&tokens).await, Ok(vec![]), "another schema");
    other.cancel(&tokens).await.unwrap();
    redshift.data.release();
    assert_eq!(other.under_way(&tokens).await, Ok(vec![]));
    assert_eq!(rows().await, Some(4));
    assert_eq!(other.load(&lost).await, Ok(LoadOutcome::Loaded(6)));
    warehouse.load(&load("7", &table)).await.unwrap();

    // A COPY that fails leaves nothing, and may be asked for again under the same identity.
    redshift.data.fail_next_copy("ERROR: the disk is full");
    let failure = warehouse.load(&load("3", &more)).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Step);
    assert!(
        failure.message.contains("`t`") && failure.message.contains("disk is full"),
        "{failure}"
    );
    assert_eq!(rows().await, Some(4));
    assert_eq!(warehouse.load(&load("3", &more)).await, Ok(LoadOutcome::Loaded(6)));

    redshift.data.limit_active(0);
    assert_eq!(kind(warehouse.load(&load("4", &more)).await), FailureKind::Transient);
    redshift.data.limit_active(500);
    redshift.data.expire_credentials(1);
    assert_eq!(kind(warehouse.load(&load("4", &more)).await), FailureKind::Denied);
    assert_eq!(rows().await, Some(6));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redshift_is_not_asked_for_what_cannot_fit() {
    let Some(redshift) = Redshift::start().await else { return };
    let warehouse = redshift.warehouse("s");
    redshift.data.query("CREATE SCHEMA s").await.unwrap();
    redshift.data.query("CREATE TABLE s.t (id bigint, word varchar(5))").await.unwrap();
    let load = redshift.table("t", None, &numbers(3)).await;
    let failure = warehouse.load(&batch("1", vec![load.clone()])).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Usage);
    assert!(failure.message.contains("`t.word`"), "{failure}");
    // The statistics know the first and the last word only; the others are seen in Redshift.
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let words: ArrayRef = Arc::new(StringArray::from(vec!["a", "much longer", "z"]));
    let middle = RecordBatch::try_from_iter([("id", ids), ("word", words)]).unwrap();
    let middle = redshift.table("t", None, &middle).await;
    let failure = warehouse.load(&batch("2", vec![middle])).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Usage);
    assert!(failure.message.contains("`t.word`"), "{failure}");
    assert_eq!(warehouse.count("t", None).await, Ok(Some(0)));

    redshift.data.forget_requests();
    // Files whose columns are in another order than the table's.
    let mut swapped = load.clone();
    swapped.table.columns.reverse();
    let failure = warehouse.load(&batch("3", vec![swapped])).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Input);
    assert!(failure.message.contains("`t.word`"), "{failure}");
    let tables: Vec<TableLoad> = (0..10)
        .map(|n| {
            let mut one = load.clone();
            one.table.name = format!("t{n}");
            one
        })
        .collect();
    let failure = warehouse.load(&batch("4", tables.clone())).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Usage);
    assert!(failure.message.contains("40 in one transaction"), "{failure}");
    assert_eq!(redshift.submitted(), 0);
    // Where it is only the making of tables that is too much, that goes first.
    let some = batch("5", tables.into_iter().take(9).collect());
    assert_eq!(warehouse.load(&some).await, Ok(LoadOutcome::Loaded(27)));
}
