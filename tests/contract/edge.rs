//! HTTP behaviour of the server: methods, unknown paths, size limits, CORS, HEAD, malformed requests, and requests
//! that are unusual but valid.

use super::envelope::assert_refusal;
use crate::support::Shop;
use crate::support::client::{Reply, connect};
use actix_web::http::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Sends these bytes on a new connection and reads the response; `None` if the shop closes the connection instead.
async fn raw(shop: &Shop, request: &[u8]) -> Option<Reply> {
    let mut connection = connect(&shop.client.url, "http/1.1").await;
    connection.write_all(request).await.unwrap();
    let mut response = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        if let Some(reply) = parse_response(&response) {
            return Some(reply);
        }
        let read = tokio::time::timeout(std::time::Duration::from_secs(30), connection.read(&mut chunk)).await;
        match read.expect("no response and no end of the connection") {
            Ok(n) if n > 0 => response.extend_from_slice(&chunk[..n]),
            ended => {
                assert!(response.is_empty(), "incomplete response ({ended:?}): {}", String::from_utf8_lossy(&response));
                return None;
            }
        }
    }
}

/// Parses the response; `None` until its head and the body up to `content-length` are complete.
fn parse_response(response: &[u8]) -> Option<Reply> {
    let text = String::from_utf8_lossy(response);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: std::collections::BTreeMap<String, String> =
        lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_lowercase(), value.to_string())).collect();
    let length: usize = headers.get("content-length").map_or(Some(0), |n| n.parse().ok())?;
    (body.len() >= length).then(|| Reply { status, headers, text: body.to_string() })
}

scenario! { of one process:
    /// A wrong method gets 405 and an `Allow` header; an unknown path gets 404.
    async fn wrong_method_returns_405_and_unknown_path_404(shop) {
        let c = &shop.client;
        c.stocked("m", "1", 1).await;
        let bearer = format!("Bearer {}", c.admin);
        let auth = [("authorization", bearer.as_str())];
        for (method, path, allow) in [
            (Method::PATCH, "/api/v1/products", "GET, POST, HEAD, OPTIONS"),
            (Method::DELETE, "/api/v1/products", "GET, POST, HEAD, OPTIONS"),
            (Method::POST, "/api/v1/products/abc", "GET, PUT, DELETE, HEAD, OPTIONS"),
            (Method::GET, "/api/v1/products/prices/", ""),
            (Method::GET, "/api/v1/inventory/checkStock", "POST, OPTIONS"),
            (Method::PATCH, "/api/v1/inventory/1", "GET, PUT, DELETE, HEAD, OPTIONS"),
            (Method::PUT, "/api/v1/orders/1", "GET, DELETE, HEAD, OPTIONS"),
            (Method::GET, "/api/v1/orders/1/cancel", "POST, OPTIONS"),
            (Method::TRACE, "/api/v1/orders", "GET, POST, HEAD, OPTIONS"),
            (Method::from_bytes(b"PROPFIND").unwrap(), "/api/v1/orders", "GET, POST, HEAD, OPTIONS"),
            (Method::POST, "/actuator/health", "GET, HEAD, OPTIONS"),
        ] {
            let reply = c.send(method.clone(), path, &auth, "").await;
            let sorted = |list: &str| { let mut all: Vec<_> = list.split(", ").map(str::to_string).collect(); all.sort(); all };
            if allow.is_empty() {
                assert_refusal(&reply, 404, method.as_str(), path);
                continue;
            }
            assert_refusal(&reply, 405, method.as_str(), path);
            assert_eq!(sorted(&reply.headers["allow"]), sorted(allow), "{method} {path}");
        }
        for path in ["/nothing", "/api", "/api/v1", "/api/v1/nothing", "/api/v1/products/", "/API/V1/products", "/api/v1/products/a/b/c"] {
            for method in [Method::GET, Method::POST, Method::DELETE] {
                assert_refusal(&c.send(method.clone(), path, &auth, "").await, 404, method.as_str(), path);
            }
        }
        // the gateway sanitizes other paths: it normalises slashes and refuses traversal and encoded separators
        for path in ["/api/v1/products/../inventory", "/api/v1/products%2Fx"] {
            assert_refusal(&c.send(Method::GET, path, &auth, "").await, 400, "GET", path);
        }
        c.send(Method::GET, "//api/v1/products", &auth, "").await.expect(200);
    }
}

scenario! {
    /// An oversized body is refused early: by its `content-length`, or at the first byte beyond the limit.
    async fn oversized_bodies_are_refused(shop) {
        let (c, limit) = (&shop.client, shop.settings.server.body_limit);
        let head = |length: &str| format!("POST /api/v1/orders HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n{length}\r\n\r\n", c.alice);
        for length in [limit + 1, 1 << 40] {
            let announced = raw(shop, head(&format!("content-length: {length}")).as_bytes()).await.unwrap();
            assert_refusal(&announced, 413, "POST", "/api/v1/orders");
        }
        let mut chunked = head("transfer-encoding: chunked").into_bytes();
        for size in [limit, 1] {
            chunked.extend_from_slice(format!("{size:x}\r\n").as_bytes());
            chunked.resize(chunked.len() + size, b' ');
            chunked.extend_from_slice(b"\r\n");
        }
        assert_refusal(&raw(shop, &chunked).await.unwrap(), 413, "POST", "/api/v1/orders");
        let most = c.send(Method::POST, "/api/v1/orders", &[("authorization", &format!("Bearer {}", c.alice)), ("content-type", "application/json")], vec![b' '; limit]).await;
        assert_refusal(&most, 400, "POST", "/api/v1/orders");
        assert_eq!(most.message(), "a JSON body is required", "a body of exactly the limit is read");
        assert_eq!(c.get(&c.admin, "/api/v1/orders").await.json()["totalElements"], 0);
    }
}

scenario! {
    /// Malformed HTTP gets a 4xx, or the connection is closed if the error is in the body; the server keeps running.
    async fn malformed_http_is_refused(shop) {
        let c = &shop.client;
        let order = |more: &[u8]| [b"POST /api/v1/orders HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nauthorization: Bearer ", c.alice.as_bytes(), b"\r\n", more].concat();
        let cases = [
            ("bytes above ASCII in the path", b"GET /api/v1/products/\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n".to_vec()),
            ("a blank in the path", b"GET /api/v1/products/a b HTTP/1.1\r\nhost: x\r\n\r\n".to_vec()),
            ("HTTP/9.9", b"GET /api/v1/products HTTP/9.9\r\nhost: x\r\n\r\n".to_vec()),
            ("a handshake", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec()),
            ("no colon", b"GET /api/v1/products HTTP/1.1\r\nbad header\r\n\r\n".to_vec()),
            ("a length below nothing", order(b"content-length: -1\r\n\r\n{}")),
            ("a list of lengths", order(b"content-length: 2, 3\r\n\r\n{}")),
            ("two lengths", order(b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}x")),
            ("a chunk's size that is none", order(b"transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n")),
        ];
        let mut responses = Vec::new();
        for (name, request) in &cases {
            responses.push((*name, raw(shop, request).await.map(|reply| reply.status)));
        }
        // the error of the last case is in the body: the server closes the connection without a response
        let closed = "a chunk's size that is none";
        assert_eq!(responses, cases.map(|(name, _)| (name, (name != closed).then_some(400))));
        // the head is larger than the server reads: a client that is still sending may lose the response
        let long = [b"GET /".as_slice(), &[b'a'; 200_000], b" HTTP/1.1\r\nhost: x\r\n\r\n"].concat();
        let status = raw(shop, &long).await.map(|reply| reply.status);
        assert!(matches!(status, None | Some(431)), "{status:?}");
        let body = b"{\"orderLineItems\":[{\"skuCode\":\"any\",\"quantity\":1}]}";
        let head = format!("content-length: {}\r\nidempotency-key: ", body.len());
        let key = raw(shop, &order(&[head.as_bytes(), b"\xe4\xff\r\n\r\n", body].concat())).await.unwrap();
        assert_refusal(&key, 400, "POST", "/api/v1/orders");
        assert_eq!(key.json()["errors"][0]["field"].as_str().unwrap().to_lowercase(), "idempotency-key");
        assert_eq!(c.get(&c.admin, "/api/v1/orders").await.expect(200).json()["totalElements"], 0);
    }
}

scenario! {
    /// HEAD equals GET without the body, also for refusals; OPTIONS returns the allowed methods.
    async fn head_and_options_requests_succeed(shop) {
        let c = &shop.client;
        let id = c.stocked("h", "1.50", 3).await["id"].clone();
        let bearer = format!("Bearer {}", c.alice);
        for (path, status) in [("/api/v1/products", 200), (&*format!("/api/v1/inventory/{id}"), 200), ("/api/v1/products/h/price", 200), ("/api/v1/inventory/999", 404), ("/api/v1/inventory/abc", 400), ("/api/v1/nothing", 404), ("/api/v1/inventory/checkStock", 405)] {
            let head = c.send(Method::HEAD, path, &[("authorization", &bearer)], "").await;
            let get = c.send(Method::GET, path, &[("authorization", &bearer)], "").await;
            assert_eq!((head.status, get.status), (status, status), "{path}");
            assert_eq!(head.text, "", "{path}");
            assert_eq!(head.headers.get("content-type"), get.headers.get("content-type"), "{path}");
        }
        assert_eq!(c.send(Method::HEAD, "/api/v1/products", &[], "").await.status, 401);
        for (path, allow) in [("/api/v1/products", "GET, POST, HEAD, OPTIONS"), ("/api/v1/orders/1/cancel", "POST, OPTIONS"), ("/actuator/health", "GET, HEAD, OPTIONS")] {
            let reply = c.send(Method::OPTIONS, path, &[], "").await.expect(204);
            assert_eq!((reply.headers["allow"].as_str(), reply.text.as_str()), (allow, ""), "{path}");
        }
    }
}

scenario! {
    /// A preflight needs no token; responses, including refusals, have CORS headers.
    async fn cors_by_default_allows_every_origin(shop) {
        let c = &shop.client;
        let preflight = [("origin", "https://shop.example"), ("access-control-request-method", "POST"), ("access-control-request-headers", "authorization, content-type, idempotency-key")];
        let reply = c.send(Method::OPTIONS, "/api/v1/orders", &preflight, "").await.expect(204);
        assert_eq!(reply.headers["access-control-allow-origin"], "https://shop.example");
        assert!(reply.headers["access-control-allow-methods"].contains("POST"), "{reply:?}");
        assert_eq!(reply.headers["access-control-allow-headers"], "authorization, content-type, idempotency-key");
        assert!(!reply.headers.contains_key("access-control-allow-credentials"), "tokens use the authorization header: no cookies are needed");
        for headers in [vec![("origin", "https://shop.example")], vec![("origin", "https://shop.example"), ("authorization", "Bearer none")]] {
            let refused = c.send(Method::GET, "/api/v1/orders", &headers, "").await.expect(401);
            assert_eq!(refused.headers["access-control-allow-origin"], "https://shop.example");
        }
        assert!(!c.send(Method::GET, "/actuator/health", &[], "").await.headers.contains_key("access-control-allow-origin"));
    }
}

/// With `server.origins`, other origins get no CORS headers.
#[test]
fn cors_unlisted_origin_is_not_allowed() {
    crate::support::on_system(async {
        let mut shop = Shop::start(crate::support::Shape::Local, |s| s.server.origins = vec!["https://good.example".into()]).await;
        let c = &shop.client;
        for (origin, allowed) in
            [("https://good.example", true), ("https://evil.example", false), ("https://good.example.evil.example", false), ("null", false)]
        {
            let reply =
                c.send(Method::OPTIONS, "/api/v1/orders", &[("origin", origin), ("access-control-request-method", "POST")], "").await;
            assert_eq!(reply.headers.contains_key("access-control-allow-origin"), allowed, "{origin}: {reply:?}");
        }
        shop.stop().await;
    });
}

scenario! {
    /// Unknown and read-only members have no effect, two lines of one SKU stay two lines, and codes are trimmed.
    async fn unusual_valid_requests_are_accepted(shop) {
        let c = &shop.client;
        let product = json!({ "id": "000000000000000000000000", "version": 9, "skuCode": " u ", "name": "u", "price": "3.50", "deep": { "er": [[[{}]]] } });
        let made = c.post(&c.admin, "/api/v1/products", product).await.expect(201).json();
        assert_ne!(made["id"], "000000000000000000000000");
        assert_eq!((made["skuCode"].as_str(), made["price"].to_string().as_str()), (Some("u"), "3.5"));
        c.post(&c.admin, "/api/v1/inventory", json!({ "id": 77, "skuCode": "u", "quantity": 9, "held": 5, "sold": 5 })).await.expect(201);
        assert_eq!((c.quantity("u").await, c.stock("u").await["sold"].clone()), (9, json!(0)));
        let lines = json!([{ "id": 5, "skuCode": "u", "quantity": 2, "price": 0 }, { "skuCode": " u", "quantity": 3 }]);
        let order = c.post(&c.alice, "/api/v1/orders", json!({ "id": 50, "orderNumber": "mine", "status": "CANCELLED", "total": 0, "orderLineItems": lines })).await.expect(201).json();
        assert_eq!(order["orderLineItems"].as_array().unwrap().len(), 2);
        assert_eq!((order["status"].as_str(), order["total"].to_string()), (Some("PLACED"), "17.5".into()));
        assert_eq!(c.quantity("u").await, 4);
        let bearer = format!("Bearer {}", c.alice);
        for media in ["application/json; charset=utf-8", "Application/JSON", "application/merge-patch+json"] {
            c.send(Method::POST, "/api/v1/inventory/checkStock", &[("authorization", &bearer), ("content-type", media)], r#"{"u":1}"#).await.expect(200);
        }
        for accept in ["*/*", "application/*", "text/html, application/json;q=0.1", "application/vnd.shop+json", ""] {
            c.send(Method::GET, "/api/v1/products", &[("authorization", &bearer), ("accept", accept)], "").await.expect(200);
        }
        let beyond = c.get(&c.alice, "/api/v1/products?page=2147483647&size=1000").await.expect(200).json();
        assert_eq!((beyond["content"].clone(), beyond["totalElements"].clone()), (json!([]), json!(1)));
        c.send(Method::GET, "/api/v1/products", &[("authorization", &bearer), ("x-request-timeout-ms", "soon"), ("traceparent", "nonsense")], "").await.expect(200);
    }
}

/// serde would accept a list of members in order for a struct; the contract requires an object.
#[test]
fn json_list_instead_of_object_is_refused() {
    crate::support::on_system(async {
        let mut shop = Shop::start(crate::support::Shape::Local, |_| {}).await;
        let c = &shop.client;
        c.stocked("l", "1", 5).await;
        c.post(&c.admin, "/api/v1/products", json!(["x", "x", null, 1])).await.expect(400);
        c.post(&c.admin, "/api/v1/orders", json!({ "orderLineItems": [["l", 1]] })).await.expect(400);
        c.put(&c.admin, "/api/v1/inventory/1", json!([1])).await.expect(400);
        assert_eq!(c.quantity("l").await, 5);
        shop.stop().await;
    });
}
