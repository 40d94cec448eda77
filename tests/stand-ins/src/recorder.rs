//! A proxy that writes down what was asked, and changes nothing unless an accident is asked for.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use serde_json::Value;

use crate::http::{Body, BoxError, Response, Server, whole};
use crate::operation::Operation;
use crate::upstream::Upstream;

/// A request that passed.
#[derive(Debug, Clone)]
pub struct Call {
    /// When it came.
    pub at: Instant,
    /// The service's name in signatures, for example `s3`, `dynamodb`, `redshift-data`, `logs`.
    pub service: String,
    /// The operation, for example `PutObject`.
    pub operation: String,
    /// What it is about, where that is easily seen: a table, `bucket/key`, `database.table`, a job.
    pub resource: Option<String>,
    /// The body of a JSON service's request; null for others.
    pub body: Value,
    /// The status of the answer; none as long as there is no answer, and for ever if the upstream broke
    /// the connection.
    pub status: Option<u16>,
}

impl Call {
    /// Whether it changes anything, by the name of the operation; statements sent to Redshift are judged
    /// by their first word.
    pub fn is_mutating(&self) -> bool {
        Operation::is_mutating(&self.service, &self.operation, &self.body)
    }
}

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accident {
    /// It is refused for now; nothing happens.
    Busy,
    /// It takes place, but its answer gets lost.
    LostAnswer,
    /// It is refused for good; nothing happens.
    Denied,
}

impl Accident {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Busy, Self::LostAnswer, Self::Denied];

    /// What is answered in the place of the upstream's answer, in the service's own form.
    fn answer(self, service: &str) -> Option<Response> {
        let (status, of_xml, of_json) = match self {
            Self::Busy => (503, "SlowDown", "ThrottlingException"),
            Self::Denied => (403, "AccessDenied", "AccessDeniedException"),
            Self::LostAnswer => return None,
        };
        let text = "an accident that a test asked for";
        let error = format!("<Error><Code>{of_xml}</Code><Message>{text}</Message></Error>");
        let error = match service {
            "s3" => error,
            "sts" => format!("<ErrorResponse>{error}</ErrorResponse>"),
            _ => return Some(Response::error(400, of_json, text)),
        };
        let mut response = Response::error(status, of_xml, text);
        response.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        response.body = Bytes::from(error);
        Some(response)
    }
}

/// Accidents that are to come to calls of one operation.
#[derive(Debug, Clone)]
struct Planned {
    service: String,
    operation: String,
    /// How many of its calls come through before.
    before: usize,
    /// How many have an accident then.
    times: usize,
    accident: Accident,
}

/// The proxy. It stops when this is dropped.
#[derive(Debug)]
pub struct Recorder {
    server: Server,
    log: Arc<Log>,
}

impl Recorder {
    /// Starts one in front of a stand-in.
    pub fn start(upstream: &str) -> std::io::Result<Self> {
        let upstream = Arc::new(Upstream::new(upstream)?);
        let log = Arc::new(Log::default());
        let written = Arc::clone(&log);
        let server = Server::start_streaming(move |request| {
            let (upstream, log) = (Arc::clone(&upstream), Arc::clone(&written));
            async move { pass(&upstream, &log, request).await }
        })?;
        Ok(Self { server, log })
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Has calls of an operation go wrong: after `before` calls so many, from now on.
    pub fn upset(
        &self,
        (service, operation): (&str, &str),
        before: usize,
        times: usize,
        accident: Accident,
    ) {
        let (service, operation) = (service.to_owned(), operation.to_owned());
        let planned = Planned { service, operation, before, times, accident };
        self.log.with(|log| log.planned = Some(planned));
    }

    /// Ends what was planned by [`Recorder::upset`]; returns how many accidents were still to come.
    pub fn calm(&self) -> usize {
        self.log.with(|log| log.planned.take()).map_or(0, |planned| planned.times)
    }

    /// All requests, in the order in which they came.
    pub fn requests(&self) -> Vec<Call> {
        self.log.with(|log| log.calls.clone())
    }

    /// Those that change something.
    pub fn mutating(&self) -> Vec<Call> {
        let mut calls = self.requests();
        calls.retain(Call::is_mutating);
        calls
    }

    /// Forgets all.
    pub fn clear(&self) {
        self.log.with(|log| {
            log.forgotten += log.calls.len();
            log.calls.clear();
        });
    }
}

#[derive(Debug, Default)]
struct Log {
    state: Mutex<LogState>,
}

#[derive(Debug, Default)]
struct LogState {
    calls: Vec<Call>,
    /// How many were cleared, so that the status of one of them finds no other.
    forgotten: usize,
    planned: Option<Planned>,
}

impl LogState {
    /// What goes wrong with the next call of an operation.
    fn accident(&mut self, service: &str, operation: &str) -> Option<Accident> {
        let planned = self.planned.as_mut()?;
        if planned.service != service || planned.operation != operation || planned.times == 0 {
            return None;
        }
        if planned.before > 0 {
            planned.before -= 1;
            return None;
        }
        planned.times -= 1;
        Some(planned.accident)
    }
}

impl Log {
    fn with<T>(&self, act: impl FnOnce(&mut LogState) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the number of the call.
    fn came(&self, call: Call) -> usize {
        self.with(|log| {
            log.calls.push(call);
            log.forgotten + log.calls.len() - 1
        })
    }

    fn answered(&self, number: usize, status: u16) {
        self.with(|log| {
            let index = number.checked_sub(log.forgotten);
            if let Some(call) = index.and_then(|index| log.calls.get_mut(index)) {
                call.status = Some(status);
            }
        });
    }
}

async fn pass(
    upstream: &Upstream,
    log: &Log,
    request: hyper::Request<Incoming>,
) -> Result<hyper::Response<Body>, BoxError> {
    let at = Instant::now();
    let (parts, body) = request.into_parts();
    let form = parts
        .headers
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-www-form-urlencoded"));
    let target = parts.headers.contains_key("x-amz-target");
    // Only what must be read is held; an object of S3 goes through as it comes.
    let (bytes, body) = if form || target {
        let bytes = body.collect().await?.to_bytes();
        (bytes.clone(), whole(bytes))
    } else {
        (Bytes::new(), body.map_err(BoxError::from).boxed_unsync())
    };
    let json =
        if target { serde_json::from_slice(&bytes).unwrap_or_default() } else { Value::Null };
    let text = if form { String::from_utf8_lossy(&bytes).into_owned() } else { String::new() };
    let operation = Operation::of(&parts.method, &parts.uri, &parts.headers, &json, &text);
    let accident = log.with(|log| log.accident(&operation.service, &operation.name));
    let refusal = accident.and_then(|accident| accident.answer(&operation.service));
    let number = log.came(Call {
        at,
        service: operation.service,
        operation: operation.name,
        resource: operation.resource,
        body: json,
        status: None,
    });
    if let Some(Response { status, headers, body: text }) = refusal {
        // What is sent is taken in, so that the client comes to read the answer.
        body.collect().await?;
        log.answered(number, status.as_u16());
        let mut response = hyper::Response::new(whole(text));
        (*response.status_mut(), *response.headers_mut()) = (status, headers);
        return Ok(response);
    }
    let response = upstream.send(hyper::Request::from_parts(parts, body)).await?;
    if accident.is_some() {
        response.into_body().collect().await?;
        return Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset).into());
    }
    log.answered(number, response.status().as_u16());
    Ok(response.map(|body| body.map_err(BoxError::from).boxed_unsync()))
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use object_store::aws::{AmazonS3, AmazonS3Builder};
    use object_store::path::Path;
    use object_store::{ObjectStore, ObjectStoreExt, PutPayload, WriteMultipart};

    use super::*;
    use crate::stack;

    fn store(url: &str, account: &str, bucket: &str) -> AmazonS3 {
        AmazonS3Builder::new()
            .with_endpoint(url)
            .with_allow_http(true)
            .with_region(stack::REGION)
            .with_bucket_name(bucket)
            .with_access_key_id(account)
            .with_secret_access_key("secret")
            .build()
            .unwrap()
    }

    async fn raw(
        url: &str,
        method: hyper::Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &'static str,
    ) -> crate::http::Response {
        let upstream = Upstream::new(url).unwrap();
        let mut map = hyper::HeaderMap::new();
        for (name, value) in headers {
            map.insert(hyper::header::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        let request = crate::http::Request {
            method,
            uri: path.parse().unwrap(),
            headers: map,
            body: Bytes::from_static(body.as_bytes()),
        };
        upstream.exchange(request).await.unwrap()
    }

    #[tokio::test]
    async fn s3_passes_unchanged_and_is_written_down() {
        let Some(stack) = stack::or_skip() else { return };
        let recorder = Recorder::start(&stack.ministack()).unwrap();
        let account = stack::account();
        let bucket = stack.bucket(&account, "recorder");
        let store = store(&recorder.url(), &account, &bucket);

        let small = Path::from("day=2026-03-08/a b+c.txt");
        store.put(&small, PutPayload::from_static(b"0123456789")).await.unwrap();
        assert_eq!(store.get(&small).await.unwrap().bytes().await.unwrap(), "0123456789");
        assert_eq!(store.get_range(&small, 2..5).await.unwrap(), "234");
        assert_eq!(store.head(&small).await.unwrap().size, 10);

        let large = Path::from("large");
        let content: Vec<u8> = (0..12_000_000_u32).map(|byte| (byte % 251) as u8).collect();
        let mut upload = WriteMultipart::new_with_chunk_size(
            store.put_multipart(&large).await.unwrap(),
            5 * 1024 * 1024,
        );
        upload.write(&content);
        upload.finish().await.unwrap();
        assert!(store.get(&large).await.unwrap().bytes().await.unwrap() == content);

        let listed: Vec<_> = store.list(None).map(|entry| entry.unwrap().location).collect().await;
        assert_eq!(listed, [small.clone(), large.clone()]);
        store.delete(&large).await.unwrap();
        assert!(store.get(&large).await.is_err());

        let key = format!("{bucket}/day=2026-03-08/a b+c.txt");
        let calls = recorder.requests();
        let seen = |operation: &str| {
            calls.iter().filter(|call| call.operation == operation).collect::<Vec<_>>()
        };
        assert!(calls.iter().all(|call| call.service == "s3"));
        assert_eq!(seen("PutObject")[0].resource.as_deref(), Some(key.as_str()));
        assert_eq!(seen("HeadObject")[0].resource.as_deref(), Some(key.as_str()));
        let statuses: Vec<_> = seen("GetObject").iter().map(|call| call.status).collect();
        assert_eq!(statuses, [Some(200), Some(206), Some(200), Some(404)]);
        assert_eq!(seen("UploadPart").len(), 3);
        let names: Vec<_> = recorder.mutating().into_iter().map(|call| call.operation).collect();
        let mut names: Vec<_> = names.iter().map(String::as_str).collect();
        names.dedup();
        assert_eq!(
            names,
            [
                "PutObject",
                "CreateMultipartUpload",
                "UploadPart",
                "CompleteMultipartUpload",
                "DeleteObjects"
            ]
        );
        recorder.clear();
        assert!(recorder.requests().is_empty());
    }

    #[tokio::test]
    async fn queries_and_json_are_told_by_their_operations() {
        let Some(stack) = stack::or_skip() else { return };
        let recorder = Recorder::start(&stack.ministack()).unwrap();
        let account = stack::account();
        let scope = |service: &str| stack::signature(&account, service);
        let form = "application/x-www-form-urlencoded";
        let headers = [("authorization", &*scope("sts")), ("content-type", form)];
        let identity = "Action=GetCallerIdentity&Version=2011-06-15";
        let answer = raw(&recorder.url(), hyper::Method::POST, "/", &headers, identity).await;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(text.contains(&format!("<Account>{account}</Account>")), "{text}");

        let headers = [
            ("authorization", &*scope("dynamodb")),
            ("content-type", "application/x-amz-json-1.0"),
            ("x-amz-target", "DynamoDB_20120810.DescribeTable"),
        ];
        let body = r#"{"TableName":"none"}"#;
        let answer = raw(&recorder.url(), hyper::Method::POST, "/", &headers, body).await;
        assert_eq!(answer.status, 400);

        let calls = recorder.requests();
        let told: Vec<_> = calls
            .iter()
            .map(|call| (&*call.service, &*call.operation, call.resource.as_deref(), call.status))
            .collect();
        assert_eq!(
            told,
            [
                ("sts", "GetCallerIdentity", None, Some(200)),
                ("dynamodb", "DescribeTable", Some("none"), Some(400))
            ]
        );
        assert!(recorder.mutating().is_empty());
    }

    #[tokio::test]
    async fn accidents_come_as_they_were_asked_for() {
        let Some(stack) = stack::or_skip() else { return };
        let recorder = Recorder::start(&stack.ministack()).unwrap();
        let account = stack::account();
        let bucket = stack.bucket(&account, "upset");
        let retry = object_store::RetryConfig { max_retries: 0, ..Default::default() };
        let hasty = AmazonS3Builder::new()
            .with_endpoint(recorder.url())
            .with_allow_http(true)
            .with_region(stack::REGION)
            .with_bucket_name(&bucket)
            .with_access_key_id(&account)
            .with_secret_access_key("secret")
            .with_retry(retry)
            .build()
            .unwrap();
        let put = async |key: &str| {
            let put = hasty.put(&Path::from(key), PutPayload::from_static(b"1")).await;
            put.map(|_| ()).map_err(|error| error.to_string())
        };
        let is_there = async |key: &str| hasty.head(&Path::from(key)).await.is_ok();

        recorder.upset(("s3", "PutObject"), 1, 1, Accident::Denied);
        put("a").await.unwrap();
        assert!(put("b").await.unwrap_err().contains("AccessDenied"));
        put("c").await.unwrap();
        assert!(is_there("a").await && !is_there("b").await && is_there("c").await);

        recorder.upset(("s3", "PutObject"), 0, 1, Accident::Busy);
        assert!(put("d").await.unwrap_err().contains("SlowDown"));
        assert!(!is_there("d").await);
        recorder.upset(("s3", "PutObject"), 0, 1, Accident::LostAnswer);
        put("e").await.unwrap_err();
        assert!(is_there("e").await, "it took place");
        assert_eq!(recorder.calm(), 0);
        recorder.upset(("s3", "DeleteObject"), 0, 1, Accident::Busy);
        put("f").await.unwrap();
        assert_eq!(recorder.calm(), 1, "another operation is left alone");
    }

    /// A client that waits for `100 Continue` before it sends, as SDKs do with large objects.
    #[test]
    fn a_client_may_wait_before_it_sends() {
        use std::io::{Read, Write};

        let Some(stack) = stack::or_skip() else { return };
        let recorder = Recorder::start(&stack.ministack()).unwrap();
        let bucket = stack::bucket_name("wait");
        let address = recorder.url().trim_start_matches("http://").to_owned();
        let talk = |head: String, body: &str| {
            let mut stream = std::net::TcpStream::connect(&address).unwrap();
            let head = format!("{head} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
            write!(stream, "{head}Content-Length: {}\r\nExpect: 100-continue\r\n\r\n", body.len())
                .unwrap();
            let mut interim = [0; 25];
            if !body.is_empty() {
                stream.read_exact(&mut interim).unwrap();
                assert_eq!(&interim[..], b"HTTP/1.1 100 Continue\r\n\r\n");
            }
            stream.write_all(body.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        };
        talk(format!("PUT /{bucket}"), "");
        let answer = talk(format!("PUT /{bucket}/k"), "content");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let answer = talk(format!("GET /{bucket}/k"), "");
        assert!(answer.ends_with("content"), "{answer}");
    }
}
