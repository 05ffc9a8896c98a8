//! The console, and the command that prints the same traces.

use crate::support::client::{Client, Reply};
use crate::support::process::{Process, tradepost};
use crate::support::{on_system, wait_for};
use actix_web::http::Method;
use serde_json::{Value, json};
use std::cell::RefCell;

const ALL: [(&str, &str); 1] = [("TRADEPOST__TELEMETRY__SAMPLE", "1")];

async fn with(c: &Client, authorization: &str, path: &str) -> Reply {
    c.send(Method::GET, path, &[("authorization", authorization)], "").await
}

/// HTTP Basic credentials as a browser sends them: base64 of `admin:admin` and so on.
const ADMIN: &str = "Basic YWRtaW46YWRtaW4=";
const ALICE: &str = "Basic YWxpY2U6YWxpY2U=";
const WRONG_PASSWORD: &str = "Basic YWRtaW46d3Jvbmc=";

/// Waits until the trace has steps that start with each of these, and all their parents.
async fn whole(c: &Client, id: &str, steps: &[&str]) -> Vec<Value> {
    let whole = RefCell::new(Vec::new());
    wait_for("the trace is whole", || async {
        let reply = c.get(&c.admin, &format!("/console/traces/{id}.json")).await;
        if reply.status != 200 {
            return Err(reply.text);
        }
        let spans = reply.json().as_array().unwrap().clone();
        let begun = |step: &str| spans.iter().any(|span| span["name"].as_str().unwrap().starts_with(step));
        let here = |parent: &Value| spans.iter().any(|span| span["id"] == *parent);
        let whole_now = steps.iter().all(|step| begun(step)) && spans.iter().all(|span| span.get("parentId").is_none_or(here));
        *whole.borrow_mut() = spans;
        if whole_now { Ok(()) } else { Err(format!("not all of {steps:?}, and what they follow from, in {}", reply.text)) }
    })
    .await;
    whole.into_inner()
}

#[test]
fn traces_are_visible_to_administrators_only() {
    on_system(async {
        let data = tempfile::tempdir().unwrap();
        let shop = Process::start(data.path(), &ALL);
        let c = shop.client().await;
        for path in ["/console/traces", "/console/traces.json", "/console/traces/0af7651916cd43dd8448eb211c80319c"] {
            let asked = c.send(Method::GET, path, &[], "").await.expect(401);
            assert!(asked.headers["www-authenticate"].starts_with("Basic realm="), "{asked:?}");
            with(&c, WRONG_PASSWORD, path).await.expect(401);
            with(&c, ALICE, path).await.expect(403);
            c.get(&c.alice, path).await.expect(403);
            with(&c, "Bearer nonsense", path).await.expect(401);
        }
        with(&c, ADMIN, "/console/traces").await.expect(200);
        c.get(&c.admin, "/console/traces.json").await.expect(200);
        let nowhere =
            [("0af7651916cd43dd8448eb211c80319c", 404), ("0af7651916cd43dd8448eb211c80319c.json", 404), ("nonsense", 404), ("%2e%2e", 404)];
        let mut answered = Vec::new();
        for (name, _) in nowhere {
            answered.push((name, with(&c, ADMIN, &format!("/console/traces/{name}")).await.status));
        }
        assert_eq!(answered, nowhere);
        with(&c, ADMIN, "/console/traces?errors=1&errors=2").await.expect(400);
    });
}

#[test]
fn order_trace_is_complete_without_customer_names() {
    on_system(async {
        let data = tempfile::tempdir().unwrap();
        // With a longer lease, no process resumes a slow order: that would add steps.
        let shop = Process::start(data.path(), &[ALL[0], ("TRADEPOST__ORDER__LEASE_SECONDS", "60")]);
        let c = shop.client().await;
        c.stocked("sku-of-the-test", "1.25", 5).await;
        let placed = c.order(&[("sku-of-the-test", 1)]).await.expect(201);
        let id = placed.headers["x-trace-id"].clone();
        let steps = ["POST /api/v1/orders", "product prices", "inventory reserve", "INSERT orders", "send order", "process order"];
        let spans = whole(&c, &id, &steps).await;
        let roots: Vec<_> = spans.iter().filter(|span| span.get("parentId").is_none()).collect();
        assert_eq!(roots.len(), 1, "{roots:?}");

        let list = with(&c, ADMIN, "/console/traces?q=orders").await.expect(200);
        assert!(list.text.contains(&format!("/console/traces/{id}")), "{}", list.text);
        let page = with(&c, ADMIN, &format!("/console/traces/{id}")).await.expect(200);
        assert!(page.headers["content-security-policy"].starts_with("default-src 'none'"), "{page:?}");
        assert_eq!(page.headers["cache-control"], "no-store");
        for text in [&page.text, &list.text, &json!(spans).to_string()] {
            assert!(!text.contains("<script") && !text.contains("alice") && !text.contains("sku-of-the-test"), "{text}");
        }
        let failed = with(&c, ADMIN, "/console/traces?errors=1").await.expect(200);
        assert!(!failed.text.contains(&id), "{}", failed.text);

        let asked = |order: &str| tradepost(&["trace", order, "--url", &c.url]).output().unwrap();
        for name in [&id, placed.json()["orderNumber"].as_str().unwrap()] {
            let shown = String::from_utf8(asked(name).stdout).unwrap();
            assert!(shown.starts_with("POST /api/v1/orders\n") && shown.contains("inventory reserve"), "{name}: {shown}");
        }
        for (unknown, said) in [
            ("0af7651916cd43dd8448eb211c80319c", "not found in the shop"),
            ("01a207b7-cd38-76c5-8630-35b476cc4b98", "order 01a207b7-cd38-76c5-8630-35b476cc4b98: 404"),
            ("nonsense", "order nonsense: 400"),
        ] {
            let output = asked(unknown);
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success() && text.contains(said), "{unknown}: {text}");
        }
    });
}

#[test]
fn console_without_trace_buffer_records_nothing() {
    on_system(async {
        let data = tempfile::tempdir().unwrap();
        let shop = Process::start(data.path(), &[ALL[0], ("TRADEPOST__TELEMETRY__TRACE_BUFFER_SIZE", "0")]);
        let c = shop.client().await;
        c.get(&c.admin, "/console/traces").await.expect(404);
        let output = tradepost(&["trace", "0af7651916cd43dd8448eb211c80319c", "--url", &c.url]).output().unwrap();
        assert!(String::from_utf8_lossy(&output.stderr).contains("not found in the shop"), "{output:?}");
    });
}
