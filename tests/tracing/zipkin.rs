//! A shop in several processes on a real Kafka, traced in a real Zipkin: `.ci/zipkin.sh` starts both and runs this.

use crate::support::client::order;
use crate::support::process::tradepost;
use crate::support::{Shape, Shop, on_system, wait_for};
use actix_web::http::Method;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use tradepost::settings::Secret;

const SKU: &str = "sku-of-the-test";
/// The span of a caller that does not export here.
const STEP_OF: &str = "00000000000000aa";

fn zipkin() -> String {
    std::env::var("TRADEPOST_TEST_ZIPKIN").expect("TRADEPOST_TEST_ZIPKIN names the server")
}

/// Starts a mail server that accepts every mail; returns its URL.
fn mail_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("smtp://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || speak(stream.unwrap()));
        }
    });
    url
}

fn speak(mut stream: TcpStream) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
    stream.write_all(b"220 test\r\n").ok()?;
    while let Some(Ok(line)) = lines.next() {
        let answer: &[u8] = match line.split([':', ' ']).next()? {
            "DATA" => {
                stream.write_all(b"354 go on\r\n").ok()?;
                lines.by_ref().find(|line| line.as_ref().is_ok_and(|line| line == "."))?.ok()?;
                b"250 taken\r\n"
            }
            "QUIT" => return None,
            _ => b"250 ok\r\n",
        };
        stream.write_all(answer).ok()?;
    }
    None
}

async fn shop() -> Shop {
    let mail = mail_server();
    let shop = Shop::start(Shape::Split, |settings| {
        settings.telemetry.zipkin = Some(Secret::new(zipkin()));
        settings.telemetry.sample = 1.0;
        settings.notification.smtp = Some(Secret::new(mail));
        // With a longer lease, no process resumes a slow order: that would add a step.
        settings.order.lease_seconds = 60;
    })
    .await;
    shop.client.stocked(SKU, "77.31", 1000).await;
    shop
}

/// A trace's spans as Zipkin returns them, with all names in lower case.
async fn spans(shop: &Shop, id: &str) -> Vec<Value> {
    let reply = shop.client.at(&zipkin()).send(Method::GET, &format!("/api/v2/trace/{id}"), &[], "").await;
    if reply.status == 200 { reply.json().as_array().unwrap().clone() } else { Vec::new() }
}

/// The span as one text: service and name.
fn step(span: &Value) -> String {
    let text = |pointer: &str| span.pointer(pointer).and_then(Value::as_str).unwrap_or("-").to_string();
    format!("{} {} {}", text("/localEndpoint/serviceName"), text("/kind"), text("/name"))
}

fn is_database(span: &Value, service: &str) -> bool {
    span["localEndpoint"]["serviceName"] == service && span["tags"].get("db.system.name").is_some()
}

/// Waits until the trace has all these steps, a database span of each of these services, and all their parents.
async fn whole(shop: &Shop, id: &str, steps: &[&str], databases: &[&str]) -> Vec<Value> {
    let whole = RefCell::new(Vec::new());
    wait_for("the trace is whole", || async {
        let spans = spans(shop, id).await;
        let known: BTreeSet<String> = spans.iter().map(step).collect();
        let mut missing: Vec<_> = steps.iter().filter(|step| !known.contains(**step)).collect();
        missing.extend(databases.iter().filter(|service| !spans.iter().any(|span| is_database(span, service))));
        let here = |parent: &Value| parent == STEP_OF || spans.iter().any(|span| span["id"] == *parent);
        let orphans: Vec<_> = spans.iter().filter(|span| span.get("parentId").is_some_and(|parent| !here(parent))).map(step).collect();
        if !missing.is_empty() || !orphans.is_empty() {
            return Err(format!("{missing:?} are missing in {known:#?}, and what {orphans:?} follow from"));
        }
        *whole.borrow_mut() = spans;
        Ok(())
    })
    .await;
    whole.into_inner()
}

const STEPS: [&str; 11] = [
    "api-gateway SERVER post order-service",
    "api-gateway CLIENT post order-service",
    "order-service SERVER post /api/v1/orders",
    "order-service CLIENT post /api/v1/products/prices",
    "product-service SERVER post /api/v1/products/prices",
    "order-service CLIENT post /api/v1/inventory/reservations",
    "inventory-service SERVER post /api/v1/inventory/reservations",
    "inventory-service PRODUCER send stock",
    "order-service PRODUCER send order",
    "notification-service CONSUMER process order",
    "notification-service CLIENT send email",
];
const DATABASES: [&str; 4] = ["order-service", "product-service", "inventory-service", "notification-service"];

#[test]
#[ignore = "needs a Zipkin and a Kafka: .ci/zipkin.sh"]
fn order_is_one_trace_through_all_processes() {
    on_system(async {
        let mut shop = shop().await;
        // Wait until no event of another trace is pending.
        shop.assert_sound().await;
        let placed = shop.client.order(&[(SKU, 3)]).await.expect(201);
        let id = placed.headers["x-trace-id"].clone();
        let all = whole(&shop, &id, &STEPS, &DATABASES).await;

        let find = |id: &Value| all.iter().find(|span| span["id"] == *id);
        let roots: Vec<_> = all.iter().filter(|span| span.get("parentId").is_none()).map(step).collect();
        assert_eq!(roots, ["api-gateway SERVER post order-service"]);
        for span in &all {
            assert!(span["timestamp"].as_u64() > Some(0) && span["duration"].as_u64() > Some(0), "{span}");
            let Some(parent) = span.get("parentId") else { continue };
            let parent = find(parent).unwrap_or_else(|| panic!("{span} follows from nothing that is here"));
            // All clocks are of one machine, but are read one after the other.
            assert!(span["timestamp"].as_u64().unwrap() + 1000 >= parent["timestamp"].as_u64().unwrap(), "{span} began before {parent}");
        }
        let parent_of = |name: &str| {
            let span = all.iter().find(|span| step(span) == name).unwrap();
            find(&span["parentId"]).map(step).unwrap()
        };
        for (child, parent) in [
            (STEPS[1], STEPS[0]),
            (STEPS[2], STEPS[1]),
            (STEPS[3], STEPS[2]),
            (STEPS[4], STEPS[3]),
            (STEPS[5], STEPS[2]),
            (STEPS[6], STEPS[5]),
            (STEPS[7], STEPS[6]),
            (STEPS[8], STEPS[2]),
            (STEPS[9], STEPS[8]),
            (STEPS[10], STEPS[9]),
        ] {
            assert_eq!(parent_of(child), parent, "of {child}");
        }
        let text = json!(all).to_string();
        for private in ["alice", "@", SKU, "77.31", "231.93"] {
            assert!(!text.contains(private), "`{private}` is in {text}");
        }
        let number = placed.json()["orderNumber"].as_str().unwrap().to_string();
        let mut command = tradepost(&["trace", &number, "--url", &shop.client.url]);
        let output = command.env("TRADEPOST__TELEMETRY__ZIPKIN", zipkin()).output().unwrap();
        let shown = String::from_utf8(output.stdout).unwrap();
        assert!(shown.starts_with("post order-service\n") && shown.contains("send email"), "{shown}");
        shop.stop().await;
    });
}

/// Our spans are children of the caller's span, with either kind of header.
#[test]
#[ignore = "needs a Zipkin and a Kafka: .ci/zipkin.sh"]
fn callers_with_b3_or_w3c_headers_keep_their_trace() {
    on_system(async {
        let mut shop = shop().await;
        let c = &shop.client;
        let ids = [(); 3].map(|()| format!("{:032x}", rand::random::<u128>()));
        let (w3c, single) = (format!("00-{}-{STEP_OF}-01", ids[0]), format!("{}-{STEP_OF}-1", ids[1]));
        let headers: [Vec<(&str, &str)>; 3] = [
            vec![("traceparent", &w3c)],
            vec![("b3", &single)],
            vec![("x-b3-traceid", &ids[2]), ("x-b3-spanid", STEP_OF), ("x-b3-sampled", "1")],
        ];
        for (headers, id) in headers.iter().zip(&ids) {
            let placed = c.with_body(Method::POST, &c.alice, "/api/v1/orders", headers, &order(&[(SKU, 1)])).await.expect(201);
            assert_eq!(&placed.headers["x-trace-id"], id);
            // Database writes of notification for several events at once belong to the trace of the first event.
            let all = whole(&shop, id, &STEPS, &DATABASES[..3]).await;
            let entries: Vec<_> = all.iter().filter(|span| span["parentId"] == STEP_OF).map(step).collect();
            assert_eq!(entries, [STEPS[0]], "{headers:?}");
        }
        // Callers that opt out of tracing leave no trace.
        let id = format!("{:032x}", rand::random::<u128>());
        let not = format!("{id}-{STEP_OF}-0");
        c.with_body(Method::POST, &c.alice, "/api/v1/orders", &[("b3", &not)], &order(&[(SKU, 1)])).await.expect(201);
        let later = c.order(&[(SKU, 1)]).await.expect(201).headers["x-trace-id"].clone();
        whole(&shop, &later, &STEPS, &DATABASES[..3]).await;
        assert_eq!(spans(&shop, &id).await, Vec::<Value>::new());
        shop.stop().await;
    });
}
