//! Bodies, streams, time, and what happens when an upstream fails.

use super::support::{PATIENCE, Upstream, front, got, one};
use actix_web::web::Bytes;
use futures_util::{StreamExt, stream};
use serde_json::json;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Bytes of a body, unless the settings say otherwise.
const LIMIT: usize = 1 << 20;

/// How many pieces were taken off `/big` when no more are taken.
async fn pieces_at_rest(upstream: &Upstream) -> usize {
    let taken = || upstream.seen.pieces.load(Ordering::SeqCst);
    let (mut before, mut since) = (taken(), Instant::now());
    while since.elapsed() < Duration::from_millis(500) {
        tokio::time::sleep(Duration::from_millis(10)).await;
        if taken() != before {
            (before, since) = (taken(), Instant::now());
        }
    }
    before
}

#[actix_web::test]
async fn bodies_stream_both_ways_without_filling_memory() {
    let upstream = Upstream::start("a");
    let door = front(&upstream, &one(""), &[], |s| s.gateway.body_limit = Some(1 << 30));
    let mut response = door.request("GET", "/big").send().await.unwrap();
    // the client does not read: few pieces are buffered between upstream and client
    let held = pieces_at_rest(&upstream).await;
    assert!((1..512).contains(&held), "{held} pieces of 1024 are held");
    let mut size = 0;
    while let Some(piece) = response.next().await {
        size += piece.unwrap().len();
    }
    assert_eq!(size, 64 << 20);
    let pieces = stream::repeat(Bytes::from(vec![1_u8; 1 << 16])).take(1024).map(Ok::<_, std::io::Error>);
    let sunk = got(door.request("POST", "/sink").send_stream(Box::pin(pieces)).await.unwrap()).await;
    assert_eq!(sunk.body, (64 << 20).to_string());
    // one byte more than the limit, without a length
    let limited = front(&upstream, &one(""), &[], |_| {});
    let mut chunked = b"POST /sink HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for size in [LIMIT, 1] {
        chunked.extend_from_slice(format!("{size:x}\r\n").as_bytes());
        chunked.resize(chunked.len() + size, b'x');
        chunked.extend_from_slice(b"\r\n");
    }
    let (mut reading, mut writing) = TcpStream::connect(limited.address).await.unwrap().into_split();
    // the gateway answers before the body ends, and may read no more of it
    let sending = actix_web::rt::spawn(async move { writing.write_all(&chunked).await });
    let mut answer = Vec::new();
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = tokio::time::timeout(PATIENCE, reading.read_buf(&mut answer)).await.unwrap().unwrap();
        assert!(read > 0, "no answer");
    }
    sending.abort();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[actix_web::test]
async fn an_event_arrives_before_the_stream_ends() {
    let upstream = Upstream::start("a");
    let door = front(&upstream, &one(""), &[], |_| {});
    let mut response = door.request("GET", "/events").send().await.unwrap();
    assert_eq!(response.headers().get("content-type").unwrap(), "text/event-stream");
    let first = tokio::time::timeout(PATIENCE, response.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(first, "data: first\n\n");
    upstream.seen.go_on.cancel();
    assert_eq!(response.next().await.unwrap().unwrap(), "data: second\n\n");
    assert!(response.next().await.is_none());
}

#[actix_web::test]
async fn a_websocket_is_a_tunnel() {
    let upstream = Upstream::start("a");
    let door = front(&upstream, &one(""), &[], |_| {});
    let mut stream = TcpStream::connect(door.address).await.unwrap();
    let head = "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(tokio::time::timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap());
    }
    let answer = String::from_utf8(answer).unwrap().to_lowercase();
    assert!(
        answer.starts_with("http/1.1 101") && answer.contains("upgrade: websocket") && answer.contains("sec-websocket-accept: x"),
        "{answer}"
    );
    for message in ["first", "second"] {
        stream.write_all(message.as_bytes()).await.unwrap();
        let mut back = vec![0; message.len()];
        tokio::time::timeout(PATIENCE, stream.read_exact(&mut back)).await.unwrap().unwrap();
        assert_eq!(back, message.as_bytes());
    }
    let refused = door.raw(head.replace("/ws", "/flaky").replace("keep-alive", "close").as_bytes()).await;
    assert!(refused.starts_with("HTTP/1.1 200"), "an upstream that does not upgrade: {refused}");
}

#[actix_web::test]
async fn head_keeps_the_length_and_http2_is_taken() {
    let upstream = Upstream::start("a");
    let door = front(&upstream, &one(""), &[], |_| {});
    let raw = door.raw(b"HEAD /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(raw.starts_with("HTTP/1.1 200") && raw.to_lowercase().contains("content-length: ") && raw.ends_with("\r\n\r\n"), "{raw}");
    let mut stream = TcpStream::connect(door.address).await.unwrap();
    // preface and empty SETTINGS: an HTTP/2 server answers with its own SETTINGS frame
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut frame = [0; 9];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut frame)).await.unwrap().unwrap();
    assert_eq!(frame[3], 4, "SETTINGS");
}

#[actix_web::test]
async fn a_retry_is_for_get_and_for_server_errors() {
    let upstream = Upstream::start("a");
    let door = front(&upstream, &one("{name: Retry, args: {backoff: {firstBackoff: 1ms}}}"), &[], |_| {});
    upstream.seen.failures.store(3, Ordering::SeqCst);
    assert_eq!(door.get("/flaky").await.status, 200);
    assert_eq!(upstream.calls(), 4);
    upstream.seen.failures.store(1, Ordering::SeqCst);
    assert_eq!(door.send(door.request("POST", "/flaky")).await.status, 500);
    assert_eq!(upstream.calls(), 5);
    let posts = front(&upstream, &one("{name: Retry, args: {retries: 1, methods: POST}}"), &[], |_| {});
    upstream.seen.failures.store(1, Ordering::SeqCst);
    assert_eq!(got(posts.request("POST", "/flaky").send_body("kept").await.unwrap()).await.status, 200);
}

#[actix_web::test]
async fn a_breaker_opens_and_its_fallback_answers() {
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
    let door = front(&upstream, file, &[], |_| {});
    for _ in 0..7 {
        let got = door.get("/main/users/1").await;
        assert_eq!((got.status, &got.json()["target"]), (200, &json!("/fallback/users/1")));
    }
    let seconds = async |path: &str| {
        let got = door.get(path).await;
        (got.status, got.header("retry-after").to_string())
    };
    for _ in 0..5 {
        assert_eq!(seconds("/bare").await, (503, "1".into()));
    }
    let (status, wait) = seconds("/bare").await;
    assert!(status == 503 && (2..=30).contains(&wait.parse::<u32>().unwrap()), "open for 30 s, of which some may be over: {wait}");
    upstream.seen.failures.store(100, Ordering::SeqCst);
    let before = upstream.calls();
    let mut statuses = Vec::new();
    for _ in 0..8 {
        statuses.push(door.get("/flaky").await.status);
    }
    assert_eq!(statuses, [500, 500, 500, 500, 500, 503, 503, 503]);
    assert_eq!(upstream.calls() - before, 5, "then it is not called any more");
    // they are shown and set beside those of the peers, by the names that the routes give them
    let admin = upstream.token("root", &["admin"]);
    let asked = async |method: &str, path: &str, body: &'static str| {
        let request = door.request(method, path).bearer_auth(&admin);
        got(request.send_body(body).await.unwrap()).await.json()
    };
    let shown = asked("GET", "/actuator/circuitbreakers", "").await["circuitBreakers"].clone();
    let states: Vec<_> = ["bare", "cb", "s"].iter().map(|name| shown[name]["state"].clone()).collect();
    assert_eq!(states, ["OPEN", "OPEN", "OPEN"], "{shown}");
    assert_eq!((&shown["s"]["failedCalls"], &shown["s"]["notPermittedCalls"]), (&json!(5), &json!(3)));
    asked("POST", "/actuator/circuitbreakers/s", r#"{"updateState": "CLOSE"}"#).await;
    assert_eq!(door.get("/flaky").await.status, 500, "closed by hand");
    let text = prometheus::TextEncoder::new().encode_to_string(&door.metrics.gather()).unwrap();
    assert!(text.contains(r#"resilience4j_circuitbreaker_state{name="bare",state="open"} 1"#), "{text}");
    assert!(text.contains(r#"resilience4j_circuitbreaker_calls_total{kind="not_permitted",name="s"} 3"#), "{text}");
}

#[actix_web::test]
async fn time_is_limited() {
    let upstream = Upstream::start("a");
    let file = "spring.cloud.gateway.routes:\n- {id: s, uri: 'URL', predicates: [Path=/slow], metadata: {response-timeout: 100}}\n- {id: u, uri: 'lb://nobody', predicates: [Path=/nobody]}\n";
    let door = front(&upstream, file, &[], |_| {});
    assert_eq!(door.get("/slow").await.status, 504);
    assert_eq!(door.get("/nobody").await.status, 503);
    assert_eq!(door.get("/elsewhere").await.status, 404);
    let text = prometheus::TextEncoder::new().encode_to_string(&door.metrics.gather()).unwrap();
    assert!(text.contains(r#"httpMethod="GET",httpStatusCode="504",outcome="SERVER_ERROR",routeId="s""#), "{text}");
    assert!(text.contains(r#"status="GATEWAY_TIMEOUT""#));
}

#[actix_web::test]
async fn what_was_not_sent_goes_to_another_instance() {
    let upstream = Upstream::start("a");
    let door = front(&upstream, "spring.cloud.gateway.routes:\n- {id: p, uri: 'lb://pair'}\n", &[], |_| {});
    assert_eq!(door.get("/x").await.status, 200);
    let posted = got(door.request("POST", "/x").send_body("body").await.unwrap()).await;
    assert_eq!(posted.json()["body"], 4, "a body that nobody has read goes, too");
}

#[actix_web::test]
async fn a_breaker_keeps_the_time_and_outlives_a_reload() {
    let upstream = Upstream::start("a");
    let file = |limit: &str| {
        format!(
            "spring.cloud.gateway.routes:\n- {{id: s, uri: '{}', predicates: [Path=/slow], filters: [CircuitBreaker=t]}}\n\
             resilience4j: {{timelimiter.instances.t.timeout-duration: {limit}, circuitbreaker.instances.t.sliding-window-size: 2}}\n",
            upstream.url
        )
    };
    let door = front(&upstream, &file("50ms"), &[], |s| s.gateway.actuator = true);
    assert_eq!((door.get("/slow").await.status, door.get("/slow").await.status), (504, 504));
    assert_eq!(door.get("/slow").await.status, 503, "open after two");
    std::fs::write(&door.file, file("60ms")).unwrap();
    let admin = upstream.token("root", &["admin"]);
    let refreshed = door.send(door.request("POST", "/actuator/gateway/refresh").bearer_auth(&admin)).await;
    assert_eq!((refreshed.status, door.get("/slow").await.status), (200, 503), "the same rules, the same breaker");
}
