//! Proxying: bodies, streams, time-outs, and failures of the upstream.

use super::support::{TEST_TIMEOUT, Upstream, read_response, single_route, start_gateway};
use actix_web::web::Bytes;
use futures_util::{StreamExt, stream};
use serde_json::json;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Default body limit in bytes.
const BODY_LIMIT: usize = 1 << 20;

/// Chunks of `/big` that the gateway read, once it reads no more.
async fn chunks_read_when_idle(upstream: &Upstream) -> usize {
    let chunks_read = || upstream.recorded.chunks_sent.load(Ordering::SeqCst);
    let (mut before, mut since) = (chunks_read(), Instant::now());
    while since.elapsed() < Duration::from_millis(500) {
        tokio::time::sleep(Duration::from_millis(10)).await;
        if chunks_read() != before {
            (before, since) = (chunks_read(), Instant::now());
        }
    }
    before
}

#[actix_web::test]
async fn large_bodies_stream_with_backpressure() {
    let upstream = Upstream::start("a");
    let gateway = start_gateway(&upstream, &single_route(""), &[], |s| s.gateway.body_limit = Some(1 << 30));
    let mut response = gateway.request("GET", "/big").send().await.unwrap();
    // the client does not read: the gateway buffers few chunks
    let buffered = chunks_read_when_idle(&upstream).await;
    assert!((1..512).contains(&buffered), "{buffered} of 1024 chunks are buffered");
    let mut size = 0;
    while let Some(chunk) = response.next().await {
        size += chunk.unwrap().len();
    }
    assert_eq!(size, 64 << 20);
    let chunks = stream::repeat(Bytes::from(vec![1_u8; 1 << 16])).take(1024).map(Ok::<_, std::io::Error>);
    let received = read_response(gateway.request("POST", "/sink").send_stream(Box::pin(chunks)).await.unwrap()).await;
    assert_eq!(received.body, (64 << 20).to_string());
    // one byte over the limit, without `content-length`
    let limited = start_gateway(&upstream, &single_route(""), &[], |_| {});
    let mut chunked = b"POST /sink HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for size in [BODY_LIMIT, 1] {
        chunked.extend_from_slice(format!("{size:x}\r\n").as_bytes());
        chunked.resize(chunked.len() + size, b'x');
        chunked.extend_from_slice(b"\r\n");
    }
    let (mut reading, mut writing) = TcpStream::connect(limited.address).await.unwrap().into_split();
    // the gateway responds before the body ends and may stop reading it
    let sender = actix_web::rt::spawn(async move { writing.write_all(&chunked).await });
    let mut response_head = Vec::new();
    while !response_head.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = tokio::time::timeout(TEST_TIMEOUT, reading.read_buf(&mut response_head)).await.unwrap().unwrap();
        assert!(read > 0, "no response");
    }
    sender.abort();
    let response_head = String::from_utf8_lossy(&response_head).into_owned();
    assert!(response_head.starts_with("HTTP/1.1 413 "), "{response_head}");
}

#[actix_web::test]
async fn event_stream_is_not_buffered() {
    let upstream = Upstream::start("a");
    let gateway = start_gateway(&upstream, &single_route(""), &[], |_| {});
    let mut response = gateway.request("GET", "/events").send().await.unwrap();
    assert_eq!(response.headers().get("content-type").unwrap(), "text/event-stream");
    let first = tokio::time::timeout(TEST_TIMEOUT, response.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(first, "data: first\n\n");
    upstream.recorded.release_event.cancel();
    assert_eq!(response.next().await.unwrap().unwrap(), "data: second\n\n");
    assert!(response.next().await.is_none());
}

#[actix_web::test]
async fn websocket_upgrade_opens_tunnel() {
    let upstream = Upstream::start("a");
    let gateway = start_gateway(&upstream, &single_route(""), &[], |_| {});
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let head = "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut response_head = Vec::new();
    while !response_head.ends_with(b"\r\n\r\n") {
        response_head.push(tokio::time::timeout(TEST_TIMEOUT, stream.read_u8()).await.unwrap().unwrap());
    }
    let response_head = String::from_utf8(response_head).unwrap().to_lowercase();
    assert!(
        response_head.starts_with("http/1.1 101")
            && response_head.contains("upgrade: websocket")
            && response_head.contains("sec-websocket-accept: x"),
        "{response_head}"
    );
    for message in ["first", "second"] {
        stream.write_all(message.as_bytes()).await.unwrap();
        let mut back = vec![0; message.len()];
        tokio::time::timeout(TEST_TIMEOUT, stream.read_exact(&mut back)).await.unwrap().unwrap();
        assert_eq!(back, message.as_bytes());
    }
    let refused = gateway.raw(head.replace("/ws", "/flaky").replace("keep-alive", "close").as_bytes()).await;
    assert!(refused.starts_with("HTTP/1.1 200"), "the upstream does not upgrade: {refused}");
}

#[actix_web::test]
async fn head_response_keeps_length_and_http2_is_accepted() {
    let upstream = Upstream::start("a");
    let gateway = start_gateway(&upstream, &single_route(""), &[], |_| {});
    let raw = gateway.raw(b"HEAD /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(raw.starts_with("HTTP/1.1 200") && raw.to_lowercase().contains("content-length: ") && raw.ends_with("\r\n\r\n"), "{raw}");
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    // preface and empty SETTINGS: an HTTP/2 server answers with its own SETTINGS frame
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut frame = [0; 9];
    tokio::time::timeout(TEST_TIMEOUT, stream.read_exact(&mut frame)).await.unwrap().unwrap();
    assert_eq!(frame[3], 4, "SETTINGS");
}

#[actix_web::test]
async fn retry_by_default_covers_get_and_server_errors() {
    let upstream = Upstream::start("a");
    let gateway = start_gateway(&upstream, &single_route("{name: Retry, args: {backoff: {firstBackoff: 1ms}}}"), &[], |_| {});
    upstream.recorded.failures.store(3, Ordering::SeqCst);
    assert_eq!(gateway.get("/flaky").await.status, 200);
    assert_eq!(upstream.calls(), 4);
    upstream.recorded.failures.store(1, Ordering::SeqCst);
    assert_eq!(gateway.send(gateway.request("POST", "/flaky")).await.status, 500);
    assert_eq!(upstream.calls(), 5);
    let posts = start_gateway(&upstream, &single_route("{name: Retry, args: {retries: 1, methods: POST}}"), &[], |_| {});
    upstream.recorded.failures.store(1, Ordering::SeqCst);
    assert_eq!(read_response(posts.request("POST", "/flaky").send_body("kept").await.unwrap()).await.status, 200);
}

#[actix_web::test]
async fn breaker_after_failures_opens_and_fallback_responds() {
    let upstream = Upstream::start("a");
    let file = "
spring.cloud.gateway.routes:
- id: main
  uri: lb://gone
  predicates: ['Path=/main/{*rest}']
  filters: [{name: CircuitBreaker, args: {name: cb, fallbackUri: 'forward:/fallback/{rest}'}}]
- {id: bare, uri: 'lb://gone', predicates: [Path=/bare], filters: [CircuitBreaker=bare]}
- {id: statuses, uri: 'URL', predicates: [Path=/flaky], filters: [{name: CircuitBreaker, args: {name: s, statusCodes: [500]}}]}
- {id: fallback, uri: 'URL', predicates: [Path=/fallback/**]}
";
    let gateway = start_gateway(&upstream, file, &[], |_| {});
    for _ in 0..7 {
        let response = gateway.get("/main/users/1").await;
        assert_eq!((response.status, &response.json()["target"]), (200, &json!("/fallback/users/1")));
    }
    let status_and_retry_after = async |path: &str| {
        let response = gateway.get(path).await;
        (response.status, response.header("retry-after").to_string())
    };
    for _ in 0..5 {
        assert_eq!(status_and_retry_after("/bare").await, (503, "1".into()));
    }
    let (status, wait) = status_and_retry_after("/bare").await;
    assert!(status == 503 && (2..=30).contains(&wait.parse::<u32>().unwrap()), "open for at most 30 s: {wait}");
    upstream.recorded.failures.store(100, Ordering::SeqCst);
    let before = upstream.calls();
    let mut statuses = Vec::new();
    for _ in 0..8 {
        statuses.push(gateway.get("/flaky").await.status);
    }
    assert_eq!(statuses, [500, 500, 500, 500, 500, 503, 503, 503]);
    assert_eq!(upstream.calls() - before, 5, "an open breaker rejects further calls");
    // the actuator lists and sets route breakers by name, together with the peers' breakers
    let admin = upstream.token("root", &["admin"]);
    let ask = async |method: &str, path: &str, body: &'static str| {
        let request = gateway.request(method, path).bearer_auth(&admin);
        read_response(request.send_body(body).await.unwrap()).await.json()
    };
    let listed = ask("GET", "/actuator/circuitbreakers", "").await["circuitBreakers"].clone();
    let states: Vec<_> = ["bare", "cb", "s"].iter().map(|name| listed[name]["state"].clone()).collect();
    assert_eq!(states, ["OPEN", "OPEN", "OPEN"], "{listed}");
    assert_eq!((&listed["s"]["failedCalls"], &listed["s"]["notPermittedCalls"]), (&json!(5), &json!(3)));
    ask("POST", "/actuator/circuitbreakers/s", r#"{"updateState": "CLOSE"}"#).await;
    assert_eq!(gateway.get("/flaky").await.status, 500, "closed through the actuator");
    let text = prometheus::TextEncoder::new().encode_to_string(&gateway.metrics.gather()).unwrap();
    assert!(text.contains(r#"resilience4j_circuitbreaker_state{name="bare",state="open"} 1"#), "{text}");
    assert!(text.contains(r#"resilience4j_circuitbreaker_calls_total{kind="not_permitted",name="s"} 3"#), "{text}");
}

#[actix_web::test]
async fn slow_upstream_times_out() {
    let upstream = Upstream::start("a");
    let file = "spring.cloud.gateway.routes:\n- {id: s, uri: 'URL', predicates: [Path=/slow], metadata: {response-timeout: 100}}\n- {id: u, uri: 'lb://unknown', predicates: [Path=/unknown]}\n";
    let gateway = start_gateway(&upstream, file, &[], |_| {});
    assert_eq!(gateway.get("/slow").await.status, 504);
    assert_eq!(gateway.get("/unknown").await.status, 503);
    assert_eq!(gateway.get("/elsewhere").await.status, 404);
    let text = prometheus::TextEncoder::new().encode_to_string(&gateway.metrics.gather()).unwrap();
    assert!(text.contains(r#"httpMethod="GET",httpStatusCode="504",outcome="SERVER_ERROR",routeId="s""#), "{text}");
    assert!(text.contains(r#"status="GATEWAY_TIMEOUT""#));
}

#[actix_web::test]
async fn unsent_request_fails_over_to_another_instance() {
    let upstream = Upstream::start("a");
    let gateway = start_gateway(&upstream, "spring.cloud.gateway.routes:\n- {id: p, uri: 'lb://pair'}\n", &[], |_| {});
    assert_eq!(gateway.get("/x").await.status, 200);
    let posted = read_response(gateway.request("POST", "/x").send_body("body").await.unwrap()).await;
    assert_eq!(posted.json()["body"], 4, "an unread body is sent to the other instance");
}

#[actix_web::test]
async fn breaker_time_limit_applies_and_breaker_survives_reload() {
    let upstream = Upstream::start("a");
    let file = |limit: &str| {
        format!(
            "spring.cloud.gateway.routes:\n- {{id: s, uri: '{}', predicates: [Path=/slow], filters: [CircuitBreaker=t]}}\n\
             resilience4j: {{timelimiter.instances.t.timeout-duration: {limit}, circuitbreaker.instances.t.sliding-window-size: 2}}\n",
            upstream.url
        )
    };
    let gateway = start_gateway(&upstream, &file("50ms"), &[], |s| s.gateway.actuator = true);
    assert_eq!((gateway.get("/slow").await.status, gateway.get("/slow").await.status), (504, 504));
    assert_eq!(gateway.get("/slow").await.status, 503, "open after two failures");
    std::fs::write(&gateway.file, file("60ms")).unwrap();
    let admin = upstream.token("root", &["admin"]);
    let refreshed = gateway.send(gateway.request("POST", "/actuator/gateway/refresh").bearer_auth(&admin)).await;
    assert_eq!((refreshed.status, gateway.get("/slow").await.status), (200, 503), "a reload with the same rules keeps the breaker");
}
