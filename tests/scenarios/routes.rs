//! A Spring Cloud Gateway route file: its filters have the same effect whether the modules run behind the gateway
//! or in its process.

use crate::support::client::Reply;
use crate::support::{Shape, Shop, on_system};
use actix_web::http::Method;
use serde_json::{Value, json};
use std::path::Path;

const FILE: &str = "
spring.cloud.gateway:
  default-filters: ['AddResponseHeader=X-Shop, all']
  routes:
  - id: renamed
    uri: lb://product-service
    predicates: ['Path=/shop/{*rest}']
    filters: ['RewritePath=/shop/(?<rest>.*), /api/v1/$\\{rest}', 'AddResponseHeader=X-Rest, {rest}', SecureHeaders]
  - id: small
    uri: lb://order-service
    predicates: ['Path=/api/v1/orders/**', Method=POST]
    filters: [RequestSize=400B, 'SetResponseHeader=Location, /hidden']
  - id: read
    uri: lb://order-service
    predicates: ['Path=/api/v1/orders/**']
    filters: ['AddRequestParameter=size, 1', RemoveResponseHeader=X-Trace-Id]
  - id: limited
    uri: lb://product-service
    predicates: ['Path=/api/v1/products/**', Method=GET]
    filters: [{name: RequestRateLimiter, args: {redis-rate-limiter.replenishRate: 1, redis-rate-limiter.burstCapacity: 3000, redis-rate-limiter.requestedTokens: 1000}}]
  - id: any
    uri: lb://product-service
    predicates: ['Path=/api/v1/products/**']
  - id: stock
    uri: lb://inventory-service
    predicates: ['Path=/api/v1/inventory/**']
    filters: ['AddRequestHeader=Accept, application/json']
  - id: careful
    uri: lb://product-service
    predicates: ['Path=/careful/{id}']
    filters:
    - SetPath=/api/v1/products/{id}
    - {name: CircuitBreaker, args: {name: careful, statusCodes: [404], fallbackUri: 'forward:/instead/{id}'}}
  - id: strict
    uri: lb://product-service
    predicates: ['Path=/strict/{id}']
    filters: ['SetPath=/api/v1/products/{id}', {name: CircuitBreaker, args: {name: strict, statusCodes: [NOT_FOUND]}}]
  - {id: instead, uri: 'lb://product-service', predicates: ['Path=/instead/**'], filters: [SetPath=/api/v1/products, SetStatus=203]}
  - {id: old, uri: 'lb://product-service', predicates: ['Path=/old/**'], filters: ['RedirectTo=301, /shop/products']}
  - {id: answered, uri: 'no://op', predicates: ['Path=/nothing'], filters: [SetStatus=204]}
  - {id: forbidden, uri: 'lb://order-service', predicates: ['Path=/sneaky/**'], filters: [PrefixPath=/eureka]}
  - {id: issuer, uri: 'lb://identity-service', predicates: ['Path=/realms/**']}
resilience4j.circuitbreaker.instances.strict: {sliding-window-size: 2, wait-duration-in-open-state: 60s}
";

/// The parts of a response that are the same on every run.
fn comparable(reply: &Reply) -> Value {
    let shown = |name: &str| reply.headers.get(name).cloned().unwrap_or_default();
    let body: Value = serde_json::from_str(&reply.text).unwrap_or_default();
    let headers = ["x-shop", "x-rest", "x-frame-options", "location", "content-type", "www-authenticate"];
    let headers: Vec<_> = headers.iter().map(|name| format!("{name}: {}", shown(name))).collect();
    let traced = reply.headers.contains_key("x-trace-id");
    // the remaining seconds of an open breaker vary
    let long = reply.headers.get("retry-after").map(|seconds| seconds.parse::<u32>().unwrap() > 1);
    json!({ "status": reply.status, "headers": headers, "waits long": long, "traced": traced, "message": body["message"], "path": body["path"],
        "elements": body["totalElements"], "size": body["size"] })
}

/// Sends a fixed sequence of requests; returns the named responses.
async fn transcript(shape: Shape, routes: &Path) -> Vec<(String, Value)> {
    let mut shop = Shop::start(shape, |s| s.gateway.routes = Some(routes.into())).await;
    let c = &shop.client;
    let mut responses = Vec::new();
    let mut note = |name: &str, reply: Reply| responses.push((name.to_string(), comparable(&reply)));
    let product = json!({ "skuCode": "r", "name": "the r", "price": "2.50" });
    let made = c.post(&c.admin, "/shop/products", product.clone()).await;
    let id = made.json()["id"].to_string().replace('"', "");
    note("made through another path", made);
    note("stocked", c.post(&c.admin, "/api/v1/inventory", json!({ "skuCode": "r", "quantity": 50 })).await);
    note("no token", c.send(Method::GET, "/shop/products", &[], "").await);
    note("no right to", c.post(&c.alice, "/shop/products", product).await);
    note("what the module refuses", c.post(&c.admin, "/shop/products", json!({ "skuCode": "" })).await);
    note("no such path behind the route", c.get(&c.alice, "/shop/nowhere").await);
    note("no such method", c.delete(&c.alice, "/shop/products").await);
    note("an unclean path", c.get(&c.alice, "//shop///products").await);
    note("a way up", c.get(&c.alice, "/shop/%2e%2e/api/v1/orders").await);
    note("too large", c.order(&vec![("r", 1); 20]).await);
    // the rate limit of the product route applies to clients; calls by the order module do not count
    for _ in 0..5 {
        note("ordered", c.order(&[("r", 1)]).await);
    }
    note("read, one a page", c.get(&c.alice, "/api/v1/orders").await);
    for _ in 0..5 {
        note("limited", c.get(&c.alice, "/api/v1/products").await);
    }
    note("another's limit", c.get(&c.admin, "/api/v1/products").await);
    note("careful and there", c.get(&c.alice, &format!("/careful/{id}")).await);
    note("careful and not there", c.get(&c.alice, "/careful/4711").await);
    for _ in 0..4 {
        note("strict", c.get(&c.alice, "/strict/4711").await);
    }
    note("moved", c.get(&c.alice, "/old/x").await);
    note("answered by the route", c.get(&c.alice, "/nothing").await);
    note("into the registry", c.post(&c.admin, "/sneaky/apps/PRODUCT-SERVICE", json!({})).await);
    note("a route that is not there", c.get(&c.alice, "/nowhere").await);
    shop.assert_sound().await;
    shop.stop().await;
    responses
}

#[test]
fn route_file_has_the_same_effect_in_every_shape() {
    on_system(async {
        let dir = tempfile::tempdir().unwrap();
        let routes = dir.path().join("routes.yml");
        std::fs::write(&routes, FILE).unwrap();
        let local = transcript(Shape::Local, &routes).await;
        let status = |name: &str| local.iter().filter(|(n, _)| n == name).map(|(_, v)| v["status"].as_u64().unwrap()).collect::<Vec<_>>();
        for (name, expected) in [
            ("made through another path", &[201][..]),
            ("no token", &[401]),
            ("no right to", &[403]),
            ("what the module refuses", &[400]),
            ("no such path behind the route", &[404]),
            ("no such method", &[405]),
            ("an unclean path", &[200]),
            ("a way up", &[400]),
            ("too large", &[413]),
            ("ordered", &[201; 5]),
            ("limited", &[200, 200, 200, 429, 429]),
            ("another's limit", &[200]),
            ("careful and there", &[200]),
            ("careful and not there", &[203]),
            ("strict", &[404, 404, 503, 503]),
            ("moved", &[301]),
            ("answered by the route", &[204]),
            ("into the registry", &[403]),
            ("a route that is not there", &[404]),
        ] {
            assert_eq!(status(name), expected, "{name}: {local:#?}");
        }
        let one = |name: &str| local.iter().find(|(n, _)| n == name).unwrap().1.clone();
        assert_eq!(one("read, one a page")["size"], 1);
        assert!(one("what the module refuses")["headers"].to_string().contains("x-rest: /products"), "{local:#?}");
        assert!(one("strict")["headers"].to_string().contains("x-shop: all"));
        for shape in [Shape::Loopback, Shape::Split] {
            for (there, here) in transcript(shape, &routes).await.iter().zip(&local) {
                assert_eq!(there, here, "{shape:?}");
            }
        }
    });
}
