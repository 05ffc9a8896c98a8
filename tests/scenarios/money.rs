//! Amounts: whatever can be written can be read.

use serde_json::json;

scenario! {
    /// The highest price is 1,000,000,000,000; the error names the field.
    async fn price_above_the_limit_is_rejected(shop) {
        let c = &shop.client;
        let product = |price: &str| json!({ "skuCode": "gold", "name": "gold", "price": price });
        for price in ["1000000000000.01", "99999999999999999999"] {
            let problem = c.post(&c.admin, "/api/v1/products", product(price)).await.expect(400).json();
            assert_eq!(problem["errors"], json!([{ "field": "price", "message": "at most 1000000000000" }]), "{price}");
        }
        c.post(&c.admin, "/api/v1/products", product("1000000000000")).await.expect(201);
    }
}

scenario! {
    /// An order above the limit is rejected before anything is stored; an order at the limit can be placed, read,
    /// listed and cancelled.
    async fn order_total_above_the_limit_is_rejected_and_at_the_limit_is_readable(shop) {
        let c = &shop.client;
        c.stocked("dear", "500000000.00", 100_000).await;
        for _ in 0..2 {
            let problem = c.order_with_key("dear", &[("dear", 2001)]).await.expect(400).json();
            assert_eq!(problem["errors"][0]["field"], "orderLineItems", "{problem}");
        }
        c.order_with_key("sum", &[("dear", 2000), ("dear", 1)]).await.expect(400);
        assert_eq!(c.get(&c.admin, "/api/v1/orders").await.expect(200).json()["totalElements"], 0);
        assert_eq!(c.quantity("dear").await, 100_000);

        let order = c.order_with_key("dear", &[("dear", 2000)]).await.expect(201).json();
        let path = format!("/api/v1/orders/{}", order["id"]);
        assert_eq!(c.get(&c.admin, &path).await.expect(200).json()["total"], json!(1_000_000_000_000.00));
        assert_eq!(c.get(&c.admin, "/api/v1/orders").await.expect(200).json()["totalElements"], 1);
        c.post(&c.alice, &format!("{path}/cancel"), json!({})).await.expect(200);
        assert_eq!(c.quantity("dear").await, 100_000);
    }
}
