use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::RedshiftData;
use crate::stack;

struct Setup {
    data: RedshiftData,
    store: Arc<InMemory>,
}

async fn setup() -> Option<Setup> {
    let store = Arc::new(InMemory::new());
    let opened = Arc::clone(&store);
    let buckets: super::OpenBucket = Arc::new(move |bucket| match bucket {
        "lake" => Ok(Arc::clone(&opened) as Arc<dyn ObjectStore>),
        other => Err(format!("ERROR: S3ServiceException:The bucket {other} does not exist")),
    });
    let data = RedshiftData::start_with(stack::or_skip()?.postgres(), buckets).await.unwrap();
    Some(Setup { data, store })
}

impl Setup {
    /// Posts a request; status zero if the connection was closed without an answer.
    async fn post(&self, operation: &str, body: Value) -> (u16, Value) {
        let url = self.data.url();
        let address = url.strip_prefix("http://").unwrap();
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let body = body.to_string();
        let head = format!(
            "POST / HTTP/1.1\r\nhost: {address}\r\nx-amz-target: RedshiftData.{operation}\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer).await;
        if read.is_err() || answer.is_empty() {
            return (0, Value::Null);
        }
        let text = String::from_utf8(answer).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap())
    }

    async fn ok(&self, operation: &str, mut body: Value) -> Value {
        if operation.ends_with("ExecuteStatement") {
            body["WorkgroupName"] = "w".into();
            body["Database"] = "dev".into();
        }
        let (status, answer) = self.post(operation, body).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    async fn refused(&self, operation: &str, body: Value) -> String {
        let (status, answer) = self.post(operation, body).await;
        assert_eq!(status, 400, "{answer}");
        answer["__type"].as_str().unwrap().to_owned()
    }

    async fn describe(&self, id: &Value) -> Value {
        self.ok("DescribeStatement", json!({ "Id": id })).await
    }

    /// Describes until the statement has ended.
    async fn wait(&self, id: &Value) -> Value {
        loop {
            let answer = self.describe(id).await;
            let status = answer["Status"].as_str().unwrap();
            if ["FINISHED", "FAILED", "ABORTED"].contains(&status) {
                return answer;
            }
        }
    }

    async fn run(&self, sql: &str) -> Value {
        let id = self.ok("ExecuteStatement", json!({ "Sql": sql })).await["Id"].take();
        self.wait(&id).await
    }

    async fn finished(&self, sql: &str) -> Value {
        let answer = self.run(sql).await;
        assert_eq!(answer["Status"], "FINISHED", "{sql}: {answer}");
        answer
    }

    async fn failed(&self, sql: &str) -> String {
        let answer = self.run(sql).await;
        assert_eq!(answer["Status"], "FAILED", "{sql}: {answer}");
        answer["Error"].as_str().unwrap().to_owned()
    }

    async fn batch(&self, sqls: &[&str]) -> Value {
        let id = self.ok("BatchExecuteStatement", json!({ "Sqls": sqls })).await["Id"].take();
        self.wait(&id).await
    }

    async fn cell(&self, sql: &str) -> String {
        self.data.query(sql).await.unwrap()[0][0].clone().unwrap_or_default()
    }

    /// Puts a file of so many rows `id`, `word`; its length.
    async fn file(&self, path: &str, rows: i64) -> usize {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
        let words = (0..rows).map(|n| (n % 7 != 0).then(|| format!("w{n}\\\t")));
        let words: ArrayRef = Arc::new(StringArray::from_iter(words));
        let batch = RecordBatch::try_from_iter([("id", ids), ("word", words)]).unwrap();
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let length = bytes.len();
        self.store.put(&path.into(), bytes.into()).await.unwrap();
        length
    }

    async fn manifest(&self, entries: Value) {
        let text = json!({ "entries": entries }).to_string();
        self.store.put(&"m.json".into(), text.into()).await.unwrap();
    }
}

const COPY: &str = "COPY t (id, word) FROM 's3://lake/m.json' \
                    IAM_ROLE 'arn:aws:iam::123456789012:role/r' FORMAT AS PARQUET MANIFEST";

fn entry(path: &str, length: usize) -> Value {
    let url = format!("s3://lake/{path}");
    json!({ "url": url, "mandatory": true, "meta": { "content_length": length } })
}

#[tokio::test]
async fn results_are_typed_and_come_in_pages() {
    let Some(setup) = setup().await else { return };
    let sql = "SELECT n, n::float8 / 2, n % 2 = 0, 'w' || n, CASE n WHEN 1 THEN NULL ELSE 1.50 END \
               FROM generate_series(1, 120) n";
    let answer = setup.finished(sql).await;
    assert_eq!((&answer["ResultRows"], &answer["HasResultSet"]), (&json!(120), &json!(true)));
    assert!(answer["CreatedAt"].is_number() && answer["Duration"].as_u64().unwrap() > 0);
    let mut rows = Vec::new();
    let mut next = Value::Null;
    let mut pages = 0;
    loop {
        let mut body = json!({ "Id": answer["Id"] });
        if !next.is_null() {
            body["NextToken"] = next;
        }
        let mut page = setup.ok("GetStatementResult", body).await;
        assert_eq!(page["TotalNumRows"], 120);
        assert_eq!(page["ColumnMetadata"][1]["typeName"], "float8");
        rows.extend(page["Records"].as_array().unwrap().clone());
        pages += 1;
        next = page["NextToken"].take();
        if next.is_null() {
            break;
        }
    }
    assert_eq!((rows.len(), pages), (120, 3));
    assert_eq!(
        rows[0],
        json!([{"longValue": 1}, {"doubleValue": 0.5}, {"booleanValue": false}, {"stringValue": "w1"}, {"isNull": true}])
    );
    assert_eq!(rows[119][4], json!({ "stringValue": "1.50" }));
    let bound = json!({ "Sql": "SELECT count(*) FROM svv_tables WHERE table_name = :name AND 1::int = 1",
        "Parameters": [{ "name": "name", "value": "it's" }] });
    let id = setup.ok("ExecuteStatement", bound).await["Id"].take();
    assert_eq!(setup.wait(&id).await["Status"], "FINISHED");
}

#[tokio::test]
async fn a_batch_is_one_transaction() {
    let Some(setup) = setup().await else { return };
    let done = setup
        .batch(&["CREATE TABLE t (a int)", "INSERT INTO t VALUES (1), (2)", "SELECT a FROM t"])
        .await;
    assert_eq!(done["Status"], "FINISHED");
    let parts = done["SubStatements"].as_array().unwrap();
    assert_eq!(parts[1]["ResultRows"], 2);
    assert_eq!(parts[2]["Id"], format!("{}:3", done["Id"].as_str().unwrap()));
    let rows = setup.ok("GetStatementResult", json!({ "Id": parts[2]["Id"] })).await;
    assert_eq!(rows["TotalNumRows"], 2);
    let whole = setup.refused("GetStatementResult", json!({ "Id": done["Id"] })).await;
    assert_eq!(whole, "ResourceNotFoundException");

    let undone = setup.batch(&["DELETE FROM t", "SELECT 1 / 0", "SELECT 1"]).await;
    assert_eq!(undone["Status"], "FAILED");
    assert!(undone["Error"].as_str().unwrap().starts_with("Query #2 failed with ERROR: division"));
    let statuses: Vec<&Value> =
        undone["SubStatements"].as_array().unwrap().iter().map(|part| &part["Status"]).collect();
    assert_eq!(statuses, ["FINISHED", "FAILED", "ABORTED"]);
    assert_eq!(setup.cell("SELECT count(*) FROM t").await, "2");
    let truncated = setup.batch(&["TRUNCATE t"]).await;
    assert!(truncated["Error"].as_str().unwrap().contains("TRUNCATE commits"));
    setup.finished("TRUNCATE t").await;
}

#[tokio::test]
async fn a_token_stands_for_one_statement() {
    let Some(setup) = setup().await else { return };
    setup.finished("CREATE TABLE t (a int)").await;
    let insert = json!({ "Sql": "INSERT INTO t VALUES (1)", "ClientToken": "x" });
    setup.data.drop_next_answer();
    let mut body = insert.clone();
    body["WorkgroupName"] = "w".into();
    body["Database"] = "dev".into();
    assert_eq!(setup.post("ExecuteStatement", body.clone()).await.0, 0);
    let first = setup.ok("ExecuteStatement", insert.clone()).await;
    assert_eq!(setup.ok("ExecuteStatement", insert.clone()).await, first);
    assert_eq!(setup.wait(&first["Id"]).await["Status"], "FINISHED");
    assert_eq!(setup.cell("SELECT count(*) FROM t").await, "1");
    body["Sql"] = "SELECT 1".into();
    assert_eq!(setup.refused("ExecuteStatement", body).await, "ValidationException");
    setup.data.forget_tokens();
    let second = setup.ok("ExecuteStatement", insert).await;
    assert_ne!(second["Id"], first["Id"]);
    setup.wait(&second["Id"]).await;
    assert_eq!(setup.cell("SELECT count(*) FROM t").await, "2");
}

#[tokio::test]
async fn requests_are_checked_logged_and_refused() {
    let Some(setup) = setup().await else { return };
    let nowhere = json!({ "Sql": "SELECT 1", "Database": "dev" });
    assert_eq!(setup.refused("ExecuteStatement", nowhere).await, "ValidationException");
    let both = json!({ "Sql": "SELECT 1", "Database": "d", "WorkgroupName": "w", "ClusterIdentifier": "c" });
    assert_eq!(setup.refused("ExecuteStatement", both).await, "ValidationException");
    let place = |sqls: Vec<String>| json!({ "Sqls": sqls, "Database": "d", "WorkgroupName": "w" });
    let many = place(vec!["SELECT 1".to_owned(); 41]);
    assert_eq!(setup.refused("BatchExecuteStatement", many).await, "ValidationException");
    let long = place(vec![format!("SELECT '{}'", "x".repeat(102_400))]);
    assert_eq!(setup.refused("BatchExecuteStatement", long).await, "ValidationException");
    assert_eq!(setup.refused("Nothing", json!({})).await, "UnknownOperationException");
    let missing = json!({ "Id": "no" });
    assert_eq!(setup.refused("DescribeStatement", missing).await, "ResourceNotFoundException");

    setup.data.forget_requests();
    setup.data.throttle(1);
    setup.data.refuse(Some("DescribeStatement"), "ExpiredTokenException", 1);
    let one = place(vec!["SELECT 1".to_owned()]);
    assert_eq!(setup.refused("BatchExecuteStatement", one).await, "ThrottlingException");
    assert_eq!(setup.refused("DescribeStatement", json!({})).await, "ExpiredTokenException");
    setup.ok("ExecuteStatement", json!({ "Sql": "DROP TABLE x", "ClientToken": "k" })).await;
    let log = setup.data.requests();
    assert_eq!(log.len(), 3);
    assert_eq!((log[0].mutating, log[0].refused.as_deref()), (false, Some("ThrottlingException")));
    assert_eq!((log[2].mutating, log[2].token.as_deref()), (true, Some("k")));
    assert_eq!(log[2].sqls, ["DROP TABLE x"]);
}

#[tokio::test]
async fn statements_are_held_listed_and_cancelled() {
    let Some(setup) = setup().await else { return };
    setup.finished("CREATE TABLE t (a int)").await;
    setup.data.hold(2);
    setup.data.limit_active(2);
    let insert = |name: &str| json!({ "Sql": "INSERT INTO t VALUES (1)", "StatementName": name });
    let first = setup.ok("ExecuteStatement", insert("load-1")).await["Id"].take();
    let second = setup.ok("ExecuteStatement", insert("load-2")).await["Id"].take();
    let mut more = insert("load-3");
    more["ClusterIdentifier"] = "c".into();
    more["Database"] = "d".into();
    let code = setup.refused("ExecuteStatement", more).await;
    assert_eq!(code, "ActiveStatementsExceededException");
    assert_eq!(setup.cell("SELECT count(*) FROM t").await, "0");
    let list = async |body: Value| {
        let list = setup.ok("ListStatements", body).await;
        let mut found: Vec<Value> = list["Statements"].as_array().unwrap().clone();
        found.iter_mut().map(|one| one["StatementName"].take()).collect::<Vec<_>>()
    };
    assert!(list(json!({ "StatementName": "load" })).await.is_empty());
    let all = json!({ "StatementName": "load", "Status": "ALL" });
    assert_eq!(list(all).await, ["load-2", "load-1"]);

    setup.ok("CancelStatement", json!({ "Id": second })).await;
    assert_eq!(setup.wait(&second).await["Status"], "ABORTED");
    assert_eq!(setup.describe(&first).await["Status"], "STARTED");
    assert_eq!(setup.wait(&first).await["Status"], "FINISHED");
    assert_eq!(setup.cell("SELECT count(*) FROM t").await, "1");
    let done = json!({ "Id": first });
    assert_eq!(setup.refused("CancelStatement", done).await, "ValidationException");
    // One that runs.
    setup.data.hold(0);
    let sleeping = json!({ "Sql": "SELECT pg_sleep(600)" });
    let sleeping = setup.ok("ExecuteStatement", sleeping).await["Id"].take();
    let asleep = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = 'SELECT pg_sleep(600)'";
    while setup.cell(asleep).await == "0" {}
    setup.ok("CancelStatement", json!({ "Id": sleeping })).await;
    assert_eq!(setup.wait(&sleeping).await["Status"], "ABORTED");
}

#[tokio::test]
async fn copy_loads_what_the_manifest_names() {
    let Some(setup) = setup().await else { return };
    setup
        .finished("CREATE TABLE t (dt date DEFAULT '2026-03-01', word varchar(8), id bigint)")
        .await;
    let (one, two) = (setup.file("a/1.parquet", 100).await, setup.file("a/2.parquet", 5).await);
    setup.file("a/3.parquet", 1).await;
    setup.manifest(json!([entry("a/1.parquet", one), entry("a/2.parquet", two)])).await;
    assert_eq!(setup.finished(COPY).await["ResultRows"], 105);
    let seen = "SELECT count(*) || ' ' || count(word) || ' ' || min(word) || ' ' || max(dt) FROM t";
    assert_eq!(setup.cell(seen).await, "105 89 w10\\\t 2026-03-01");

    setup.manifest(json!([entry("a/1.parquet", one + 1)])).await;
    assert!(setup.failed(COPY).await.contains("content_length"));
    setup.manifest(json!([{ "url": "s3://lake/a/1.parquet", "mandatory": true }])).await;
    assert!(setup.failed(COPY).await.contains("content_length"));
    setup.manifest(json!([entry("a/2.parquet", two), entry("a/9.parquet", 1)])).await;
    assert!(setup.failed(COPY).await.contains("NoSuchKey"));
    setup.manifest(json!([entry("a/2.parquet", two)])).await;
    assert!(setup.failed(&COPY.replace("id, word", "id")).await.contains("Unmatched number"));
    let swapped = setup.failed(&COPY.replace("id, word", "word, id")).await;
    assert!(swapped.ends_with("incompatible Parquet schema"), "{swapped}");
    setup.finished("CREATE TABLE narrow (id bigint, word varchar(2))").await;
    let narrow = setup.failed(&COPY.replace("COPY t", "COPY narrow")).await;
    assert!(narrow.contains("longer than the length defined"), "{narrow}");
    let elsewhere = setup.failed(&COPY.replace("s3://lake", "s3://sea")).await;
    assert!(elsewhere.contains("does not exist"));
    setup.data.fail_next_copy("ERROR: the disk is full");
    assert_eq!(setup.failed(COPY).await, "ERROR: the disk is full");
    assert_eq!(setup.cell("SELECT count(*) FROM t").await, "105");

    // In a batch, by way of a temporary table.
    let copy = COPY.replace("COPY t", "COPY s");
    let steps = [
        "CREATE TEMP TABLE s (LIKE t)",
        copy.as_str(),
        "DELETE FROM t USING s WHERE t.id = s.id",
        "INSERT INTO t (id, word) SELECT id, word FROM s",
        "MERGE INTO t USING s ON t.id = s.id WHEN MATCHED THEN UPDATE SET word = 'm' \
         WHEN NOT MATCHED THEN INSERT (id) VALUES (s.id)",
    ];
    assert_eq!(setup.batch(&steps).await["Status"], "FINISHED");
    assert_eq!(setup.cell("SELECT count(*) || max(word) FROM t WHERE id < 5").await, "5m");
}

#[tokio::test]
async fn a_million_rows_go_through() {
    let Some(setup) = setup().await else { return };
    setup.finished("CREATE TABLE t (id bigint, word varchar(20))").await;
    let length = setup.file("big.parquet", 1_000_000).await;
    setup.manifest(json!([entry("big.parquet", length)])).await;
    let begun = std::time::Instant::now();
    assert_eq!(setup.finished(COPY).await["ResultRows"], 1_000_000);
    println!("a million rows in {:?}", begun.elapsed());
    assert_eq!(setup.cell("SELECT sum(id) FROM t").await, "499999500000");
}

#[tokio::test]
async fn the_system_views_say_what_was_made() {
    let Some(setup) = setup().await else { return };
    setup.finished("CREATE SCHEMA rec").await;
    setup
        .finished(
            "CREATE TABLE rec.t (\"Id\" bigint NOT NULL, w varchar(300), s super, p decimal(12,3)) \
             DISTKEY (id) SORTKEY (w, id)",
        )
        .await;
    setup
        .finished(
            "CREATE EXTERNAL SCHEMA lake FROM DATA CATALOG DATABASE 'rec' \
             IAM_ROLE 'arn:aws:iam::123456789012:role/r'",
        )
        .await;
    let rows = async |sql: &str| {
        let answer = setup.finished(sql).await;
        setup.ok("GetStatementResult", json!({ "Id": answer["Id"] })).await["Records"].take()
    };
    assert_eq!(
        rows("SELECT diststyle, sortkey1, sortkey_num FROM svv_table_info WHERE \"table\" = 't'")
            .await,
        json!([[{"stringValue": "KEY(id)"}, {"stringValue": "w"}, {"longValue": 2}]])
    );
    assert_eq!(
        rows("SELECT schemaname, databasename FROM svv_external_schemas").await,
        json!([[{"stringValue": "lake"}, {"stringValue": "rec"}]])
    );
    let columns = rows(
        "SELECT column_name, data_type, character_maximum_length, numeric_scale FROM svv_columns \
         WHERE table_schema = 'rec' AND table_name = 't' ORDER BY ordinal_position",
    )
    .await;
    assert_eq!(columns[0][0], json!({"stringValue": "id"}));
    assert_eq!(columns[1][2], json!({"longValue": 300}));
    assert_eq!(columns[2][1], json!({"stringValue": "super"}));
    assert_eq!(columns[3][3], json!({"longValue": 3}));
    assert_eq!(rows("SELECT getdate() > '2020-01-01'").await, json!([[{"booleanValue": true}]]));

    let place = json!({ "Database": "d", "WorkgroupName": "w", "SchemaPattern": "re%" });
    let tables = setup.ok("ListTables", place.clone()).await;
    assert_eq!(tables["Tables"], json!([{ "schema": "rec", "name": "t", "type": "TABLE" }]));
    let mut table = place;
    table["Schema"] = "rec".into();
    table["Table"] = "t".into();
    let columns = setup.ok("DescribeTable", table).await["ColumnList"].take();
    assert_eq!(columns[0]["typeName"], "int8");
    assert_eq!((&columns[1]["length"], &columns[2]["typeName"]), (&json!(300), &json!("super")));
    // A session's temporary tables end with it.
    setup.finished("CREATE TEMP TABLE gone (a int)").await;
    assert!(setup.failed("SELECT * FROM gone").await.contains("does not exist"));
}
