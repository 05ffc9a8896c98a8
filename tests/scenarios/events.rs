//! Notifications of customers. INV-5: each event is delivered at least once and applied exactly once.

use crate::support::wait_for;
use serde_json::json;

scenario! {
    /// Each step of an order is in its customer's inbox once, and in no other inbox.
    async fn order_steps_notify_the_customer_once(shop) {
        let c = &shop.client;
        c.stocked("n", "1", 2).await;
        let id = c.order(&[("n", 2)]).await.expect(201).json()["id"].clone();
        c.order(&[("n", 1)]).await.expect(400);
        c.post(&c.alice, &format!("/api/v1/orders/{id}/cancel"), json!({})).await.expect(200);
        let types = || async {
            let page = c.get(&c.alice, "/api/v1/notifications?size=100").await.expect(200).json();
            let mut types: Vec<_> = page["content"].as_array().unwrap().iter().map(|n| n["type"].as_str().unwrap().to_string()).collect();
            types.sort();
            types
        };
        wait_for("three notifications are there", || async {
            let types = types().await;
            if types.len() == 3 { Ok(()) } else { Err(format!("{types:?}")) }
        }).await;
        assert_eq!(types().await, ["order.cancelled", "order.placed", "order.rejected"]);
        assert_eq!(c.get(&c.admin, "/api/v1/notifications").await.json()["totalElements"], 0);
    }
}
