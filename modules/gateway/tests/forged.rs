//! Forged, malformed and smuggled requests by raw socket: what of them an upstream hears.

#[path = "../../../tests/security/forged/wire/mod.rs"]
#[allow(dead_code, reason = "the tests of the whole shop use all of it")]
mod wire;

use super::support::{Upstream, front};
use serde_json::json;
use wire::Expect;

const ROUTES: &str = "
spring.cloud.gateway.routes:
- {id: protected, uri: 'URL', predicates: [Path=/api/**]}
- {id: open, uri: 'URL', predicates: [Path=/realms/**], filters: [SetStatus=401]}
";
const PUBLIC: [&str; 2] = ["/realms/**", "/actuator/health/**"];

#[actix_web::test]
async fn without_a_token_nothing_reaches_an_upstream() {
    let upstream = Upstream::start("a");
    let door = front(&upstream, ROUTES, &PUBLIC, |_| {});
    let address = door.address.to_string();
    wire::run(&address, wire::requests(), true).await;
    wire::run(&address, wire::bodies("/api/v1/orders", ""), true).await;
    // of the open path an upstream hears, and refuses what it does not know, as the issuer does
    assert_eq!(upstream.targets(), ["GET /realms/api/v1/orders", "GET /realms/x"]);
}

#[actix_web::test]
async fn of_an_open_path_no_upstream_hears_a_body_of_two_lengths() {
    let upstream = Upstream::start("a");
    let door = front(&upstream, ROUTES, &PUBLIC, |_| {});
    let address = door.address.to_string();
    // what says that more will come is waited for
    let waits = ["a body that does not come", "no end of the chunks"];
    let refused = |expect: fn(Expect) -> bool| {
        wire::bodies("/realms/x", "").into_iter().filter(|case| expect(case.expect) && !waits.contains(&&*case.name)).collect::<Vec<_>>()
    };
    // what is wrong in the head is refused as it is everywhere; what is wrong in the chunks is found out on the way
    let (heads, chunks) = (refused(|e| e == Expect::Refused(400)), refused(|e| e == Expect::Refused(401)));
    assert!(heads.len() > 40 && chunks.len() > 10, "{} and {}", heads.len(), chunks.len());
    wire::run(&address, heads, true).await;
    wire::run(&address, chunks, false).await;
    assert_eq!(upstream.targets(), Vec::<String>::new());
}

#[actix_web::test]
async fn what_a_client_says_of_itself_stops_at_the_door() {
    let upstream = Upstream::start("a");
    let door = front(&upstream, ROUTES, &PUBLIC, |_| {});
    let token = upstream.token("ann", &["customer"]);
    let lies = "X-User: admin\r\nX_User: admin\r\nX-Auth-Roles: admin\r\nX-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Forwarded-Host: evil\r\n\
        X-Real-IP: 6.6.6.6\r\nX-Original-URL: /\r\nTE: trailers\r\nKeep-Alive: 1\r\nProxy-Authorization: x\r\nX-Hop: 1\r\nConnection: x-hop, close\r\n";
    let answer = door
        .raw(
            format!("GET /api//v1/%6frders HTTP/1.1\r\nHost: shop:80\r\nAuthorization: Bearer {token}\r\nX-Fine: 1\r\n{lies}\r\n")
                .as_bytes(),
        )
        .await;
    let body = answer.split("\r\n\r\n").nth(1).unwrap();
    let seen: serde_json::Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}"));
    assert_eq!(seen["target"], "/api/v1/orders", "authorised and forwarded in one form");
    let headers = seen["headers"].as_object().unwrap();
    for gone in
        ["x-user", "x_user", "x-auth-roles", "forwarded", "x-real-ip", "x-original-url", "te", "keep-alive", "proxy-authorization", "x-hop"]
    {
        assert!(!headers.contains_key(gone), "{gone}: {headers:?}");
    }
    assert_eq!(headers["x-forwarded-for"], json!(["127.0.0.1"]));
    assert_eq!((&headers["x-forwarded-host"], &headers["x-forwarded-proto"]), (&json!(["shop:80"]), &json!(["http"])));
    assert_eq!((&headers["authorization"], &headers["x-fine"]), (&json!([format!("Bearer {token}")]), &json!(["1"])));
    assert!(headers.contains_key("traceparent") && headers.contains_key("x-request-timeout-ms") && headers.contains_key("via"));
}

#[actix_web::test]
async fn a_browser_may_ask_without_a_token() {
    let upstream = Upstream::start("a");
    let door = front(&upstream, ROUTES, &PUBLIC, |_| {});
    let asked = door.request("OPTIONS", "/api/v1/orders").insert_header(("origin", "http://shop"));
    let got = door.send(asked.insert_header(("access-control-request-method", "POST"))).await;
    assert_eq!((got.status, got.header("access-control-allow-origin")), (204, "http://shop"));
    assert_eq!(door.send(door.request("OPTIONS", "/api/v1/orders")).await.status, 401, "any other OPTIONS is a request like any");
    let refused = door.get("/api/v1/orders").await;
    assert_eq!((refused.status, refused.header("www-authenticate")), (401, "Bearer"));
    assert_eq!(upstream.calls(), 0);
}
