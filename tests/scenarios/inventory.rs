//! Stock, `/api/v1/inventory`.

use serde_json::json;

scenario! {
    /// Stock needs a product and is unique per SKU; an adjustment adds a quantity; the result is never below zero.
    async fn stock_is_received_adjusted_and_removed(shop) {
        let c = &shop.client;
        let row = c.stocked("s-1", "1", 100).await;
        let id = row["id"].as_i64().unwrap();
        assert_eq!((row["skuCode"].clone(), row["quantity"].clone()), (json!("s-1"), json!(100)));
        let path = format!("/api/v1/inventory/{id}");
        assert_eq!(c.get(&c.alice, &path).await.expect(200).json()["quantity"], 100);
        assert_eq!(c.put(&c.admin, &path, json!({ "quantity": 5 })).await.expect(200).json()["quantity"], 105);
        assert_eq!(c.put(&c.admin, &path, json!({ "quantity": -105 })).await.expect(200).json()["quantity"], 0);
        let below = c.put(&c.admin, &path, json!({ "quantity": -1 })).await.expect(400);
        assert_eq!(below.message(), "Quantity for an inventory item cannot be negative!");
        c.put(&c.admin, &path, json!({ "quantity": 2_147_483_647 })).await.expect(200);
        c.put(&c.admin, &path, json!({ "quantity": 1 })).await.expect(400);

        c.post(&c.admin, "/api/v1/inventory", json!({ "skuCode": "s-1", "quantity": 1 })).await.expect(409);
        let unknown = c.post(&c.admin, "/api/v1/inventory", json!({ "skuCode": "no-product", "quantity": 1 })).await.expect(404);
        assert_eq!(unknown.message(), "Product with SKU CODE no-product not found.");
        c.put(&c.alice, &path, json!({ "quantity": 1 })).await.expect(403);

        assert_eq!(c.delete(&c.admin, &path).await.expect(200).text, format!("Inventory with ID {id} deleted successfully."));
        assert_eq!(c.get(&c.alice, &path).await.expect(404).message(), format!("Inventory with id {id} not found"));
        c.post(&c.admin, "/api/v1/inventory", json!({ "skuCode": "s-1", "quantity": 7 })).await.expect(201);
        assert_eq!(c.quantity("s-1").await, 7);
    }
}

scenario! {
    /// The response has each SKU in exactly one list.
    async fn check_stock_many_skus_puts_each_in_one_list(shop) {
        let c = &shop.client;
        c.stocked("full", "1", 10).await;
        c.stocked("few", "1", 2).await;
        c.stocked("none", "1", 0).await;
        let check = c.post(&c.alice, "/api/v1/inventory/checkStock", json!({ "full": 10, "few": 3, "none": 1, "what": 1 })).await.expect(200).json();
        assert_eq!(check, json!({ "available": ["full"], "insufficient": ["few"], "outOfStock": ["none"], "invalid": ["what"] }));
        let unknown = c.post(&c.alice, "/api/v1/inventory/checkStock", json!({ "what": 1 })).await.expect(200).json();
        assert_eq!(unknown["invalid"], json!(["what"]));
        let zero = c.post(&c.alice, "/api/v1/inventory/checkStock", json!({ "full": 0 })).await.expect(400).json();
        assert_eq!(zero["errors"][0]["field"], "full");
    }
}

scenario! {
    /// The previous order service's call: takes all quantities or none; for services and administrators.
    async fn update_quantities_takes_all_or_none(shop) {
        let c = &shop.client;
        c.stocked("t-1", "1", 10).await;
        c.stocked("t-2", "1", 1).await;
        let path = "/api/v1/inventory/updateQuantitiesBySku";
        c.put(&c.alice, path, json!({ "t-1": 1 })).await.expect(403);
        c.put(&c.admin, path, json!({ "t-1": 1, "t-2": 2 })).await.expect(400);
        c.put(&c.admin, path, json!({ "t-1": 1, "what": 2 })).await.expect(404);
        c.put(&c.admin, path, json!({ "t-1": -5 })).await.expect(400);
        assert_eq!((c.quantity("t-1").await, c.quantity("t-2").await), (10, 1));
        let rows = c.put(&c.admin, path, json!({ "t-1": 4, "t-2": 1 })).await.expect(200).json();
        assert_eq!(rows.as_array().unwrap().len(), 2);
        assert_eq!((c.quantity("t-1").await, c.quantity("t-2").await), (6, 0));
    }
}

scenario! {
    /// A reservation is held, then committed or released; repeated calls have no further effect.
    async fn reservations_are_idempotent_by_order_number(shop) {
        let c = &shop.client;
        c.stocked("r", "1", 10).await;
        let service = shop.service_token().await;
        let reserve = |order: &str, n: i64| c.post(&service, "/api/v1/inventory/reservations", json!({ "orderNumber": order, "lines": { "r": n } }));
        let end = |order: &'static str, how: &'static str| c.post(&service, Box::leak(format!("/api/v1/inventory/reservations/{order}/{how}").into_boxed_str()), json!({}));
        let (a, b, late) = ("11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222", "33333333-3333-4333-8333-333333333333");

        for _ in 0..3 {
            assert_eq!(reserve(a, 4).await.expect(200).json()["state"], "HELD");
        }
        let row = c.stock("r").await;
        assert_eq!((row["quantity"].clone(), row["held"].clone()), (json!(6), json!(4)));
        assert_eq!(reserve(b, 7).await.expect(200).json(), json!({ "state": "REFUSED", "stock": { "available": [], "insufficient": ["r"], "outOfStock": [], "invalid": [] } }));
        for _ in 0..2 {
            assert_eq!(end(a, "commit").await.expect(200).json(), "COMMITTED");
        }
        assert_eq!(reserve(a, 4).await.expect(200).json()["state"], "COMMITTED");
        for _ in 0..2 {
            assert_eq!(end(a, "release").await.expect(200).json(), "RELEASED");
        }
        assert_eq!(c.quantity("r").await, 10);
        end(a, "commit").await.expect(409);
        end(late, "commit").await.expect(404);
        end(late, "release").await.expect(200);
        assert_eq!(reserve(late, 1).await.expect(200).json()["state"], "RELEASED", "a reservation that was released before it arrived must not hold");
        assert_eq!(c.quantity("r").await, 10);
        c.post(&c.alice, "/api/v1/inventory/reservations", json!({ "orderNumber": b, "lines": { "r": 1 } })).await.expect(403);
        c.post(&c.admin, "/api/v1/inventory/reservations", json!({ "orderNumber": b, "lines": { "r": 1 } })).await.expect(403);
    }
}

/// An expired reservation is checked with the order module; without an order its stock is released.
#[test]
fn reservation_without_order_expires() {
    crate::support::on_system(async {
        let mut shop = crate::support::Shop::start(crate::support::Shape::Loopback, |s| s.inventory.reservation_seconds = 1).await;
        let c = &shop.client;
        c.stocked("e", "1", 3).await;
        let service = shop.service_token().await;
        let body = json!({ "orderNumber": "44444444-4444-4444-8444-444444444444", "lines": { "e": 3 } });
        c.post(&service, "/api/v1/inventory/reservations", body).await.expect(200);
        assert_eq!(c.quantity("e").await, 0);
        let id = c.stock("e").await["id"].as_i64().unwrap();
        c.delete(&c.admin, &format!("/api/v1/inventory/{id}")).await.expect(409);
        crate::support::wait_for("the stock is back", || async {
            let quantity = c.quantity("e").await;
            if quantity == 3 { Ok(()) } else { Err(format!("{quantity}")) }
        })
        .await;
        shop.assert_sound().await;
        shop.stop().await;
    });
}
