//! Forged, malformed and smuggled requests to the gateway, by raw socket.
//!
//! The tables in `wire` are the specification: name, bytes, expected result. In every case, no protected handler is
//! reached without a token, and request and answer on the connection stay in sync.

mod http2;
mod wire;

use crate::support::client::Client;
use crate::support::{Shape, Shop, on_system};
use actix_web::http::Method;
use tradepost::kernel::module::Module;
use wire::{Answer, Expect, FOLLOWS, LONG, case, send};

/// Request counters of a process (contract paths and unknown paths), with their labels.
async fn counted(c: &Client, url: &str) -> Vec<String> {
    let mut there = c.clone();
    there.url = url.into();
    let text = there.send(Method::GET, "/actuator/prometheus", &[], "").await.expect(200).text;
    let requests = text.lines().filter(|line| line.starts_with("http_server_requests_total{"));
    requests.filter(|line| line.contains("/api/") || line.contains("UNKNOWN")).map(str::to_string).collect()
}

/// A path that only customers may use.
const PROTECTED: &str = "/api/v1/orders";

fn assert_no_forged_request_gets_in(shape: Shape) {
    on_system(async move {
        let mut shop = Shop::start(shape, |_| {}).await;
        let c = &shop.client;
        let address = c.url.strip_prefix("http://").unwrap().to_string();
        let orders = shop.member(Module::Order).unwrap_or(c.url.clone());

        let cases = wire::requests().into_iter().chain(wire::bodies(PROTECTED, "")).collect::<Vec<_>>();
        let over_http2 = http2::cases();
        assert!(cases.len() + over_http2.len() >= 200, "{} + {}", cases.len(), over_http2.len());
        wire::run(&address, cases, true).await;
        http2::run(&address, over_http2).await;
        let asked = counted(c, &orders).await;
        // Behind the gateway nothing was requested, so there was nothing to reject.
        assert_eq!(asked.is_empty(), shape == Shape::Split, "{asked:?}");
        assert!(asked.iter().all(|line| line.contains(r#"status="4"#)), "{asked:?}");

        // A client with a token cannot smuggle a second request either.
        let bearer = format!("Authorization: Bearer {}\r\n", c.alice);
        wire::run(&address, wire::bodies(PROTECTED, &bearer), false).await;
        let asked = counted(c, &orders).await;
        assert!(!asked.is_empty(), "a request with a token must reach the handler");
        for line in asked {
            assert!(line.contains(r#"status="4"#), "{line}");
            assert!(shape == Shape::Local || !line.contains("UNKNOWN"), "a smuggled request was seen behind the gateway: {line}");
        }
        // An answer to HEAD has no body, even if the next request follows immediately.
        let head = format!("HEAD /api/v1/orders HTTP/1.1\r\nHost: shop\r\n{bearer}\r\n");
        let head = send(&address, &case("HEAD", head, Expect::Headless)).await;
        assert_eq!(head.iter().map(|answer| answer.status).collect::<Vec<_>>(), [200, 401]);
        // No other client finds a connection out of sync.
        for _ in 0..8 {
            c.get(&c.alice, "/api/v1/orders").await.expect(200);
        }
        shop.assert_sound().await;
        shop.stop().await;
    });
}

#[test]
fn forged_requests_to_one_process_are_rejected() {
    assert_no_forged_request_gets_in(Shape::Local);
}

#[test]
fn forged_requests_to_the_gateway_are_rejected() {
    assert_no_forged_request_gets_in(Shape::Split);
}
