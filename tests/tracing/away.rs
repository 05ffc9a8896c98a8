//! An unavailable, silent or failing collector does not affect the shop.

use super::collector::{Behaviour, Collector};
use crate::support::client::{Client, order};
use crate::support::ports::free_port;
use crate::support::process::{Process, last_words, tradepost};
use crate::support::{on_system, wait_for};
use actix_web::http::Method;
use std::cell::RefCell;

/// Number of spans with this outcome.
async fn count(c: &Client, outcome: &str) -> u64 {
    let text = c.get(&c.admin, "/actuator/prometheus").await.expect(200).text;
    let line = text.lines().find(|line| line.starts_with("tradepost_spans_total") && line.contains(&format!("outcome=\"{outcome}\"")));
    line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
}

/// Places orders, all of which must succeed, until more spans have this outcome.
async fn orders_until_more(c: &Client, outcome: &str) {
    let before = count(c, outcome).await;
    wait_for(&format!("more spans are {outcome}"), || async {
        c.order(&[("s", 1)]).await.expect(201);
        let now = count(c, outcome).await;
        if now > before { Ok(()) } else { Err(format!("{now}")) }
    })
    .await;
}

async fn until_an_order_arrives(c: &Client, collector: &Collector) {
    // Older spans may be queued behind a retry.
    let sent = RefCell::new(Vec::new());
    wait_for("an order's spans arrive", || async {
        let id = format!("{:032x}", rand::random::<u128>());
        let parent = format!("00-{id}-00000000000000aa-01");
        let headers = [("traceparent", parent.as_str())];
        c.with_body(Method::POST, &c.alice, "/api/v1/orders", &headers, &order(&[("s", 1)])).await.expect(201);
        sent.borrow_mut().push(id);
        let ours = |span: &serde_json::Value| sent.borrow().iter().any(|id| span["traceId"] == id.as_str());
        let arrived = || collector.spans().iter().any(|span| ours(span) && span["parentId"] == "00000000000000aa");
        for _ in 0..100 {
            if arrived() {
                return Ok(());
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        Err(format!("{} spans arrived", collector.spans().len()))
    })
    .await;
}

#[test]
fn failing_collector_blocks_no_order_and_gets_spans_after_recovery() {
    on_system(async {
        let data = tempfile::tempdir().unwrap();
        let port = free_port();
        let url = format!("http://me:p%40w@127.0.0.1:{port}");
        let env =
            [("TRADEPOST__TELEMETRY__ZIPKIN", url.as_str()), ("TRADEPOST__TELEMETRY__SAMPLE", "1"), ("TRADEPOST__TELEMETRY__QUEUE", "40")];
        let log = data.path().join("log");
        let mut shop = Process::start_logged(&log, data.path(), &env);
        let mut c = shop.client().await;
        c.stocked("s", "1", 1_000_000).await;
        // No process listens on this port yet.
        orders_until_more(&c, "failed").await;

        let collector = Collector::start(port, Behaviour::Silent);
        orders_until_more(&c, "dropped").await;
        collector.set_behaviour(Behaviour::Refuses);
        orders_until_more(&c, "failed").await;
        collector.set_behaviour(Behaviour::Endless);
        until_an_order_arrives(&c, &collector).await;
        collector.set_behaviour(Behaviour::Takes);
        until_an_order_arrives(&c, &collector).await;
        assert!(count(&c, "exported").await > 0);

        let heads = collector.heads();
        let first = heads.first().unwrap();
        assert!(first.starts_with("post /api/v2/spans http/1.1") && first.contains("content-type: application/json"), "{first}");
        // base64 of me:p@w, all in lower case
        assert!(first.contains("authorization: basic bwu6ceb3"), "{first}");

        // Pending spans are sent during shutdown. A busy machine may run out of time, which is logged; then retry.
        loop {
            let last = c.order(&[("s", 1)]).await.expect(201).headers["x-trace-id"].clone();
            assert_eq!(shop.terminate(), Some(0));
            if collector.spans().iter().any(|span| span["traceId"] == last.as_str()) {
                break;
            }
            let said = std::fs::read_to_string(&log).unwrap();
            assert!(said.contains("spans that were not sent yet are lost"), "{last} is lost: {said}");
            shop = Process::start_logged(&log, data.path(), &env);
            c = shop.client().await;
        }
    });
}

#[test]
fn wrong_telemetry_setting_stops_the_start_and_names_the_key() {
    let refused = |key: &str, value: &str| {
        let data = tempfile::tempdir().unwrap();
        let dir = data.path().to_string_lossy().into_owned();
        let output =
            tradepost(&["serve", "--port", "0", "--data", &dir]).env(format!("TRADEPOST__TELEMETRY__{key}"), value).output().unwrap();
        assert!(!String::from_utf8_lossy(&output.stderr).contains("secret"), "{key}: {output:?}");
        last_words(&output)
    };
    let said = [
        ("ZIPKIN", "zipkin:9411"),
        ("ZIPKIN", "ftp://me:secret@zipkin"),
        ("QUEUE", "0"),
        ("TRACE_BUFFER_SIZE", "1001"),
        ("SAMPLE", "2"),
        ("PROPAGATION", "w3c,b4"),
    ];
    insta::assert_snapshot!("start_errors", said.map(|(key, value)| refused(key, value)).join("\n"));
    let otlp =
        if cfg!(feature = "otlp") { "telemetry.otlp: expected http://" } else { "telemetry.otlp needs a build with the feature `otlp`" };
    assert!(refused("OTLP", "collector").starts_with(&format!("tradepost: {otlp}")));
}
