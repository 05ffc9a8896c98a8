//! Processes of one consumer group join, die and leave while events arrive: no event is lost, and each is applied once,
//! in order per subject. `.ci/kafka.sh` runs this.

use super::kafka::client;
use super::kafka_restarts::{Writer, applied, assert_notified_once_in_order};
use super::sql::Sql;
use crate::support::process::Process;
use crate::support::{on_system, wait_until};
use async_trait::async_trait;
use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, Consumer};
use serde_json::json;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tradepost::events::bus;
use tradepost::events::bus::Bus;
use tradepost::events::bus::kafka::KafkaBus;
use tradepost::events::event::Event;
use tradepost::observe::trace::Trace;
use tradepost::settings;

const LEAST_EVENTS: usize = 6_000;

/// Waits until the group is stable with `n` members.
async fn members(group: &str, n: usize) {
    let consumer: BaseConsumer = client().create().unwrap();
    wait_until(&format!("{group} has {n} stable members"), || {
        let list = consumer.fetch_group_list(Some(group), Duration::from_secs(10)).map_err(|cause| cause.to_string())?;
        let seen = list.groups().first().map(|group| (group.state().to_string(), group.members().len()));
        if seen == Some(("Stable".into(), n)) { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
}

/// Waits until 200 more events are applied, so that the last membership change happened under load.
async fn wait_for_more_applied(data: &Path) {
    let count = || Sql::open(data, "notification").value("count(*)", "inbox").parse::<usize>().unwrap();
    let before = count();
    wait_until("more events are applied", || if count() > before + 200 { Ok(()) } else { Err(count().to_string()) }).await;
}

#[test]
#[ignore = "needs a Kafka: .ci/kafka.sh"]
fn group_members_join_die_and_leave_under_load_without_loss() {
    on_system(async {
        let data = tempfile::tempdir().unwrap();
        let prefix = format!("t{}.", uuid::Uuid::new_v4().simple());
        let url = format!("kafka://{}", std::env::var("TRADEPOST_TEST_KAFKA").unwrap());
        let bus = [
            ("TRADEPOST__BUS__URL", url.as_str()),
            ("TRADEPOST__BUS__PREFIX", &prefix),
            ("TRADEPOST__BUS__PARTITIONS", "6"),
            ("TRADEPOST__LOG__LEVEL", "error,rdkafka=off,librdkafka=off"),
        ];
        let rest = [&bus[..], &[("TRADEPOST__SERVER__MODULES", "identity,product,inventory,order")]].concat();
        let rest = Process::start(data.path(), &rest);
        let issuer = format!("{}/realms/spring-cloud-microservices-realm", rest.url);
        let member =
            [&bus[..], &[("TRADEPOST__SERVER__MODULES", "notification"), ("TRADEPOST__IDENTITY__ISSUER", issuer.as_str())]].concat();
        let start = || Process::start(data.path(), &member);
        let (dies, goes) = (start(), start());
        let group = format!("{prefix}notification");
        members(&group, 2).await;

        let writer = Writer::start(data.path(), LEAST_EVENTS);
        wait_for_more_applied(data.path()).await;
        let stays = start();
        members(&group, 3).await;
        wait_for_more_applied(data.path()).await;
        dies.kill();
        members(&group, 2).await;
        wait_for_more_applied(data.path()).await;
        assert_eq!(goes.terminate(), Some(0));
        members(&group, 1).await;

        let events = writer.end();
        applied(data.path(), events).await;
        assert_notified_once_in_order(data.path(), events);
        assert_eq!(stays.terminate(), Some(0));
        rest.terminate();
    });
}

/// Collects the ids of events; waits while its gate is closed.
struct GatedConsumer {
    gate: watch::Receiver<bool>,
    waiting: watch::Sender<bool>,
    seen: Arc<Mutex<BTreeSet<String>>>,
}

#[async_trait(?Send)]
impl bus::Consumer for GatedConsumer {
    fn group(&self) -> &'static str {
        "gated"
    }

    fn topics(&self) -> &'static [&'static str] {
        &["order"]
    }

    async fn apply(&self, events: &[Event]) -> Result<(), bus::ApplyError> {
        self.waiting.send_replace(true);
        self.gate.clone().wait_for(|open| *open).await.unwrap();
        self.seen.lock().extend(events.iter().map(|event| event.id.to_string()));
        Ok(())
    }
}

/// Starts a member of the group on a client of its own; cancelling the token stops it.
fn start_member(settings: &settings::Bus, consumer: GatedConsumer) -> (CancellationToken, JoinHandle<()>) {
    let (bus, stop) = (KafkaBus::open(settings, &settings::Tls::default()).unwrap(), CancellationToken::new());
    let until = stop.clone();
    (stop, actix_web::rt::spawn(async move { bus.consume(Arc::new(consumer), until).await }))
}

/// A slow store makes a member pause its partitions. One that another member had meanwhile is read again when it returns.
#[test]
#[ignore = "needs a Kafka: .ci/kafka.sh"]
fn partition_reassigned_while_paused_is_read_when_it_returns() {
    on_system(async {
        let prefix = format!("t{}.", uuid::Uuid::new_v4().simple());
        let url = format!("kafka://{}", std::env::var("TRADEPOST_TEST_KAFKA").unwrap());
        let settings = settings::Bus { url, prefix: prefix.clone(), partitions: 6, ..settings::Bus::default() };
        let producer = KafkaBus::open(&settings, &settings::Tls::default()).unwrap();
        let seen = Arc::<Mutex<BTreeSet<String>>>::default();
        let publish = async || {
            let events: Vec<Event> =
                (0..60).map(|n| Event::new("order", "order.placed", n.to_string(), Trace::start(), &json!({})).unwrap()).collect();
            let ids: BTreeSet<String> = events.iter().map(|event| event.id.to_string()).collect();
            assert!(producer.publish(events).await.unwrap().is_empty());
            ids
        };
        let consumed = async |ids: &BTreeSet<String>| {
            wait_until("every event is consumed", || {
                let missing = ids.difference(&seen.lock()).count();
                if missing == 0 { Ok(()) } else { Err(format!("{missing} events are missing")) }
            })
            .await;
        };
        let (gate, closed) = watch::channel(false);
        let (waiting, mut is_waiting) = watch::channel(false);
        let first = publish().await;
        let (_stop, _first_member) = start_member(&settings, GatedConsumer { gate: closed, waiting, seen: seen.clone() });
        is_waiting.wait_for(|waiting| *waiting).await.unwrap();

        let (_open, opened) = watch::channel(true);
        let second = GatedConsumer { gate: opened, waiting: watch::channel(false).0, seen: seen.clone() };
        let group = format!("{prefix}gated");
        let (stop, second_member) = start_member(&settings, second);
        members(&group, 2).await;
        gate.send_replace(true);
        consumed(&first).await;
        stop.cancel();
        second_member.await.unwrap();
        members(&group, 1).await;
        consumed(&publish().await).await;
    });
}
