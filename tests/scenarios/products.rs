//! The catalogue, `/api/v1/products`.

use actix_web::http::Method;
use serde_json::json;

scenario! {
    /// A product is returned as sent, with every digit of its price; an id from the client is ignored.
    async fn product_is_added_read_and_removed(shop) {
        let c = &shop.client;
        let sent = r#"{"id":"000000000000000000000001","skuCode":"  mug-1 ","name":"Mug","description":"blue","price":10.00,"colour":"x"}"#;
        let headers = [("authorization", format!("Bearer {}", c.admin)), ("content-type", "application/json".into())];
        let headers: Vec<_> = headers.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let created = c.send(Method::POST, "/api/v1/products", &headers, sent).await.expect(201);
        assert!(created.text.contains("\"price\":10.00"), "{}", created.text);
        let product = created.json();
        let id = product["id"].as_str().unwrap();
        assert!(id.len() == 24 && id != "000000000000000000000001");
        assert_eq!(product["skuCode"], "mug-1");

        let read = c.get(&c.alice, &format!("/api/v1/products/{id}")).await.expect(200);
        assert_eq!(read.text, created.text);
        assert_eq!(c.get(&c.alice, "/api/v1/products/mug-1/price").await.expect(200).text, "10.00");
        assert_eq!(c.get(&c.alice, "/api/v1/products/sku/mug-1").await.expect(200).text, "");

        let removed = c.delete(&c.admin, &format!("/api/v1/products/{id}")).await.expect(200);
        assert_eq!(removed.text, format!("Product with id {id} deleted successfully"));
        assert_eq!(c.get(&c.alice, &format!("/api/v1/products/{id}")).await.expect(404).message(), format!("Product with id {id} not found"));
        assert_eq!(c.delete(&c.admin, &format!("/api/v1/products/{id}")).await.expect(404).message(), format!("Product with id {id} not found"));
    }
}

scenario! { of one process:
    /// An unknown product is a 404 with the previous system's message.
    async fn unknown_product_returns_404(shop) {
        let c = &shop.client;
        assert_eq!(c.get(&c.alice, "/api/v1/products/x").await.expect(404).message(), "Product with id x not found");
        assert_eq!(c.get(&c.alice, "/api/v1/products/nope/price").await.expect(404).message(), "Product with SKU CODE nope not found.");
        assert_eq!(c.get(&c.alice, "/api/v1/products/sku/a%2Fb%20%C3%BC").await.expect(404).message(), "Product with SKU CODE a/b ü not found.");
    }
}

scenario! {
    /// A SKU code is unique; a refusal names all missing fields.
    async fn invalid_product_is_refused(shop) {
        let c = &shop.client;
        c.stocked("taken", "1", 1).await;
        let duplicate = c.post(&c.admin, "/api/v1/products", json!({ "skuCode": "taken", "name": "n", "price": "3.50" })).await.expect(400);
        assert_eq!(duplicate.message(), "Product with SKU taken already exists");
        let empty = c.post(&c.admin, "/api/v1/products", json!({})).await.expect(400).json();
        let fields: Vec<_> = empty["errors"].as_array().unwrap().iter().map(|e| e["field"].as_str().unwrap().to_string()).collect();
        assert_eq!(fields, ["skuCode", "name", "price"]);
        let negative = c.post(&c.admin, "/api/v1/products", json!({ "skuCode": "n", "name": "n", "price": -1 })).await.expect(400).json();
        assert_eq!(negative["errors"][0]["field"], "price");
        c.post(&c.alice, "/api/v1/products", json!({ "skuCode": "n", "name": "n", "price": 1 })).await.expect(403);
    }
}

scenario! {
    /// Optimistic locking: of two concurrent edits, the second is refused.
    async fn product_update_with_stale_version_is_refused(shop) {
        let c = &shop.client;
        let id = c.post(&c.admin, "/api/v1/products", json!({ "skuCode": "v", "name": "one", "price": 1 })).await.expect(201).json()["id"].as_str().unwrap().to_string();
        let path = format!("/api/v1/products/{id}");
        let tag = c.get(&c.admin, &path).await.headers["etag"].clone();
        let change = json!({ "skuCode": "v", "name": "two", "price": "2.50" });
        c.put(&c.admin, &path, change.clone()).await.expect(428);
        let done = c.with_body(Method::PUT, &c.admin, &path, &[("if-match", &tag)], &change).await.expect(200);
        assert_ne!(done.headers["etag"], tag);
        assert_eq!(done.json()["name"], "two");
        c.with_body(Method::PUT, &c.admin, &path, &[("if-match", &tag)], &change).await.expect(412);
        c.with_body(Method::PUT, &c.admin, &path, &[("if-match", "*")], &change).await.expect(200);
        assert_eq!(c.get(&c.alice, "/api/v1/products/v/price").await.text, "2.50");
    }
}

scenario! {
    /// With If-Match, a product is removed only as it was read.
    async fn product_removal_with_stale_version_is_refused(shop) {
        let c = &shop.client;
        let id = c.post(&c.admin, "/api/v1/products", json!({ "skuCode": "r", "name": "one", "price": 1 })).await.expect(201).json()["id"].as_str().unwrap().to_string();
        let path = format!("/api/v1/products/{id}");
        let old = c.get(&c.admin, &path).await.headers["etag"].clone();
        let change = json!({ "skuCode": "r", "name": "two", "price": 1 });
        let new = c.with_body(Method::PUT, &c.admin, &path, &[("if-match", &old)], &change).await.expect(200).headers["etag"].clone();
        let bearer = format!("Bearer {}", c.admin);
        let remove = async |tag: &str| c.send(Method::DELETE, &path, &[("authorization", bearer.as_str()), ("if-match", tag)], "").await;
        let refused = remove(&old).await.expect(412);
        assert!(refused.message().contains(&id), "{refused:?}");
        remove("\"no version\"").await.expect(412);
        assert_eq!(c.get(&c.alice, &path).await.expect(200).json()["name"], "two");
        remove(&new).await.expect(200);
        c.get(&c.alice, &path).await.expect(404);
    }
}

scenario! {
    /// Pages have Spring Data's format; search matches SKU code and name, and `%` is no wildcard.
    async fn products_are_listed_in_pages_and_searched(shop) {
        let c = &shop.client;
        for i in 0..9 {
            c.post(&c.admin, "/api/v1/products", json!({ "skuCode": format!("p{i}"), "name": if i == 4 { "100% wool" } else { "cotton" }, "price": 1 })).await.expect(201);
        }
        let page = c.get(&c.alice, "/api/v1/products?page=0&size=3").await.expect(200).json();
        let expected = json!({
            "pageable": { "pageNumber": 0, "pageSize": 3, "sort": { "empty": true, "sorted": false, "unsorted": true }, "offset": 0, "paged": true, "unpaged": false },
            "last": false, "totalPages": 3, "totalElements": 9, "size": 3, "number": 0, "first": true, "numberOfElements": 3,
            "sort": { "empty": true, "sorted": false, "unsorted": true }, "empty": false,
        });
        let mut rest = page.clone();
        rest.as_object_mut().unwrap().remove("content");
        assert_eq!(rest, expected);
        let mut seen = Vec::new();
        for number in 0..3 {
            let page = c.get(&c.alice, &format!("/api/v1/products?page={number}&size=3")).await.json();
            seen.extend(page["content"].as_array().unwrap().iter().map(|p| p["id"].as_str().unwrap().to_string()));
        }
        assert!(seen.is_sorted() && seen.len() == 9, "{seen:?}");
        let beyond = c.get(&c.alice, "/api/v1/products?page=7&size=3").await.expect(200).json();
        assert_eq!((beyond["empty"].clone(), beyond["totalElements"].clone()), (json!(true), json!(9)));
        assert_eq!(c.get(&c.alice, "/api/v1/products?q=100%25").await.json()["totalElements"], 1);
        assert_eq!(c.get(&c.alice, "/api/v1/products?q=COTT").await.json()["totalElements"], 8);
        let prices = c.post(&c.alice, "/api/v1/products/prices", json!(["p1", "p2", "unknown"])).await.expect(200).json();
        assert_eq!(prices, json!({ "p1": 1, "p2": 1 }));
    }
}

scenario! {
    /// Keyset pagination by `after` returns each product once, in the order of ids, even if products are added and
    /// removed meanwhile; with `q`, only matching products.
    async fn products_listed_by_after_appear_once(shop) {
        let c = &shop.client;
        let create = |sku: String, name: &'static str| async move {
            let product = json!({ "skuCode": sku, "name": name, "price": 1 });
            c.post(&c.admin, "/api/v1/products", product).await.expect(201).json()["id"].as_str().unwrap().to_string()
        };
        let mut ids = Vec::new();
        for i in 0..7 {
            ids.push(create(format!("w{i}"), if i % 2 == 0 { "Wool" } else { "cotton" }).await);
        }
        let page = |query: String| async move { c.get(&c.alice, &format!("/api/v1/products?{query}")).await.expect(200).json() };
        let of = |page: &serde_json::Value| {
            page["content"].as_array().unwrap().iter().map(|p| p["id"].as_str().unwrap().to_string()).collect::<Vec<_>>()
        };
        let first = page("size=3".into()).await;
        assert_eq!(of(&first), ids[..3]);
        // remove the last product of the page and an earlier one, add one: the next page is unaffected
        for gone in [&ids[2], &ids[0]] {
            c.delete(&c.admin, &format!("/api/v1/products/{gone}")).await.expect(200);
        }
        let last = create("w7".into(), "Wool").await;
        let second = page(format!("size=3&after={}", ids[2])).await;
        assert_eq!(of(&second), ids[3..6]);
        let totals = |page: &serde_json::Value| (page["last"].clone(), page["totalElements"].clone(), page["numberOfElements"].clone());
        assert_eq!(totals(&second), (json!(false), json!(4), json!(3)), "the total is at least one more than the page size: the count stops there");
        assert_eq!(second.as_object().unwrap().keys().collect::<Vec<_>>(), first.as_object().unwrap().keys().collect::<Vec<_>>());
        let third = page(format!("size=3&after={}", ids[5].to_uppercase())).await;
        assert_eq!(of(&third), [ids[6].clone(), last.clone()]);
        assert_eq!(totals(&third), (json!(true), json!(2), json!(2)));
        assert_eq!(totals(&page(format!("after={last}")).await), (json!(true), json!(0), json!(0)));
        assert_eq!(of(&page(format!("q=wOOl&after={}", ids[3])).await), [ids[4].clone(), ids[6].clone(), last.clone()]);
        assert_eq!(of(&page("after=000000000000000000000000".into()).await).len(), 6);

        for (query, field) in [("after=w1", "after"), ("after=", "after"), (&format!("after={last}&page=1"), "page")] {
            let refused = c.get(&c.alice, &format!("/api/v1/products?{query}")).await.expect(400).json();
            assert_eq!(refused["errors"][0]["field"], field, "{refused}");
        }
    }
}

scenario! {
    /// A search matches its text literally, including special characters, and ignores the case of ASCII letters only.
    async fn product_search_matches_literally(shop) {
        let c = &shop.client;
        let names = ["Straße (blue) [x]", "a.b*c+d?", "under_score", r"back\slash", "É grand", "tab\there"];
        for (i, name) in names.iter().enumerate() {
            c.post(&c.admin, "/api/v1/products", json!({ "skuCode": format!("n{i}"), "name": name, "price": 1 })).await.expect(201);
        }
        for (q, found) in [
            ("STRA%C3%9FE", vec![0]), ("%28BLUE%29", vec![0]), ("%5Bx%5D", vec![0]), (".", vec![1]), ("A.B*C%2BD%3F", vec![1]), ("_", vec![2]),
            ("%5C", vec![3]), ("%C3%89", vec![4]), ("%C3%A9", vec![]), ("%C3%89%20GRAND", vec![4]), ("b%09t", vec![]), ("TAB%09H", vec![5]),
            ("N3", vec![3]), ("%5E", vec![]), ("%24", vec![]), ("%25", vec![]),
        ] {
            let page = c.get(&c.alice, &format!("/api/v1/products?q={q}")).await.expect(200).json();
            let skus: Vec<_> = page["content"].as_array().unwrap().iter().map(|p| p["skuCode"].as_str().unwrap().to_string()).collect();
            assert_eq!(skus, found.iter().map(|i| format!("n{i}")).collect::<Vec<_>>(), "{q}");
            assert_eq!(page["totalElements"], found.len());
        }
    }
}
