//! 10,000 events and more through a real Kafka. The shop is killed every second, and Kafka three times: no event is
//! lost, and each is applied once, in order per subject.
//!
//! `.ci/kafka.sh` runs this alone, because it kills the broker.

use super::kafka::{client, headers};
use super::sql::Sql;
use crate::support::process::Process;
use crate::support::{PATIENCE, on_system, share_keys};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const LEAST_EVENTS: usize = 10_000;
const SUBJECTS: usize = 200;
/// Events per batch; ten batches per second.
const AT_ONCE: usize = 20;
const PARTITIONS: i32 = 6;

fn broker(command: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/services/kafka.sh");
    assert!(Command::new(script).arg(command).status().unwrap().success(), "kafka.sh {command}");
}

/// The order number of subject `n`.
fn subject(n: usize) -> uuid::Uuid {
    uuid::Uuid::from_u128(0x4000_8000_0000_0000_0000_u128 + (n % SUBJECTS) as u128)
}

/// Fills the outbox as the order module does; the reason numbers the events of one subject. Some batches are written
/// twice, as when a relay dies between publishing and deleting: timed kills may miss that short moment. It runs until
/// `over` is set and at least `least` events are written, and returns their number.
fn write(data: &Path, least: usize, over: &AtomicBool) -> usize {
    let (mut outbox, mut first) = (Sql::open(data, "order"), 0);
    while first < least || !over.load(Ordering::Relaxed) {
        let rows: Vec<String> = (first..first + AT_ONCE)
            .map(|n| {
                let event = json!({
                    "specversion": "1.0", "id": uuid::Uuid::now_v7(), "source": "/tradepost/order", "type": "order.rejected",
                    "subject": subject(n), "time": "2026-11-22T20:18:54.933Z", "datacontenttype": "application/json",
                    "data": { "orderNumber": subject(n), "customer": { "id": "c", "name": "c", "email": null }, "lines": [], "total": 0, "reason": format!("{n}") },
                });
                format!("('{event}')")
            })
            .collect();
        let times = if first % 1000 == 0 { 2 } else { 1 };
        for _ in 0..times {
            outbox.run(&format!("INSERT INTO outbox (body) VALUES {}", rows.join(",")));
        }
        first += AT_ONCE;
        std::thread::sleep(Duration::from_millis(100));
    }
    first
}

/// Runs `write` in a thread; a failing test stops it.
pub struct Writer {
    over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<usize>>,
}

impl Writer {
    pub fn start(data: &Path, least: usize) -> Self {
        let (data, over) = (data.to_path_buf(), Arc::new(AtomicBool::new(false)));
        let until = over.clone();
        Self { over, thread: Some(std::thread::spawn(move || write(&data, least, &until))) }
    }

    /// Stops the writer after its current batch.
    pub fn over(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    fn is_finished(&self) -> bool {
        self.thread.as_ref().is_some_and(std::thread::JoinHandle::is_finished)
    }

    /// Stops the writer and returns the number of events.
    pub fn end(mut self) -> usize {
        self.over();
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.over();
    }
}

/// Number of records in the topic, and the ids of their events.
fn sent(topic: &str) -> (usize, BTreeSet<String>) {
    let consumer: BaseConsumer = client().set("enable.partition.eof", "true").create().unwrap();
    let mut from = TopicPartitionList::new();
    (0..PARTITIONS).for_each(|partition| from.add_partition_offset(topic, partition, Offset::Beginning).unwrap());
    consumer.assign(&from).unwrap();
    let (mut ids, mut records, mut ends) = (BTreeSet::new(), 0, BTreeSet::new());
    let deadline = Instant::now() + PATIENCE;
    while ends.len() < PARTITIONS as usize {
        assert!(Instant::now() < deadline, "{topic} cannot be read");
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                records += 1;
                ids.insert(headers(&message)["ce_id"].clone());
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                ends.insert(partition);
            }
            _ => {}
        }
    }
    (records, ids)
}

/// Waits until every event is applied; the timeout restarts on progress.
pub async fn applied(data: &Path, events: usize) {
    let (mut before, mut since) = (0, Instant::now());
    loop {
        let applied: usize = Sql::open(data, "notification").value("count(*)", "inbox").parse().unwrap();
        if applied == events {
            return;
        }
        if applied != before {
            (before, since) = (applied, Instant::now());
        }
        assert!(since.elapsed() < PATIENCE, "{applied} of {events} are applied, without progress");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Checks that each event of `write` was notified once, in order per subject.
pub fn assert_notified_once_in_order(data: &Path, events: usize) {
    let messages = Sql::open(data, "notification").column("SELECT message AS value FROM notifications ORDER BY id");
    let mut by_subject: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for message in &messages {
        let (head, n) = message.rsplit_once(": ").unwrap();
        by_subject.entry(head.into()).or_default().push(n.parse().unwrap());
    }
    assert_eq!((messages.len(), by_subject.len()), (events, SUBJECTS));
    for (subject, numbers) in by_subject {
        assert!(numbers.is_sorted(), "{subject} {numbers:?}");
    }
}

#[test]
#[ignore = "needs a Kafka: .ci/kafka.sh"]
fn shop_and_broker_killed_under_load_lose_no_event() {
    on_system(async {
        let data = tempfile::tempdir().unwrap();
        share_keys(data.path());
        let prefix = format!("t{}.", uuid::Uuid::new_v4().simple());
        let url = format!("kafka://{}", std::env::var("TRADEPOST_TEST_KAFKA").unwrap());
        let partitions = PARTITIONS.to_string();
        let settings = [
            ("TRADEPOST__BUS__URL", url.as_str()),
            ("TRADEPOST__BUS__PREFIX", &prefix),
            ("TRADEPOST__BUS__PARTITIONS", &partitions),
            ("TRADEPOST__BUS__INSTANCE", "one"),
            ("TRADEPOST__LOG__LEVEL", "error,rdkafka=off,librdkafka=off"),
        ];
        let mut shop = Process::start(data.path(), &settings);
        let writer = Writer::start(data.path(), LEAST_EVENTS);
        let breaker = std::thread::spawn(|| {
            for _ in 0..3 {
                std::thread::sleep(Duration::from_secs(8));
                broker("kill");
                broker("start");
            }
        });
        let mut kills = 0;
        while !writer.is_finished() {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if breaker.is_finished() {
                writer.over();
            }
            shop.kill();
            kills += 1;
            shop = Process::start(data.path(), &settings);
        }
        let events = writer.end();
        breaker.join().unwrap();

        let quiet = Instant::now();
        applied(data.path(), events).await;
        let caught_up = quiet.elapsed();

        let topic = format!("{prefix}order");
        let (records, ids) = tokio::task::spawn_blocking(move || sent(&topic)).await.unwrap();
        println!("{kills} kills, 3 of the broker: {records} records of {} events; all applied {caught_up:?} after the last", ids.len());
        assert_eq!(ids.len(), events);
        // The batches that `write` doubles are included, so the inbox is certainly tested.
        assert!(records > events, "nothing was delivered twice: this run tested nothing");

        assert_notified_once_in_order(data.path(), events);
        shop.terminate();
    });
}
