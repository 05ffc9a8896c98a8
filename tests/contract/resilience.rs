//! The order path while a peer process is down, hangs, and recovers.

use crate::support::client::{Client, REALM};
use crate::support::metrics::Metrics;
use crate::support::ports::free_port;
use crate::support::process::Process;
use crate::support::{on_system, wait_for};
use serde_json::{Value, json};
use std::cell::Cell;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tradepost::settings::Settings;

/// Open time of the breakers in seconds: long enough for the test to inspect an open breaker.
const OPEN: &str = "10";

type Env = (&'static str, &'static str);

/// One process each for the product, inventory, order and identity modules.
struct System {
    data: TempDir,
    client: Client,
    secret: String,
    issuer: String,
    urls: Vec<(&'static str, String)>,
    /// Extra settings of product, inventory and order.
    env: Vec<Env>,
    running: Vec<(&'static str, Process)>,
}

impl System {
    async fn start(env: &[Env]) -> Self {
        let data = tempfile::tempdir().unwrap();
        let issuer = Process::start(&folder(&data, "identity"), &[("TRADEPOST__SERVER__MODULES", "identity")]);
        let client = issuer.client().await;
        let secret = std::fs::read_to_string(data.path().join("identity/identity/service-secret")).unwrap().trim().to_string();
        let url = format!("{}{REALM}", issuer.url);
        // fixed in advance: each process needs the URLs of the others at its start
        let urls = ["product", "inventory", "order"].map(|module| (module, free())).to_vec();
        let mut system = Self { data, client, secret, issuer: url, urls, env: env.to_vec(), running: vec![("identity", issuer)] };
        for module in ["product", "inventory", "order"] {
            system.start_module(module);
        }
        system
    }

    fn url(&self, module: &str) -> &str {
        &self.urls.iter().find(|(name, _)| *name == module).unwrap().1
    }

    /// Starts a module at its URL.
    fn start_module(&mut self, module: &'static str) {
        let port = port(self.url(module));
        let mut env = vec![
            ("TRADEPOST__SERVER__MODULES", module),
            ("TRADEPOST__IDENTITY__ISSUER", &self.issuer),
            ("TRADEPOST__IDENTITY__CLIENT_SECRET", &self.secret),
            ("TRADEPOST__RESILIENCE__OPEN_SECONDS", OPEN),
            ("TRADEPOST__RESILIENCE__PEERS__INVENTORY__OPEN_SECONDS", OPEN),
            // slow responses must not count as failures
            ("TRADEPOST__RESILIENCE__CALL_MS", "8000"),
            ("TRADEPOST__ORDER__PEER_TIMEOUT_MS", "20000"),
            ("TRADEPOST__ORDER__LEASE_SECONDS", "60"),
        ];
        env.extend(&self.env);
        let peers =
            [("product", "TRADEPOST__PEERS__PRODUCT"), ("inventory", "TRADEPOST__PEERS__INVENTORY"), ("order", "TRADEPOST__PEERS__ORDER")];
        env.extend(peers.iter().filter(|(peer, _)| *peer != module).map(|(peer, key)| (*key, self.url(peer))));
        let process = Process::start_on(port, &folder(&self.data, module), &env);
        self.running.push((module, process));
    }

    fn kill(&mut self, module: &str) {
        let at = self.running.iter().position(|(name, _)| *name == module).unwrap();
        self.running.remove(at).1.kill();
    }

    /// A client with the demo users' tokens for this module.
    fn at(&self, module: &str) -> Client {
        let mut client = self.client.clone();
        client.url = self.url(module).to_string();
        client
    }

    async fn stocked(&self, sku: &str, quantity: i64) {
        let (product, inventory) = (self.at("product"), self.at("inventory"));
        product.post(&product.admin, "/api/v1/products", json!({ "skuCode": sku, "name": sku, "price": "2.50" })).await.expect(201);
        inventory.post(&inventory.admin, "/api/v1/inventory", json!({ "skuCode": sku, "quantity": quantity })).await.expect(201);
    }

    /// The order process's circuit breaker for a peer, from the actuator.
    async fn breaker(&self, peer: &str) -> Value {
        let order = self.at("order");
        order.get(&order.admin, "/actuator/circuitbreakers").await.expect(200).json()["circuitBreakers"][peer].clone()
    }

    async fn orders(&self) -> Vec<Value> {
        let order = self.at("order");
        order.get(&order.alice, "/api/v1/orders").await.expect(200).json()["content"].as_array().unwrap().clone()
    }
}

fn folder(data: &TempDir, module: &str) -> std::path::PathBuf {
    let folder = data.path().join(module);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn port(url: &str) -> u16 {
    url.rsplit(':').next().unwrap().parse().unwrap()
}

fn free() -> String {
    format!("http://127.0.0.1:{}", free_port())
}

/// Places orders until the breaker opens. Each refusal names the unavailable peer and has a `Retry-After` header.
async fn refused_until_open(system: &System, peer: &str) {
    let order = system.at("order");
    for attempt in 0..8 {
        let refused = order.order(&[("r", 1)]).await.expect(503);
        assert_eq!(refused.message(), format!("{peer} is not available"), "{attempt}");
        let seconds: u64 = refused.headers["retry-after"].parse().unwrap();
        assert!((1..=OPEN.parse().unwrap()).contains(&seconds), "{seconds}");
    }
    let breaker = system.breaker(peer).await;
    assert_eq!(breaker["state"], "OPEN", "{breaker}");
    assert!(breaker["failedCalls"].as_u64().unwrap() >= 3, "{breaker}");
    assert!(breaker["notPermittedCalls"].as_u64().unwrap() >= 1, "{breaker}");
    // readiness reports an open breaker and stays UP
    let health = order.get(&order.admin, "/actuator/health/readiness").await.expect(200).json();
    assert_eq!(health["components"]["circuitBreakers"]["details"][peer]["status"], "CIRCUIT_OPEN", "{health}");
    let shown = Metrics::of(&order).await;
    let unanswered = [("client_name", peer), ("status", "IO_ERROR"), ("outcome", "UNKNOWN")];
    assert!(shown.get("http_client_requests_seconds_count", &unanswered) >= 3.0);
    // all eight orders, with and without a call to the peer
    assert_eq!(shown.get("tradepost_orders_total", &[("outcome", "unavailable"), ("reason", "peer_unavailable")]), 8.0);
    assert_eq!(shown.get("resilience4j_circuitbreaker_state", &[("name", peer), ("state", "open")]), 1.0);
}

/// Waits until the breaker is closed after the peer's recovery. Returns the number of placed orders. While the breaker is
/// half-open, orders may still be refused, because it permits only a few calls.
async fn place_until_closed(system: &System, peer: &str) -> i64 {
    let (order, placed) = (system.at("order"), Cell::new(0));
    wait_for("the breaker is closed", || async {
        placed.set(placed.get() + i64::from(order.order(&[("r", 1)]).await.status == 201));
        let breaker = system.breaker(peer).await;
        if placed.get() > 0 && breaker["state"] == "CLOSED" { Ok(()) } else { Err(format!("{} placed, {breaker}", placed.get())) }
    })
    .await;
    placed.get()
}

/// Places five orders, none of which may be refused. Returns the number of placed orders.
async fn five_in_a_row(system: &System) -> i64 {
    for _ in 0..5 {
        system.at("order").order(&[("r", 1)]).await.expect(201);
    }
    5
}

/// Waits until no stock is held and the sold quantity is `sold`.
async fn assert_sold(system: &System, sold: i64) {
    let inventory = system.at("inventory");
    wait_for("no stock is held", || async {
        let stock = inventory.stock("r").await;
        if stock["held"] == 0 && stock["sold"] == sold && stock["quantity"] == 100 - sold { Ok(()) } else { Err(stock.to_string()) }
    })
    .await;
}

#[test]
fn product_down_refuses_orders_and_recovers() {
    on_system(async {
        let mut system = System::start(&[]).await;
        system.stocked("r", 100).await;
        system.at("order").order(&[("r", 1)]).await.expect(201);
        let before = system.orders().await;
        system.kill("product");
        refused_until_open(&system, "product").await;
        assert_eq!(system.orders().await, before, "no order was written");
        assert_sold(&system, 1).await;
        system.start_module("product");
        let placed = place_until_closed(&system, "product").await + five_in_a_row(&system).await;
        assert_sold(&system, 1 + placed).await;
    });
}

#[test]
fn inventory_down_leaves_no_pending_order_and_recovers() {
    on_system(async {
        let mut system = System::start(&[]).await;
        system.stocked("r", 100).await;
        system.at("order").order(&[("r", 1)]).await.expect(201);
        assert_sold(&system, 1).await;
        system.kill("inventory");
        refused_until_open(&system, "inventory").await;
        let states: Vec<_> = system.orders().await.iter().map(|o| o["status"].as_str().unwrap_or_default().to_string()).collect();
        assert_eq!(states.iter().filter(|s| *s == "PLACED").count(), 1, "{states:?}");
        assert!(!states.contains(&"PENDING".to_string()), "{states:?}");
        system.start_module("inventory");
        let placed = place_until_closed(&system, "inventory").await + five_in_a_row(&system).await;
        assert_sold(&system, 1 + placed).await;
    });
}

/// The peer accepts the connection and never responds.
#[test]
fn hanging_peer_times_out() {
    on_system(async {
        let mut system = System::start(&[("TRADEPOST__RESILIENCE__PEERS__INVENTORY__CALL_MS", "1000")]).await;
        system.stocked("r", 100).await;
        system.kill("inventory");
        let (hung, silent) = delaying_proxy(port(system.url("inventory")), Duration::ZERO, None);
        refused_until_open(&system, "inventory").await;
        let hung = hung.lock().unwrap().clone();
        assert!(!hung.is_empty() && hung.iter().all(|ms| *ms <= 1000), "{hung:?}");
        silent.abort();
        assert!(silent.await.unwrap_err().is_cancelled(), "its port is free again");
        system.start_module("inventory");
        // no `five_in_a_row`: with the short call timeout an order may still be refused
        let placed = place_until_closed(&system, "inventory").await;
        assert_sold(&system, placed).await;
    });
}

/// A TCP proxy: records the `x-request-timeout-ms` of each request, waits for `delay`, and forwards to the peer.
/// Without a peer it never responds.
fn delaying_proxy(port: u16, delay: Duration, peer: Option<String>) -> (Arc<Mutex<Vec<u64>>>, JoinHandle<()>) {
    let waits = Arc::new(Mutex::new(Vec::new()));
    let listener = tokio::net::TcpListener::from_std({
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        listener
    });
    let (listener, recorded) = (listener.unwrap(), waits.clone());
    let accept = async move {
        while let Ok((mut caller, _)) = listener.accept().await {
            let (recorded, peer) = (recorded.clone(), peer.clone());
            let serve = async move {
                let mut head = Vec::new();
                while !head.windows(4).any(|w| w == b"\r\n\r\n") && caller.read_buf(&mut head).await.unwrap_or(0) > 0 {}
                let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
                let wait: Option<u64> = text.lines().find_map(|line| line.strip_prefix("x-request-timeout-ms: ")?.parse().ok());
                recorded.lock().unwrap().extend(wait);
                let Some(peer) = peer else { return std::future::pending().await };
                tokio::time::sleep(delay).await;
                let mut to = tokio::net::TcpStream::connect(peer.strip_prefix("http://").unwrap()).await.unwrap();
                to.write_all(&head).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut caller, &mut to).await;
            };
            actix_web::rt::spawn(serve);
        }
    };
    (waits, actix_web::rt::spawn(accept))
}

/// The product module is slow and the inventory module hangs. All steps share the budget `order.peer_timeout_ms`, so the
/// inventory call gets only the remaining time.
#[test]
fn slow_product_and_hanging_inventory_share_one_deadline() {
    on_system(async {
        let budget = 5000;
        let mut system = System::start(&[("TRADEPOST__ORDER__PEER_TIMEOUT_MS", "5000")]).await;
        system.stocked("r", 100).await;
        let (known, hanging) = (port(system.url("product")), port(system.url("inventory")));
        system.kill("product");
        system.kill("inventory");
        system.urls[0].1 = free();
        system.start_module("product");
        let delay = Duration::from_secs(1);
        let (product_waits, _) = delaying_proxy(known, delay, Some(system.url("product").to_string()));
        let (hung, listening) = delaying_proxy(hanging, delay, None);

        let order = system.at("order");
        let refused = order.order_with_key("both", &[("r", 1)]).await.expect(503);
        assert_eq!(refused.message(), "inventory is not available");
        assert!(refused.headers["retry-after"].parse::<u64>().is_ok_and(|seconds| seconds >= 1), "{refused:?}");
        // the timeout sent to each peer shows the remaining budget
        let (product_waits, hung) = (product_waits.lock().unwrap().clone(), hung.lock().unwrap().clone());
        assert!(!product_waits.is_empty() && product_waits.iter().all(|ms| *ms <= budget), "{product_waits:?} of {budget}");
        let left = budget - delay.as_millis() as u64;
        assert!(!hung.is_empty() && hung.iter().all(|ms| *ms <= left), "{hung:?}, and {left} were left");

        // no order is pending or placed, and the key can be reused
        assert_eq!(system.orders().await, Vec::<Value>::new());
        listening.abort();
        assert!(listening.await.unwrap_err().is_cancelled(), "its port is free again");
        system.start_module("inventory");
        assert_sold(&system, 0).await;
        wait_for("the order path has recovered", || async {
            let reply = order.order_with_key("both", &[("r", 1)]).await;
            if reply.status == 201 { Ok(()) } else { Err(format!("{reply:?}")) }
        })
        .await;
        assert_sold(&system, 1).await;
    });
}

/// For every peer, whether it is down or hangs.
#[test]
fn default_peer_timeouts_are_below_one_second() {
    let settings = Settings::default();
    let calls = ["product", "inventory"].map(|peer| settings.resilience.limits(peer).unwrap().call);
    assert!(settings.order.peer_timeout_ms < 1000 && calls.iter().all(|call| *call < Duration::from_secs(1)), "{calls:?}");
}

#[test]
fn breaker_posted_by_admin_changes_state() {
    on_system(async {
        let system = System::start(&[]).await;
        system.stocked("r", 100).await;
        let c = system.at("order");
        let path = "/actuator/circuitbreakers/product";
        c.post(&c.alice, path, json!({ "updateState": "FORCE_OPEN" })).await.expect(403);
        c.get(&c.alice, "/actuator/circuitbreakers").await.expect(403);
        let response = c.post(&c.admin, path, json!({ "updateState": "FORCE_OPEN" })).await.expect(200).json();
        assert_eq!(response["currentState"], "FORCED_OPEN");
        assert_eq!(c.order(&[("r", 1)]).await.expect(503).headers["retry-after"], OPEN);
        c.post(&c.admin, path, json!({ "updateState": "CLOSE" })).await.expect(200);
        c.order(&[("r", 1)]).await.expect(201);
        c.post(&c.admin, path, json!({ "updateState": "AJAR" })).await.expect(400);
        c.post(&c.admin, "/actuator/circuitbreakers/unknown", json!({ "updateState": "CLOSE" })).await.expect(404);
        let breaker = system.breaker("inventory").await;
        assert_eq!((&breaker["state"], &breaker["failureRate"]), (&json!("CLOSED"), &json!("-1.0%")));
        // the reservation and possibly its commit
        assert!((1..=2).contains(&breaker["bufferedCalls"].as_u64().unwrap()), "{breaker}");
        assert_eq!(breaker["failureRateThreshold"], "50.0%");
    });
}
