//! Our own client against our own registry, over real HTTP, with the registry away as it pleases.

use super::replication::until;
use super::*;
use crate::net::server_list::Servers;
use crate::rpc::discovery::Discovery;
use crate::rpc::discovery::eureka::instance::Instance;
use crate::rpc::discovery::eureka::view::View;
use crate::rpc::discovery::eureka::{InstanceInfo, Registrations, fetch, keep_fetched};
use std::sync::atomic::AtomicUsize;
use tokio_util::sync::CancellationToken;

const EVERY: Duration = Duration::from_millis(20);

/// Longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(20);

/// What stands at a registry's address while that is away: it takes connections, and answers nothing.
struct Away {
    port: u16,
    asked: Arc<AtomicUsize>,
    accepting: actix_web::rt::task::JoinHandle<()>,
}

impl Away {
    /// Keeps every caller waiting. Port 0 is any free one.
    fn silent(port: u16) -> Self {
        Self::start(port, true)
    }

    /// Hangs up at once.
    fn hanging_up(port: u16) -> Self {
        Self::start(port, false)
    }

    fn start(port: u16, waits: bool) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (port, asked) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let counted = asked.clone();
        let accepting = actix_web::rt::spawn(async move {
            let mut kept = Vec::new();
            while let Ok((connection, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                if waits {
                    kept.push(connection);
                }
            }
        });
        Self { port, asked, accepting }
    }

    /// Number of connections so far.
    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// The port is free again.
    async fn end(self) {
        self.accepting.abort();
        assert!(self.accepting.await.unwrap_err().is_cancelled());
    }
}

fn servers(ports: &[u16]) -> Arc<Servers> {
    let urls: Vec<String> = ports.iter().map(|port| url(*port)).collect();
    Arc::new(Servers::parse(&urls.join(",")).unwrap())
}

const OFFER: InstanceInfo<'static> = InstanceInfo {
    app: "ORDER-SERVICE",
    host: "127.0.0.1",
    ip: "127.0.0.1",
    port: 1,
    scheme: "http",
    version: "1",
    zone: Some("z"),
    renew_seconds: 5,
    lease_seconds: 15,
};

fn offer(port: u16) -> Instance {
    InstanceInfo { port, ..OFFER }.instance(7)
}

/// As a Spring service with `secure-port-enabled` and no other port is found.
#[test]
fn a_process_with_a_certificate_is_found_at_its_secure_port() {
    let plain = serde_json::to_value(offer(81)).unwrap();
    let secure = InstanceInfo { scheme: "https", zone: None, ..OFFER }.instance(7);
    let secure = serde_json::to_value(secure).unwrap();
    assert_eq!((&plain["port"], &plain["securePort"]), (&json!({"$": 81, "@enabled": "true"}), &json!({"$": 443, "@enabled": "false"})));
    assert_eq!(secure["securePort"], json!({"$": 1, "@enabled": "true"}));
    assert_eq!(secure["port"]["@enabled"], "false");
    assert_eq!(secure["secureVipAddress"], "order-service");
    for url in ["homePageUrl", "statusPageUrl", "healthCheckUrl", "secureHealthCheckUrl"] {
        assert!(secure[url].as_str().unwrap().starts_with("https://127.0.0.1:1/"), "{url}: {secure}");
    }
    assert!(plain.get("secureHealthCheckUrl").is_none(), "{plain}");
}

fn view() -> Arc<View> {
    Arc::new(View::new("1", [("order", "ORDER-SERVICE")].into(), Duration::from_secs(600)))
}

#[actix_web::test]
async fn it_registers_renews_registers_again_and_leaves() {
    let desk = Desk::new();
    let (port, _server) = desk.listen(0);
    let registrations = Registrations::start(&servers(&[port]), vec![offer(1), offer(2)], EVERY);
    until("both are registered", || desk.known() == 2).await;
    let kept = desk.registry.leases().get("ORDER-SERVICE", "127.0.0.1:order-service:1").unwrap();
    assert_eq!((kept.lease_info.duration_in_secs, kept.health_check_url.as_deref()), (15, Some("http://127.0.0.1:1/actuator/health")));
    let metadata = json!({"version": "1", "management.port": "1", "management.context-path": "/actuator", "zone": "z"});
    assert_eq!(serde_json::to_value(&kept.metadata).unwrap(), metadata);
    desk.pass(3);
    let renewed =
        |id: &str| desk.registry.leases().get("ORDER-SERVICE", id).is_some_and(|i| i.lease_info.last_renewal_timestamp == 1_003_000);
    until("it renews", || renewed("127.0.0.1:order-service:1")).await;
    assert_eq!(kept.lease_info.registration_timestamp, 1_000_000, "without registering again");
    desk.registry.leases().cancel("ORDER-SERVICE", "127.0.0.1:order-service:1", 1);
    until("it registers again where it was forgotten", || desk.known() == 2).await;
    assert!(registrations.leave(LIMIT).await);
    assert_eq!(desk.known(), 0);
}

#[actix_web::test]
async fn a_registry_may_be_away_at_the_start_and_later() {
    let (view, stop) = (view(), CancellationToken::new());
    let away = Away::hanging_up(0);
    let port = away.port;
    let registrations = Registrations::start(&servers(&[port]), vec![offer(1)], EVERY);
    let fetching = actix_web::rt::spawn(keep_fetched(servers(&[port]), view.clone(), EVERY, stop.clone()));
    until("it was asked in vain, again and again", || away.asked() > 5).await;
    assert!(view.pick("order", None).is_none());
    away.end().await;
    let first = Desk::new();
    let (_, handle) = first.listen(port);
    until("it is found once the registry is there", || view.pick("order", None).is_some()).await;
    handle.stop(false).await;
    let away = Away::hanging_up(port);
    until("it was asked in vain again", || away.asked() > 5).await;
    away.end().await;
    assert_eq!(view.pick("order", None).unwrap().base_url, "http://127.0.0.1:1", "the last known stay in use");
    // started anew it knows nobody; nobody is lost meanwhile
    let second = Desk::new();
    let (_, handle) = second.listen(port);
    until("it registers with the new one", || {
        assert!(view.pick("order", None).is_some());
        second.known() == 1
    })
    .await;
    assert!(registrations.leave(LIMIT).await);
    until("who left is called no more", || view.pick("order", None).is_none()).await;
    stop.cancel();
    fetching.await.unwrap();
    handle.stop(false).await;
}

#[actix_web::test]
async fn another_registry_stands_in() {
    let desk = Desk::new();
    let (port, _server) = desk.listen(0);
    let registrations = Registrations::start(&servers(&[free_port(), port]), vec![offer(1)], EVERY);
    until("it is registered with the one that is there", || desk.known() == 1).await;
    assert!(registrations.leave(LIMIT).await);
    assert_eq!(desk.known(), 0);
}

#[actix_web::test]
async fn leaving_waits_for_no_registry_that_is_away() {
    let registrations = Registrations::start(&servers(&[free_port()]), vec![offer(1)], EVERY);
    assert!(registrations.leave(LIMIT).await, "it gave up, so it waited until then");
}

#[actix_web::test]
async fn leaving_waits_for_a_silent_registry_no_longer_than_the_limit() {
    let away = Away::silent(0);
    let registrations = Registrations::start(&servers(&[away.port]), vec![offer(1)], EVERY);
    until("it has asked", || away.asked() > 0).await;
    assert!(!registrations.leave(EVERY).await, "nobody has answered");
}

#[actix_web::test]
async fn deltas_are_enough_and_a_full_fetch_helps_where_they_are_not() {
    let desk = Desk::with(|settings| settings.delta_seconds = 10);
    let (port, _server) = desk.listen(0);
    let (web, view, servers) = (desk.web().await, view(), servers(&[port]));
    web.register(instance("ORDER-SERVICE", "a", 1)).await;
    fetch(&servers, &view, true).await.unwrap();
    assert_eq!(view.len(), 1);
    web.register(instance("ORDER-SERVICE", "b", 1)).await;
    web.put("/eureka/apps/ORDER-SERVICE/a/status?value=DOWN").await;
    fetch(&servers, &view, false).await.unwrap();
    assert_eq!(view.len(), 2);
    web.delete("/eureka/apps/ORDER-SERVICE/b").await;
    fetch(&servers, &view, false).await.unwrap();
    assert_eq!(view.len(), 1);
    web.register(instance("ORDER-SERVICE", "c", 1)).await;
    desk.pass(11);
    assert!(web.list("/eureka/apps/delta").await.is_empty());
    fetch(&servers, &view, false).await.unwrap();
    assert_eq!(view.len(), 2, "the hash tells that a change was missed");
}

#[actix_web::test]
async fn credentials_that_are_not_taken_are_told_without_them() {
    let desk = Desk::new();
    let (port, _server) = desk.listen(0);
    let wrong = Servers::parse(&format!("http://tradepost:topsecret@127.0.0.1:{port}/eureka")).unwrap();
    let said = wrong.call(actix_web::http::Method::DELETE, "/apps/A/a", None).await.err().unwrap().to_string();
    assert!(said.contains("401") && !said.contains("topsecret"), "{said}");
}
