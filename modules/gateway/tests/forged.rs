//! Forged, malformed and smuggled requests over a raw socket: which of them reach the upstream.

#[path = "../../../tests/security/forged/wire/mod.rs"]
#[allow(dead_code, reason = "the tests of the whole shop use all of it")]
mod wire;

use super::support::{Upstream, start_gateway};
use serde_json::json;
use wire::Expect;

const ROUTES: &str = "
spring.cloud.gateway.routes:
- {id: protected, uri: 'URL', predicates: [Path=/api/**]}
- {id: open, uri: 'URL', predicates: [Path=/realms/**], filters: [SetStatus=401]}
";
const PUBLIC: [&str; 2] = ["/realms/**", "/actuator/health/**"];

#[actix_web::test]
async fn request_without_token_is_not_forwarded() {
    let upstream = Upstream::start("a");
    let gateway = start_gateway(&upstream, ROUTES, &PUBLIC, |_| {});
    let address = gateway.address.to_string();
    wire::run(&address, wire::requests(), true).await;
    wire::run(&address, wire::bodies("/api/v1/orders", ""), true).await;
    // requests to the public path reach the upstream, which rejects them
    assert_eq!(upstream.targets(), ["GET /realms/api/v1/orders", "GET /realms/x"]);
}

#[actix_web::test]
async fn body_with_two_lengths_on_public_path_is_not_forwarded() {
    let upstream = Upstream::start("a");
    let gateway = start_gateway(&upstream, ROUTES, &PUBLIC, |_| {});
    let address = gateway.address.to_string();
    // for these the gateway waits for the rest of the body
    let waiting = ["a body that does not come", "no end of the chunks"];
    let refused = |expect: fn(Expect) -> bool| {
        wire::bodies("/realms/x", "").into_iter().filter(|case| expect(case.expect) && !waiting.contains(&&*case.name)).collect::<Vec<_>>()
    };
    // a malformed head is rejected at once; malformed chunks are found while the gateway forwards the body
    let (heads, chunks) = (refused(|e| e == Expect::Refused(400)), refused(|e| e == Expect::Refused(401)));
    assert!(heads.len() > 40 && chunks.len() > 10, "{} and {}", heads.len(), chunks.len());
    wire::run(&address, heads, true).await;
    wire::run(&address, chunks, false).await;
    assert_eq!(upstream.targets(), Vec::<String>::new());
}

#[actix_web::test]
async fn identity_headers_of_client_are_removed() {
    let upstream = Upstream::start("a");
    let gateway = start_gateway(&upstream, ROUTES, &PUBLIC, |_| {});
    let token = upstream.token("ann", &["customer"]);
    let forged_headers = "X-User: admin\r\nX_User: admin\r\nX-Auth-Roles: admin\r\nX-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Forwarded-Host: evil\r\n\
        X-Real-IP: 6.6.6.6\r\nX-Original-URL: /\r\nTE: trailers\r\nKeep-Alive: 1\r\nProxy-Authorization: x\r\nX-Hop: 1\r\nConnection: x-hop, close\r\n";
    let response = gateway
        .raw(
            format!(
                "GET /api//v1/%6frders HTTP/1.1\r\nHost: shop:80\r\nAuthorization: Bearer {token}\r\nX-Fine: 1\r\n{forged_headers}\r\n"
            )
            .as_bytes(),
        )
        .await;
    let body = response.split("\r\n\r\n").nth(1).unwrap();
    let received: serde_json::Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{response}"));
    assert_eq!(received["target"], "/api/v1/orders", "the authorized path is the forwarded path");
    let headers = received["headers"].as_object().unwrap();
    for removed in
        ["x-user", "x_user", "x-auth-roles", "forwarded", "x-real-ip", "x-original-url", "te", "keep-alive", "proxy-authorization", "x-hop"]
    {
        assert!(!headers.contains_key(removed), "{removed}: {headers:?}");
    }
    assert_eq!(headers["x-forwarded-for"], json!(["127.0.0.1"]));
    assert_eq!((&headers["x-forwarded-host"], &headers["x-forwarded-proto"]), (&json!(["shop:80"]), &json!(["http"])));
    assert_eq!((&headers["authorization"], &headers["x-fine"]), (&json!([format!("Bearer {token}")]), &json!(["1"])));
    assert!(headers.contains_key("traceparent") && headers.contains_key("x-request-timeout-ms") && headers.contains_key("via"));
}

#[actix_web::test]
async fn preflight_without_token_is_allowed() {
    let upstream = Upstream::start("a");
    let gateway = start_gateway(&upstream, ROUTES, &PUBLIC, |_| {});
    let preflight = gateway.request("OPTIONS", "/api/v1/orders").insert_header(("origin", "http://shop"));
    let response = gateway.send(preflight.insert_header(("access-control-request-method", "POST"))).await;
    assert_eq!((response.status, response.header("access-control-allow-origin")), (204, "http://shop"));
    assert_eq!(
        gateway.send(gateway.request("OPTIONS", "/api/v1/orders")).await.status,
        401,
        "an OPTIONS that is no preflight needs a token"
    );
    let refused = gateway.get("/api/v1/orders").await;
    assert_eq!((refused.status, refused.header("www-authenticate")), (401, "Bearer"));
    assert_eq!(upstream.calls(), 0);
}
