//! Spans on their way out of the process: a bounded queue, and a thread of its own that empties it.
//!
//! Whoever ends a span puts it into the queue or, where that is full, counts it as dropped. Nobody waits, whatever
//! the far end does: answers slowly, without end, with a refusal, or not at all. What it does not take is tried
//! again while there is room for what comes meanwhile.

use super::sinks::Sink;
use super::target::{self, SendError, Target};
use crate::kernel::error::{StartError, ThreadError};
use crate::observe::metrics;
use opentelemetry_sdk::trace::SpanData;
use prometheus::{IntCounter, IntCounterVec, Registry};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// Spans of one request at most, and how long the first of them waits for the others.
const BATCH: usize = 512;
const LINGER: Duration = Duration::from_secs(1);
/// Between two looks whether there are more.
const GATHER: Duration = Duration::from_millis(10);
/// How often a batch is sent, and the pause before the second time; each further one is four times as long.
const TRIES: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// How a batch is written down.
pub(super) type Encode = Box<dyn Fn(&[Arc<SpanData>]) -> Result<Vec<u8>, serde_json::Error> + Send>;

/// The end where spans come in.
#[derive(Debug)]
struct Queue {
    spans: mpsc::Sender<Arc<SpanData>>,
    dropped: IntCounter,
}

impl Sink for Queue {
    fn take(&self, span: &Arc<SpanData>) {
        if self.spans.try_send(span.clone()).is_err() {
            self.dropped.inc();
        }
    }
}

/// An exporter's thread, as whoever started it sees it.
#[derive(Debug)]
pub struct Exporter {
    name: &'static str,
    stop: CancellationToken,
    done: oneshot::Receiver<()>,
}

/// Starts an exporter: what it takes is sent to this target in batches.
pub(super) fn start(
    name: &'static str,
    capacity: usize,
    target: Target,
    encode: Encode,
    counters: &IntCounterVec,
    registry: &Registry,
) -> Result<(Arc<dyn Sink>, Exporter), StartError> {
    let (spans, waiting) = mpsc::channel(capacity);
    let of = |outcome| counters.with_label_values(&[name, outcome]);
    let queue = Queue { spans, dropped: of("dropped") };
    let depth = queue.spans.downgrade();
    let depth = move || depth.upgrade().map_or(0, |spans| spans.max_capacity() - spans.capacity());
    metrics::queue(registry, &format!("spans-{name}"), capacity, depth)?;
    let (stop, (finished, done)) = (CancellationToken::new(), oneshot::channel());
    let sending = Sending {
        name,
        target,
        encode,
        waiting,
        exported: of("exported"),
        failed: of("failed"),
        dropped: of("dropped"),
        known: 0,
        stop: stop.clone(),
        lost: None,
    };
    std::thread::Builder::new()
        .name(format!("spans-{name}"))
        .spawn(move || {
            // a system of its own: its client is bound to the thread, and a busy worker must not hold it up
            actix_web::rt::System::new().block_on(sending.run());
            let _ = finished.send(());
        })
        .map_err(|cause| ThreadError { purpose: "the exporter of spans", cause })?;
    Ok((Arc::new(queue), Exporter { name, stop, done }))
}

impl Exporter {
    /// Sends what waits, and ends; what is not gone by then is lost.
    pub async fn finish(self, limit: Duration) {
        self.stop.cancel();
        if tokio::time::timeout(limit, self.done).await.is_err() {
            tracing::warn!(exporter = self.name, "spans that were not sent yet are lost");
        }
    }
}

/// The thread's side.
struct Sending {
    name: &'static str,
    target: Target,
    encode: Encode,
    waiting: mpsc::Receiver<Arc<SpanData>>,
    exported: IntCounter,
    failed: IntCounter,
    dropped: IntCounter,
    /// How many of those were known at the last batch.
    known: u64,
    stop: CancellationToken,
    /// Spans that were lost since the trouble began that is under way.
    lost: Option<usize>,
}

impl Sending {
    async fn run(mut self) {
        let client = target::client();
        while let Some(batch) = self.next().await {
            self.deliver(&client, &batch).await;
        }
    }

    /// The next batch, as soon as it is full or its first span has waited long enough; `None` at the end.
    async fn next(&mut self) -> Option<Vec<Arc<SpanData>>> {
        let mut batch = Vec::new();
        let first = self.stop.run_until_cancelled(self.waiting.recv_many(&mut batch, BATCH)).await;
        if first == Some(0) {
            return None;
        }
        let until = Instant::now() + LINGER;
        loop {
            while batch.len() < BATCH
                && let Ok(span) = self.waiting.try_recv()
            {
                batch.push(span);
            }
            if batch.len() >= BATCH || self.stop.is_cancelled() || Instant::now() >= until {
                return Some(batch).filter(|batch| !batch.is_empty());
            }
            // nobody listens meanwhile: to be woken by each span would cost whoever ends it more than the span
            self.stop.run_until_cancelled(sleep(GATHER)).await;
        }
    }

    async fn deliver(&mut self, client: &awc::Client, batch: &[Arc<SpanData>]) {
        let outcome = match (self.encode)(batch) {
            Ok(body) => self.send(client, body).await,
            Err(cause) => Err(cause.into()),
        };
        match outcome {
            Ok(()) => {
                self.exported.inc_by(batch.len() as u64);
                let dropped = self.dropped.get();
                if std::mem::replace(&mut self.known, dropped) < dropped {
                    self.trouble("it takes them too slowly, so some were dropped");
                } else if let Some(lost) = self.lost.take() {
                    tracing::info!(exporter = self.name, lost, "spans are taken again");
                }
            }
            Err(cause) => {
                self.trouble(&cause.to_string());
                self.failed.inc_by(batch.len() as u64);
                self.lost = self.lost.map(|lost| lost + batch.len());
            }
        }
    }

    /// One line when it begins: who asks for more finds it counted.
    fn trouble(&mut self, cause: &str) {
        if self.lost.is_none() {
            self.lost = Some(0);
            tracing::warn!(exporter = self.name, to = self.target.address(), cause, "spans are not taken");
        }
    }

    async fn send(&mut self, client: &awc::Client, body: Vec<u8>) -> Result<(), SendError> {
        let (body, mut pause) = (actix_web::web::Bytes::from(body), FIRST_PAUSE);
        for further in (0..TRIES).rev() {
            let Err(cause) = self.target.post(client, body.clone()).await else { return Ok(()) };
            let room = self.waiting.len() < self.waiting.max_capacity();
            if further == 0 || !cause.is_transient() || !room || self.stop.is_cancelled() {
                return Err(cause);
            }
            self.trouble(&cause.to_string());
            self.stop.run_until_cancelled(sleep(pause)).await;
            pause *= 4;
        }
        Ok(())
    }
}
