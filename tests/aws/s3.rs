use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};
use futures::TryStreamExt;
use hyper::HeaderMap;
use hyper::body::Bytes;
use object_store::path::Path as StorePath;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, UpdateVersion};
use recctl::adapters::aws::{AwsSession, Bucket, PartSizes, Precondition, lake_store, s3_store};
use recctl::pipeline::target::{AwsTarget, Encryption, S3Location};
use recctl::query::upload::Upload;
use recctl::run::failure::FailureKind;
use serde_json::json;
use stand_ins::faults::Microburst;
use stand_ins::http::{Handler, Request, Response, Server};
use stand_ins::stack::{Stack, bucket_name, or_skip};
use tokio_util::task::TaskTracker;

use super::session::{open, target};

const MIB: usize = 1024 * 1024;

/// A session whose lake is below `prefix` of a bucket of its own.
async fn lake(stack: &Stack, prefix: &str, edit: impl FnOnce(&mut AwsTarget)) -> AwsSession {
    let mut target = target(&stack.ministack());
    target.lake = S3Location { bucket: bucket_name("lake"), prefix: prefix.to_owned() };
    edit(&mut target);
    let session = open(&target);
    let place = CreateBucketConfiguration::builder()
        .location_constraint(BucketLocationConstraint::from(session.region()))
        .build();
    let made = session.s3().create_bucket().bucket(&target.lake.bucket);
    made.create_bucket_configuration(place).send().await.unwrap();
    session
}

fn bucket(session: &AwsSession) -> Bucket {
    Bucket::new(session, &session.target().lake.bucket)
}

/// The same account with faults in front of S3.
fn behind(session: &AwsSession, faults: &Microburst) -> AwsSession {
    let mut target = session.target().clone();
    target.endpoints.insert("s3".to_owned(), faults.url());
    AwsSession::new(&target, session.config().clone()).unwrap()
}

/// Bytes of which no two pieces are the same.
fn bytes(length: usize) -> Vec<u8> {
    (0..length.div_ceil(8)).flat_map(|number| number.to_le_bytes()).take(length).collect()
}

/// Keys of the uploads that are under way.
async fn uploads(session: &AwsSession) -> Vec<String> {
    let listed = session.s3().list_multipart_uploads().bucket(&session.target().lake.bucket);
    let listed = listed.send().await.unwrap();
    listed.uploads().iter().map(|upload| upload.key().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_lake_is_below_its_prefix() {
    let Some(stack) = or_skip() else { return };
    let session = lake(stack, "team/rec", |_| {}).await;
    let store = lake_store(&session).unwrap();
    let path = StorePath::from("tables/t/dt=2026-03-01/part 0.parquet");
    store.put(&path, "hello".into()).await.unwrap();
    let whole = s3_store(&session, &session.target().lake.bucket).unwrap();
    let below = StorePath::from(format!("team/rec/{path}"));
    assert_eq!(whole.get(&below).await.unwrap().bytes().await.unwrap(), "hello");
    assert_eq!(store.get_range(&path, 1..3).await.unwrap(), "el");
    let listed: Vec<_> = store.list(Some(&StorePath::from("tables"))).try_collect().await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].location, path);
    assert!(listed[0].e_tag.is_some());
    store.delete(&path).await.unwrap();
    let gone = store.head(&path).await.unwrap_err();
    assert!(matches!(gone, object_store::Error::NotFound { .. }), "{gone}");
}

#[tokio::test]
async fn the_lake_can_put_on_condition() {
    let Some(stack) = or_skip() else { return };
    let session = lake(stack, "", |_| {}).await;
    let store = lake_store(&session).unwrap();
    let path = StorePath::from("pointer");
    let first = store.put_opts(&path, "1".into(), PutMode::Create.into()).await.unwrap();
    let again = store.put_opts(&path, "2".into(), PutMode::Create.into()).await.unwrap_err();
    assert!(matches!(again, object_store::Error::AlreadyExists { .. }), "{again}");
    let known = UpdateVersion::from(first);
    store.put_opts(&path, "3".into(), PutMode::Update(known.clone()).into()).await.unwrap();
    let stale = store.put_opts(&path, "4".into(), PutMode::Update(known).into()).await.unwrap_err();
    assert!(matches!(stale, object_store::Error::Precondition { .. }), "{stale}");
    assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "3");
}

#[tokio::test]
async fn a_large_file_is_whole_and_one_that_is_dropped_leaves_no_parts() {
    let Some(stack) = or_skip() else { return };
    let session = lake(stack, "lake", |_| {}).await;
    let store = lake_store(&session).unwrap();
    let aborts = TaskTracker::new();
    let (content, small) = (bytes(23 * MIB), bytes(MIB));
    for (path, content) in [("large", &content), ("small", &small), ("empty", &Vec::new())] {
        let mut upload = Upload::new(Arc::clone(&store), path, &aborts);
        for piece in content.chunks(3 * MIB + 1) {
            upload.put(Bytes::copy_from_slice(piece)).await.unwrap();
        }
        upload.complete().await.unwrap();
        let stored = store.get(&StorePath::from(path)).await.unwrap().bytes().await.unwrap();
        assert!(stored == content[..], "{path}");
    }
    assert_eq!(aborts.len(), 0);

    let mut upload = Upload::new(Arc::clone(&store), "dropped", &aborts);
    upload.put(content.clone().into()).await.unwrap();
    assert_eq!(uploads(&session).await, ["lake/dropped"]);
    drop(upload);
    aborts.close();
    aborts.wait().await;
    assert_eq!(uploads(&session).await, [""; 0]);
    assert!(store.head(&StorePath::from("dropped")).await.is_err());
}

#[tokio::test]
async fn a_file_whose_last_part_fails_is_aborted() {
    let refusing = Arc::new(Yes { parts: Parts::Refused, ..Yes::default() });
    let server = Server::start(Arc::clone(&refusing)).unwrap();
    let store = lake_store(&open(&target(&server.url()))).unwrap();
    let aborts = TaskTracker::new();
    let mut upload = Upload::new(store, "file", &aborts);
    upload.put(bytes(11 * MIB).into()).await.unwrap();
    assert!(!refusing.seen("DELETE uploadId"));
    let failure = upload.complete().await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Denied, "{failure}");
    drop(upload);
    aborts.close();
    aborts.wait().await;
    assert!(refusing.seen("DELETE uploadId"));
}

#[tokio::test]
async fn throttled_and_broken_requests_are_sent_again() {
    let Some(stack) = or_skip() else { return };
    let session = lake(stack, "", |_| {}).await;
    let faults = Microburst::start(&stack.ministack()).unwrap();
    let session = behind(&session, &faults);
    let (store, bucket) = (lake_store(&session).unwrap(), bucket(&session));
    faults.rule(&json!([
        {"service": "s3", "operation": "PutObject", "times": 4,
            "error": {"code": "SlowDown", "status": 503}},
        {"service": "s3", "operation": "GetObject", "times": 2, "reset": true},
    ]));
    store.put(&StorePath::from("a"), "a".into()).await.unwrap();
    bucket.put("b", b"b".to_vec(), Precondition::Always).await.unwrap();
    assert_eq!(bucket.get("a").await.unwrap().unwrap().bytes, b"a");
    assert_eq!(faults.fired().len(), 6);
}

#[tokio::test]
async fn a_bucket_puts_on_condition() {
    let Some(stack) = or_skip() else { return };
    let bucket = bucket(&lake(stack, "", |_| {}).await);
    let put = async |text: &str, when| bucket.put("k/é", text.into(), when).await;
    let conflict = |outcome: Result<_, recctl::run::failure::Failure>| {
        assert_eq!(outcome.unwrap_err().kind, FailureKind::Conflict);
    };
    assert_eq!(bucket.get("k/é").await, Ok(None));
    conflict(put("0", Precondition::Unchanged("\"0\"")).await);
    let first = put("1", Precondition::Absent).await.unwrap();
    conflict(put("2", Precondition::Absent).await);
    let second = put("3", Precondition::Unchanged(&first)).await.unwrap();
    conflict(put("4", Precondition::Unchanged(&first)).await);
    let stored = bucket.get("k/é").await.unwrap().unwrap();
    assert_eq!((stored.bytes.as_slice(), stored.etag), (&b"3"[..], second));
    put("5", Precondition::Always).await.unwrap();
}

#[tokio::test]
async fn files_are_uploaded_and_objects_copied_whole_and_in_parts() {
    let Some(stack) = or_skip() else { return };
    let session = lake(stack, "", |_| {}).await;
    let sizes =
        PartSizes { upload: 5 * MIB as u64, copy_above: 6 * MIB as u64, copy: 5 * MIB as u64 };
    let bucket = bucket(&session).with_part_sizes(sizes);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.tar.gz");
    for (name, length) in [("small +%", 3), ("one part", 5 * MIB), ("parts", 12 * MIB + 7)] {
        std::fs::write(&file, bytes(length)).unwrap();
        bucket.upload(&file, name).await.unwrap();
        let copy = format!("copy of {name}");
        bucket.copy(bucket.name(), name, &copy).await.unwrap();
        for key in [name, &copy] {
            let stored = bucket.get(key).await.unwrap().unwrap();
            assert!(stored.bytes == bytes(length), "{key}");
            // The ETag of an object in parts says how many there are.
            assert_eq!(stored.etag.ends_with("-3\""), name == "parts", "{key}: {}", stored.etag);
        }
    }
    assert_eq!(uploads(&session).await, [""; 0]);
    let missing = bucket.copy(bucket.name(), "nothing", "copy").await.unwrap_err();
    assert_eq!(missing.kind, FailureKind::NotFound, "{missing}");
    let missing = bucket.upload(&folder.path().join("none"), "none").await.unwrap_err();
    assert_eq!(missing.kind, FailureKind::NotFound, "{missing}");
    let elsewhere = Bucket::new(&session, &bucket_name("none"));
    let missing = elsewhere.upload(&file, "k").await.unwrap_err();
    assert_eq!(missing.kind, FailureKind::NotFound, "{missing}");
}

#[tokio::test]
async fn an_upload_or_copy_whose_part_fails_is_aborted() {
    let sizes = PartSizes { upload: 4, copy_above: 4, copy: 4 };
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "12345").unwrap();
    for copy in [false, true] {
        let refusing = Arc::new(Yes { parts: Parts::Refused, ..Yes::default() });
        let server = Server::start(Arc::clone(&refusing)).unwrap();
        let bucket = bucket(&open(&target(&server.url()))).with_part_sizes(sizes);
        let failed = match copy {
            true => bucket.copy("other", "k", "k").await,
            false => bucket.upload(file.path(), "k").await,
        };
        assert_eq!(failed.unwrap_err().kind, FailureKind::Denied);
        assert!(refusing.seen("DELETE uploadId"));
        assert!(!refusing.seen("POST uploadId"));
    }
}

/// The part never ends; the run does.
#[tokio::test]
async fn an_upload_that_is_dropped_is_aborted() {
    let endless = Arc::new(Yes { parts: Parts::Endless, ..Yes::default() });
    let server = Server::start(Arc::clone(&endless)).unwrap();
    let sizes = PartSizes { upload: 4, ..PartSizes::default() };
    let bucket = bucket(&open(&target(&server.url()))).with_part_sizes(sizes);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "12345").unwrap();
    let upload = tokio::spawn(async move { bucket.upload(file.path(), "k").await });
    endless.saw("PUT partNumber").await;
    upload.abort();
    endless.saw("DELETE uploadId").await;
}

#[tokio::test]
async fn many_objects_are_deleted_at_once() {
    let Some(stack) = or_skip() else { return };
    let session = lake(stack, "", |_| {}).await;
    let (bucket, store) = (bucket(&session), lake_store(&session).unwrap());
    let keys: Vec<String> = (0..1_100).map(|number| format!("k/{number}")).collect();
    for key in [&keys[0], &keys[1], &keys[1_099]] {
        bucket.put(key, vec![], Precondition::Always).await.unwrap();
    }
    bucket.put("other", vec![], Precondition::Always).await.unwrap();
    bucket.delete(&keys).await.unwrap();
    bucket.delete(&[]).await.unwrap();
    let left: Vec<_> = store.list(None).try_collect().await.unwrap();
    assert_eq!(left.iter().map(|left| left.location.as_ref()).collect::<Vec<_>>(), ["other"]);
}

/// Says yes to everything but parts, and keeps the headers that it was sent, by operation.
#[derive(Default)]
struct Yes {
    seen: Mutex<Vec<(String, HeaderMap)>>,
    parts: Parts,
}

/// What becomes of parts.
#[derive(Default, Clone, Copy, PartialEq)]
enum Parts {
    #[default]
    Taken,
    Refused,
    /// They are never answered.
    Endless,
}

impl Yes {
    fn seen(&self, operation: &str) -> bool {
        self.seen.lock().unwrap().iter().any(|(seen, _)| seen == operation)
    }

    /// Waits for a request that another task sends.
    async fn saw(&self, operation: &str) {
        let wait = async {
            while !self.seen(operation) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.expect(operation);
    }

    /// Status and body for an operation. Objects have five bytes.
    async fn answer(&self, operation: &str) -> (u16, &'static str) {
        let body = match (operation, self.parts) {
            ("PUT partNumber", Parts::Endless) => std::future::pending().await,
            ("PUT partNumber", Parts::Refused) => {
                return (403, "<Error><Code>AccessDenied</Code><Message>no</Message></Error>");
            }
            ("POST uploads", _) => {
                "<InitiateMultipartUploadResult><Bucket>b</Bucket><Key>k</Key>\
                 <UploadId>u</UploadId></InitiateMultipartUploadResult>"
            }
            ("POST uploadId", _) => {
                "<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>"
            }
            ("POST delete", _) => {
                "<DeleteResult><Error><Key>k</Key><Code>AccessDenied</Code></Error><Error/>\
                 </DeleteResult>"
            }
            ("PUT ", _) => "<CopyObjectResult><ETag>e</ETag></CopyObjectResult>",
            ("GET " | "HEAD ", _) => "12345",
            _ => "",
        };
        (200, body)
    }
}

impl Handler for Yes {
    fn handle(self: Arc<Self>, request: Request) -> Pin<Box<dyn Future<Output = Response> + Send>> {
        let query = request.uri.query().unwrap_or_default();
        let words = ["partNumber", "uploads", "uploadId", "delete"];
        let word = words.into_iter().find(|word| query.contains(word)).unwrap_or_default();
        let operation = format!("{} {word}", request.method);
        self.seen.lock().unwrap().push((operation.clone(), request.headers));
        Box::pin(async move {
            let (status, body) = self.answer(&operation).await;
            let mut headers = HeaderMap::new();
            headers.insert("etag", "\"e\"".parse().unwrap());
            let status = hyper::StatusCode::from_u16(status).unwrap();
            Response { status, headers, body: Bytes::from_static(body.as_bytes()) }
        })
    }
}

#[tokio::test]
async fn all_requests_say_who_pays_and_all_writes_how_to_encrypt() {
    for (encryption, kind, key) in [
        (Encryption::S3, "AES256", None),
        (Encryption::Kms("alias/rec".to_owned()), "aws:kms", Some("alias/rec")),
    ] {
        let yes = Arc::new(Yes::default());
        let server = Server::start(Arc::clone(&yes)).unwrap();
        let mut target = target(&server.url());
        target.s3.encryption = Some(encryption);
        target.s3.requester_pays = true;
        let session = open(&target);
        let sizes = PartSizes { upload: 4, copy_above: 5, copy: 4 };
        let bucket = bucket(&session).with_part_sizes(sizes);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f");
        for content in ["1", "12345"] {
            std::fs::write(&file, content).unwrap();
            bucket.upload(&file, "k").await.unwrap();
        }
        bucket.put("k", vec![], Precondition::Always).await.unwrap();
        bucket.get("k").await.unwrap();
        bucket.copy("other", "k", "k").await.unwrap();
        let parts = bucket.clone().with_part_sizes(PartSizes { copy_above: 4, ..sizes });
        parts.copy("other", "k", "k").await.unwrap();
        let failure = bucket.delete(&["k".to_owned(), "l".to_owned()]).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Denied);
        assert_eq!(
            failure.message,
            "cannot delete `s3://lake/k`: AccessDenied (and 1 more objects)"
        );
        let store = lake_store(&session).unwrap();
        store.put(&StorePath::from("k"), "1".into()).await.unwrap();
        store.put_multipart(&StorePath::from("k")).await.unwrap().abort().await.unwrap();

        let seen = std::mem::take(&mut *yes.seen.lock().unwrap());
        let mut writes = 0;
        for (operation, headers) in &seen {
            let header = |name| headers.get(name).map(|value| value.to_str().unwrap());
            assert_eq!(header("x-amz-request-payer"), Some("requester"), "{operation}");
            // Parts are encrypted as their upload is.
            let is_write = operation == "PUT " || operation == "POST uploads";
            let wanted = if is_write { (Some(kind), key) } else { (None, None) };
            let found = (
                header("x-amz-server-side-encryption"),
                header("x-amz-server-side-encryption-aws-kms-key-id"),
            );
            assert_eq!(found, wanted, "{operation}");
            writes += usize::from(is_write);
        }
        assert_eq!(writes, 7, "{seen:?}");
    }
}
