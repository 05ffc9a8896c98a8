//! Extracts a module from a running shop into its own process and moves it back, in the steps of
//! docs/extract-a-module.md, while customers order: clients see no error, and nothing is lost.

use super::kill::{assert_notified_once_each, no_order_is_left_open, pages};
use super::ledger::{Ledger, OrderOutcome, SeededRng, outcome_of, send, stock};
use crate::support::client::{Client, REALM};
use crate::support::ports::free_port;
use crate::support::process::{Process, at_rest, audit};
use crate::support::{on_system, share_keys, wait_for, wait_until};
use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tradepost::kernel::module::Module;

const CUSTOMERS: u64 = 6;
/// Orders that must succeed after each step, to prove that the new topology works.
const AFTER_EACH_STEP: usize = 60;
/// The public URL, which a load balancer has in production. Tokens name it as their issuer.
const PUBLIC_URL: &str = "http://shop.test";

/// A process behind the load balancer, and its number of requests in progress.
struct Backend {
    client: Client,
    in_progress: Cell<usize>,
}

/// The load balancer: sends each request to the current backend.
struct LoadBalancer {
    backend: RefCell<Rc<Backend>>,
    over: Cell<bool>,
    answered: Cell<usize>,
    /// Failed requests: no answer, or an invalid one. They are retried.
    failed: RefCell<Vec<String>>,
}

impl LoadBalancer {
    fn new(client: Client) -> Self {
        let backend = RefCell::new(Rc::new(Backend { client, in_progress: Cell::new(0) }));
        Self { backend, over: Cell::new(false), answered: Cell::new(0), failed: RefCell::default() }
    }

    /// Sends new requests here; returns once the previous backend has no request in progress.
    async fn switch(&self, client: Client) {
        let before = self.backend.replace(Rc::new(Backend { client, in_progress: Cell::new(0) }));
        wait_for("the old backend has no request in progress", || async {
            if before.in_progress.get() == 0 { Ok(()) } else { Err(format!("{} requests", before.in_progress.get())) }
        })
        .await;
    }

    /// A customer that sends orders with a key, and retries each until it is answered.
    async fn customer(&self, ledger: &Ledger, mut rng: SeededRng) {
        while !self.over.get() {
            let sku = format!("many-{}", rng.range(0, 2));
            let (serial, entry) = ledger.begin(true, vec![(sku, rng.range(1, 5) as i64)]);
            let since = Instant::now();
            let answer = loop {
                assert!(since.elapsed() < Duration::from_secs(60), "order {serial} has no answer: {:?}", self.failed.borrow());
                let backend = self.backend.borrow().clone();
                backend.in_progress.set(backend.in_progress.get() + 1);
                let reply = send(&backend.client, &entry).await;
                backend.in_progress.set(backend.in_progress.get() - 1);
                match reply.as_ref().ok().and_then(outcome_of) {
                    Some(answer) => break answer,
                    None => self.failed.borrow_mut().push(format!("order {serial}: {reply:?}")),
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            };
            assert!(matches!(answer, OrderOutcome::Placed { .. }), "stock is sufficient, but order {serial} {answer:?}");
            ledger.record(serial, answer);
            self.answered.set(self.answered.get() + 1);
        }
    }

    async fn wait_for_more_orders(&self) {
        let from = self.answered.get();
        wait_for("orders go through", || async {
            let more = self.answered.get() - from;
            if more >= AFTER_EACH_STEP { Ok(()) } else { Err(format!("{more} of {AFTER_EACH_STEP}; {:?}", self.failed.borrow())) }
        })
        .await;
    }
}

fn names(modules: impl Iterator<Item = Module>) -> String {
    modules.map(Module::name).collect::<Vec<_>>().join(",")
}

/// Runs blocking work while the customers continue.
async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// Starts a process of the shop; clients reach it at `public_url`.
async fn start(data: &Path, port: u16, public_url: &str, settings: &[(&str, &str)]) -> Process {
    // On a busy machine, a slow peer must not be treated as unavailable.
    let timeouts = [("TRADEPOST__RESILIENCE__CALL_MS", "8000"), ("TRADEPOST__ORDER__PEER_TIMEOUT_MS", "8000")];
    // The issuer's name is the public URL; a process that has the issuer itself calls its own address.
    let own = format!("{}{REALM}", at(port));
    let named = [("TRADEPOST__SERVER__PUBLIC_URL", public_url), ("TRADEPOST__IDENTITY__BACKCHANNEL", &own)];
    let all = [&timeouts[..], &named, settings].concat();
    let all: Vec<_> = all.into_iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    let data = data.to_path_buf();
    run_blocking(move || {
        let all: Vec<_> = all.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        Process::start_on(port, &data, &all)
    })
    .await
}

/// SIGTERM: the process completes its work.
async fn stop(process: Process) {
    assert_eq!(run_blocking(|| process.terminate()).await, Some(0));
}

/// Starts all modules except this one, which is at port `own`.
async fn start_others(data: &Path, port: u16, public_url: &str, module: Module, own: u16) -> Process {
    let modules = names(Module::ALL.into_iter().filter(|other| *other != module));
    let (peer, address) = (format!("TRADEPOST__PEERS__{}", module.name().to_uppercase()), at(own));
    start(data, port, public_url, &[("TRADEPOST__SERVER__MODULES", &modules), (&peer, &address)]).await
}

/// Starts only this module; its peers and the issuer are at `others`.
async fn start_extracted(data: &Path, port: u16, public_url: &str, module: Module, others: &str) -> Process {
    let secret = std::fs::read_to_string(data.join("identity/service-secret")).unwrap();
    let (issuer, backchannel) = (format!("{public_url}{REALM}"), format!("{others}{REALM}"));
    let settings = [
        ("TRADEPOST__SERVER__MODULES", module.name()),
        ("TRADEPOST__IDENTITY__ISSUER", &issuer),
        ("TRADEPOST__IDENTITY__BACKCHANNEL", &backchannel),
        ("TRADEPOST__IDENTITY__CLIENT_SECRET", secret.trim()),
        ("TRADEPOST__PEERS__PRODUCT", others),
        ("TRADEPOST__PEERS__INVENTORY", others),
        // A failure of one second must not open the circuit for a minute.
        ("TRADEPOST__RESILIENCE__OPEN_SECONDS", "1"),
    ];
    start(data, port, public_url, &settings).await
}

/// The shop repeats its answers, every order was notified once, and the audit is clean.
async fn assert_nothing_lost(c: &Client, ledger: &Ledger, data: &Path) {
    no_order_is_left_open(c).await;
    ledger.assert_retries_answer_the_same(c, 0).await;
    let orders = pages(c, "/api/v1/orders").await;
    ledger.check(&orders);
    assert_eq!(orders.len(), ledger.entries().len());
    wait_until("the audit is clean", || at_rest(audit(data))).await;
    assert_notified_once_each(&orders, &pages(c, "/api/v1/notifications").await);
}

fn at(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// Extracts the module behind a load balancer and moves it back. No request fails.
fn extract_and_move_back(module: Module) {
    on_system(async move {
        let data = tempfile::tempdir().unwrap();
        share_keys(data.path());
        let data = data.path();
        let [first, second, third, own] = [free_port(), free_port(), free_port(), free_port()];
        let whole = start(data, first, PUBLIC_URL, &[]).await;
        let c = Client::login(&at(first)).await;
        stock(&c).await;
        let (ledger, balancer) = (Ledger::default(), LoadBalancer::new(c.clone()));
        let steps = async {
            balancer.wait_for_more_orders().await;
            // Steps 1 and 2: start the other modules beside the whole shop, then the module, which calls them.
            let others = start_others(data, second, PUBLIC_URL, module, own).await;
            let extracted = start_extracted(data, own, PUBLIC_URL, module, &at(second)).await;
            balancer.wait_for_more_orders().await;
            // Step 3: the new processes answer before clients are sent there.
            let c = c.at(&at(second));
            c.get(&c.alice, "/api/v1/orders").await.expect(200);
            c.get(&c.alice, "/api/v1/notifications").await.expect(200);
            // Steps 4 and 5: send clients there, then stop the whole shop.
            balancer.switch(c.clone()).await;
            stop(whole).await;
            balancer.wait_for_more_orders().await;
            c.get(&c.alice, "/api/v1/notifications").await.expect(200);
            // Move back: start the whole shop, switch the clients, stop the others.
            let whole = start(data, third, PUBLIC_URL, &[]).await;
            balancer.switch(c.at(&at(third))).await;
            stop(others).await;
            stop(extracted).await;
            balancer.wait_for_more_orders().await;
            balancer.over.set(true);
            whole
        };
        let customers = (0..CUSTOMERS).map(|n| balancer.customer(&ledger, SeededRng::new(n)));
        let (_whole, _) = futures_util::future::join(steps, futures_util::future::join_all(customers)).await;
        assert_eq!(*balancer.failed.borrow(), Vec::<String>::new());
        assert_nothing_lost(&c.at(&at(third)), &ledger, data).await;
    });
}

#[test]
fn notification_extracted_under_load_and_moved_back_fails_no_request() {
    extract_and_move_back(Module::Notification);
}

#[test]
fn order_extracted_under_load_and_moved_back_fails_no_request() {
    extract_and_move_back(Module::Order);
}

/// Without a load balancer: start the module beside the whole shop, then replace the whole shop by the other modules on
/// its port. Meanwhile requests are refused; retried with their key, each is one order.
#[test]
fn order_extracted_on_the_shop_port_and_moved_back_loses_nothing() {
    on_system(async {
        let data = tempfile::tempdir().unwrap();
        share_keys(data.path());
        let data = data.path();
        let port = free_port();
        let public_url = at(port);
        let whole = start(data, port, &public_url, &[]).await;
        let c = Client::login(&public_url).await;
        stock(&c).await;
        let (ledger, balancer) = (Ledger::default(), LoadBalancer::new(c.clone()));
        let steps = async {
            balancer.wait_for_more_orders().await;
            let own = free_port();
            let extracted = start_extracted(data, own, &public_url, Module::Order, &public_url).await;
            balancer.wait_for_more_orders().await;
            stop(whole).await;
            let others = start_others(data, port, &public_url, Module::Order, own).await;
            balancer.wait_for_more_orders().await;
            stop(others).await;
            let whole = start(data, port, &public_url, &[]).await;
            balancer.wait_for_more_orders().await;
            stop(extracted).await;
            balancer.wait_for_more_orders().await;
            balancer.over.set(true);
            whole
        };
        let customers = (0..CUSTOMERS).map(|n| balancer.customer(&ledger, SeededRng::new(n)));
        let (whole, _) = futures_util::future::join(steps, futures_util::future::join_all(customers)).await;
        assert_nothing_lost(&c.at(&whole.url), &ledger, data).await;
    });
}
