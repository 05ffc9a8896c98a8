//! The live stream: a customer's notifications as server-sent events.
//!
//! The store is the source, and a stream knows only the last id it has sent. So nothing is missed or
//! doubled across a reconnect, a slow client holds up nobody and fills no memory (it is read for a page
//! at a time, as it takes them), and what another process wrote is seen, too.

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

/// Proxies and clients take a silent connection for a dead one.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// A stream ends with its token, and after this in any case; the client comes back with `Last-Event-ID`.
const LIFETIME: Duration = Duration::from_secs(1800);
/// Notifications read at once for one client.
const PAGE: i64 = 100;
/// New notifications looked through at once to find whom to wake.
const WAKE_PAGE: i64 = 1000;

/// Whom a commit concerns.
#[derive(Clone)]
enum Wake {
    All,
    Only(Arc<HashSet<String>>),
}

/// Wakes streams: one look at the store for all of them, instead of one each.
#[derive(Clone)]
pub(super) struct Live {
    store: Arc<dyn NotificationStore>,
    wakes: broadcast::Sender<Wake>,
    closing: CancellationToken,
}

impl Live {
    /// On this store; streams end when the process begins to drain, or it would wait for them.
    pub(super) fn new(store: Arc<dyn NotificationStore>, closing: CancellationToken) -> Self {
        Self { store, wakes: broadcast::channel(64).0, closing }
    }

    /// Wakes streams until they are ended.
    pub(super) async fn run(self) {
        let mut seen = None;
        while !self.closing.is_cancelled() {
            let committed = self.store.next_commit();
            if self.wakes.receiver_count() == 0 {
                seen = None;
            } else {
                match self.wake(seen).await {
                    Ok((last, true)) => {
                        seen = Some(last);
                        continue;
                    }
                    Ok((last, false)) => seen = Some(last),
                    Err(cause) => tracing::warn!(%cause, "new notifications not read; will try again"),
                }
            }
            tokio::select! {
                () = committed => {}
                () = tokio::time::sleep(POLL_INTERVAL) => {}
                () = self.closing.cancelled() => {}
            }
        }
    }

    /// Wakes whom notifications after `seen` concern; answers the last id, and whether there may be more.
    async fn wake(&self, seen: Option<i64>) -> Result<(i64, bool), StoreError> {
        let Some(seen) = seen else {
            // we have not looked while nobody listened: let the first listeners look for themselves
            let latest = self.store.latest().await?;
            let _ = self.wakes.send(Wake::All);
            return Ok((latest, false));
        };
        let new = self.store.customers_after(seen, WAKE_PAGE).await?;
        let last = new.iter().map(|(id, _)| *id).max().unwrap_or(seen);
        let full = new.len() as i64 == WAKE_PAGE;
        if last > seen {
            let _ = self.wakes.send(Wake::Only(Arc::new(new.into_iter().map(|(_, customer)| customer).collect())));
        }
        Ok((last, full))
    }

    /// `GET /api/v1/notifications/stream`
    pub(super) fn endpoint(&self) -> Endpoint {
        let live = self.clone();
        Endpoint::raw("notification", "stream", Method::GET, "/api/v1/notifications/stream", RequiredRole::Any, move |cx, request, _| {
            let live = live.clone();
            async move { live.open(&cx, &request).await }
        })
    }

    async fn open(&self, cx: &Cx, request: &HttpRequest) -> Result<HttpResponse, Problem> {
        let principal = cx.principal()?;
        // registered before the first look: what is committed in between wakes us
        let wakes = self.wakes.subscribe();
        let latest = self.store.latest().await?;
        let after = match request.headers().get("last-event-id") {
            None => latest,
            Some(id) => {
                let id = id.to_str().ok().and_then(|id| id.trim().parse().ok());
                // an id from before the store was made anew must not silence the stream
                id.map(|id: i64| id.min(latest))
                    .ok_or_else(|| Problem::invalid_field("Last-Event-ID", "expected the id of a notification"))?
            }
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
            closing: self.closing.clone(),
            ends: now + lifetime(principal),
        };
        Ok(response.streaming(stream::unfold(stream, |mut stream| async move {
            let chunk = stream.next().await?;
            Some((Ok::<_, Infallible>(chunk), stream))
        })))
    }
}

/// What is left of the token, which the edge has checked already.
fn lifetime(principal: &Principal) -> Duration {
    #[derive(Deserialize)]
    struct Claims {
        exp: i64,
    }
    let claims = principal.token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let claims: Option<Claims> = claims.and_then(|json| serde_json::from_slice(&json).ok());
    let left = claims.map(|claims| Duration::from_secs(u64::try_from(claims.exp - crate::kernel::clock::now_ms() / 1000).unwrap_or(0)));
    left.unwrap_or(LIFETIME).min(LIFETIME)
}

/// One client's stream.
struct Stream {
    store: Arc<dyn NotificationStore>,
    customer: String,
    after: i64,
    first: bool,
    wakes: broadcast::Receiver<Wake>,
    closing: CancellationToken,
    ends: Instant,
}

impl Stream {
    /// What to send next; `None` ends the stream.
    async fn next(&mut self) -> Option<Bytes> {
        if std::mem::take(&mut self.first) {
            // something at once, so that the client knows it is connected
            return Some(Bytes::from_static(b"retry: 1000\n\n"));
        }
        if self.closing.is_cancelled() || Instant::now() >= self.ends {
            return None;
        }
        if let Some(chunk) = self.look().await {
            return Some(chunk);
        }
        let heartbeat = Instant::now() + HEARTBEAT;
        loop {
            tokio::select! {
                woken = self.wakes.recv() => match woken {
                    Ok(Wake::Only(customers)) if !customers.contains(&self.customer) => {}
                    // after more wakes than fit we may have missed ours
                    Ok(_) | Err(RecvError::Lagged(_)) => {
                        if let Some(chunk) = self.look().await {
                            return Some(chunk);
                        }
                    }
                    Err(RecvError::Closed) => return None,
                },
                // the next call looks again: a lost wake is a delay at worst
                () = sleep_until(heartbeat) => return Some(Bytes::from_static(b": still here\n\n")),
                () = sleep_until(self.ends) => return None,
                () = self.closing.cancelled() => return None,
            }
        }
    }

    /// A page of what is new; `None` where nothing is.
    async fn look(&mut self) -> Option<Bytes> {
        let new = match self.store.after(&self.customer, self.after, PAGE).await {
            Ok(new) => new,
            Err(cause) => {
                tracing::warn!(%cause, "notifications not read for a stream; will try again");
                return None;
            }
        };
        let mut chunk = String::new();
        for notification in new {
            // JSON has no raw line breaks, and types have none either: one line each
            let data = serde_json::to_string(&notification).ok()?;
            chunk.push_str(&format!("id: {}\nevent: {}\ndata: {data}\n\n", notification.id, notification.kind));
            self.after = notification.id;
        }
        (!chunk.is_empty()).then(|| chunk.into())
    }
}
