//! One request to one instance: streamed out, streamed back.

use crate::net::http::{build, unsent};
use crate::rpc::discovery::{Outcome, Picked};
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
    // awc's client is bound to its thread, and the time to connect is its connector's own
    static CLIENTS: RefCell<HashMap<Duration, awc::Client>> = RefCell::default();
}

fn client(connect: Duration) -> awc::Client {
    CLIENTS.with(|clients| clients.borrow_mut().entry(connect).or_insert_with(|| build(connect, None)).clone())
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// No instance is known.
    #[error("no instance of {0} is known")]
    Unknown(String),
    /// Not even a connection: the request was not sent.
    #[error("not reached: {0}")]
    Unreached(#[source] Box<dyn Error>),
    /// The connection broke, or what came back was no HTTP.
    #[error("broke off: {0}")]
    Broken(#[source] Box<dyn Error>),
    /// It took too long.
    #[error("took too long")]
    LazyRef,
    /// The client's body is larger than the route takes.
    #[error("the body is larger than {0} bytes")]
    TooLarge(u64),
    /// The client's body broke off.
    #[error("the client's body broke off")]
    ClientGone,
    /// The client's body did not come in time.
    #[error("the client's body did not come")]
    ClientLate,
    /// The breaker is open.
    #[error("the breaker is open")]
    Open(Duration),
}

/// A client's body, which goes out once; what has not been touched may be sent to another instance.
#[derive(Clone)]
pub(super) struct Body(Rc<Inner>);

struct Inner {
    payload: RefCell<Source>,
    size: Option<u64>,
    present: bool,
    limit: Cell<u64>,
    seen: Cell<u64>,
    touched: Cell<bool>,
    broke: Cell<bool>,
    /// Whether the client is waited for.
    starved: Cell<bool>,
}

impl Failure {
    /// Without a connection.
    pub(super) fn unreached(cause: impl Into<Box<dyn Error>>) -> Self {
        Failure::Unreached(cause.into())
    }

    /// On a connection.
    pub(super) fn broken(cause: impl Into<Box<dyn Error>>) -> Self {
        Failure::Broken(cause.into())
    }

    /// In a word, for traces.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Failure::Unknown(_) => "no instance",
            Failure::Unreached(_) => "not reached",
            Failure::Broken(_) => "broke off",
            Failure::LazyRef => "timeout",
            Failure::TooLarge(_) => "too large",
            Failure::ClientGone => "client gone",
            Failure::ClientLate => "client late",
            Failure::Open(_) => "breaker open",
        }
    }

    /// Whether nobody but the client is to blame.
    pub(super) fn is_clients(&self) -> bool {
        matches!(self, Self::TooLarge(_) | Self::ClientGone | Self::ClientLate)
    }
}

enum Source {
    Stream(Payload),
    /// Small enough to be kept for a retry.
    Kept(Bytes),
}

impl Body {
    /// Of this request.
    pub(super) fn new(request: &HttpRequest, payload: Payload, limit: u64) -> Self {
        let headers = request.headers();
        let size = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
        // HTTP/2 says only at its end that there was nothing
        let silent = request.version() == Version::HTTP_2 && ![Method::GET, Method::HEAD].contains(request.method());
        let present = size.map_or(headers.contains_key(header::TRANSFER_ENCODING) || silent, |size| size > 0);
        Self(Rc::new(Inner {
            payload: RefCell::new(Source::Stream(payload)),
            size,
            present,
            limit: Cell::new(limit),
            seen: Cell::new(0),
            touched: Cell::new(false),
            broke: Cell::new(false),
            starved: Cell::new(false),
        }))
    }

    /// None at all: for a fallback, when the client's own has gone out already.
    pub(super) fn empty() -> Self {
        let payload = RefCell::new(Source::Kept(Bytes::new()));
        let (limit, seen) = (Cell::new(0), Cell::new(0));
        let (touched, broke, starved) = (Cell::new(false), Cell::new(false), Cell::new(false));
        Self(Rc::new(Inner { payload, size: Some(0), present: false, limit, seen, touched, broke, starved }))
    }

    /// Lowers or raises the limit: a route's own goes before the common one.
    pub(super) fn limit(&self, limit: u64) -> Result<(), Failure> {
        self.0.limit.set(limit);
        if self.0.size.is_some_and(|size| size > limit) { Err(Failure::TooLarge(limit)) } else { Ok(()) }
    }

    /// Whether it can go out (again).
    pub(super) fn whole(&self) -> bool {
        !self.0.present || !self.0.touched.get() || matches!(*self.0.payload.borrow(), Source::Kept(_))
    }

    /// Reads it in, where it is known to be no larger than this, so that it can go out several times.
    pub(super) async fn keep(&self, most: u64) -> Result<(), Failure> {
        if !self.0.present || self.0.touched.get() || self.0.size.is_none_or(|size| size > most) {
            return Ok(());
        }
        let mut kept = Vec::new();
        let mut pieces = Pieces(self.clone());
        while let Some(piece) = pieces.next().await {
            kept.extend_from_slice(&piece.map_err(|_| Failure::ClientGone)?);
        }
        *self.0.payload.borrow_mut() = Source::Kept(kept.into());
        Ok(())
    }

    /// The raw stream, for an upgraded connection.
    pub(super) fn into_payload(self) -> Payload {
        match self.0.payload.replace(Source::Kept(Bytes::new())) {
            Source::Stream(payload) => payload,
            Source::Kept(_) => Payload::None,
        }
    }

    /// For a handler of this process: the same bytes, within the limit.
    pub(super) fn as_payload(&self) -> Payload {
        if self.0.size.is_some() || !self.0.present {
            return self.clone().into_payload();
        }
        Payload::Stream { payload: Box::pin(Pieces(self.clone())) }
    }

    /// Whether more has come than the limit lets in.
    pub(super) fn is_over(&self) -> bool {
        self.0.seen.get() > self.0.limit.get()
    }

    fn message(&self) -> Option<BoxBody> {
        if !self.0.present {
            return None;
        }
        if let Source::Kept(bytes) = &*self.0.payload.borrow() {
            return Some(BoxBody::new(bytes.clone()));
        }
        let pieces = Pieces(self.clone());
        Some(match self.0.size {
            Some(size) => BoxBody::new(SizedStream::new(size, pieces)),
            None => BoxBody::new(BodyStream::new(pieces)),
        })
    }

    /// Whose fault it is that sending failed.
    fn blame(&self, cause: SendRequestError) -> Failure {
        if self.is_over() {
            Failure::TooLarge(self.0.limit.get())
        } else if self.0.broke.get() {
            Failure::ClientGone
        } else {
            Failure::broken(cause)
        }
    }
}

/// The body as a stream that is read only as fast as it is sent.
struct Pieces(Body);

impl Stream for Pieces {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let inner = &self.0.0;
        inner.touched.set(true);
        let mut source = inner.payload.borrow_mut();
        let Source::Stream(payload) = &mut *source else { return Poll::Ready(None) };
        let polled = Pin::new(payload).poll_next(cx);
        inner.starved.set(polled.is_pending());
        match &polled {
            Poll::Ready(Some(Ok(piece))) => {
                inner.seen.set(inner.seen.get() + piece.len() as u64);
                if inner.seen.get() > inner.limit.get() {
                    return Poll::Ready(Some(Err(PayloadError::Overflow)));
                }
            }
            Poll::Ready(Some(Err(_))) => inner.broke.set(true),
            _ => {}
        }
        polled
    }
}

/// An answer whose body has not been read yet.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    body: Pin<Box<dyn Stream<Item = Result<Bytes, PayloadError>>>>,
    length: Option<u64>,
    picked: Option<Picked>,
}

impl Answer {
    /// The body as it goes on: read as fast as the client takes it. The instance's account is closed at
    /// its end. An event stream ends when the process begins to stop: it never would by itself.
    pub(super) fn body(self, head: bool, draining: tokio_util::sync::CancellationToken) -> BoxBody {
        let events = self.headers.get(header::CONTENT_TYPE).is_some_and(|v| v.as_bytes().starts_with(b"text/event-stream"));
        if head {
            if let Some(picked) = self.picked {
                picked.done(Outcome::Answered);
            }
            let nothing = stream::empty::<Result<Bytes, PayloadError>>();
            // where the instance says no length, neither do we: `()` would say that it is 0
            return self.length.map_or_else(|| BoxBody::new(NoBody::new()), |length| BoxBody::new(SizedStream::new(length, nothing)));
        }
        if self.length == Some(0) || self.status == StatusCode::NO_CONTENT || self.status == StatusCode::NOT_MODIFIED {
            if let Some(picked) = self.picked {
                picked.done(Outcome::Answered);
            }
            return BoxBody::new(());
        }
        let pieces = stream::unfold((self.body, self.picked), |(mut body, picked)| async move {
            let piece = body.next().await;
            let picked = match (&piece, picked) {
                (Some(Ok(_)), picked) => picked,
                (ended, picked) => {
                    let outcome = if ended.is_none() { Outcome::Answered } else { Outcome::Failed };
                    if let Some(picked) = picked {
                        picked.done(outcome);
                    }
                    None
                }
            };
            Some((piece?, (body, picked)))
        });
        match self.length {
            Some(length) => BoxBody::new(SizedStream::new(length, Box::pin(pieces))),
            None if events => BoxBody::new(BodyStream::new(Box::pin(pieces.take_until(draining.cancelled_owned())))),
            None => BoxBody::new(BodyStream::new(Box::pin(pieces))),
        }
    }

    /// Leaves the body unread; the instance did answer.
    pub(super) fn discard(self) {
        if let Some(picked) = self.picked {
            picked.done(Outcome::Answered);
        }
    }
}

/// Sends a request and waits for the beginning of its answer.
pub(super) async fn send(
    method: &Method,
    url: &str,
    headers: &HeaderMap,
    body: &Body,
    connect: Duration,
    limit: Duration,
    picked: Option<Picked>,
) -> Result<Answer, Failure> {
    // the body goes on as it comes: awc must neither decode it nor ask for an encoding of its own
    let mut request = client(connect).request(method.clone(), url).no_decompress();
    for (name, value) in headers {
        request = request.append_header((name.clone(), value.clone()));
    }
    let message = body.message();
    let empty = message.as_ref().is_none_or(|m| m.size() == BodySize::None);
    let sending = async {
        match message {
            Some(message) if !empty => request.send_body(message).await,
            // awc leaves the length out where there is no body; POST and PUT must say that it is none
            _ if [Method::POST, Method::PUT, Method::PATCH].contains(method) => request.send_body(Bytes::new()).await,
            _ => request.send().await,
        }
    };
    let sent = match tokio::time::timeout(limit, sending).await {
        Ok(sent) => sent,
        Err(_) if body.0.starved.get() => return Err(Failure::ClientLate),
        Err(_) => {
            report(picked, Outcome::Failed);
            return Err(Failure::LazyRef);
        }
    };
    let response = match sent {
        Ok(response) => response,
        Err(cause) => {
            let failure = classify(cause, body);
            if !failure.is_clients() {
                report(picked, Outcome::Failed);
            }
            return Err(failure);
        }
    };
    let length = response.headers().get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    Ok(Answer { status: response.status(), headers: response.headers().clone(), body: Box::pin(response), length, picked })
}

fn report(picked: Option<Picked>, outcome: Outcome) {
    if let Some(picked) = picked {
        picked.done(outcome);
    }
}

fn classify(cause: SendRequestError, body: &Body) -> Failure {
    if unsent(&cause) { Failure::unreached(cause) } else { body.blame(cause) }
}
