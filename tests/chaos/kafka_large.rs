//! Events that exceed the brokers' default size or their topic's limit. `.ci/kafka.sh` runs this.

use super::kafka::{client, wait_until_notified};
use crate::support::{Shape, Shop, on_system, wait_for};
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use serde_json::{Value, json};

fn admin() -> AdminClient<DefaultClientContext> {
    client().create().unwrap()
}

async fn refused_events(shop: &Shop) -> Vec<Value> {
    let c = &shop.client;
    c.get(&c.admin, "/actuator/outbox").await.expect(200).json().as_array().unwrap().clone()
}

/// The brokers' own limit is 1 MiB; the topics that the shop creates have a higher one.
#[test]
#[ignore = "needs a Kafka: .ci/kafka.sh"]
fn event_above_the_broker_default_size_is_delivered() {
    on_system(async {
        let large = |settings: &mut tradepost::settings::Settings| {
            (settings.order.max_lines, settings.server.body_limit) = (30_000, 8 << 20);
            settings.order.peer_timeout_ms = 60_000;
            settings.server.request_seconds = 60;
        };
        let mut shop = Shop::start(Shape::Local, large).await;
        let c = &shop.client;
        let sku = "s".repeat(64);
        c.stocked(&sku, "0.01", 100_000).await;
        let order = c.order(&vec![(sku.as_str(), 1); 20_000]).await.expect(201).json()["orderNumber"].clone();
        wait_until_notified(&shop, &order, 1).await;
        assert_eq!(refused_events(&shop).await, Vec::<Value>::new());
        shop.assert_sound().await;
        shop.stop().await;
    });
}

/// An existing topic has a small record limit. The event that exceeds it is set aside with the reason, and later events
/// are sent. It can be sent once the topic's limit is raised.
#[test]
#[ignore = "needs a Kafka: .ci/kafka.sh"]
fn event_refused_by_its_topic_is_set_aside_and_replayable() {
    on_system(async {
        let prefix = format!("t{}.", uuid::Uuid::new_v4().simple());
        let topic = format!("{prefix}order");
        let small = NewTopic::new(&topic, 3, TopicReplication::Fixed(1)).set("max.message.bytes", "4000");
        admin().create_topics(&[small], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
        let mut shop = Shop::start(Shape::Local, |settings| settings.bus.prefix = prefix).await;
        let c = &shop.client;
        c.stocked("s", "1", 10_000).await;
        let large = c.order(&[("s", 1); 200]).await.expect(201).json()["orderNumber"].clone();
        let small = c.order(&[("s", 1)]).await.expect(201).json()["orderNumber"].clone();
        wait_until_notified(&shop, &small, 1).await;
        wait_for("the large event is set aside", || async {
            let refused_events = refused_events(&shop).await;
            if refused_events.len() == 1 { Ok(()) } else { Err(format!("{refused_events:?}")) }
        })
        .await;
        let one = refused_events(&shop).await.remove(0);
        assert_eq!((&one["group"], &one["event"]["subject"]), (&json!("order"), &large));
        assert!(one["error"].as_str().unwrap().contains(&format!("max.message.bytes of topic {topic}")), "{one}");

        let wider = AlterConfig::new(ResourceSpecifier::Topic(&topic)).set("max.message.bytes", "1000000");
        admin().alter_configs(&[wider], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
        c.post(&c.admin, &format!("/actuator/outbox/order/{}/replay", one["id"]), json!({})).await.expect(202);
        wait_until_notified(&shop, &large, 1).await;
        assert_eq!(refused_events(&shop).await, Vec::<Value>::new());
        shop.assert_sound().await;
        shop.stop().await;
    });
}
