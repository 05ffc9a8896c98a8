//! Orders, `/api/v1/orders`.

use crate::support::client::order;
use serde_json::json;

scenario! {
    /// An order takes its stock and returns its prices; a price, id or status from the client has no effect.
    async fn order_with_stock_is_placed(shop) {
        let c = &shop.client;
        c.stocked("a", "2.55", 10).await;
        c.stocked("b", "10.00", 10).await;
        let body = json!({ "id": 77, "status": "REJECTED", "orderLineItems": [{ "skuCode": "a", "quantity": 6, "price": 0.01 }, { "skuCode": "b", "quantity": 1 }, { "skuCode": "a", "quantity": 1 }] });
        let placed = c.post(&c.alice, "/api/v1/orders", body).await.expect(201);
        assert!(placed.text.contains("\"total\":27.85") && placed.text.contains("\"price\":10.00"), "{}", placed.text);
        let placed = placed.json();
        assert_eq!(placed["status"], "PLACED");
        assert_eq!(placed["orderLineItems"].as_array().unwrap().len(), 3, "two lines of one SKU stay two lines");
        assert!(placed["orderNumber"].as_str().unwrap().parse::<uuid::Uuid>().is_ok());
        assert_eq!((c.quantity("a").await, c.quantity("b").await), (3, 9));

        let id = placed["id"].as_i64().unwrap();
        let number = placed["orderNumber"].as_str().unwrap();
        for path in [format!("/api/v1/orders/{id}"), format!("/api/v1/orders/number/{number}")] {
            assert_eq!(c.get(&c.alice, &path).await.expect(200).json(), placed);
        }
        let page = c.get(&c.alice, "/api/v1/orders").await.expect(200).json();
        assert_eq!(page["content"], json!([placed]));
    }
}

scenario! {
    /// A refusal names every SKU with its reason, takes no stock, and creates no order in the lists.
    async fn order_without_stock_is_refused(shop) {
        let c = &shop.client;
        c.stocked("plenty", "1", 10).await;
        c.stocked("few", "1", 2).await;
        c.stocked("none", "1", 0).await;
        let refused = c.order(&[("plenty", 1), ("x-1", 1), ("none", 1), ("few", 3), ("x-2", 1)]).await.expect(400);
        let expected = "Order cannot be placed due to the following reasons:\n Invalid SKUs: x-1, x-2\nOut of stock SKUs: none\nInsufficient stock for SKUs: few";
        assert_eq!(refused.message(), expected);
        let body = refused.json();
        assert_eq!((&body["invalid"], &body["outOfStock"], &body["insufficient"]), (&json!(["x-1", "x-2"]), &json!(["none"]), &json!(["few"])));
        let only_unknown = c.order(&[("x-1", 1)]).await.expect(400);
        assert_eq!(only_unknown.message(), "Order cannot be placed due to the following reasons:\n Invalid SKUs: x-1");
        let sum = c.order(&[("few", 1), ("few", 2)]).await.expect(400).json();
        assert_eq!(sum["insufficient"], json!(["few"]), "two lines of one SKU are reserved as their sum");
        assert_eq!((c.quantity("plenty").await, c.quantity("few").await), (10, 2));
        assert_eq!(c.get(&c.alice, "/api/v1/orders").await.json()["totalElements"], 0);
    }
}

scenario! {
    /// A cancellation releases the stock once; DELETE also removes the order from the lists.
    async fn cancelled_order_releases_stock_once(shop) {
        let c = &shop.client;
        c.stocked("c", "1", 10).await;
        let first = c.order(&[("c", 4)]).await.expect(201).json()["id"].as_i64().unwrap();
        let second = c.order(&[("c", 3)]).await.expect(201).json()["id"].as_i64().unwrap();
        assert_eq!(c.quantity("c").await, 3);
        for _ in 0..3 {
            let cancelled = c.post(&c.alice, &format!("/api/v1/orders/{first}/cancel"), json!({})).await.expect(200).json();
            assert_eq!(cancelled["status"], "CANCELLED");
            assert_eq!(c.quantity("c").await, 7);
        }
        let deleted = c.delete(&c.alice, &format!("/api/v1/orders/{second}")).await.expect(200);
        assert_eq!(deleted.text, format!("Order with id {second} successfully deleted!"));
        let gone = c.delete(&c.alice, &format!("/api/v1/orders/{second}")).await.expect(404);
        assert_eq!(gone.message(), format!("Order with ID {second} not found!"));
        c.delete(&c.alice, &format!("/api/v1/orders/{first}")).await.expect(200);
        assert_eq!(c.quantity("c").await, 10);
        assert_eq!(c.get(&c.alice, "/api/v1/orders").await.json()["totalElements"], 0);
    }
}

scenario! {
    /// A hundred concurrent cancellations of one order release its stock once.
    async fn concurrent_cancellations_release_stock_once(shop) {
        let c = &shop.client;
        c.stocked("c", "1", 10).await;
        let id = c.order(&[("c", 4)]).await.expect(201).json()["id"].as_i64().unwrap();
        let path = format!("/api/v1/orders/{id}/cancel");
        let all = futures_util::future::join_all((0..100).map(|_| c.post(&c.alice, &path, json!({})))).await;
        assert!(all.iter().all(|reply| reply.status == 200), "{all:?}");
        crate::support::wait_for("the stock is back", || async {
            let quantity = c.quantity("c").await;
            if quantity == 10 { Ok(()) } else { Err(format!("{quantity}")) }
        }).await;
    }
}

scenario! {
    /// A customer sees only their own orders; an administrator sees all orders.
    async fn orders_of_other_customers_are_hidden(shop) {
        let c = &shop.client;
        c.stocked("o", "1", 10).await;
        let id = c.post(&c.admin, "/api/v1/orders", order(&[("o", 1)])).await.expect(201).json();
        let (id, number) = (id["id"].as_i64().unwrap(), id["orderNumber"].as_str().unwrap().to_string());
        c.order(&[("o", 1)]).await.expect(201);
        c.get(&c.alice, &format!("/api/v1/orders/{id}")).await.expect(404);
        c.get(&c.alice, &format!("/api/v1/orders/number/{number}")).await.expect(404);
        c.get(&c.alice, &format!("/api/v1/orders/number/{number}/status")).await.expect(403);
        c.post(&c.alice, &format!("/api/v1/orders/{id}/cancel"), json!({})).await.expect(404);
        c.delete(&c.alice, &format!("/api/v1/orders/{id}")).await.expect(404);
        assert_eq!(c.get(&c.alice, "/api/v1/orders").await.json()["totalElements"], 1);
        assert_eq!(c.get(&c.admin, "/api/v1/orders").await.json()["totalElements"], 2);
        assert_eq!(c.get(&c.alice, "/api/v1/orders/999").await.expect(404).message(), "Order with ID 999 not found!");
    }
}

scenario! {
    /// A product removed from the catalogue cannot be ordered, even with stock left.
    async fn removed_product_order_is_refused(shop) {
        let c = &shop.client;
        let id = c.post(&c.admin, "/api/v1/products", json!({ "skuCode": "gone", "name": "n", "price": 1 })).await.json()["id"].as_str().unwrap().to_string();
        c.post(&c.admin, "/api/v1/inventory", json!({ "skuCode": "gone", "quantity": 5 })).await.expect(201);
        c.delete(&c.admin, &format!("/api/v1/products/{id}")).await.expect(200);
        assert_eq!(c.order(&[("gone", 1)]).await.expect(400).json()["invalid"], json!(["gone"]));
        assert_eq!(c.quantity("gone").await, 5);
    }
}
