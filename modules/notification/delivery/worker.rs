//! The worker that sends due deliveries with limited concurrency and records the results.

use super::attempt::{MAX_IN_FLIGHT_PER_RECEIVER, Outcome};
use super::receivers::Receivers;
use crate::kernel::clock;
use crate::kernel::error::StoreError;
use crate::modules::notification::store::{AttemptResult, Channel, ClaimFilter, DueDelivery, MAX_BACKOFF, NotificationStore};
use crate::observe::trace::{Kind, Span, Trace};
use backon::{ConstantBuilder, Retryable};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

const MAX_IN_FLIGHT: usize = 8;
/// Deliveries per claim. A claim is a commit; one commit per delivery would halve the throughput.
const CLAIM_BATCH: i64 = 32;
/// Duration of a claim. After it, any process may claim the delivery.
const CLAIM_DURATION: Duration = Duration::from_secs(5);
/// Interval of renewing the claims of deliveries in flight.
const RENEW_INTERVAL: Duration = Duration::from_secs(2);
/// Finds deliveries that other processes created or abandoned.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// After a store error.
const STORE_RETRY_DELAY: Duration = Duration::from_secs(1);
/// Time for deliveries in flight to finish at shutdown. The others are sent again when their claims end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(3);
/// Characters of a stored error.
const MAX_ERROR_LEN: usize = 500;

pub(in crate::modules::notification) struct DeliveryWorker {
    store: Arc<dyn NotificationStore>,
    receivers: Arc<Receivers>,
    max_attempts: i64,
    backoff: Duration,
}

impl DeliveryWorker {
    /// `backoff`: delay after the first failure; it doubles with each further one.
    pub(in crate::modules::notification) fn new(
        store: Arc<dyn NotificationStore>,
        receivers: Arc<Receivers>,
        max_attempts: u32,
        backoff: Duration,
    ) -> Self {
        Self { store, receivers, max_attempts: i64::from(max_attempts), backoff }
    }

    /// Runs until `stop`. Sleeps until a commit, the next due time, the end of an attempt, or the next poll.
    ///
    /// Processes share the work: each sends the deliveries that it has claimed. If a process dies, its claims end
    /// and another process sends the deliveries. If it was paused, a delivery may be sent twice.
    pub(in crate::modules::notification) async fn run(self, stop: CancellationToken) {
        let mut in_flight = FuturesUnordered::new();
        let mut claims = Claims::default();
        let mut renewed_at = Instant::now();
        while !stop.is_cancelled() {
            let next_commit = self.store.next_commit();
            if renewed_at.elapsed() >= CLAIM_DURATION {
                // this process was paused: other processes may have claimed the waiting deliveries
                claims.waiting.clear();
            }
            if renewed_at.elapsed() >= RENEW_INTERVAL {
                renewed_at = Instant::now();
                self.set_claim_end(claims.ids(), claim_end()).await;
            }
            let pause = self.start_due(&mut claims).await.unwrap_or_else(|cause| {
                tracing::warn!(%cause, "deliveries not read; will retry");
                STORE_RETRY_DELAY
            });
            in_flight.extend(claims.started.drain(..).map(|due| self.attempt(due)));
            tokio::select! {
                Some(id) = in_flight.next() => claims.active.retain(|(other, _)| *other != id),
                () = next_commit => {}
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => {}
            }
        }
        // releases the claims of deliveries that were not started
        self.set_claim_end(claims.waiting.iter().map(|due| due.id).collect(), clock::now_ms()).await;
        let finish = async { while in_flight.next().await.is_some() {} };
        if tokio::time::timeout(SHUTDOWN_TIMEOUT, finish).await.is_err() {
            tracing::info!(
                deliveries = in_flight.len(),
                "shutdown timeout exceeded; deliveries in flight are sent again when their claims end"
            );
        }
    }

    async fn set_claim_end(&self, ids: Vec<i64>, until: i64) {
        if !ids.is_empty()
            && let Err(cause) = self.store.set_claim_end(ids, until).await
        {
            tracing::warn!(%cause, "claims of deliveries not changed; another process may send them, too");
        }
    }

    /// Claims and starts deliveries up to the limits. Returns how long to sleep if no event occurs.
    async fn start_due(&self, claims: &mut Claims) -> Result<Duration, StoreError> {
        let now = clock::now_ms();
        claims.start_waiting();
        while claims.active.len() < MAX_IN_FLIGHT {
            let due = self.store.due(now, claims.filter(), CLAIM_BATCH).await?;
            if due.is_empty() {
                break;
            }
            let claimed = self.store.claim(due, now, claim_end()).await?;
            claims.waiting.extend(claimed);
            // other processes may have claimed all of them; the next poll finds new ones
            if !claims.start_waiting() {
                break;
            }
        }
        let next = self.store.next_due(now).await?;
        let pause = next.map_or(POLL_INTERVAL, |at| Duration::from_millis((at - clock::now_ms()).max(1) as u64));
        Ok(pause.min(POLL_INTERVAL))
    }

    async fn send(&self, due: &DueDelivery) -> Outcome {
        let span = span(due);
        let outcome = span.scope(self.receivers.send(due)).await;
        if outcome != Outcome::Delivered {
            span.fail("not delivered");
        }
        outcome
    }

    /// Sends a delivery and records the result; returns the delivery's id.
    async fn attempt(&self, due: DueDelivery) -> i64 {
        let (id, attempts) = (due.id, due.attempts + 1);
        let result = match self.send(&due).await {
            Outcome::Delivered => AttemptResult::Delivered,
            Outcome::Rejected { error } => AttemptResult::Dead { error: truncated(&error) },
            Outcome::Failed { error, .. } if attempts >= self.max_attempts => AttemptResult::Dead { error: truncated(&error) },
            Outcome::Failed { error, retry_after } => {
                let delay = retry_delay(self.backoff, attempts, retry_after, rand::random_range(0.0..=1.0));
                AttemptResult::Retry { error: truncated(&error), at: clock::now_ms() + delay.as_millis() as i64 }
            }
        };
        let (channel, event_id) = (due.channel.name(), &due.event_id);
        match &result {
            AttemptResult::Delivered => tracing::debug!(delivery = id, channel, event_id, attempts, "delivered"),
            AttemptResult::Retry { error, .. } => {
                tracing::info!(delivery = id, channel, event_id, attempts, error, "not delivered; will retry")
            }
            AttemptResult::Dead { error } => {
                tracing::warn!(delivery = id, channel, event_id, attempts, error, "not delivered; dead letter")
            }
        }
        // the delivery stays in flight until it is recorded: otherwise it would be sent again at once
        let record = || self.store.record(id, attempts, result.clone());
        let warn = |cause: &StoreError, _| tracing::warn!(%cause, delivery = id, "attempt not recorded; will retry");
        let _ = record.retry(ConstantBuilder::new().with_delay(STORE_RETRY_DELAY).without_max_times()).notify(warn).await;
        id
    }
}

/// A span in the event's trace. It does not contain the receiver's address.
fn span(due: &DueDelivery) -> Span {
    #[derive(serde::Deserialize)]
    struct Origin {
        traceparent: Option<String>,
    }
    let origin = serde_json::from_str(&due.body).ok().and_then(|event: Origin| Trace::parse(&event.traceparent?));
    let Some(parent) = origin else { return Span::unrecorded(Trace::start()) };
    let span = Span::child(parent, Kind::Client, || match due.channel {
        Channel::Email => "send email".into(),
        Channel::Webhook => "POST webhook".into(),
    });
    span.set("tradepost.module", "notification");
    if due.attempts > 0 {
        span.set("tradepost.delivery.attempt", due.attempts + 1);
    }
    span
}

/// End of a claim that starts now.
fn claim_end() -> i64 {
    clock::now_ms() + CLAIM_DURATION.as_millis() as i64
}

/// A receiver, as the unit of the concurrency limit.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Receiver {
    Mail,
    Webhook(String),
}

impl Receiver {
    fn of(due: &DueDelivery) -> Self {
        match due.channel {
            Channel::Email => Receiver::Mail,
            Channel::Webhook => Receiver::Webhook(due.target.clone()),
        }
    }
}

/// The deliveries that this process has claimed.
#[derive(Default)]
struct Claims {
    /// In flight, or in `started`.
    active: Vec<(i64, Receiver)>,
    /// The active ones whose attempt has not begun.
    started: Vec<DueDelivery>,
    /// Waiting for a free slot of their receiver.
    waiting: Vec<DueDelivery>,
}

impl Claims {
    fn ids(&self) -> Vec<i64> {
        self.active.iter().map(|(id, _)| *id).chain(self.waiting.iter().map(|due| due.id)).collect()
    }

    fn is_at_limit(&self, receiver: &Receiver) -> bool {
        self.active.iter().filter(|(_, other)| other == receiver).count() >= MAX_IN_FLIGHT_PER_RECEIVER
    }

    /// Starts the waiting deliveries that the limits allow; false if none.
    fn start_waiting(&mut self) -> bool {
        let before = self.started.len();
        for due in std::mem::take(&mut self.waiting) {
            let receiver = Receiver::of(&due);
            if self.active.len() < MAX_IN_FLIGHT && !self.is_at_limit(&receiver) {
                self.active.push((due.id, receiver));
                self.started.push(due);
            } else {
                self.waiting.push(due);
            }
        }
        self.started.len() > before
    }

    fn filter(&self) -> ClaimFilter {
        let mut filter = ClaimFilter { excluded_ids: self.ids(), ..ClaimFilter::default() };
        for (_, receiver) in self.active.iter().filter(|(_, receiver)| self.is_at_limit(receiver)) {
            match receiver {
                Receiver::Mail => filter.exclude_email = true,
                Receiver::Webhook(target) => filter.excluded_webhooks.push(target.clone()),
            }
        }
        filter
    }
}

/// Exponential backoff with 25 % jitter, but not before the receiver's `Retry-After`.
fn retry_delay(first: Duration, attempts: i64, retry_after: Option<Duration>, random: f64) -> Duration {
    let doublings = u32::try_from(attempts - 1).unwrap_or(0).min(31);
    let doubled = first.saturating_mul(1 << doublings).min(MAX_BACKOFF);
    doubled.mul_f64(0.75 + random.clamp(0.0, 1.0) / 2.0).max(retry_after.unwrap_or_default()).min(MAX_BACKOFF)
}

fn truncated(error: &str) -> String {
    error.chars().take(MAX_ERROR_LEN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_delay_doubles_up_to_one_hour_and_respects_retry_after() {
        let second = Duration::from_secs(1);
        assert_eq!(retry_delay(second, 1, None, 0.5), second);
        assert_eq!(retry_delay(second, 4, None, 0.5), second * 8);
        assert_eq!((retry_delay(second, 1, None, 0.0), retry_delay(second, 1, None, 1.0)), (second * 3 / 4, second * 5 / 4));
        assert_eq!(retry_delay(second, 60, None, 1.0), MAX_BACKOFF);
        assert_eq!(retry_delay(second, 1, Some(second * 30), 0.5), second * 30);
        assert_eq!(retry_delay(second, 8, Some(second), 0.5), second * 128);
        assert_eq!(retry_delay(second, 1, Some(MAX_BACKOFF * 24), 0.5), MAX_BACKOFF);
    }

    #[test]
    fn receiver_at_limit_is_skipped() {
        let hook = |id| (id, Receiver::Webhook("http://h/".into()));
        let due = |id, channel| DueDelivery {
            id,
            event_id: String::new(),
            channel,
            target: "http://h/".into(),
            body: String::new(),
            attempts: 0,
        };
        let waiting = vec![due(5, Channel::Webhook), due(6, Channel::Email)];
        let mut claims = Claims { active: vec![hook(1), hook(2), (3, Receiver::Mail), hook(4)], waiting, ..Claims::default() };
        let filter = claims.filter();
        assert_eq!(filter.excluded_ids, [1, 2, 3, 4, 5, 6]);
        assert!(
            !filter.exclude_email
                && filter.excluded_webhooks.iter().all(|target| target == "http://h/")
                && !filter.excluded_webhooks.is_empty()
        );
        assert!(claims.start_waiting() && claims.started.len() == 1 && claims.started[0].id == 6);
        claims.active.retain(|(id, _)| *id != 2);
        assert!(claims.start_waiting() && claims.started[1].id == 5, "once a slot is free");
    }
}
