//! An event that its consumer cannot process is stored as a dead letter, shown, and replayable; it does not block other
//! events.

use super::sql::Sql;
use crate::support::process::tradepost;
use crate::support::{Shop, wait_for};
use serde_json::{Value, json};

async fn letters(shop: &Shop) -> Vec<Value> {
    let c = &shop.client;
    c.get(&c.admin, "/actuator/deadletters").await.expect(200).json().as_array().unwrap().clone()
}

async fn wait_for_letters(shop: &Shop, n: usize) -> Vec<Value> {
    wait_for(&format!("there are {n} dead letters"), || async {
        let letters = letters(shop).await;
        if letters.len() == n { Ok(()) } else { Err(format!("{letters:?}")) }
    })
    .await;
    letters(shop).await
}

/// Runs the command against this shop and returns its output.
async fn command(shop: &Shop, args: &[&str]) -> String {
    let mut command = tradepost(&[&["dead-letters", "--url", &shop.client.url], args].concat());
    #[cfg(feature = "tls")]
    command.envs(crate::support::certs::environment(&shop.settings));
    let output = actix_web::web::block(move || command.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Places an order and waits for its notification: later events are still processed.
async fn assert_next_order_notified(shop: &Shop, sku: &str) {
    let c = &shop.client;
    c.stocked(sku, "1", 1).await;
    let number = c.order(&[(sku, 1)]).await.expect(201).json()["orderNumber"].clone();
    wait_for("the next order has a notification", || async {
        let page = c.get(&c.alice, "/api/v1/notifications?size=1000").await.expect(200).json();
        if page["content"].as_array().unwrap().iter().any(|one| one["orderNumber"] == number) { Ok(()) } else { Err(page.to_string()) }
    })
    .await;
}

scenario! {
    /// The dead letter shows its reason, and other events are applied. A replay delivers it to its consumer again: it
    /// fails while the event is invalid, and succeeds once it is corrected.
    async fn invalid_event_becomes_a_dead_letter(shop) {
        let c = &shop.client;
        let mut bus = Sql::open(shop.data.path(), "bus");
        bus.run("CREATE TRIGGER damage AFTER INSERT ON messages WHEN new.body LIKE '%order.placed%\"damaged\"%' BEGIN \
            UPDATE messages SET body = replace(body, '\"orderNumber\":\"', '\"orderNumber\":\"x') WHERE position = new.position; END");
        c.stocked("damaged", "1", 1).await;
        let number = c.order(&[("damaged", 1)]).await.expect(201).json()["orderNumber"].clone();
        assert_next_order_notified(shop, "after").await;
        let letters = wait_for_letters(shop, 1).await;
        assert_eq!((&letters[0]["group"], &letters[0]["event"]["subject"]), (&json!("notification"), &number));
        assert!(letters[0]["error"].as_str().unwrap().contains("UUID"), "{letters:?}");

        let listed = command(shop, &[]).await;
        assert!(listed.contains("notification") && listed.contains(&format!("order.placed of {}", number.as_str().unwrap())) && listed.contains("UUID"), "{listed}");
        let replay = |id: String| c.post(&c.admin, Box::leak(format!("/actuator/deadletters/{id}/replay").into_boxed_str()), json!({}));
        replay("999".into()).await.expect(404);
        replay("x".into()).await.expect(400);
        c.post(&c.alice, &format!("/actuator/deadletters/{}/replay", letters[0]["id"]), json!({})).await.expect(403);
        replay(letters[0]["id"].to_string()).await.expect(202);
        wait_for("it is a dead letter again", || async {
            let now = self::letters(shop).await;
            if now.len() == 1 && now[0]["id"] != letters[0]["id"] { Ok(()) } else { Err(format!("{now:?}")) }
        }).await;

        // As if a new version of the consumer could read it.
        bus.run("DROP TRIGGER damage; UPDATE dead_letters SET body = replace(body, '\"orderNumber\":\"x', '\"orderNumber\":\"')");
        let replayed = command(shop, &["--replay-all"]).await;
        assert!(replayed.ends_with("1 sent again\n"), "{replayed}");
        wait_for_letters(shop, 0).await;
        let inbox = c.get(&c.alice, "/api/v1/notifications?size=1000").await.expect(200).json();
        let notifications = inbox["content"].as_array().unwrap().iter().filter(|one| one["orderNumber"] == number).count();
        assert_eq!(notifications, 1);
    }
}

scenario! {
    /// A message that is not an event (a damaged file, another version) does not block others: it is shown unchanged,
    /// the audit runs, and a replay does no harm.
    async fn malformed_message_does_not_block_events(shop) {
        let c = &shop.client;
        let mut bus = Sql::open(shop.data.path(), "bus");
        bus.run(r#"INSERT INTO messages (topic, body) VALUES ('order', '{"type":"order.placed"'), ('order', '{"no":"event"}')"#);
        assert_next_order_notified(shop, "s").await;
        let letters = wait_for_letters(shop, 2).await;
        assert_eq!(letters[0]["event"], json!(r#"{"type":"order.placed""#));
        assert_eq!(letters[1]["event"], json!({ "no": "event" }));
        tradepost::app::audit::run(&shop.settings).unwrap();
        c.post(&c.admin, &format!("/actuator/deadletters/{}/replay", letters[0]["id"]), json!({})).await.expect(202);
        assert_next_order_notified(shop, "t").await;
        wait_for_letters(shop, 2).await;
    }
}

scenario! {
    of one process:
    /// An outbox row that is not an event is shown, later rows are sent, and once corrected it can be sent again.
    async fn damaged_outbox_row_does_not_block_events(shop) {
        let c = &shop.client;
        assert_next_order_notified(shop, "before").await;
        Sql::open(shop.data.path(), "order").run("INSERT INTO outbox (body) VALUES ('no event')");
        assert_next_order_notified(shop, "after").await;
        let kept = c.get(&c.admin, "/actuator/outbox").await.expect(200).json();
        assert_eq!((&kept[0]["group"], &kept[0]["event"], kept.as_array().unwrap().len()), (&json!("order"), &json!("no event"), 1));
        assert!(kept[0]["error"].as_str().unwrap().starts_with("this is no event"), "{kept}");

        let path = format!("/actuator/outbox/order/{}/replay", kept[0]["id"]);
        let body = Sql::open(shop.data.path(), "bus").column("SELECT body AS value FROM messages WHERE topic = 'order'").remove(0);
        Sql::open(shop.data.path(), "order").run(&format!("UPDATE outbox_refused SET body = '{body}'"));
        c.post(&c.alice, &path, json!({})).await.expect(403);
        c.post(&c.admin, "/actuator/outbox/basket/1/replay", json!({})).await.expect(404);
        c.post(&c.admin, "/actuator/outbox/order/x/replay", json!({})).await.expect(400);
        c.post(&c.admin, &path, json!({})).await.expect(202);
        c.post(&c.admin, &path, json!({})).await.expect(404);
        assert_eq!(c.get(&c.admin, "/actuator/outbox").await.expect(200).json(), json!([]));
    }
}
