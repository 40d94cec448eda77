//! The server behind a proxy.

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Version;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, EXPECT, HeaderMap, HeaderName, TRANSFER_ENCODING};
use hyper::http::uri::{Authority, Parts, PathAndQuery, Scheme, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::http::{Body, BoxError, Request, Response, whole};

/// Says what concerns one connection only, and so is each side's own. The wait for `100 Continue` is
/// among it: the client's side gets its answer when the body is first asked for.
const OF_ONE_CONNECTION: [HeaderName; 4] =
    [CONNECTION, TRANSFER_ENCODING, EXPECT, HeaderName::from_static("keep-alive")];

#[derive(Debug)]
pub(crate) struct Upstream {
    authority: Authority,
    client: Client<HttpConnector, Body>,
}

impl Upstream {
    /// `url` is a scheme, an address and a port, for example `http://127.0.0.1:24321`.
    pub fn new(url: &str) -> std::io::Result<Self> {
        let url: Uri = url.parse().map_err(std::io::Error::other)?;
        let authority = url.authority().ok_or(std::io::ErrorKind::InvalidInput)?.clone();
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            // Under the 5 s after which servers close: a request on a closing connection would fail.
            .pool_idle_timeout(std::time::Duration::from_secs(2))
            .pool_timer(hyper_util::rt::TokioTimer::new())
            .build(connector);
        Ok(Self { authority, client })
    }

    /// Sends a request on: method, path, query, `Host` and body as they came.
    pub async fn send(
        &self,
        mut request: hyper::Request<Body>,
    ) -> Result<hyper::Response<Incoming>, BoxError> {
        let path = request.uri().path_and_query().cloned();
        let mut parts = Parts::default();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
        *request.uri_mut() = Uri::from_parts(parts)?;
        *request.version_mut() = Version::HTTP_11;
        remove(request.headers_mut());
        let mut response = self.client.request(request).await?;
        remove(response.headers_mut());
        Ok(response)
    }

    /// The same for bodies that are here.
    pub async fn exchange(&self, request: Request) -> Result<Response, BoxError> {
        let mut outgoing = hyper::Request::new(whole(request.body.clone()));
        *outgoing.method_mut() = request.method;
        *outgoing.uri_mut() = request.uri;
        *outgoing.headers_mut() = request.headers;
        // The body may be another than the one that came.
        outgoing.headers_mut().insert(hyper::header::CONTENT_LENGTH, request.body.len().into());
        let (parts, body) = self.send(outgoing).await?.into_parts();
        let body: Bytes = body.collect().await?.to_bytes();
        Ok(Response { status: parts.status, headers: parts.headers, body })
    }
}

fn remove(headers: &mut HeaderMap) {
    for name in OF_ONE_CONNECTION {
        headers.remove(name);
    }
}
