//! Sends one request to one instance and streams both bodies.

use crate::net::http::{build, is_unsent};
use crate::rpc::discovery::{Outcome, PickedInstance};
use actix_web::HttpRequest;
use actix_web::body::{BodySize, BodyStream, BoxBody, MessageBody, None as NoBody, SizedStream};
use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::http::header::{self, HeaderMap};
use actix_web::http::{Method, StatusCode, Version};
use actix_web::web::Bytes;
use awc::error::SendRequestError;
use futures_util::{Stream, StreamExt, stream};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::error::Error;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

thread_local! {
    // an awc client belongs to one thread, and its connector has one connect time-out
    static CLIENTS: RefCell<HashMap<Duration, awc::Client>> = RefCell::default();
}

fn client(connect_timeout: Duration) -> awc::Client {
    CLIENTS.with(|clients| clients.borrow_mut().entry(connect_timeout).or_insert_with(|| build(connect_timeout, None)).clone())
}

/// A call without a response.
#[derive(Debug, thiserror::Error)]
pub(super) enum UpstreamFailure {
    #[error("no instance of {0} is known")]
    NoInstance(String),
    /// No connection: the request was not sent.
    #[error("connection failed: {0}")]
    NotSent(#[source] Box<dyn Error>),
    /// The connection was lost, or the response was not HTTP.
    #[error("connection lost: {0}")]
    ConnectionLost(#[source] Box<dyn Error>),
    #[error("timed out")]
    TimedOut,
    #[error("the body is larger than {0} bytes")]
    BodyTooLarge(u64),
    /// The client closed its connection before the end of the body.
    #[error("the client disconnected")]
    ClientDisconnected,
    /// The client did not send its body in time.
    #[error("the client's body timed out")]
    ClientTimedOut,
    /// Has the time until the next permit.
    #[error("the breaker is open")]
    BreakerOpen(Duration),
}

/// A client's request body. It can be sent again while it is unread, or once it is buffered.
#[derive(Clone)]
pub(super) struct RequestBody(Rc<BodyState>);

struct BodyState {
    payload: RefCell<Source>,
    size: Option<u64>,
    present: bool,
    limit: Cell<u64>,
    bytes_read: Cell<u64>,
    read_started: Cell<bool>,
    read_failed: Cell<bool>,
    /// Whether the last read found no data: a time-out is then the client's.
    awaiting_client: Cell<bool>,
}

impl UpstreamFailure {
    pub(super) fn not_sent(cause: impl Into<Box<dyn Error>>) -> Self {
        UpstreamFailure::NotSent(cause.into())
    }

    pub(super) fn connection_lost(cause: impl Into<Box<dyn Error>>) -> Self {
        UpstreamFailure::ConnectionLost(cause.into())
    }

    /// Error type for the trace.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            UpstreamFailure::NoInstance(_) => "no instance",
            UpstreamFailure::NotSent(_) => "not reached",
            UpstreamFailure::ConnectionLost(_) => "broke off",
            UpstreamFailure::TimedOut => "timeout",
            UpstreamFailure::BodyTooLarge(_) => "too large",
            UpstreamFailure::ClientDisconnected => "client gone",
            UpstreamFailure::ClientTimedOut => "client late",
            UpstreamFailure::BreakerOpen(_) => "breaker open",
        }
    }

    /// Whether the client caused the failure; such a failure does not count against the instance.
    pub(super) fn is_client_fault(&self) -> bool {
        matches!(self, Self::BodyTooLarge(_) | Self::ClientDisconnected | Self::ClientTimedOut)
    }
}

enum Source {
    Stream(Payload),
    /// For retries.
    Buffered(Bytes),
}

impl RequestBody {
    pub(super) fn new(request: &HttpRequest, payload: Payload, limit: u64) -> Self {
        let headers = request.headers();
        let size = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
        // HTTP/2 has no header for a body without a length: only the end of the stream shows that it is empty
        let undeclared = request.version() == Version::HTTP_2 && ![Method::GET, Method::HEAD].contains(request.method());
        let present = size.map_or(headers.contains_key(header::TRANSFER_ENCODING) || undeclared, |size| size > 0);
        Self(Rc::new(BodyState {
            payload: RefCell::new(Source::Stream(payload)),
            size,
            present,
            limit: Cell::new(limit),
            bytes_read: Cell::new(0),
            read_started: Cell::new(false),
            read_failed: Cell::new(false),
            awaiting_client: Cell::new(false),
        }))
    }

    /// No body: for a fallback after the client's body was sent.
    pub(super) fn empty() -> Self {
        let payload = RefCell::new(Source::Buffered(Bytes::new()));
        let (limit, bytes_read) = (Cell::new(0), Cell::new(0));
        let (read_started, read_failed, awaiting_client) = (Cell::new(false), Cell::new(false), Cell::new(false));
        Self(Rc::new(BodyState { payload, size: Some(0), present: false, limit, bytes_read, read_started, read_failed, awaiting_client }))
    }

    /// Replaces the limit: a route's limit overrides the global one.
    pub(super) fn set_limit(&self, limit: u64) -> Result<(), UpstreamFailure> {
        self.0.limit.set(limit);
        if self.0.size.is_some_and(|size| size > limit) { Err(UpstreamFailure::BodyTooLarge(limit)) } else { Ok(()) }
    }

    pub(super) fn is_replayable(&self) -> bool {
        !self.0.present || !self.0.read_started.get() || matches!(*self.0.payload.borrow(), Source::Buffered(_))
    }

    /// Buffers the body for retries if its declared size is at most `max_size`.
    pub(super) async fn buffer(&self, max_size: u64) -> Result<(), UpstreamFailure> {
        if !self.0.present || self.0.read_started.get() || self.0.size.is_none_or(|size| size > max_size) {
            return Ok(());
        }
        let mut buffered = Vec::new();
        let mut chunks = BodyChunks(self.clone());
        while let Some(chunk) = chunks.next().await {
            buffered.extend_from_slice(&chunk.map_err(|_| UpstreamFailure::ClientDisconnected)?);
        }
        *self.0.payload.borrow_mut() = Source::Buffered(buffered.into());
        Ok(())
    }

    /// The raw stream, for an upgraded connection.
    pub(super) fn into_payload(self) -> Payload {
        match self.0.payload.replace(Source::Buffered(Bytes::new())) {
            Source::Stream(payload) => payload,
            Source::Buffered(_) => Payload::None,
        }
    }

    /// The stream for an endpoint of this process, with the limit enforced.
    pub(super) fn as_payload(&self) -> Payload {
        if self.0.size.is_some() || !self.0.present {
            return self.clone().into_payload();
        }
        Payload::Stream { payload: Box::pin(BodyChunks(self.clone())) }
    }

    pub(super) fn exceeds_limit(&self) -> bool {
        self.0.bytes_read.get() > self.0.limit.get()
    }

    fn to_message(&self) -> Option<BoxBody> {
        if !self.0.present {
            return None;
        }
        if let Source::Buffered(bytes) = &*self.0.payload.borrow() {
            return Some(BoxBody::new(bytes.clone()));
        }
        let chunks = BodyChunks(self.clone());
        Some(match self.0.size {
            Some(size) => BoxBody::new(SizedStream::new(size, chunks)),
            None => BoxBody::new(BodyStream::new(chunks)),
        })
    }

    /// The failure behind a send error: the client's or the instance's.
    fn classify_send_error(&self, cause: SendRequestError) -> UpstreamFailure {
        if self.exceeds_limit() {
            UpstreamFailure::BodyTooLarge(self.0.limit.get())
        } else if self.0.read_failed.get() {
            UpstreamFailure::ClientDisconnected
        } else {
            UpstreamFailure::connection_lost(cause)
        }
    }
}

/// The body as a stream with backpressure.
struct BodyChunks(RequestBody);

impl Stream for BodyChunks {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let state = &self.0.0;
        state.read_started.set(true);
        let mut source = state.payload.borrow_mut();
        let Source::Stream(payload) = &mut *source else { return Poll::Ready(None) };
        let polled = Pin::new(payload).poll_next(cx);
        state.awaiting_client.set(polled.is_pending());
        match &polled {
            Poll::Ready(Some(Ok(chunk))) => {
                state.bytes_read.set(state.bytes_read.get() + chunk.len() as u64);
                if state.bytes_read.get() > state.limit.get() {
                    return Poll::Ready(Some(Err(PayloadError::Overflow)));
                }
            }
            Poll::Ready(Some(Err(_))) => state.read_failed.set(true),
            _ => {}
        }
        polled
    }
}

/// A response with an unread body.
pub(super) struct UpstreamResponse {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    body: Pin<Box<dyn Stream<Item = Result<Bytes, PayloadError>>>>,
    length: Option<u64>,
    picked: Option<PickedInstance>,
}

impl UpstreamResponse {
    /// The body for the client, with backpressure. Reports the instance's outcome at its end. Shutdown ends an
    /// event stream: it has no end of its own.
    pub(super) fn into_body(self, head: bool, draining: tokio_util::sync::CancellationToken) -> BoxBody {
        let events = self.headers.get(header::CONTENT_TYPE).is_some_and(|v| v.as_bytes().starts_with(b"text/event-stream"));
        if head {
            if let Some(picked) = self.picked {
                picked.done(Outcome::Responded);
            }
            let no_chunks = stream::empty::<Result<Bytes, PayloadError>>();
            // without a length from the instance, send none: `()` would send `content-length: 0`
            return self.length.map_or_else(|| BoxBody::new(NoBody::new()), |length| BoxBody::new(SizedStream::new(length, no_chunks)));
        }
        if self.length == Some(0) || self.status == StatusCode::NO_CONTENT || self.status == StatusCode::NOT_MODIFIED {
            if let Some(picked) = self.picked {
                picked.done(Outcome::Responded);
            }
            return BoxBody::new(());
        }
        let chunks = stream::unfold((self.body, self.picked), |(mut body, picked)| async move {
            let chunk = body.next().await;
            let picked = match (&chunk, picked) {
                (Some(Ok(_)), picked) => picked,
                (last, picked) => {
                    let outcome = if last.is_none() { Outcome::Responded } else { Outcome::Failed };
                    if let Some(picked) = picked {
                        picked.done(outcome);
                    }
                    None
                }
            };
            Some((chunk?, (body, picked)))
        });
        match self.length {
            Some(length) => BoxBody::new(SizedStream::new(length, Box::pin(chunks))),
            None if events => BoxBody::new(BodyStream::new(Box::pin(chunks.take_until(draining.cancelled_owned())))),
            None => BoxBody::new(BodyStream::new(Box::pin(chunks))),
        }
    }

    /// Drops the unread body; the instance's outcome is a success.
    pub(super) fn discard(self) {
        if let Some(picked) = self.picked {
            picked.done(Outcome::Responded);
        }
    }
}

/// Sends a request and waits for the response head.
pub(super) async fn send(
    method: &Method,
    url: &str,
    headers: &HeaderMap,
    body: &RequestBody,
    connect_timeout: Duration,
    timeout: Duration,
    picked: Option<PickedInstance>,
) -> Result<UpstreamResponse, UpstreamFailure> {
    // awc must neither decode the response nor add `accept-encoding`: the client negotiates the encoding
    let mut request = client(connect_timeout).request(method.clone(), url).no_decompress();
    for (name, value) in headers {
        request = request.append_header((name.clone(), value.clone()));
    }
    let message = body.to_message();
    let empty = message.as_ref().is_none_or(|m| m.size() == BodySize::None);
    let send_request = async {
        match message {
            Some(message) if !empty => request.send_body(message).await,
            // awc sends no `content-length` without a body; POST, PUT and PATCH need `content-length: 0` (RFC 9110, 8.6)
            _ if [Method::POST, Method::PUT, Method::PATCH].contains(method) => request.send_body(Bytes::new()).await,
            _ => request.send().await,
        }
    };
    let sent = match tokio::time::timeout(timeout, send_request).await {
        Ok(sent) => sent,
        Err(_) if body.0.awaiting_client.get() => return Err(UpstreamFailure::ClientTimedOut),
        Err(_) => {
            report_outcome(picked, Outcome::Failed);
            return Err(UpstreamFailure::TimedOut);
        }
    };
    let response = match sent {
        Ok(response) => response,
        Err(cause) => {
            let failure = to_failure(cause, body);
            if !failure.is_client_fault() {
                report_outcome(picked, Outcome::Failed);
            }
            return Err(failure);
        }
    };
    let length = response.headers().get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    Ok(UpstreamResponse { status: response.status(), headers: response.headers().clone(), body: Box::pin(response), length, picked })
}

fn report_outcome(picked: Option<PickedInstance>, outcome: Outcome) {
    if let Some(picked) = picked {
        picked.done(outcome);
    }
}

fn to_failure(cause: SendRequestError, body: &RequestBody) -> UpstreamFailure {
    if is_unsent(&cause) { UpstreamFailure::not_sent(cause) } else { body.classify_send_error(cause) }
}
