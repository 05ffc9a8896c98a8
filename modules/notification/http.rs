//! The live stream: a customer's notifications as server-sent events.
//!
//! The store is the source, and a stream keeps only the last id that it has sent. So a reconnect loses and
//! duplicates no notification, a slow client blocks no other and uses no memory (its pages are read on
//! demand), and notifications written by other processes are sent, too.

use super::store::NotificationStore;
use crate::data::POLL_INTERVAL;
use crate::kernel::error::StoreError;
use crate::kernel::problem::Problem;
use crate::rpc::context::{Cx, Principal};
use crate::rpc::contract::{Endpoint, RequiredRole};
use actix_web::http::{Method, header};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::stream;
use serde::Deserialize;
use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// Proxies and clients close idle connections.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// A stream ends when its token expires, at the latest after this; the client reconnects with `Last-Event-ID`.
const MAX_LIFETIME: Duration = Duration::from_secs(1800);
/// Notifications per read for one client.
const STREAM_PAGE: i64 = 100;
/// New notifications per read to find the streams to wake.
const WAKE_PAGE: i64 = 1000;

/// The customers with new notifications.
#[derive(Clone)]
enum Wake {
    All,
    Customers(Arc<HashSet<String>>),
}

/// The live streams. One reader polls the store and wakes the streams, instead of one reader per stream.
#[derive(Clone)]
pub(super) struct LiveStreams {
    store: Arc<dyn NotificationStore>,
    wakes: broadcast::Sender<Wake>,
    draining: CancellationToken,
}

impl LiveStreams {
    /// Streams end when the process starts draining; otherwise it would wait for them.
    pub(super) fn new(store: Arc<dyn NotificationStore>, draining: CancellationToken) -> Self {
        Self { store, wakes: broadcast::channel(64).0, draining }
    }

    /// Wakes streams until `draining`.
    pub(super) async fn run(self) {
        let mut last_seen = None;
        while !self.draining.is_cancelled() {
            let next_commit = self.store.next_commit();
            if self.wakes.receiver_count() == 0 {
                last_seen = None;
            } else {
                match self.wake(last_seen).await {
                    Ok((last, true)) => {
                        last_seen = Some(last);
                        continue;
                    }
                    Ok((last, false)) => last_seen = Some(last),
                    Err(cause) => tracing::warn!(%cause, "new notifications not read; will retry"),
                }
            }
            tokio::select! {
                () = next_commit => {}
                () = tokio::time::sleep(POLL_INTERVAL) => {}
                () = self.draining.cancelled() => {}
            }
        }
    }

    /// Wakes the streams of customers with notifications after `last_seen`. Returns the last id, and whether more
    /// may follow.
    async fn wake(&self, last_seen: Option<i64>) -> Result<(i64, bool), StoreError> {
        let Some(last_seen) = last_seen else {
            // nothing was read while there were no streams: the first streams read for themselves
            let latest = self.store.latest().await?;
            let _ = self.wakes.send(Wake::All);
            return Ok((latest, false));
        };
        let new = self.store.customers_after(last_seen, WAKE_PAGE).await?;
        let last = new.iter().map(|(id, _)| *id).max().unwrap_or(last_seen);
        let full = new.len() as i64 == WAKE_PAGE;
        if last > last_seen {
            let _ = self.wakes.send(Wake::Customers(Arc::new(new.into_iter().map(|(_, customer)| customer).collect())));
        }
        Ok((last, full))
    }

    /// `GET /api/v1/notifications/stream`
    pub(super) fn endpoint(&self) -> Endpoint {
        let streams = self.clone();
        Endpoint::raw("notification", "stream", Method::GET, "/api/v1/notifications/stream", RequiredRole::Any, move |cx, request, _| {
            let streams = streams.clone();
            async move { streams.open(&cx, &request).await }
        })
    }

    async fn open(&self, cx: &Cx, request: &HttpRequest) -> Result<HttpResponse, Problem> {
        let principal = cx.principal()?;
        // subscribed before the first read, so that commits in between wake this stream
        let wakes = self.wakes.subscribe();
        let latest = self.store.latest().await?;
        let after = match request.headers().get("last-event-id") {
            // some clients send an empty one before they have received an id
            Some(id) if !id.as_bytes().trim_ascii().is_empty() => {
                let id = id.to_str().ok().and_then(|id| id.trim().parse().ok());
                // an id from before the store was recreated must not silence the stream
                id.map(|id: i64| id.min(latest))
                    .ok_or_else(|| Problem::invalid_field("Last-Event-ID", "expected the id of a notification"))?
            }
            _ => latest,
        };
        let mut response = HttpResponse::Ok();
        response
            .content_type("text/event-stream")
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .insert_header(("x-accel-buffering", "no"));
        if request.method() == Method::HEAD {
            return Ok(response.finish());
        }
        let now = Instant::now();
        let stream = Stream {
            store: self.store.clone(),
            customer: principal.subject.clone(),
            after,
            first: true,
            wakes,
            draining: self.draining.clone(),
            ends_at: now + lifetime(principal),
        };
        Ok(response.streaming(stream::unfold(stream, |mut stream| async move {
            let chunk = stream.next().await?;
            Some((Ok::<_, Infallible>(chunk), stream))
        })))
    }
}

/// Remaining lifetime of the token, which the edge has validated.
fn lifetime(principal: &Principal) -> Duration {
    #[derive(Deserialize)]
    struct Claims {
        exp: i64,
    }
    let claims = principal.token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let claims: Option<Claims> = claims.and_then(|json| serde_json::from_slice(&json).ok());
    let remaining =
        claims.map(|claims| Duration::from_secs(u64::try_from(claims.exp - crate::kernel::clock::now_ms() / 1000).unwrap_or(0)));
    remaining.unwrap_or(MAX_LIFETIME).min(MAX_LIFETIME)
}

/// One client's stream.
struct Stream {
    store: Arc<dyn NotificationStore>,
    customer: String,
    after: i64,
    first: bool,
    wakes: broadcast::Receiver<Wake>,
    draining: CancellationToken,
    ends_at: Instant,
}

impl Stream {
    /// The next chunk; `None` ends the stream.
    async fn next(&mut self) -> Option<Bytes> {
        if std::mem::take(&mut self.first) {
            // sent at once, so that the client detects the connection, and can resume before the first notification
            return Some(format!("id: {}\nretry: 1000\n\n", self.after).into());
        }
        if self.draining.is_cancelled() || Instant::now() >= self.ends_at {
            return None;
        }
        if let Some(chunk) = self.read_new().await {
            return Some(chunk);
        }
        let heartbeat = Instant::now() + HEARTBEAT;
        loop {
            tokio::select! {
                woken = self.wakes.recv() => match woken {
                    Ok(Wake::Customers(customers)) if !customers.contains(&self.customer) => {}
                    // the channel dropped wakes, possibly one for this customer
                    Ok(_) | Err(RecvError::Lagged(_)) => {
                        if let Some(chunk) = self.read_new().await {
                            return Some(chunk);
                        }
                    }
                    Err(RecvError::Closed) => return None,
                },
                // the next call reads again: a lost wake is only a delay
                () = sleep_until(heartbeat) => return Some(Bytes::from_static(b": still here\n\n")),
                () = sleep_until(self.ends_at) => return None,
                () = self.draining.cancelled() => return None,
            }
        }
    }

    /// A page of new notifications; `None` if there are none.
    async fn read_new(&mut self) -> Option<Bytes> {
        let new = match self.store.after(&self.customer, self.after, STREAM_PAGE).await {
            Ok(new) => new,
            Err(cause) => {
                tracing::warn!(%cause, "notifications not read for a stream; will retry");
                return None;
            }
        };
        let mut chunk = String::new();
        for notification in new {
            // neither JSON nor event types contain raw line breaks, so each is one line
            let data = serde_json::to_string(&notification).ok()?;
            chunk.push_str(&format!("id: {}\nevent: {}\ndata: {data}\n\n", notification.id, notification.kind));
            self.after = notification.id;
        }
        (!chunk.is_empty()).then(|| chunk.into())
    }
}
