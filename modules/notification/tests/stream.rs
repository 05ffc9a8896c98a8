//! Tests of the live stream, over HTTP.

use super::super::api::Notification;
use super::support::*;
use crate::net::http::http;
use crate::rpc::contract::EndpointHandler;
use actix_web::dev::ServerHandle;
use actix_web::{App, HttpRequest, HttpServer, web};
use futures_util::StreamExt;
use std::pin::Pin;

/// Serves the stream to the subject in the header `x-subject`.
fn serve(running: &Running) -> (String, ServerHandle) {
    let endpoint = running.endpoints.iter().find(|e| e.operation.name == "stream").unwrap();
    let EndpointHandler::Raw(handler) = endpoint.serve.clone() else { panic!("the stream is a raw endpoint") };
    let path = endpoint.operation.path;
    let respond = move |request: HttpRequest, payload: web::Payload| {
        let handler = handler.clone();
        async move {
            let subject = request.headers().get("x-subject").unwrap().to_str().unwrap().to_string();
            let result = handler(cx(&subject), request, payload.into_inner()).await;
            result.unwrap_or_else(|problem| problem.respond("GET", path, ""))
        }
    };
    let server = HttpServer::new(move || App::new().route(path, web::get().to(respond.clone())));
    let server = server.workers(1).disable_signals().bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}{path}", server.addrs()[0]);
    let server = server.run();
    let handle = server.handle();
    actix_web::rt::spawn(server);
    (url, handle)
}

/// A client for server-sent events (WHATWG HTML).
struct Client {
    chunks: Pin<Box<dyn futures_util::Stream<Item = Vec<u8>>>>,
    text: String,
    /// The id in the first chunk.
    first_id: String,
}

impl Client {
    async fn connect(url: &str, subject: &str, last: Option<&str>) -> Result<Self, u16> {
        let mut request = http().get(url).insert_header(("x-subject", subject));
        if let Some(last) = last {
            request = request.insert_header(("last-event-id", last));
        }
        let response = request.send().await.unwrap();
        if !response.status().is_success() {
            return Err(response.status().as_u16());
        }
        assert_eq!(response.headers().get("content-type").unwrap(), "text/event-stream");
        let chunks = response.timeout(TEST_TIMEOUT).map(|chunk| chunk.unwrap().to_vec());
        let mut client = Self { chunks: Box::pin(chunks), text: String::new(), first_id: String::new() };
        // sent at once, so that a client detects the connection
        let first = client.block().await.unwrap();
        client.first_id = first.strip_prefix("id: ").and_then(|rest| rest.strip_suffix("\nretry: 1000")).unwrap().to_string();
        Ok(client)
    }

    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_string(), rest.to_string());
                self.text = rest;
                return Some(block);
            }
            let chunk = tokio::time::timeout(TEST_TIMEOUT, self.chunks.next()).await.expect("no event received");
            self.text.push_str(&String::from_utf8(chunk?).unwrap());
        }
    }

    /// The next notification; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Notification> {
        loop {
            let block = self.block().await?;
            let mut fields = block.lines().map(|line| line.split_once(": ").unwrap());
            let Some(("id", id)) = fields.next() else { continue };
            let (event, data) = (fields.next().unwrap(), fields.next().unwrap());
            let notification: Notification = serde_json::from_str(data.1).unwrap();
            assert_eq!((event, data.0), (("event", notification.kind.as_str()), "data"));
            assert_eq!(id, notification.id.to_string());
            return Some(notification);
        }
    }
}

#[actix_web::test]
async fn stream_sends_new_notifications_and_missed_ones_after_reconnect() {
    let running = Running::start(&test_settings(1, vec![]));
    let (url, server) = serve(&running);
    let before = placed("jane");
    running.publish(&[&before]).await;
    running.until(async |r| r.store_len("jane").await.filter(|n| *n == 1)).await;

    let mut client = Client::connect(&url, "jane", None).await.ok().unwrap();
    let (other, live) = (placed("john"), placed("jane"));
    running.publish(&[&other, &live]).await;
    let seen = client.next().await.unwrap();
    assert_eq!(seen.order_number.as_deref(), Some(live.subject.as_str()), "only the caller's own new notifications");
    drop(client);

    // more than one page of missed notifications
    let missed: Vec<_> = (0..250).map(|_| placed("jane")).collect();
    running.publish(&missed.iter().collect::<Vec<_>>()).await;
    running.until(async |r| r.store_len("jane").await.filter(|n| *n == 252)).await;
    let mut client = Client::connect(&url, "jane", Some(&seen.id.to_string())).await.ok().unwrap();
    let mut last = seen.id;
    for event in &missed {
        let notification = client.next().await.unwrap();
        assert_eq!(notification.order_number.as_deref(), Some(event.subject.as_str()));
        assert!(notification.id > last);
        last = notification.id;
    }
    let live = placed("jane");
    running.publish(&[&live]).await;
    assert_eq!(client.next().await.unwrap().order_number.as_deref(), Some(live.subject.as_str()));

    assert_eq!(Client::connect(&url, "jane", Some("yesterday")).await.err(), Some(400));
    running.stop().await;
    assert_eq!(client.next().await, None, "the stream ends with the process");
    server.stop(true).await;
}

/// The first chunk has an id: a client that loses its connection before the first notification resumes there.
#[actix_web::test]
async fn stream_lost_before_the_first_notification_resumes_without_loss() {
    let running = Running::start(&test_settings(1, vec![]));
    let (url, server) = serve(&running);
    running.publish(&[&placed("jane")]).await;
    running.until(async |r| r.store_len("jane").await.filter(|n| *n == 1)).await;
    // an empty header is as good as none
    let client = Client::connect(&url, "jane", Some(" ")).await.ok().unwrap();
    let id = client.first_id.clone();
    drop(client);

    let missed = placed("jane");
    running.publish(&[&missed]).await;
    running.until(async |r| r.store_len("jane").await.filter(|n| *n == 2)).await;
    let mut client = Client::connect(&url, "jane", Some(&id)).await.ok().unwrap();
    assert_eq!(client.next().await.unwrap().order_number.as_deref(), Some(missed.subject.as_str()));
    running.stop().await;
    server.stop(true).await;
}

impl Running {
    async fn store_len(&self, customer: &str) -> Option<i64> {
        use crate::kernel::page::{PageNumber, PageSize};
        Some(self.api.list(&cx(customer), PageNumber(0), PageSize(1), None).await.unwrap().total_elements)
    }
}
