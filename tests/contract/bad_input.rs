//! Invalid requests and the expected responses, in one table. A refusal names the error, has the common problem format,
//! and changes no state. No request gets a 500.

use super::envelope::{Expected, assert_refusal, field, kind, message};
use crate::support::Shop;
use crate::support::client::Client;
use actix_web::http::Method;
use serde_json::json;

struct Row {
    method: Method,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    status: u16,
    expected: Expected,
    /// A member of the problem that identifies the subject of the error, and its value.
    about: Option<(&'static str, String)>,
}

fn row(method: Method, path: impl Into<String>, body: impl Into<Vec<u8>>, status: u16, expected: Expected) -> Row {
    let headers = vec![("content-type", "application/json".to_string())];
    Row { method, path: path.into(), headers, body: body.into(), status, expected, about: None }
}

fn get(path: impl Into<String>, status: u16, expected: Expected) -> Row {
    row(Method::GET, path, "", status, expected)
}

impl Row {
    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.retain(|(n, _)| *n != name);
        self.headers.push((name, value.into()));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(n, _)| *n != name);
        self
    }

    fn about(mut self, member: &'static str, value: &str) -> Self {
        self.about = Some((member, value.to_string()));
        self
    }

    /// Sends the request and checks the response against the row.
    async fn check(&self, c: &Client, token: &str) {
        let bearer = format!("Bearer {token}");
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.extend(self.headers.iter().map(|(name, value)| (*name, value.as_str())));
        let reply = c.send(self.method.clone(), &self.path, &headers, self.body.clone()).await;
        let sent = String::from_utf8_lossy(&self.body).chars().take(200).collect::<String>();
        let what = format!("{} {} {headers:?} {sent}\n{reply:?}", self.method, self.path.chars().take(200).collect::<String>());
        assert_eq!(reply.status, self.status, "{what}");
        let path = self.path.split('?').next().unwrap_or_default();
        assert_refusal(&reply, self.status, self.method.as_str(), path);
        if let Some((member, value)) = &self.about {
            assert_eq!(reply.json()[member], *value, "{what}");
        }
        self.expected.check(&reply, &what);
    }
}

/// All state that a request could change.
async fn state(c: &Client) -> String {
    let mut all = String::new();
    for path in ["/api/v1/products", "/api/v1/inventory", "/api/v1/orders"] {
        all.push_str(&c.get(&c.admin, &format!("{path}?size=1000")).await.expect(200).text);
    }
    all
}

/// Creates product `p` with 8 in stock, product `q` without stock, and one order; then checks every row.
async fn refuse_all(shop: &Shop, token: &str, rows: impl AsyncFnOnce(&str) -> Vec<Row>) {
    let c = &shop.client;
    c.stocked("p", "10.00", 10).await;
    c.post(&c.admin, "/api/v1/products", json!({ "skuCode": "q", "name": "q", "price": 1 })).await.expect(201);
    c.order(&[("p", 2)]).await.expect(201);
    crate::support::wait_for("the order is settled", || async {
        if c.stock("p").await["sold"] == 2 { Ok(()) } else { Err("its stock is held".into()) }
    })
    .await;
    let product = c.get(&c.admin, "/api/v1/products?q=p").await.json()["content"][0]["id"].as_str().unwrap().to_string();
    let before = state(c).await;
    let rows = rows(&product).await;
    assert!(rows.len() > 10, "a table of {} rows", rows.len());
    for row in rows {
        row.check(c, token).await;
        assert_eq!(state(c).await, before, "{} {} changed something", row.method, row.path);
    }
}

/// A JSON object of these members, with one of them replaced by raw text, or omitted.
fn object(good: &[(&str, &str)], member: &str, raw: Option<&str>) -> String {
    let mut members: Vec<(&str, &str)> = good.iter().copied().filter(|(name, _)| *name != member).collect();
    members.extend(raw.map(|raw| (member, raw)));
    let members: Vec<_> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", members.join(","))
}

const PRODUCT: [(&str, &str); 3] = [("skuCode", "\"new\""), ("name", "\"new\""), ("price", "1")];
const STOCK: [(&str, &str); 2] = [("skuCode", "\"q\""), ("quantity", "1")];
const LINE: [(&str, &str); 2] = [("skuCode", "\"p\""), ("quantity", "1")];
/// Values that are not a string or not a valid SKU code.
const NO_SKU: [&str; 10] = ["null", "5", "true", "[]", "{}", "\"\"", "\"  \"", r#""a\u0000b""#, r#""a\u0007b""#, r#""a\u007fb""#];
/// Values that are not integers or out of range.
const NO_QUANTITY: [&str; 13] = [
    "null",
    "1.5",
    "1.0",
    "1e2",
    "\"5\"",
    "true",
    "[]",
    "{}",
    "2147483648",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775809",
    "18446744073709551616",
];
/// Number formats that are not JSON, though some parsers accept them.
const NO_JSON: [&str; 8] = ["1e400", "NaN", "Infinity", "01", "+1", "-", "0x10", "1_000"];
const NO_PRICE: [&str; 16] = [
    "null",
    "-1",
    "\"-0.01\"",
    "\"abc\"",
    "\"\"",
    "\"NaN\"",
    "1e30",
    "\"1e30\"",
    "1.23456",
    "0.00001",
    "1e-400",
    "1e400",
    "1000000000001",
    "true",
    "[1]",
    "\"1,5\"",
];

/// Each member of a request body, omitted and with every invalid value.
fn members() -> Vec<Row> {
    let long = format!("\"{}\"", "x".repeat(65));
    let mut rows = Vec::new();
    let order = |line: String| format!("{{\"orderLineItems\":[{line}]}}");
    for raw in NO_SKU.into_iter().map(Some).chain([Some(long.as_str()), None]) {
        rows.push(row(Method::POST, "/api/v1/products", object(&PRODUCT, "skuCode", raw), 400, field("skuCode")));
        rows.push(row(Method::POST, "/api/v1/inventory", object(&STOCK, "skuCode", raw), 400, field("skuCode")));
        rows.push(row(Method::POST, "/api/v1/orders", order(object(&LINE, "skuCode", raw)), 400, field("orderLineItems[0].skuCode")));
    }
    for raw in NO_QUANTITY.into_iter().chain(["-1", "-2147483648"]).map(Some).chain([None]) {
        rows.push(row(Method::POST, "/api/v1/inventory", object(&STOCK, "quantity", raw), 400, field("quantity")));
        rows.push(row(Method::POST, "/api/v1/orders", order(object(&LINE, "quantity", raw)), 400, field("orderLineItems[0].quantity")));
    }
    rows.push(row(Method::POST, "/api/v1/orders", order(object(&LINE, "quantity", Some("0"))), 400, field("orderLineItems[0].quantity")));
    for raw in NO_QUANTITY.into_iter().chain(["-2147483648"]).map(Some).chain([None]) {
        rows.push(row(Method::PUT, "/api/v1/inventory/1", object(&[], "quantity", raw), 400, field("quantity")));
    }
    for raw in NO_QUANTITY.into_iter().chain(["0", "-1"]) {
        let body = format!("{{\"p\":{raw}}}");
        rows.push(row(Method::POST, "/api/v1/inventory/checkStock", body.clone(), 400, field("p")));
        rows.push(row(Method::PUT, "/api/v1/inventory/updateQuantitiesBySku", body, 400, field("p")));
    }
    for raw in NO_JSON {
        let malformed = |path: &str, body| row(Method::POST, path, body, 400, message("malformed JSON"));
        rows.push(malformed("/api/v1/inventory", object(&STOCK, "quantity", Some(raw))));
        rows.push(malformed("/api/v1/orders", order(object(&LINE, "quantity", Some(raw)))));
        rows.push(malformed("/api/v1/inventory/checkStock", object(&[], "p", Some(raw))));
    }
    for raw in NO_PRICE.into_iter().map(Some).chain([None]) {
        rows.push(row(Method::POST, "/api/v1/products", object(&PRODUCT, "price", raw), 400, field("price")));
    }
    for raw in ["NaN", "01", ".5", "1."] {
        rows.push(row(Method::POST, "/api/v1/products", object(&PRODUCT, "price", Some(raw)), 400, message("malformed JSON")));
    }
    for raw in [Some("null"), Some("5"), Some("\" \""), Some("[]"), Some(&*format!("\"{}\"", "n".repeat(256))), None] {
        rows.push(row(Method::POST, "/api/v1/products", object(&PRODUCT, "name", raw), 400, field("name")));
    }
    for raw in ["5", "[]", &*format!("\"{}\"", "d".repeat(10_001))] {
        rows.push(row(Method::POST, "/api/v1/products", object(&PRODUCT, "description", Some(raw)), 400, field("description")));
    }
    rows
}

/// Bodies with valid members that are invalid as a whole.
fn wholes() -> Vec<Row> {
    let orders = |body: String, expected: Expected| row(Method::POST, "/api/v1/orders", body, 400, expected);
    let lines = |n: usize| format!("{{\"orderLineItems\":[{}]}}", vec![object(&LINE, "", None); n].join(","));
    let many = |n: usize| format!("{{{}}}", (0..n).map(|i| format!("\"s{i}\":1")).collect::<Vec<_>>().join(","));
    let check = |body: String, status, expected: Expected| row(Method::POST, "/api/v1/inventory/checkStock", body, status, expected);
    let take = |body: &str, status, expected: Expected| row(Method::PUT, "/api/v1/inventory/updateQuantitiesBySku", body, status, expected);
    let huge = r#"{"skuCode":"p","quantity":2147483647}"#;
    let mut rows = vec![
        orders("{}".into(), field("orderLineItems")),
        orders(r#"{"orderLineItems":null}"#.into(), field("orderLineItems")),
        orders(r#"{"orderLineItems":[]}"#.into(), field("orderLineItems")),
        orders(r#"{"orderLineItems":{}}"#.into(), field("orderLineItems")),
        orders(r#"{"orderLineItems":"p"}"#.into(), field("orderLineItems")),
        orders(r#"{"orderLineItems":[null]}"#.into(), field("orderLineItems[0]")),
        orders(r#"{"orderLineItems":[7]}"#.into(), field("orderLineItems[0]")),
        orders(r#"{"orderLineItems":[{}]}"#.into(), field("orderLineItems[0].skuCode")),
        orders(format!(r#"{{"orderLineItems":[{},{{"skuCode":"p"}}]}}"#, object(&LINE, "", None)), field("orderLineItems[1].quantity")),
        orders(lines(1001), field("orderLineItems")),
        orders(format!(r#"{{"orderLineItems":[{huge},{huge}]}}"#), field("orderLineItems")),
        orders(r#"{"orderLineItems":[{"skuCode":"p","skuCode":"q","quantity":1}]}"#.into(), field("orderLineItems[0]")),
        orders(r#"{"orderLineItems":[{"skuCode":"what","quantity":1}]}"#.into(), kind("order:refused")),
        orders(r#"{"orderLineItems":[{"skuCode":"p","quantity":9}]}"#.into(), kind("order:refused")),
        orders(r#"{"orderLineItems":[{"skuCode":"p","quantity":5},{"skuCode":"p","quantity":4}]}"#.into(), kind("order:refused")),
        check("{}".into(), 400, field("body")),
        check(many(1001), 400, field("body")),
        check(r#"["p"]"#.into(), 400, field("body")),
        check(r#"{"a\u0000b":1}"#.into(), 400, field("a\0b")),
        check(format!("{{\"{}\":1}}", "x".repeat(65)), 400, field("x".repeat(65))),
        take(r#"{"p":9}"#, 400, kind("inventory:short")),
        take(r#"{"p":1,"what":1}"#, 404, kind("inventory:unknown-sku")),
        take(r#"{"p":1,"q":-1}"#, 400, field("q")),
        row(Method::POST, "/api/v1/inventory", r#"{"skuCode":"p","quantity":1}"#, 409, kind("inventory:sku-taken")),
        row(Method::POST, "/api/v1/inventory", r#"{"skuCode":"what","quantity":1}"#, 404, kind("inventory:unknown-sku")),
        row(Method::POST, "/api/v1/products", object(&PRODUCT, "skuCode", Some("\"p\"")), 400, kind("product:sku-taken")),
        row(Method::PUT, "/api/v1/inventory/1", r#"{"quantity":-9}"#, 400, kind("inventory:negative")),
        row(Method::PUT, "/api/v1/inventory/1", r#"{"quantity":2147483647}"#, 400, kind("inventory:too-many")),
        row(Method::POST, "/api/v1/products/prices", r#"["p",null]"#, 400, field("[1]")),
        row(Method::POST, "/api/v1/products/prices", "{}", 400, field("body")),
        row(Method::POST, "/api/v1/products/prices", format!("[{}]", vec!["\"p\""; 1001].join(",")), 400, field("body")),
    ];
    let order = || orders(lines(1), field("Idempotency-Key"));
    rows.extend(["", "a\tb", &*"k".repeat(256)].map(|key| order().with("idempotency-key", key)));
    rows
}

scenario! {
    /// Checks every member of every body, and every body as a whole.
    async fn invalid_fields_are_named(shop) {
        refuse_all(shop, &shop.client.admin, async |_| members().into_iter().chain(wholes()).collect()).await;
    }
}

scenario! {
    /// Every operation with a body refuses a body that is missing, truncated, not JSON, or has another content type.
    async fn non_json_bodies_are_refused(shop) {
        refuse_all(shop, &shop.client.admin, async |product| {
            // expected errors of a malformed object, of too deeply nested lists and of too deeply nested objects
            let broken = || message("malformed JSON");
            let object_wanted = || [broken(), field("body"), broken()];
            let map_wanted = || [broken(), field("body"), field("p")];
            let list_wanted = || [field("body"), field("[0]"), field("body")];
            let takers = [
                (Method::POST, "/api/v1/products".to_string(), object(&PRODUCT, "", None), object_wanted()),
                (Method::PUT, format!("/api/v1/products/{product}"), object(&PRODUCT, "", None), object_wanted()),
                (Method::POST, "/api/v1/products/prices".into(), r#"["p"]"#.into(), list_wanted()),
                (Method::POST, "/api/v1/inventory".into(), object(&STOCK, "", None), object_wanted()),
                (Method::POST, "/api/v1/inventory/checkStock".into(), r#"{"p":1}"#.into(), map_wanted()),
                (Method::PUT, "/api/v1/inventory/1".into(), r#"{"quantity":1}"#.into(), object_wanted()),
                (Method::PUT, "/api/v1/inventory/updateQuantitiesBySku".into(), r#"{"p":1}"#.into(), map_wanted()),
                (Method::POST, "/api/v1/orders".into(), format!("{{\"orderLineItems\":[{}]}}", object(&LINE, "", None)), object_wanted()),
            ];
            let mut rows = Vec::new();
            for (method, path, good, [broken, deep_list, deep_object]) in takers {
                let body = |body: &[u8], status, expected: Expected| row(method.clone(), path.clone(), body, status, expected);
                let malformed = || message("malformed JSON");
                rows.push(body(b"", 400, message("a JSON body is required")));
                rows.push(body(b"", 400, message("a JSON body is required")).without("content-type"));
                rows.push(body(b" \r\n", 400, message("a JSON body is required")));
                rows.push(body(b"{ this is not JSON }", 400, broken));
                rows.push(body(&good.as_bytes()[..good.len() - 1], 400, malformed()));
                rows.push(body(format!("{good} x").as_bytes(), 400, malformed()));
                rows.push(body(format!("{good}{good}").as_bytes(), 400, malformed()));
                rows.push(body(b"{\"skuCode\":\"\xff\xfe\",\"quantity\":1}", 400, malformed()));
                rows.push(body(b"\xef\xbb\xbf{}", 400, malformed()));
                rows.push(body("[".repeat(100_000).as_bytes(), 400, deep_list));
                rows.push(body("{\"p\":".repeat(100_000).as_bytes(), 400, deep_object));
                rows.extend(["null", "true", "42", "\"text\""].map(|wrong| body(wrong.as_bytes(), 400, field("body"))));
                for media in ["text/plain", "application/x-www-form-urlencoded", "application/xml", "json", "multipart/form-data; boundary=x"] {
                    rows.push(body(good.as_bytes(), 415, message("the body must be application/json")).with("content-type", media));
                }
                rows.push(body(good.as_bytes(), 415, message("the body must be application/json")).without("content-type"));
            }
            rows
        })
        .await;
    }
}

scenario! { of one process:
    /// Invalid ids, page numbers and versions, and `Accept` headers without JSON.
    async fn invalid_paths_queries_and_headers_are_refused(shop) {
        refuse_all(shop, &shop.client.admin, async |product| {
            let mut rows = Vec::new();
            let long = "9".repeat(5000);
            for id in ["abc", "9223372036854775808", "1.5", "1e0", "%00", "%2F", "1%2F", "..%2F1", "%FF", "%20", "null", &long] {
                for (method, path) in [
                    (Method::GET, format!("/api/v1/inventory/{id}")),
                    (Method::DELETE, format!("/api/v1/inventory/{id}")),
                    (Method::GET, format!("/api/v1/orders/{id}")),
                    (Method::DELETE, format!("/api/v1/orders/{id}")),
                    (Method::POST, format!("/api/v1/orders/{id}/cancel")),
                    (Method::POST, format!("/api/v1/notifications/{id}/read")),
                    (Method::POST, format!("/api/v1/notifications/deliveries/{id}/replay")),
                ] {
                    rows.push(row(method, path, "", 400, field("id")));
                }
                rows.push(row(Method::PUT, format!("/api/v1/inventory/{id}"), r#"{"quantity":1}"#, 400, field("id")));
                rows.push(get(format!("/api/v1/orders/number/{id}"), 400, field("order_number")));
            }
            for id in ["-1", "0", "2", "9223372036854775807", "-9223372036854775808"] {
                rows.push(get(format!("/api/v1/inventory/{id}"), 404, kind("inventory:not-found")));
                rows.push(row(Method::DELETE, format!("/api/v1/inventory/{id}"), "", 404, kind("inventory:not-found")));
                rows.push(row(Method::PUT, format!("/api/v1/inventory/{id}"), r#"{"quantity":1}"#, 404, kind("inventory:not-found")));
                rows.push(get(format!("/api/v1/orders/{id}"), 404, kind("order:not-found")));
                rows.push(row(Method::DELETE, format!("/api/v1/orders/{id}"), "", 404, kind("order:not-found")));
                rows.push(row(Method::POST, format!("/api/v1/orders/{id}/cancel"), "", 404, kind("order:not-found")));
                rows.push(row(Method::POST, format!("/api/v1/notifications/{id}/read"), "", 404, kind("notification:not-found")));
            }
            rows.push(get("/api/v1/orders/number/00000000-0000-4000-8000-000000000000", 404, kind("order:unknown-number")));
            for (id, shown) in [("abc", "abc"), ("0", "0"), ("%00", "\0"), ("%2F", "/"), ("a%2Fb", "a/b"), ("%252F", "%2F"), ("%C3%A4", "ä"), (long.as_str(), long.as_str())] {
                rows.push(get(format!("/api/v1/products/{id}"), 404, kind("product:not-found")).about("id", shown));
                rows.push(row(Method::DELETE, format!("/api/v1/products/{id}"), "", 404, kind("product:not-found")).about("id", shown));
                rows.push(get(format!("/api/v1/products/{id}/price"), 404, kind("product:unknown-sku")).about("skuCode", shown));
                rows.push(get(format!("/api/v1/products/sku/{id}"), 404, kind("product:unknown-sku")).about("skuCode", shown));
            }
            rows.push(get("/api/v1/products/%FF", 400, field("id")));
            rows.push(get("/api/v1/products/%C3%28/price", 400, field("sku_code")));
            for path in ["/api/v1/products", "/api/v1/inventory", "/api/v1/orders", "/api/v1/notifications", "/api/v1/notifications/deliveries"] {
                for page in ["-1", "abc", "1.5", "2147483648", "99999999999", "", "0x1", "%00", "%FF", "1%202"] {
                    rows.push(get(format!("{path}?page={page}"), 400, field("page")));
                }
                for size in ["0", "-1", "abc", "1001", "99999999999", "1.5", ""] {
                    rows.push(get(format!("{path}?page=0&size={size}"), 400, field("size")));
                }
                for accept in ["image/png", "text/html", "application/xml", "application/json;q=0", "text/event-stream, image/*"] {
                    rows.push(get(path, 406, message("answers are application/json")).with("accept", accept));
                }
            }
            for path in ["/api/v1/inventory", "/api/v1/orders", "/api/v1/notifications", "/api/v1/notifications/deliveries"] {
                for after in ["-1", "abc", "1.5", "9223372036854775808", "", "0x1", "%00", "%FF", "1%202", "000000000000000000000000z"] {
                    rows.push(get(format!("{path}?after={after}"), 400, field("after")));
                }
                rows.push(get(format!("{path}?after=1&page=1"), 400, field("page")));
            }
            rows.push(get("/api/v1/notifications/deliveries?state=lost", 400, field("state")));
            let replaced = format!("/api/v1/products/{product}");
            let put = |status, name| row(Method::PUT, &replaced, object(&PRODUCT, "", None), status, kind(name)).about("id", product);
            rows.push(put(428, "product:version-missing"));
            rows.extend(["\"0\"", "\"2\"", "garbage", "", "\"99999999999999999999\"", "\"-1\"", "\"1\", \"1\""].map(|tag| put(412, "product:stale").with("if-match", tag)));
            rows.push(row(Method::PUT, "/api/v1/products/abc", object(&PRODUCT, "", None), 404, kind("product:not-found")).about("id", "abc").with("if-match", "*"));
            rows
        })
        .await;
    }
}

const NUMBER: &str = "\"11111111-1111-4111-8111-111111111111\"";

/// A reservation with one member replaced or omitted.
fn reserve(member: &str, raw: Option<&str>, expected: Expected) -> Row {
    let good = [("orderNumber", NUMBER), ("lines", "{\"p\":1}")];
    row(Method::POST, "/api/v1/inventory/reservations", object(&good, member, raw), 400, expected)
}

scenario! {
    /// Requests that only peers may send are validated in the same way.
    async fn invalid_requests_from_peers_are_refused(shop) {
        let service = shop.service_token().await;
        refuse_all(shop, &service, async |_| {
            let mut rows = vec![
                reserve("orderNumber", Some("\"abc\""), field("orderNumber")),
                reserve("orderNumber", Some("null"), field("orderNumber")),
                reserve("orderNumber", None, Expected::Missing("orderNumber")),
                reserve("lines", Some("{}"), field("lines")),
                reserve("lines", Some("null"), field("lines")),
                reserve("lines", Some("[]"), field("lines")),
                reserve("lines", Some("{\"\":1}"), field("lines.")),
                reserve("lines", None, Expected::Missing("lines")),
            ];
            rows.extend(NO_QUANTITY.into_iter().chain(["0", "-1"]).map(|raw| reserve("lines", Some(&format!("{{\"p\":{raw}}}")), field("lines.p"))));
            let settle = |body: String, expected| row(Method::POST, "/api/v1/inventory/reservations/settle", body, 400, expected);
            rows.push(settle(r#"{"commit":[]}"#.into(), Expected::Missing("release")));
            rows.push(settle(r#"{"commit":["abc"],"release":[]}"#.into(), field("commit[0]")));
            rows.push(settle(format!("{{\"commit\":[{}],\"release\":[]}}", vec![NUMBER; 1001].join(",")), field("body")));
            for end in ["commit", "release"] {
                rows.push(row(Method::POST, format!("/api/v1/inventory/reservations/abc/{end}"), "", 400, field("order_number")));
            }
            rows.push(get("/api/v1/orders/number/abc/status", 400, field("order_number")));
            rows
        })
        .await;
    }
}
