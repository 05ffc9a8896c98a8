//! Forged, malformed and smuggled requests by raw socket.

use super::support::{Upstream, front};
use serde_json::json;

const ROUTES: &str = "
spring.cloud.gateway.routes:
- {id: protected, uri: 'URL', predicates: [Path=/api/**]}
- {id: open, uri: 'URL', predicates: [Path=/open/**]}
";
const PUBLIC: [&str; 2] = ["/open/**", "/actuator/health/**"];

/// Ways to write a path that some server may take for the protected one, or that none should take.
const PATHS: [&str; 42] = [
    "/api/v1/orders",
    "/open/../api/v1/orders",
    "/open/%2e%2e/api/v1/orders",
    "/open/%2E./api/v1/orders",
    "/open/.%2e/api/v1/orders",
    "/open/..%2fapi/v1/orders",
    "/open/..%2Fapi/v1/orders",
    "/open/..%5capi/v1/orders",
    "/open/%252e%252e/api/v1/orders",
    "/open/%25%32%65%25%32%65/api",
    "/open/%252fapi",
    "/open\\..\\api\\v1\\orders",
    "/open/..;/api/v1/orders",
    "/open/..;x=1/api/v1/orders",
    "/open/.;/../api",
    "/open/%2e%2e;/api/v1/orders",
    "/open/..%3b/api/v1/orders",
    "/api/v1/orders%00",
    "/open/%00/../api",
    "/open/a%00b",
    "//api/v1/orders",
    "/api//v1///orders",
    "/api/v1/%6frders",
    "/%61pi/v1/orders",
    "/API/v1/orders",
    "/api/v1/orders;x=/open/",
    "/api/v1/orders?/open/x",
    "/open/%c0%ae%c0%ae/api",
    "/open/%c0%afapi",
    "/open/%uff0e%uff0e/api",
    "/open/%",
    "/open/%2",
    "/open/%zz",
    "http://x/api/v1/orders",
    "*",
    "api/v1/orders",
    "/./api/v1/orders",
    "/open/./../api",
    "/open/%2e",
    "/open/%0d%0aX-User:%20a",
    "/actuator/health/../../api/v1/orders",
    "/open/%7f",
];

/// Headers that should get nobody in.
const HEADERS: [&str; 30] = [
    "X-User: admin",
    "X-User-Id: 1",
    "X-Auth-Token: 1",
    "X-Forwarded-User: admin",
    "X-Remote-User: admin",
    "X-Original-URL: /open/x",
    "X-Rewrite-URL: /open/x",
    "X-Forwarded-For: 127.0.0.1",
    "Forwarded: for=127.0.0.1",
    "X-Forwarded-Prefix: /open",
    "X-Real-IP: 127.0.0.1",
    "Connection: authorization",
    "Connection: close, Host",
    "Authorization: Basic YTpi",
    "Authorization: Bearer",
    "Authorization: Bearer x.y.z",
    "Authorization: Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.",
    "Authorization: Bearer a\r\nAuthorization: Bearer b",
    "Authorization : Bearer x",
    "Host: other",
    "X-Folded: a\r\n b",
    "X-Nul: a\0b",
    "X-Cr: a\rb",
    "X-HTTP-Method-Override: OPTIONS",
    "Upgrade: websocket",
    "Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 5",
    "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
    "Bad Name: x",
    ": empty",
    "X-No-Colon",
];

/// Bodies with lengths that two servers may read in two ways; `SMUGGLED` is a request of its own.
const FRAMES: [&str; 24] = [
    "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nSMUGGLED",
    "Transfer-Encoding: chunked\r\nContent-Length: 200\r\n\r\n0\r\n\r\nSMUGGLED",
    "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nSMUGGLED",
    "Content-Length: 0\r\nContent-Length: 60\r\n\r\nSMUGGLED",
    "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhelloSMUGGLED",
    "Content-Length: 5, 5\r\n\r\nhelloSMUGGLED",
    "Content-Length: +5\r\n\r\nhelloSMUGGLED",
    "Content-Length: -5\r\n\r\nSMUGGLED",
    "Content-Length: 0x5\r\n\r\nhelloSMUGGLED",
    "Content-Length: 5 5\r\n\r\nhelloSMUGGLED",
    "Content-Length: 99999999999999999999\r\n\r\nSMUGGLED",
    "Content-Length:\r\n\r\nSMUGGLED",
    "Content-Length : 5\r\n\r\nhelloSMUGGLED",
    "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\nSMUGGLED",
    "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\nSMUGGLED",
    "Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\nSMUGGLED",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nSMUGGLED",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\nSMUGGLED",
    "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\nSMUGGLED",
    "Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\nSMUGGLED",
    "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\nSMUGGLED",
    "Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\nSMUGGLED",
    "Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\nx\r\n0\r\n\r\nSMUGGLED",
    "Transfer-Encoding: chunked\r\n\r\n0x1\r\nx\r\n0\r\n\r\nSMUGGLED",
];

const LINES: [&str; 10] = [
    "GET /api/v1/orders",
    "GET /api/v1/orders HTTP/1.2",
    "GET /api/v1/orders HTTP/3.0",
    "GET /api/v1/orders http/1.1",
    "GET  /api/v1/orders HTTP/1.1",
    "GET /api/v1/orders HTTP/1.1 x",
    "TRACE /api/v1/orders HTTP/1.1",
    "CONNECT api:80 HTTP/1.1",
    "G\0T /api/v1/orders HTTP/1.1",
    "GET /api/v1/ orders HTTP/1.1",
];

#[actix_web::test]
async fn none_gets_in_without_a_token_and_none_desynchronises() {
    let upstream = Upstream::start("a");
    let door = front(&upstream, ROUTES, &PUBLIC, |_| {});
    let mut cases: Vec<String> = PATHS.iter().map(|path| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).collect();
    cases.extend(HEADERS.iter().map(|header| format!("GET /api/v1/orders HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n")));
    cases.extend(LINES.iter().map(|line| format!("{line}\r\nHost: x\r\n\r\n")));
    cases.push("GET /api/v1/orders HTTP/1.1\r\n\r\n".into());
    cases.push("GET /open/x HTTP/1.1\r\n\r\n".into());
    cases.push(format!("GET /api/v1/orders HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "a".repeat(200_000)));
    cases.push(format!("GET /api/v1/orders HTTP/1.1\r\nHost: x\r\n{}\r\n", "X-A: b\r\n".repeat(200)));
    cases.push("GET /api/v1/orders HTTP/1.0\r\n\r\n".into());
    cases.extend(FRAMES.iter().map(|frame| {
        let smuggled = "GET /api/v1/smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
        format!("POST /open/x HTTP/1.1\r\nHost: x\r\n{}", frame.replace("SMUGGLED", smuggled))
    }));
    assert!(cases.len() >= 110, "{}", cases.len());
    for case in &cases {
        // a request that is told from others follows on the same connection, and is the last
        let answer = door.raw(format!("{case}GET /open/follows HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).await;
        let shown: String = case.chars().take(120).collect();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.0 4"), "{shown:?}: {answer}");
        // what follows is answered as itself or not at all
        let answers = answer.matches("HTTP/1.1 ").count();
        let followed = answer.contains("\"/open/follows\"");
        let echoed = answer.matches("HTTP/1.1 200").count();
        assert!(echoed <= 1 && (echoed == 0 || followed), "{shown:?}: {answers} answers: {answer}");
        let through: Vec<_> = upstream.targets().into_iter().filter(|target| target != "GET /open/follows").collect();
        assert!(through.is_empty(), "{shown:?}: {through:?}");
    }
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
