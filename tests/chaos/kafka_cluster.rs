//! Kills one of three brokers (replication factor 3) while events arrive: no acknowledged event is lost, and each is
//! applied once, in order per subject. `.ci/kafka.sh` starts the brokers.

use super::kafka::client;
use super::kafka_restarts::{Writer, applied, assert_notified_once_in_order};
use super::sql::Sql;
use crate::support::process::Process;
use crate::support::{on_system, wait_until};
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const LEAST_EVENTS: usize = 6_000;

/// Number of in-sync replicas and the leader of each partition of the topic.
fn copies(consumer: &BaseConsumer, topic: &str) -> Result<(Vec<usize>, Vec<i32>), String> {
    // The client may still be connected to the broker that has just died.
    let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(10)).map_err(|cause| cause.to_string())?;
    let partitions = metadata.topics().first().ok_or("no topic")?.partitions();
    Ok((partitions.iter().map(|one| one.isr().len()).collect(), partitions.iter().map(|one| one.leader()).collect()))
}

/// Kills the node with SIGKILL, as a power failure does.
fn kill(node: i32) {
    let port: i32 = std::env::var("KAFKA_PORT").unwrap().parse().unwrap();
    let state = format!("{}/node-{node}", std::env::var("STATE_DIR").unwrap());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/services/kafka.sh");
    let mut command = Command::new(script);
    command.arg("kill").env("STATE_DIR", state).env("KAFKA_PORT", (port + 10 * node).to_string());
    assert!(command.status().unwrap().success(), "node {node}");
}

#[test]
#[ignore = "needs three Kafka brokers: .ci/kafka.sh"]
fn broker_killed_under_load_loses_no_event() {
    on_system(async {
        let data = tempfile::tempdir().unwrap();
        let prefix = format!("t{}.", uuid::Uuid::new_v4().simple());
        let url = format!("kafka://{}", std::env::var("TRADEPOST_TEST_KAFKA").unwrap());
        let settings = [
            ("TRADEPOST__BUS__URL", url.as_str()),
            ("TRADEPOST__BUS__PREFIX", &prefix),
            ("TRADEPOST__BUS__PARTITIONS", "6"),
            ("TRADEPOST__BUS__REPLICATION", "3"),
            ("TRADEPOST__LOG__LEVEL", "error,rdkafka=off,librdkafka=off"),
        ];
        let shop = Process::start(data.path(), &settings);
        let writer = Writer::start(data.path(), LEAST_EVENTS);
        let count = || Sql::open(data.path(), "notification").value("count(*)", "inbox").parse::<usize>().unwrap();
        wait_until("events are applied", || if count() > 200 { Ok(()) } else { Err(count().to_string()) }).await;

        let (topic, consumer): (_, BaseConsumer) = (format!("{prefix}order"), client().create().unwrap());
        let mut victim = -1;
        wait_until("each partition has three copies", || {
            let (all, leaders) = copies(&consumer, &topic)?;
            victim = leaders.first().copied().unwrap_or(-1);
            if all == [3; 6] && victim >= 0 { Ok(()) } else { Err(format!("{all:?} {leaders:?}")) }
        })
        .await;
        kill(victim);
        wait_until("other brokers lead", || {
            let (left, leaders) = copies(&consumer, &topic)?;
            if left == [2; 6] && !leaders.contains(&victim) { Ok(()) } else { Err(format!("{left:?} {leaders:?}")) }
        })
        .await;

        let events = writer.end();
        applied(data.path(), events).await;
        assert_notified_once_in_order(data.path(), events);
        assert_eq!(shop.terminate(), Some(0));
    });
}
