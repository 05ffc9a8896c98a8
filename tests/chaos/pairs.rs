//! Two processes per module. Every two seconds under load one of them is killed, in turn: no acknowledged order is
//! lost, no order stays incomplete, and almost no request fails.

use super::kill::{no_order_is_left_open, pages, seed, told_once_each};
use super::ledger::{Cancel, Dice, Ledger, Told, lines, send, stock, told};
use super::sql::Sql;
use crate::support::client::{Client, Reply};
use crate::support::hooks::Hooks;
use crate::support::process::{at_rest, audit};
use crate::support::{PATIENCE, on_system, share_keys, wait_for, wait_until};
use actix_web::http::Method;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tradepost::app::up::{Plan, Split};

/// Time between two kills.
const EVERY: Duration = Duration::from_secs(2);
const CUSTOMERS: usize = 8;

/// Duration of the load: short in `cargo test`, a minute in CI.
fn duration() -> Duration {
    let seconds = std::env::var("TRADEPOST_CHAOS_SECONDS").ok().map(|text| text.parse().expect("TRADEPOST_CHAOS_SECONDS: a number"));
    Duration::from_secs(seconds.unwrap_or(10))
}

/// Starts two processes per module on this data folder, with a webhook to this receiver.
fn two_of_each(data: &Path, hooks: &Hooks) -> Split {
    share_keys(data);
    let config = data.join("tradepost.toml");
    std::fs::write(&config, hooks.settings()).unwrap();
    let set = |key: &str, value: &str| (format!("TRADEPOST__{key}"), value.to_string());
    let settings = vec![
        set("LOG__LEVEL", "error"),
        set("ORDER__LEASE_SECONDS", "1"),
        // On a busy machine, a slow peer must not be treated as unavailable.
        set("RESILIENCE__CALL_MS", "30000"),
        set("ORDER__PEERS_MS", "30000"),
        set("SERVER__REQUEST_SECONDS", "40"),
    ];
    let binary = env!("CARGO_BIN_EXE_tradepost").into();
    let plan = Plan {
        binary,
        data: data.into(),
        port: 0,
        registry_port: 0,
        instances: 2,
        config: Some(config),
        scheme: "http",
        actuator: Default::default(),
        settings,
    };
    Split::start(&plan).unwrap()
}

/// Results of all callers together.
#[derive(Default)]
pub struct Callers {
    pub ledger: Ledger,
    pub over: Cell<bool>,
    pub requests: Cell<u64>,
    pub moved: Cell<u64>,
    waited: Cell<u64>,
    /// By status and message.
    pub failures: RefCell<BTreeMap<String, u64>>,
}

impl Callers {
    /// Sends requests as behind a TCP load balancer over the gateways, until the answer is final. After a refused or
    /// broken connection it uses the other gateway. A 5xx is counted and retried; a request that is still in progress
    /// is retried.
    async fn ask(&self, doors: &[Client], dice: &mut Dice, question: impl AsyncFn(&Client) -> Result<Reply, String>) -> Reply {
        let (first, since) = (dice.roll(0, 1) as usize, Instant::now());
        for attempt in 0.. {
            assert!(since.elapsed() < PATIENCE, "no final answer: {:?}", self.failures.borrow());
            let reply = match question(&doors[(first + attempt) % doors.len()]).await {
                Ok(reply) => reply,
                Err(_) => {
                    // The request had no answer, so the retry counts as the same request.
                    self.moved.set(self.moved.get() + 1);
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
            };
            self.requests.set(self.requests.get() + 1);
            if reply.status >= 500 {
                let what = format!("{} {}", reply.status, reply.message());
                *self.failures.borrow_mut().entry(what).or_default() += 1;
            } else if reply.status == 409 && reply.message().contains("still under way") {
                self.waited.set(self.waited.get() + 1);
            } else {
                return reply;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        unreachable!()
    }

    async fn order(&self, doors: &[Client], dice: &mut Dice) {
        let (serial, entry) = self.ledger.begin(true, lines(dice));
        let reply = self.ask(doors, dice, async |c| send(c, &entry).await).await;
        self.ledger.tell(serial, told(&reply).unwrap_or_else(|| panic!("order {serial}: {reply:?}")));
    }

    async fn cancel(&self, doors: &[Client], dice: &mut Dice) {
        let pick = dice.roll(0, u64::MAX - 1);
        let Some((serial, id, number)) = self.ledger.to_cancel(pick) else { return };
        let bearer = format!("Bearer {}", doors[0].alice);
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let path = format!("/api/v1/orders/{id}/cancel");
        let reply = self.ask(doors, dice, async |c| c.try_send(Method::POST, &path, &headers, "{}").await).await.expect(200);
        assert_eq!(reply.json()["status"], "CANCELLED");
        self.ledger.tell(serial, Told::Placed { id, number, cancel: Cancel::Done });
    }

    async fn look(&self, doors: &[Client], dice: &mut Dice) {
        let bearer = format!("Bearer {}", doors[0].alice);
        let paths = ["/api/v1/products?size=5", "/api/v1/orders?size=5", "/api/v1/notifications?size=5"];
        let path = paths[dice.roll(0, 2) as usize];
        let headers = [("authorization", bearer.as_str())];
        self.ask(doors, dice, async |c| c.try_send(Method::GET, path, &headers, "").await).await.expect(200);
    }

    pub async fn customer(&self, doors: &[Client], mut dice: Dice) {
        while !self.over.get() {
            match dice.roll(1, 10) {
                1..=6 => self.order(doors, &mut dice).await,
                7 => self.cancel(doors, &mut dice).await,
                _ => self.look(doors, &mut dice).await,
            }
        }
    }

    pub fn failed(&self) -> u64 {
        self.failures.borrow().values().sum()
    }
}

/// Sends SIGKILL to each process in turn, first to one of each module and then to the other; each is restarted. Returns
/// the names of the killed processes.
async fn kill_in_turn(split: &mut Split, callers: &Callers, total: Duration) -> Vec<String> {
    let count = split.members().len();
    let turns = (0..count).step_by(2).chain((1..count).step_by(2)).cycle();
    let (until, mut next, mut killed) = (Instant::now() + total, Instant::now() + EVERY, Vec::new());
    for turn in turns {
        while Instant::now() < next {
            split.tend();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if Instant::now() >= until {
            break;
        }
        let (name, url, process) = split.members()[turn].clone();
        Command::new("kill").args(["-KILL", &process.to_string()]).status().unwrap();
        let before = (callers.requests.get(), callers.failed());
        let gone = Instant::now();
        next = gone + EVERY;
        // One process of each pair must always be available: wait until this one is back before the next kill.
        while split.members()[turn].2 == process || !answers(&url).await {
            split.tend();
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert!(gone.elapsed() < PATIENCE, "{name} did not come back");
        }
        let (requests, failed) = (callers.requests.get() - before.0, callers.failed() - before.1);
        println!("{name}: killed, back after {} ms; {requests} requests meanwhile, {failed} of them 5xx", gone.elapsed().as_millis());
        killed.push(name);
    }
    callers.over.set(true);
    killed
}

async fn answers(url: &str) -> bool {
    let health = tradepost::net::http::http().get(format!("{url}/actuator/health/readiness"));
    health.timeout(Duration::from_secs(5)).send().await.is_ok_and(|answer| answer.status().is_success())
}

#[test]
fn two_of_each_module_of_which_one_is_always_being_killed() {
    let (total, seed) = (duration(), seed());
    println!("{} s; TRADEPOST_CHAOS_SEED={seed}", total.as_secs());
    on_system(async move {
        let data = tempfile::tempdir().unwrap();
        let hooks = Hooks::start();
        let mut split = two_of_each(data.path(), &hooks);
        let c = Client::login(&split.urls[0]).await;
        stock(&c).await;
        let doors: Vec<Client> = split.urls.iter().map(|url| c.at(url)).collect();

        let (callers, mut dice) = (Callers::default(), Dice::new(seed));
        let customers: Vec<_> = (0..CUSTOMERS).map(|_| callers.customer(&doors, Dice::new(dice.roll(0, u64::MAX - 1)))).collect();
        let (_, killed) =
            futures_util::future::join(futures_util::future::join_all(customers), kill_in_turn(&mut split, &callers, total)).await;

        let at = |name: &str| split.members().into_iter().find(|(member, ..)| member == name).unwrap().1;
        let order = c.at(&at("order-1"));
        no_order_is_left_open(&order).await;
        let orders = pages(&order, "/api/v1/orders").await;
        callers.ledger.check(&orders);
        assert!(callers.ledger.entries().values().all(|entry| entry.told != Told::Nothing), "an order was never answered");
        wait_until("the audit is clean and nothing is under way", || at_rest(audit(data.path()))).await;
        told_once_each(&orders, &pages(&c.at(&at("notification-2")), "/api/v1/notifications").await);
        wait_for("every event has reached the webhook", || async {
            let left =
                "SELECT state || ': ' || attempts || ' ' || coalesce(last_error, '') AS value FROM deliveries WHERE state <> 'delivered'";
            let left = Sql::open(data.path(), "notification").column(left);
            if left.is_empty() { Ok(()) } else { Err(format!("{} of {} are left, such as {:?}", left.len(), hooks.events(), left.first())) }
        })
        .await;
        let made_out = Sql::open(data.path(), "notification").value("count(*)", "deliveries");
        let (events, posts) = (hooks.events(), hooks.posts());
        assert_eq!(made_out, events.to_string(), "each delivery arrived, and nothing else");

        let (requests, failed) = (callers.requests.get(), callers.failed());
        let percent = failed as f64 * 100.0 / requests as f64;
        println!("{requests} requests, {failed} 5xx ({percent:.3} %)");
        for (what, times) in callers.failures.borrow().iter() {
            println!("  {times} x {what}");
        }
        println!("{} connections taken to the other door, {} answers of 409 while under way", callers.moved.get(), callers.waited.get());
        println!(
            "{} kills; {} orders there; {events} events at the webhook, {} of them doubled",
            killed.len(),
            orders.len(),
            posts - events
        );
        assert!(!killed.is_empty() && !orders.is_empty(), "nothing was tested");
        // Limit: one request in a thousand; a short run may have three failures.
        assert!(failed <= (requests / 1000).max(3), "{percent:.3} % of the callers' requests failed");
        split.stop();
    });
}
