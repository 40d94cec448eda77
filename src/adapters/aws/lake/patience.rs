//! How long an object store waits: for an answer, and for each next piece of it. A limit on whole
//! requests would end the reading of a large file whose reader is slower than the network.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService, ReqwestConnector,
};
use tokio::time::{Instant, Sleep};

use super::super::session::READ_TIMEOUT;

/// Makes clients that give up on a service that says nothing for [`READ_TIMEOUT`].
#[derive(Debug)]
pub(super) struct PatientConnector;

impl HttpConnector for PatientConnector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Patient { client, limit: READ_TIMEOUT }))
    }
}

#[derive(Debug)]
struct Patient {
    client: HttpClient,
    limit: Duration,
}

#[async_trait]
impl HttpService for Patient {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let answer = tokio::time::timeout(self.limit, self.client.execute(request)).await;
        let (head, body) = answer.map_err(|_| silence(self.limit))??.into_parts();
        let body = PatientBody {
            body,
            limit: self.limit,
            silence: Box::pin(tokio::time::sleep(self.limit)),
            waiting: false,
        };
        Ok(HttpResponse::from_parts(head, HttpResponseBody::new(body)))
    }
}

struct PatientBody {
    body: HttpResponseBody,
    limit: Duration,
    silence: Pin<Box<Sleep>>,
    /// Whether the last word of the service was that there is nothing yet. Only then the time runs.
    waiting: bool,
}

impl Body for PatientBody {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
            this.waiting = false;
            return Poll::Ready(frame);
        }
        if !this.waiting {
            this.waiting = true;
            this.silence.as_mut().reset(Instant::now() + this.limit);
        }
        ready!(this.silence.as_mut().poll(context));
        Poll::Ready(Some(Err(silence(this.limit))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[derive(Debug)]
struct Silence(Duration);

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no answer for {} s", self.0.as_secs())
    }
}

impl std::error::Error for Silence {}

fn silence(limit: Duration) -> HttpError {
    HttpError::new(HttpErrorKind::Timeout, Silence(limit))
}

#[cfg(test)]
mod tests {
    use http_body_util::StreamBody;
    use object_store::client::HttpRequestBody;
    use tokio::sync::mpsc;

    use super::*;

    /// Answers with a body that says what it is told to.
    #[derive(Debug)]
    struct Told(std::sync::Mutex<Option<mpsc::Receiver<&'static str>>>);

    #[async_trait]
    impl HttpService for Told {
        async fn call(&self, _: HttpRequest) -> Result<HttpResponse, HttpError> {
            let receiver = self.0.lock().unwrap().take();
            let Some(receiver) = receiver else { return std::future::pending().await };
            let stream = futures::stream::unfold(receiver, |mut receiver| async move {
                let text = receiver.recv().await?;
                Some((Ok(Frame::data(Bytes::from_static(text.as_bytes()))), receiver))
            });
            Ok(HttpResponse::new(HttpResponseBody::new(StreamBody::new(stream))))
        }
    }

    const LIMIT: Duration = Duration::from_millis(50);

    fn patient() -> (Patient, mpsc::Sender<&'static str>) {
        let (sender, receiver) = mpsc::channel(8);
        let told = HttpClient::new(Told(std::sync::Mutex::new(Some(receiver))));
        (Patient { client: told, limit: LIMIT }, sender)
    }

    fn request() -> HttpRequest {
        HttpRequest::new(HttpRequestBody::empty())
    }

    #[tokio::test]
    async fn a_service_that_never_answers_is_given_up() {
        let (patient, _sender) = patient();
        patient.call(request()).await.unwrap();
        let error = patient.call(request()).await.unwrap_err();
        assert!(matches!(error.kind(), HttpErrorKind::Timeout), "{error:?}");
    }

    #[tokio::test]
    async fn a_slow_reader_loses_nothing_and_a_silent_service_is_given_up() {
        use futures::StreamExt;
        let (patient, sender) = patient();
        let mut pieces = patient.call(request()).await.unwrap().into_body().bytes_stream();
        sender.send("one").await.unwrap();
        assert_eq!(pieces.next().await.unwrap().unwrap(), "one");
        // The reader is busy for longer than the limit while a piece waits for it.
        assert!(futures::poll!(pieces.next()).is_pending());
        sender.send("two").await.unwrap();
        tokio::time::sleep(LIMIT * 3).await;
        assert_eq!(pieces.next().await.unwrap().unwrap(), "two");
        let begin = Instant::now();
        let error = pieces.next().await.unwrap().unwrap_err();
        assert!(matches!(error.kind(), HttpErrorKind::Timeout), "{error:?}");
        assert!(begin.elapsed() >= LIMIT);
    }
}
