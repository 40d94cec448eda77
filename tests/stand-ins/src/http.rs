//! The HTTP side that all servers share.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// Marks what is no answer; it never leaves the server.
const HANG_UP: HeaderName = HeaderName::from_static("x-stand-in-hang-up");

/// A request, with its whole body.
#[derive(Debug, Clone)]
pub struct Request {
    /// Method.
    pub method: Method,
    /// Path and query.
    pub uri: Uri,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl Request {
    /// The operation of an awsJson request: what follows the dot in `X-Amz-Target`.
    pub fn operation(&self) -> Option<&str> {
        let target = self.headers.get("x-amz-target")?.to_str().ok()?;
        target.rsplit('.').next()
    }

    /// The body as JSON; an empty body is an empty object, what is not JSON is null.
    pub fn json(&self) -> Value {
        if self.body.is_empty() {
            return json!({});
        }
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Response {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl Response {
    /// A good answer of an awsJson 1.1 service.
    pub fn json(body: &Value) -> Self {
        Self::of(StatusCode::OK, body)
    }

    /// An error of an awsJson 1.1 service: its code in `__type`.
    pub fn error(status: u16, code: &str, message: &str) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::of(status, &json!({ "__type": code, "message": message, "Message": message }))
    }

    /// No answer at all: the connection is closed.
    pub fn hang_up() -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(HANG_UP, HeaderValue::from_static("1"));
        Self { status: StatusCode::OK, headers, body: Bytes::new() }
    }

    fn of(status: StatusCode, body: &Value) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(
            HeaderName::from_static("content-type"),
            HeaderValue::from_static("application/x-amz-json-1.1"),
        );
        headers.insert(
            HeaderName::from_static("x-amzn-requestid"),
            HeaderValue::from_static("00000000-0000-0000-0000-000000000000"),
        );
        Self { status, headers, body: Bytes::from(body.to_string()) }
    }
}

/// Answers requests.
pub trait Handler: Send + Sync + 'static {
    /// Answers one.
    fn handle(
        self: Arc<Self>,
        request: Request,
    ) -> Pin<Box<dyn Future<Output = Response> + Send + 'static>>;
}

/// What went wrong on the way: the connection ends, and nothing is answered.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// A body that may still be on its way.
pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;

/// A body that is here.
pub(crate) fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// A server on a thread and a runtime of its own, so that it outlives the runtime of the test that
/// started it. It stops when this is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    /// Binds a free port of 127.0.0.1 and serves.
    pub fn start<H: Handler>(handler: Arc<H>) -> std::io::Result<Self> {
        Self::start_streaming(move |request| {
            let handler = Arc::clone(&handler);
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await?.to_bytes();
                let request =
                    Request { method: parts.method, uri: parts.uri, headers: parts.headers, body };
                let answer = handler.handle(request).await;
                if answer.headers.contains_key(HANG_UP) {
                    return Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset).into());
                }
                let mut response = hyper::Response::new(whole(answer.body));
                *response.status_mut() = answer.status;
                *response.headers_mut() = answer.headers;
                Ok(response)
            }
        })
    }

    /// The same for what hands bodies on as they come.
    pub(crate) fn start_streaming<F, A>(answer: F) -> std::io::Result<Self>
    where
        F: Fn(hyper::Request<Incoming>) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Result<hyper::Response<Body>, BoxError>> + Send + 'static,
    {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let thread = std::thread::Builder::new().name("stand-in".to_owned()).spawn(move || {
            runtime.block_on(async move {
                tokio::select! {
                    () = serve(listener, answer) => {}
                    _ = stopped => {}
                }
            });
            runtime.shutdown_background();
        })?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens, for example `http://127.0.0.1:41234`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve<F, A>(listener: std::net::TcpListener, answer: F)
where
    F: Fn(hyper::Request<Incoming>) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Result<hyper::Response<Body>, BoxError>> + Send + 'static,
{
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        // An answer in two packets must not wait for the acknowledgement of the first.
        let _ = stream.set_nodelay(true);
        let answer = answer.clone();
        tokio::spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service_fn(answer));
            // A client that goes away is the client's matter.
            let _ = connection.await;
        });
    }
}
