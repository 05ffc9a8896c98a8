//! `Idempotency-Key`: Stripe's rules and the IETF draft. INV-3: one key, one order.

use crate::support::client::order;
use actix_web::http::Method;
use serde_json::json;

scenario! {
    /// The same key with the same body replays the first response and takes no more stock.
    async fn repeated_request_same_key_places_one_order(shop) {
        let c = &shop.client;
        c.stocked("k", "1.50", 10).await;
        let first = c.order_with_key("key-1", &[("k", 2)]).await.expect(201);
        for _ in 0..3 {
            assert_eq!(c.order_with_key("key-1", &[("k", 2)]).await.expect(201).text, first.text);
        }
        assert_eq!(c.quantity("k").await, 8);
        c.order_with_key("key-1", &[("k", 3)]).await.expect(422);
        let other = c.with_body(Method::POST, &c.admin, "/api/v1/orders", &[("idempotency-key", "key-1")], &order(&[("k", 2)])).await.expect(201);
        assert_ne!(other.json()["orderNumber"], first.json()["orderNumber"], "keys are scoped to their caller");
        assert_eq!(c.quantity("k").await, 6);
    }
}

scenario! {
    /// A refusal for stock is stored under the key; invalid input does not consume the key.
    async fn refused_order_is_replayed_and_bad_input_is_not(shop) {
        let c = &shop.client;
        let row = c.stocked("k", "1", 1).await;
        let refused = c.order_with_key("r", &[("k", 2)]).await.expect(400);
        c.put(&c.admin, &format!("/api/v1/inventory/{}", row["id"]), json!({ "quantity": 9 })).await.expect(200);
        assert_eq!(c.order_with_key("r", &[("k", 2)]).await.expect(400).message(), refused.message());
        c.order_with_key("b", &[("k", 0)]).await.expect(400);
        c.order_with_key("b", &[("k", 2)]).await.expect(201);
        for bad in ["", &"x".repeat(256)] {
            let reply = c.order_with_key(bad, &[("k", 1)]).await.expect(400).json();
            assert_eq!(reply["errors"][0]["field"], "Idempotency-Key");
        }
        assert_eq!(c.quantity("k").await, 8);
    }
}

scenario! {
    /// Fifty concurrent requests with one key: one order; the others get its response, or 409 while it is in progress.
    async fn concurrent_requests_same_key_place_one_order(shop) {
        let c = &shop.client;
        c.stocked("k", "1", 100).await;
        let replies = futures_util::future::join_all((0..50).map(|_| c.order_with_key("same", &[("k", 1)]))).await;
        for reply in replies.iter().filter(|reply| reply.status != 201) {
            assert_eq!((reply.status, &reply.json()["type"]), (409, &json!("urn:tradepost:problem:order:key-in-flight")), "{reply:?}");
        }
        let numbers: std::collections::BTreeSet<_> = replies.iter().filter(|r| r.status == 201).map(|r| r.json()["orderNumber"].to_string()).collect();
        assert_eq!(numbers.len(), 1);
        assert_eq!(c.quantity("k").await, 99);
    }
}
