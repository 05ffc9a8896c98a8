//! Exports spans to a collector: a bounded queue, and a thread that sends batches from it.
//!
//! The thread that ends a span puts it into the queue, or counts it as dropped if the queue is full. It never waits,
//! whether the collector answers slowly, sends an endless body, rejects a batch, or is down. The exporter retries a
//! failed batch while the queue has room for new spans.

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

/// Maximum size of a batch, and how long its first span waits for others.
const MAX_BATCH_SPANS: usize = 512;
const BATCH_LINGER: Duration = Duration::from_secs(1);
/// Pause between two reads of the queue while a batch fills.
const COALESCE_WINDOW: Duration = Duration::from_millis(10);
/// Attempts per batch, and the backoff before the second one; each further backoff is four times as long.
const MAX_ATTEMPTS: u32 = 4;
const INITIAL_BACKOFF: Duration = Duration::from_millis(250);

/// Serializes a batch.
pub(super) type Encode = Box<dyn Fn(&[Arc<SpanData>]) -> Result<Vec<u8>, serde_json::Error> + Send>;

#[derive(Debug)]
struct QueueSink {
    spans: mpsc::Sender<Arc<SpanData>>,
    dropped: IntCounter,
}

impl Sink for QueueSink {
    fn take(&self, span: &Arc<SpanData>) {
        if self.spans.try_send(span.clone()).is_err() {
            self.dropped.inc();
        }
    }
}

/// Handle to stop an exporter's thread.
#[derive(Debug)]
pub struct Exporter {
    name: &'static str,
    stop: CancellationToken,
    done: oneshot::Receiver<()>,
}

/// Starts an exporter that sends the spans of its sink to `target` in batches.
pub(super) fn start(
    name: &'static str,
    capacity: usize,
    target: Target,
    encode: Encode,
    counters: &IntCounterVec,
    registry: &Registry,
) -> Result<(Arc<dyn Sink>, Exporter), StartError> {
    let (spans, queued) = mpsc::channel(capacity);
    let of = |outcome| counters.with_label_values(&[name, outcome]);
    let queue = QueueSink { spans, dropped: of("dropped") };
    let depth = queue.spans.downgrade();
    let depth = move || depth.upgrade().map_or(0, |spans| spans.max_capacity() - spans.capacity());
    metrics::queue(registry, &format!("spans-{name}"), capacity, depth)?;
    let (stop, (finished, done)) = (CancellationToken::new(), oneshot::channel());
    let worker = ExportWorker {
        name,
        target,
        encode,
        queued,
        exported: of("exported"),
        failed: of("failed"),
        dropped: of("dropped"),
        reported_dropped: 0,
        stop: stop.clone(),
        lost_since_warning: None,
    };
    std::thread::Builder::new()
        .name(format!("spans-{name}"))
        .spawn(move || {
            // a system of its own: awc's client is not `Send`, and a busy worker must not delay the export
            actix_web::rt::System::new().block_on(worker.run());
            let _ = finished.send(());
        })
        .map_err(|cause| ThreadError { purpose: "the exporter of spans", cause })?;
    Ok((Arc::new(queue), Exporter { name, stop, done }))
}

impl Exporter {
    /// Sends the queued spans and ends. Spans not sent within `limit` are lost.
    pub async fn finish(self, limit: Duration) {
        self.stop.cancel();
        if tokio::time::timeout(limit, self.done).await.is_err() {
            tracing::warn!(exporter = self.name, "spans that were not sent yet are lost");
        }
    }
}

struct ExportWorker {
    name: &'static str,
    target: Target,
    encode: Encode,
    queued: mpsc::Receiver<Arc<SpanData>>,
    exported: IntCounter,
    failed: IntCounter,
    dropped: IntCounter,
    /// Value of `dropped` at the last batch.
    reported_dropped: u64,
    stop: CancellationToken,
    /// Spans lost in the current outage; `None` while the export works.
    lost_since_warning: Option<usize>,
}

impl ExportWorker {
    async fn run(mut self) {
        let client = target::client();
        while let Some(batch) = self.next_batch().await {
            self.export(&client, &batch).await;
        }
    }

    /// Returns a batch when it is full or after [`BATCH_LINGER`]; `None` at the end.
    async fn next_batch(&mut self) -> Option<Vec<Arc<SpanData>>> {
        let mut batch = Vec::new();
        let first = self.stop.run_until_cancelled(self.queued.recv_many(&mut batch, MAX_BATCH_SPANS)).await;
        if first == Some(0) {
            return None;
        }
        let until = Instant::now() + BATCH_LINGER;
        loop {
            while batch.len() < MAX_BATCH_SPANS
                && let Ok(span) = self.queued.try_recv()
            {
                batch.push(span);
            }
            if batch.len() >= MAX_BATCH_SPANS || self.stop.is_cancelled() || Instant::now() >= until {
                return Some(batch).filter(|batch| !batch.is_empty());
            }
            // sleeps instead of waiting on the queue: a wake-up per span would cost the thread that ends the span
            // more than the span itself
            self.stop.run_until_cancelled(sleep(COALESCE_WINDOW)).await;
        }
    }

    async fn export(&mut self, client: &awc::Client, batch: &[Arc<SpanData>]) {
        let outcome = match (self.encode)(batch) {
            Ok(body) => self.send(client, body).await,
            Err(cause) => Err(cause.into()),
        };
        match outcome {
            Ok(()) => {
                self.exported.inc_by(batch.len() as u64);
                let dropped = self.dropped.get();
                if std::mem::replace(&mut self.reported_dropped, dropped) < dropped {
                    self.warn_once("the collector is too slow: spans were dropped");
                } else if let Some(lost) = self.lost_since_warning.take() {
                    tracing::info!(exporter = self.name, lost, "span export resumed");
                }
            }
            Err(cause) => {
                self.warn_once(&cause.to_string());
                self.failed.inc_by(batch.len() as u64);
                self.lost_since_warning = self.lost_since_warning.map(|lost| lost + batch.len());
            }
        }
    }

    /// Logs the first failure of an outage; metrics count the others.
    fn warn_once(&mut self, cause: &str) {
        if self.lost_since_warning.is_none() {
            self.lost_since_warning = Some(0);
            tracing::warn!(exporter = self.name, to = self.target.address(), cause, "span export failed");
        }
    }

    async fn send(&mut self, client: &awc::Client, body: Vec<u8>) -> Result<(), SendError> {
        let (body, mut backoff) = (actix_web::web::Bytes::from(body), INITIAL_BACKOFF);
        for remaining in (0..MAX_ATTEMPTS).rev() {
            let Err(cause) = self.target.post(client, body.clone()).await else { return Ok(()) };
            let has_room = self.queued.len() < self.queued.max_capacity();
            if remaining == 0 || !cause.is_transient() || !has_room || self.stop.is_cancelled() {
                return Err(cause);
            }
            self.warn_once(&cause.to_string());
            self.stop.run_until_cancelled(sleep(backoff)).await;
            backoff *= 4;
        }
        Ok(())
    }
}
