//! Tests that need a real Kafka. `.ci/kafka.sh` starts one and runs them.

use crate::contract::asyncapi::Document;
use crate::support::metrics::Metrics;
use crate::support::{Shape, Shop, on_system, wait_for};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

pub fn client() -> ClientConfig {
    let brokers = std::env::var("TRADEPOST_TEST_KAFKA").expect("TRADEPOST_TEST_KAFKA names the brokers");
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", "the-test");
    config
}

pub fn headers(message: &BorrowedMessage) -> BTreeMap<String, String> {
    let all = message.headers().into_iter().flat_map(|headers| headers.iter());
    all.map(|header| (header.key.to_string(), String::from_utf8_lossy(header.value.unwrap_or_default()).into_owned())).collect()
}

/// A record as another program reads it.
#[derive(Debug)]
struct Seen {
    partition: i32,
    key: String,
    headers: BTreeMap<String, String>,
    value: Value,
}

/// Reads the first `n` records of a topic with three partitions.
fn read(topic: &str, n: usize) -> Vec<Seen> {
    let consumer: BaseConsumer = client().create().unwrap();
    let mut from = TopicPartitionList::new();
    (0..3).for_each(|partition| from.add_partition_offset(topic, partition, Offset::Beginning).unwrap());
    consumer.assign(&from).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut seen = Vec::new();
    while seen.len() < n {
        assert!(Instant::now() < deadline, "{topic} has only {seen:?}");
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
            seen.push(Seen {
                partition: message.partition(),
                key: String::from_utf8_lossy(message.key().unwrap()).into_owned(),
                headers: headers(&message),
                value: serde_json::from_slice(message.payload().unwrap()).unwrap(),
            });
        }
    }
    seen
}

fn send(topic: &str, headers: &[(&str, &str)], value: &str) {
    let producer: BaseProducer = client().create().unwrap();
    let headers = headers.iter().fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: Some(*value) }));
    producer.send(BaseRecord::to(topic).key("x").payload(value).headers(headers)).unwrap();
    producer.flush(Duration::from_secs(30)).unwrap();
}

async fn letters(shop: &Shop) -> Vec<Value> {
    let c = &shop.client;
    c.get(&c.admin, "/actuator/deadletters").await.expect(200).json().as_array().unwrap().clone()
}

async fn wait_for_letters(shop: &Shop, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    wait_for("the dead letters are as expected", || async {
        let now = letters(shop).await;
        if wanted(&now) { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .await;
    letters(shop).await
}

/// Order numbers of alice's notifications.
async fn notified_orders(shop: &Shop) -> Vec<Value> {
    let c = &shop.client;
    let page = c.get(&c.alice, "/api/v1/notifications?size=1000").await.expect(200).json();
    page["content"].as_array().unwrap().iter().map(|one| one["orderNumber"].clone()).collect()
}

pub async fn wait_until_notified(shop: &Shop, order: &Value, times: usize) {
    wait_for("the order has a notification", || async {
        let notified = notified_orders(shop).await;
        if notified.iter().filter(|one| *one == order).count() == times { Ok(()) } else { Err(format!("{notified:?}")) }
    })
    .await;
}

fn attributes<'a>(id: &'a str, kind: &'a str) -> [(&'a str, &'a str); 5] {
    [("ce_specversion", "1.0"), ("ce_id", id), ("ce_source", "/test"), ("ce_type", kind), ("content-type", "application/json")]
}

/// CloudEvents in binary mode, keyed by aggregate, with the trace of the request.
#[test]
#[ignore = "needs a Kafka: .ci/kafka.sh"]
fn events_are_valid_cloudevents() {
    on_system(async {
        let mut shop = Shop::start(Shape::Local, |_| {}).await;
        let c = &shop.client;
        c.stocked("s", "2.50", 10).await;
        let placed = c.order(&[("s", 2)]).await.expect(201).json();
        let order = placed["orderNumber"].clone();
        c.post(&c.alice, &format!("/api/v1/orders/{}/cancel", placed["id"]), json!({})).await.expect(200);
        let topic = format!("{}order", shop.settings.bus.prefix);
        let seen = tokio::task::spawn_blocking(move || read(&topic, 2)).await.unwrap();
        let kinds: Vec<_> = seen.iter().map(|one| one.headers["ce_type"].as_str()).collect();
        assert_eq!((kinds, seen[0].partition), (vec!["order.placed", "order.cancelled"], seen[1].partition));
        let document = Document::new();
        for one in &seen {
            assert_eq!((json!(one.key), &one.value["orderNumber"]), (order.clone(), &order));
            let h = &one.headers;
            document.check(&h["ce_type"], "headers", &json!(h));
            document.check(&h["ce_type"], "payload", &one.value);
            assert_eq!((h["ce_specversion"].as_str(), h["ce_source"].as_str()), ("1.0", "/tradepost/order"));
            assert_eq!((&h["ce_subject"], h["content-type"].as_str()), (&one.key, "application/json"));
            uuid::Uuid::parse_str(&h["ce_id"]).unwrap();
            assert!(h["ce_time"].ends_with('Z') && h["traceparent"].starts_with("00-"), "{h:?}");
        }
        shop.assert_sound().await;
        shop.stop().await;
    });
}

/// A dead letter shows its reason, is stored until it is replayed, and returns while it is invalid; other events are
/// applied. A damaged record becomes a dead letter at once.
#[test]
#[ignore = "needs a Kafka: .ci/kafka.sh"]
fn invalid_kafka_event_becomes_a_replayable_dead_letter() {
    on_system(async {
        let shop = Shop::start(Shape::Local, |_| {}).await;
        let c = &shop.client;
        c.stocked("s", "1", 10).await;
        let before = c.order(&[("s", 1)]).await.expect(201).json()["orderNumber"].clone();
        wait_until_notified(&shop, &before, 1).await;
        let topic = format!("{}order", shop.settings.bus.prefix);
        let id = uuid::Uuid::now_v7().to_string();
        send(&topic, &attributes(&id, "order.placed"), r#"{"orderNumber":"none"}"#);
        send(&topic, &[], "no event");
        let after = c.order(&[("s", 1)]).await.expect(201).json()["orderNumber"].clone();
        wait_until_notified(&shop, &after, 1).await;
        let found = wait_for_letters(&shop, |now| now.len() == 2).await;
        let of = |found: &[Value], part: &str| found.iter().find(|one| one["error"].as_str().unwrap().contains(part)).unwrap().clone();
        let (unfit, damaged) = (of(&found, "UUID"), of(&found, "ce_specversion"));
        assert_eq!((&unfit["group"], &unfit["event"]["id"]), (&json!("notification"), &json!(id)));
        assert_eq!(damaged["event"], json!("no event"));
        wait_for("both are counted", || async {
            let count = Metrics::of(c).await.sum("tradepost_dead_letters", &[("group", "notification")]);
            if count == Some(2.0) { Ok(()) } else { Err(format!("{count:?}")) }
        })
        .await;

        c.post(&c.admin, "/actuator/deadletters/999/replay", json!({})).await.expect(404);
        c.post(&c.admin, &format!("/actuator/deadletters/{}/replay", unfit["id"]), json!({})).await.expect(202);
        let replayed = wait_for_letters(&shop, |now| now.len() == 2 && now.iter().all(|one| one["id"] != unfit["id"])).await;
        assert_eq!(of(&replayed, "UUID")["event"], unfit["event"]);
        // A restarted process finds the same dead letters.
        let mut shop = shop.restart().await;
        assert_eq!(letters(&shop).await, replayed);
        shop.stop().await;
    });
}

/// An event of a later version, with unknown headers and members, is applied once.
#[test]
#[ignore = "needs a Kafka: .ci/kafka.sh"]
fn duplicate_event_with_unknown_members_is_applied_once() {
    on_system(async {
        let mut shop = Shop::start(Shape::Local, |_| {}).await;
        let c = &shop.client;
        c.stocked("s", "1", 10).await;
        let first = c.order(&[("s", 1)]).await.expect(201).json()["orderNumber"].clone();
        wait_until_notified(&shop, &first, 1).await;
        let topic = format!("{}order", shop.settings.bus.prefix);
        let mut like = {
            let topic = topic.clone();
            tokio::task::spawn_blocking(move || read(&topic, 1)).await.unwrap().remove(0)
        };
        let (number, id) = (json!(uuid::Uuid::now_v7()), uuid::Uuid::now_v7().to_string());
        like.value["orderNumber"] = number.clone();
        like.value["loyaltyPoints"] = json!({ "earned": 3 });
        let attributes = attributes(&id, "order.placed");
        let all: Vec<_> = attributes.into_iter().chain([("ce_tenant", "one")]).collect();
        for _ in 0..2 {
            send(&topic, &all, &like.value.to_string());
        }
        let last = c.order(&[("s", 1)]).await.expect(201).json()["orderNumber"].clone();
        wait_until_notified(&shop, &last, 1).await;
        wait_until_notified(&shop, &number, 1).await;
        assert!(letters(&shop).await.is_empty());
        shop.stop().await;
    });
}

/// The shop accepts orders while no broker answers; health shows it, and shutdown is short.
#[test]
#[ignore = "needs a Kafka: .ci/kafka.sh"]
fn unreachable_brokers_do_not_block_orders() {
    on_system(async {
        let mut shop = Shop::start(Shape::Local, |settings| settings.bus.url = "kafka://127.0.0.1:9".into()).await;
        let c = &shop.client;
        c.stocked("s", "1", 10).await;
        let order = c.order(&[("s", 1)]).await.expect(201).json()["orderNumber"].clone();
        let health = c.get(&c.admin, "/actuator/health/readiness").await.expect(200).json();
        assert!(health["components"]["bus"]["details"]["state"].as_str().unwrap().starts_with("unreachable"), "{health}");
        assert_eq!((&health["status"], &health["components"]["bus"]["status"]), (&json!("UP"), &json!("DOWN")));
        // The shop is ready to accept orders, but degraded.
        let health = c.get(&c.admin, "/actuator/health").await.expect(200).json();
        assert_eq!(health["status"], "DEGRADED", "{health}");
        c.get(&c.admin, "/actuator/deadletters").await.expect(503);
        wait_for("the pending events are shown", || async {
            let shown = Metrics::of(c).await;
            let of = |name: &str| shown.sum(name, &[("module", "order")]);
            let (events, age) = (of("tradepost_outbox_pending"), of("tradepost_outbox_oldest_seconds"));
            if events >= Some(1.0) && age >= Some(1.0) { Ok(()) } else { Err(format!("{events:?} {age:?}")) }
        })
        .await;
        let stopping = Instant::now();
        shop.stop().await;
        assert!(stopping.elapsed() < Duration::from_secs(30), "{:?}", stopping.elapsed());
        // With the brokers available, the pending event is sent.
        shop.settings.bus.url = format!("kafka://{}", std::env::var("TRADEPOST_TEST_KAFKA").unwrap());
        let mut shop = shop.restart().await;
        wait_until_notified(&shop, &order, 1).await;
        shop.assert_sound().await;
        shop.stop().await;
    });
}
