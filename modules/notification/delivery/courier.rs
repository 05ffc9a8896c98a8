//! The worker that sends what is due, a few at a time, and writes down how it went.

use super::attempt::{MAX_IN_FLIGHT_PER_RECEIVER, Outcome};
use super::receivers::Receivers;
use crate::kernel::clock;
use crate::kernel::error::StoreError;
use crate::modules::notification::store::{Attempted, Busy, Channel, Due, NotificationStore};
use crate::observe::trace::{Kind, Span, Trace};
use backon::{ConstantBuilder, Retryable};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Under way at once.
const MAX_IN_FLIGHT: usize = 8;
/// No pause is longer, whether we double it or the receiver asks for it.
const MAX_PAUSE: Duration = Duration::from_secs(3600);
/// Claimed at once: a claim is a commit, and one for each delivery would halve what we can send.
const AHEAD: i64 = 32;
/// How long a delivery is ours once we took it: after that it is due again, and of whichever process.
const CLAIM: Duration = Duration::from_secs(5);
/// While a delivery is under way, our claim is renewed so often.
const KEEP: Duration = Duration::from_secs(2);
/// How often we look for what another process made out, or left behind.
const LOOK: Duration = Duration::from_secs(1);
/// After the store failed us.
const STORE_PAUSE: Duration = Duration::from_secs(1);
/// How long what is under way may take to finish at shutdown. What does not is sent again when its claim ends.
const GRACE: Duration = Duration::from_secs(3);
/// Characters of an error that are kept.
const MAX_ERROR: usize = 500;

/// See the module.
pub(in crate::modules::notification) struct Courier {
    store: Arc<dyn NotificationStore>,
    receivers: Arc<Receivers>,
    attempts: i64,
    backoff: Duration,
}

impl Courier {
    /// Sends so many times at most, with this pause after the first failure.
    pub(in crate::modules::notification) fn new(
        store: Arc<dyn NotificationStore>,
        receivers: Arc<Receivers>,
        attempts: u32,
        backoff: Duration,
    ) -> Self {
        Self { store, receivers, attempts: i64::from(attempts), backoff }
    }

    /// Until told to stop. It sleeps until a commit, the next due time, the end of an attempt, or the next look.
    ///
    /// Several processes share the work: each sends what it has claimed. One that dies with a delivery under
    /// way leaves a claim that ends; one that was paused may find that another has sent it, too.
    pub(in crate::modules::notification) async fn run(self, stop: CancellationToken) {
        let mut under_way = FuturesUnordered::new();
        let mut hand = Hand::default();
        let mut kept = Instant::now();
        while !stop.is_cancelled() {
            let committed = self.store.next_commit();
            if kept.elapsed() >= CLAIM {
                // we were paused: what was not begun may be another's by now
                hand.waiting.clear();
            }
            if kept.elapsed() >= KEEP {
                kept = Instant::now();
                self.keep(hand.ids(), claim()).await;
            }
            let pause = self.take(&mut hand).await.unwrap_or_else(|cause| {
                tracing::warn!(%cause, "deliveries not read; will try again");
                STORE_PAUSE
            });
            under_way.extend(hand.begun.drain(..).map(|due| self.attempt(due)));
            tokio::select! {
                Some(id) = under_way.next() => hand.lanes.retain(|(other, _)| *other != id),
                () = committed => {}
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => {}
            }
        }
        // what was not begun is anybody's
        self.keep(hand.waiting.iter().map(|due| due.id).collect(), clock::now_ms()).await;
        let finish = async { while under_way.next().await.is_some() {} };
        if tokio::time::timeout(GRACE, finish).await.is_err() {
            tracing::info!(deliveries = under_way.len(), "deliveries cut short; they are sent again when their claims end");
        }
    }

    /// Our claims end then.
    async fn keep(&self, ids: Vec<i64>, until: i64) {
        if !ids.is_empty()
            && let Err(cause) = self.store.keep(ids, until).await
        {
            tracing::warn!(%cause, "claims on deliveries not changed; another process may send them, too");
        }
    }

    /// Begins what there is room for; answers how long to sleep where nothing else happens.
    async fn take(&self, hand: &mut Hand) -> Result<Duration, StoreError> {
        let now = clock::now_ms();
        hand.begin();
        while hand.lanes.len() < MAX_IN_FLIGHT {
            let due = self.store.due(now, hand.busy(), AHEAD).await?;
            if due.is_empty() {
                break;
            }
            let claimed = self.store.claim(due, now, claim()).await?;
            hand.waiting.extend(claimed);
            // none where all of it is another's by now: the next look will show
            if !hand.begin() {
                break;
            }
        }
        let next = self.store.next_due(now).await?;
        let pause = next.map_or(LOOK, |at| Duration::from_millis((at - clock::now_ms()).max(1) as u64));
        Ok(pause.min(LOOK))
    }

    async fn send(&self, due: &Due) -> Outcome {
        let span = span(due);
        let sent = span.scope(self.receivers.send(due)).await;
        if sent != Outcome::Delivered {
            span.fail("not delivered");
        }
        sent
    }

    /// One attempt, and its entry in the store; answers the delivery's id.
    async fn attempt(&self, due: Due) -> i64 {
        let (id, attempts) = (due.id, due.attempts + 1);
        let outcome = match self.send(&due).await {
            Outcome::Delivered => Attempted::Delivered,
            Outcome::Refused { error } => Attempted::Dead { error: shortened(&error) },
            Outcome::Failed { error, .. } if attempts >= self.attempts => Attempted::Dead { error: shortened(&error) },
            Outcome::Failed { error, wait } => {
                let pause = pause(self.backoff, attempts, wait, rand::random_range(0.0..=1.0));
                Attempted::Again { error: shortened(&error), at: clock::now_ms() + pause.as_millis() as i64 }
            }
        };
        let (channel, event_id) = (due.channel.name(), &due.event_id);
        match &outcome {
            Attempted::Delivered => tracing::debug!(delivery = id, channel, event_id, attempts, "delivered"),
            Attempted::Again { error, .. } => {
                tracing::info!(delivery = id, channel, event_id, attempts, error, "not delivered; will try again")
            }
            Attempted::Dead { error } => tracing::warn!(delivery = id, channel, event_id, attempts, error, "not delivered; given up"),
        }
        // as long as it is not written down, the delivery stays under way: else it would be sent again at once
        let record = || self.store.record(id, attempts, outcome.clone());
        let warn = |cause: &StoreError, _| tracing::warn!(%cause, delivery = id, "attempt not recorded; will try again");
        let _ = record.retry(ConstantBuilder::new().with_delay(STORE_PAUSE).without_max_times()).notify(warn).await;
        id
    }
}

/// A step of the trace in which the event was taken. It does not say to whom.
fn span(due: &Due) -> Span {
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

/// When a claim of now ends.
fn claim() -> i64 {
    clock::now_ms() + CLAIM.as_millis() as i64
}

/// What a slow receiver can hold up: itself.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Lane {
    Mail,
    Webhook(String),
}

impl Lane {
    fn of(due: &Due) -> Self {
        match due.channel {
            Channel::Email => Lane::Mail,
            Channel::Webhook => Lane::Webhook(due.target.clone()),
        }
    }
}

/// The deliveries that are ours now.
#[derive(Default)]
struct Hand {
    /// Under way, or about to be.
    lanes: Vec<(i64, Lane)>,
    /// Of those, the ones that have not been sent yet.
    begun: Vec<Due>,
    /// Claimed, and waiting for room in their lane.
    waiting: Vec<Due>,
}

impl Hand {
    fn ids(&self) -> Vec<i64> {
        self.lanes.iter().map(|(id, _)| *id).chain(self.waiting.iter().map(|due| due.id)).collect()
    }

    fn is_full(&self, lane: &Lane) -> bool {
        self.lanes.iter().filter(|(_, other)| other == lane).count() >= MAX_IN_FLIGHT_PER_RECEIVER
    }

    /// Enters those into their lanes for which there is room; false where there is none for any.
    fn begin(&mut self) -> bool {
        let before = self.begun.len();
        for due in std::mem::take(&mut self.waiting) {
            let lane = Lane::of(&due);
            if self.lanes.len() < MAX_IN_FLIGHT && !self.is_full(&lane) {
                self.lanes.push((due.id, lane));
                self.begun.push(due);
            } else {
                self.waiting.push(due);
            }
        }
        self.begun.len() > before
    }

    /// What is not to be claimed as well.
    fn busy(&self) -> Busy {
        let mut busy = Busy { ids: self.ids(), ..Busy::default() };
        for (_, lane) in self.lanes.iter().filter(|(_, lane)| self.is_full(lane)) {
            match lane {
                Lane::Mail => busy.email = true,
                Lane::Webhook(target) => busy.webhooks.push(target.clone()),
            }
        }
        busy
    }
}

/// Doubles with each attempt, a quarter more or less so that receivers are not met by waves, and
/// not before the receiver said.
fn pause(first: Duration, attempts: i64, wait: Option<Duration>, random: f64) -> Duration {
    let doublings = u32::try_from(attempts - 1).unwrap_or(0).min(31);
    let doubled = first.saturating_mul(1 << doublings).min(MAX_PAUSE);
    doubled.mul_f64(0.75 + random.clamp(0.0, 1.0) / 2.0).max(wait.unwrap_or_default()).min(MAX_PAUSE)
}

fn shortened(error: &str) -> String {
    error.chars().take(MAX_ERROR).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_an_hour_and_heed_the_receiver() {
        let second = Duration::from_secs(1);
        assert_eq!(pause(second, 1, None, 0.5), second);
        assert_eq!(pause(second, 4, None, 0.5), second * 8);
        assert_eq!((pause(second, 1, None, 0.0), pause(second, 1, None, 1.0)), (second * 3 / 4, second * 5 / 4));
        assert_eq!(pause(second, 60, None, 1.0), MAX_PAUSE);
        assert_eq!(pause(second, 1, Some(second * 30), 0.5), second * 30);
        assert_eq!(pause(second, 8, Some(second), 0.5), second * 128);
        assert_eq!(pause(second, 1, Some(MAX_PAUSE * 24), 0.5), MAX_PAUSE);
    }

    #[test]
    fn a_full_lane_is_passed_over() {
        let hook = |id| (id, Lane::Webhook("http://h/".into()));
        let due = |id, channel| Due { id, event_id: String::new(), channel, target: "http://h/".into(), body: String::new(), attempts: 0 };
        let waiting = vec![due(5, Channel::Webhook), due(6, Channel::Email)];
        let mut hand = Hand { lanes: vec![hook(1), hook(2), (3, Lane::Mail), hook(4)], waiting, ..Hand::default() };
        let busy = hand.busy();
        assert_eq!(busy.ids, [1, 2, 3, 4, 5, 6]);
        assert!(!busy.email && busy.webhooks.iter().all(|target| target == "http://h/") && !busy.webhooks.is_empty());
        assert!(hand.begin() && hand.begun.len() == 1 && hand.begun[0].id == 6);
        hand.lanes.retain(|(id, _)| *id != 2);
        assert!(hand.begin() && hand.begun[1].id == 5, "as soon as there is room");
    }
}
