//! The shop over HTTP/2, by prior knowledge or by ALPN: orders on many concurrent streams of one connection.

use crate::support::client::{connect, order};
use crate::support::{Shape, Shop, on_system};
use actix_web::web::Bytes;
use futures_util::future::join_all;
use h2::client::SendRequest;
use serde_json::Value;
use std::collections::BTreeSet;

/// Sends a request on a new stream and reads the whole response.
async fn send(connection: &SendRequest<Bytes>, method: &str, path: &str, token: &str, body: Option<Value>) -> (u16, Value) {
    let mut connection = connection.clone().ready().await.unwrap();
    let mut request = http::Request::builder().method(method).uri(format!("http://shop{path}")).version(http::Version::HTTP_2);
    if !token.is_empty() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    if body.is_some() {
        request = request.header("content-type", "application/json");
    }
    let (response, mut out) = connection.send_request(request.body(()).unwrap(), body.is_none()).unwrap();
    if let Some(body) = body {
        // two DATA frames and no content-length: END_STREAM ends the body
        let text = body.to_string().into_bytes();
        let (first, second) = text.split_at(text.len() / 2);
        out.send_data(Bytes::copy_from_slice(first), false).unwrap();
        out.send_data(Bytes::copy_from_slice(second), true).unwrap();
    }
    let response = response.await.unwrap();
    assert_eq!(response.version(), http::Version::HTTP_2);
    let (status, mut body, mut text) = (response.status().as_u16(), response.into_body(), Vec::new());
    while let Some(chunk) = body.data().await {
        let chunk = chunk.unwrap();
        body.flow_control().release_capacity(chunk.len()).unwrap();
        text.extend_from_slice(&chunk);
    }
    (status, serde_json::from_slice(&text).unwrap_or_default())
}

fn orders_over_http2(shape: Shape) {
    on_system(async move {
        let mut shop = Shop::start(shape, |_| {}).await;
        let c = &shop.client;
        c.stocked("h", "2.50", 100).await;
        let (connection, driver) = h2::client::handshake(connect(&c.url, "h2").await).await.unwrap();
        actix_web::rt::spawn(async move { driver.await.unwrap() });

        // a refused request ends only its own stream
        let (orders, requests) = ("/api/v1/orders", 20);
        let placing = (0..requests).map(|n| {
            let token = if n % 4 == 3 { "" } else { &c.alice };
            send(&connection, "POST", orders, token, Some(order(&[("h", 1)])))
        });
        let responses = join_all(placing).await;
        let placed: Vec<&Value> = responses.iter().filter(|(status, _)| *status == 201).map(|(_, body)| body).collect();
        let statuses: Vec<u16> = responses.iter().map(|(status, _)| *status).collect();
        assert_eq!((placed.len(), statuses.iter().filter(|s| **s == 401).count()), (15, 5), "{statuses:?}");
        let numbers: BTreeSet<&str> = placed.iter().map(|body| body["orderNumber"].as_str().unwrap()).collect();
        assert_eq!(numbers.len(), 15, "each request places its own order");

        // all placed orders can be read, again concurrently
        let numbers: Vec<String> = numbers.into_iter().map(|number| format!("{orders}/number/{number}")).collect();
        let reading = numbers.iter().map(|path| send(&connection, "GET", path, &c.alice, None));
        for (status, body) in join_all(reading).await {
            assert_eq!((status, &body["status"]), (200, &Value::from("PLACED")), "{body}");
        }
        let (status, body) = send(&connection, "POST", orders, &c.alice, Some(order(&[("nothing", 1)]))).await;
        assert_eq!((status, body["path"].as_str()), (400, Some(orders)), "{body}");
        let (status, _) = send(&connection, "GET", "/actuator/health", "", None).await;
        assert_eq!(status, 200);
        assert_eq!(c.quantity("h").await, 85);
        shop.assert_sound().await;
        shop.stop().await;
    });
}

#[test]
fn http2_in_one_process_serves_orders() {
    orders_over_http2(Shape::Local);
}

#[test]
fn http2_through_the_gateway_serves_orders() {
    orders_over_http2(Shape::Split);
}
