//! A stored row that this build cannot read does not affect the others.

use super::sql::Sql;
use crate::support::{Shape, Shop, on_system, wait_for};
use serde_json::json;

#[test]
fn unreadable_order_holds_up_no_list_no_order_and_no_recovery() {
    on_system(async {
        let mut shop = Shop::start(Shape::Local, |_| {}).await;
        let c = &shop.client;
        c.stocked("s", "1.00", 10).await;
        let [damaged, other] = [c.order(&[("s", 1)]).await.expect(201).json(), c.order(&[("s", 2)]).await.expect(201).json()];
        let mut orders = Sql::open(shop.data.path(), "order");
        orders.run(&format!("UPDATE orders SET total = 'many' WHERE id = {}", damaged["id"]));

        let listed = c.get(&c.admin, "/api/v1/orders").await.expect(200).json();
        let ids: Vec<_> = listed["content"].as_array().unwrap().iter().map(|order| order["id"].clone()).collect();
        assert_eq!(ids, [other["id"].clone()]);
        c.get(&c.admin, &format!("/api/v1/orders/{}", damaged["id"])).await.expect(500);
        c.order(&[("s", 1)]).await.expect(201);

        // as after a crash before the end state
        orders.run("UPDATE orders SET status = 'PENDING', lease_until = 0");
        let path = format!("/api/v1/orders/{}", other["id"]);
        wait_for("recovery completes the readable order", || async {
            let order = c.get(&c.admin, &path).await.expect(200).json();
            if order["status"] == "PLACED" { Ok(()) } else { Err(order.to_string()) }
        })
        .await;
        assert_eq!(orders.value("status", &format!("orders WHERE id = {}", damaged["id"])), "PENDING");
        let metrics = c.get(&c.admin, "/actuator/prometheus").await.expect(200).text;
        let count = metrics.lines().find_map(|line| line.strip_prefix("tradepost_unreadable_rows_total{table=\"orders\"} "));
        assert!(count.is_some_and(|count| count.parse::<u64>().unwrap() > 0), "{count:?}");
        c.post(&c.alice, &format!("{path}/cancel"), json!({})).await.expect(200);
        shop.stop().await;
    });
}
