//! Tests of the discovery client against the registry, over HTTP, with the registry up and down.

use super::replication::until;
use super::*;
use crate::net::server_list::Servers;
use crate::rpc::discovery::Discovery;
use crate::rpc::discovery::eureka::instance::Instance;
use crate::rpc::discovery::eureka::view::RegistryView;
use crate::rpc::discovery::eureka::{InstanceInfo, Registrations, fetch, refresh_periodically};
use std::sync::atomic::AtomicUsize;
use tokio_util::sync::CancellationToken;

const INTERVAL: Duration = Duration::from_millis(20);

const LIMIT: Duration = Duration::from_secs(20);

/// Listens at the address of a registry that is down: accepts connections and sends no response.
struct FakeRegistry {
    port: u16,
    connections: Arc<AtomicUsize>,
    accepting: actix_web::rt::task::JoinHandle<()>,
}

impl FakeRegistry {
    /// Keeps connections open. Port 0 is any free port.
    fn silent(port: u16) -> Self {
        Self::start(port, true)
    }

    /// Closes connections at once.
    fn disconnecting(port: u16) -> Self {
        Self::start(port, false)
    }

    fn start(port: u16, keeps_open: bool) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (port, connections) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let counted = connections.clone();
        let accepting = actix_web::rt::spawn(async move {
            let mut open = Vec::new();
            while let Ok((connection, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                if keeps_open {
                    open.push(connection);
                }
            }
        });
        Self { port, connections, accepting }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Frees the port.
    async fn stop_listening(self) {
        self.accepting.abort();
        assert!(self.accepting.await.unwrap_err().is_cancelled());
    }
}

fn servers(ports: &[u16]) -> Arc<Servers> {
    let urls: Vec<String> = ports.iter().map(|port| url(*port)).collect();
    Arc::new(Servers::parse(&urls.join(",")).unwrap())
}

const INSTANCE: InstanceInfo<'static> = InstanceInfo {
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

fn registration(port: u16) -> Instance {
    InstanceInfo { port, ..INSTANCE }.instance(7)
}

/// As for a Spring service with `secure-port-enabled` and no other port.
#[test]
fn instance_with_https_registers_its_secure_port() {
    let plain = serde_json::to_value(registration(81)).unwrap();
    let secure = InstanceInfo { scheme: "https", zone: None, ..INSTANCE }.instance(7);
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

fn view() -> Arc<RegistryView> {
    Arc::new(RegistryView::new("1", [("order", "ORDER-SERVICE")].into(), Duration::from_secs(600)))
}

#[actix_web::test]
async fn client_registers_renews_reregisters_and_deregisters() {
    let registry = TestRegistry::new();
    let (port, _server) = registry.listen(0);
    let registrations = Registrations::start(&servers(&[port]), vec![registration(1), registration(2)], INTERVAL);
    until("both are registered", || registry.count() == 2).await;
    let registered = registry.state.leases().get("ORDER-SERVICE", "127.0.0.1:order-service:1").unwrap();
    assert_eq!(
        (registered.lease_info.duration_in_secs, registered.health_check_url.as_deref()),
        (15, Some("http://127.0.0.1:1/actuator/health"))
    );
    let metadata = json!({"version": "1", "management.port": "1", "management.context-path": "/actuator", "zone": "z"});
    assert_eq!(serde_json::to_value(&registered.metadata).unwrap(), metadata);
    registry.advance(3);
    let renewed =
        |id: &str| registry.state.leases().get("ORDER-SERVICE", id).is_some_and(|i| i.lease_info.last_renewal_timestamp == 1_003_000);
    until("the client renews", || renewed("127.0.0.1:order-service:1")).await;
    assert_eq!(registered.lease_info.registration_timestamp, 1_000_000, "without registering again");
    registry.state.leases().cancel("ORDER-SERVICE", "127.0.0.1:order-service:1", 1);
    until("the client registers again after its lease was cancelled", || registry.count() == 2).await;
    assert!(registrations.deregister(LIMIT).await);
    assert_eq!(registry.count(), 0);
}

#[actix_web::test]
async fn unreachable_registry_keeps_last_known_instances() {
    let (view, stop) = (view(), CancellationToken::new());
    let fake = FakeRegistry::disconnecting(0);
    let port = fake.port;
    let registrations = Registrations::start(&servers(&[port]), vec![registration(1)], INTERVAL);
    let fetching = actix_web::rt::spawn(refresh_periodically(servers(&[port]), view.clone(), INTERVAL, stop.clone()));
    until("the client retries", || fake.connections() > 5).await;
    assert!(view.pick("order", None).is_none());
    fake.stop_listening().await;
    let first = TestRegistry::new();
    let (_, handle) = first.listen(port);
    until("the instance is found once the registry is up", || view.pick("order", None).is_some()).await;
    handle.stop(false).await;
    let fake = FakeRegistry::disconnecting(port);
    until("the client retries", || fake.connections() > 5).await;
    fake.stop_listening().await;
    assert_eq!(view.pick("order", None).unwrap().base_url, "http://127.0.0.1:1", "the last known instances stay in use");
    // a restarted registry is empty; the client keeps its instances until they have registered again
    let second = TestRegistry::new();
    let (_, handle) = second.listen(port);
    until("the client registers with the restarted registry", || {
        assert!(view.pick("order", None).is_some());
        second.count() == 1
    })
    .await;
    assert!(registrations.deregister(LIMIT).await);
    until("the deregistered instance is dropped", || view.pick("order", None).is_none()).await;
    stop.cancel();
    fetching.await.unwrap();
    handle.stop(false).await;
}

#[actix_web::test]
async fn unreachable_registry_fails_over_to_the_next() {
    let registry = TestRegistry::new();
    let (port, _server) = registry.listen(0);
    let registrations = Registrations::start(&servers(&[free_port(), port]), vec![registration(1)], INTERVAL);
    until("the client registers with the second registry", || registry.count() == 1).await;
    assert!(registrations.deregister(LIMIT).await);
    assert_eq!(registry.count(), 0);
}

#[actix_web::test]
async fn leave_with_unreachable_registry_returns_early() {
    let registrations = Registrations::start(&servers(&[free_port()]), vec![registration(1)], INTERVAL);
    assert!(registrations.deregister(LIMIT).await, "a refused connection ends the attempt");
}

#[actix_web::test]
async fn leave_with_silent_registry_ends_at_the_limit() {
    let fake = FakeRegistry::silent(0);
    let registrations = Registrations::start(&servers(&[fake.port]), vec![registration(1)], INTERVAL);
    until("the client has connected", || fake.connections() > 0).await;
    assert!(!registrations.deregister(INTERVAL).await, "the registry has not responded");
}

#[actix_web::test]
async fn fetch_after_missed_delta_falls_back_to_full_fetch() {
    let registry = TestRegistry::with(|settings| settings.delta_seconds = 10);
    let (port, _server) = registry.listen(0);
    let (client, view, servers) = (registry.client().await, view(), servers(&[port]));
    client.register(instance("ORDER-SERVICE", "a", 1)).await;
    fetch(&servers, &view, true).await.unwrap();
    assert_eq!(view.len(), 1);
    client.register(instance("ORDER-SERVICE", "b", 1)).await;
    client.put("/eureka/apps/ORDER-SERVICE/a/status?value=DOWN").await;
    fetch(&servers, &view, false).await.unwrap();
    assert_eq!(view.len(), 2);
    client.delete("/eureka/apps/ORDER-SERVICE/b").await;
    fetch(&servers, &view, false).await.unwrap();
    assert_eq!(view.len(), 1);
    client.register(instance("ORDER-SERVICE", "c", 1)).await;
    registry.advance(11);
    assert!(client.list("/eureka/apps/delta").await.is_empty());
    fetch(&servers, &view, false).await.unwrap();
    assert_eq!(view.len(), 2, "the hash reveals the missed change");
}

#[actix_web::test]
async fn rejected_credentials_are_not_in_the_error() {
    let registry = TestRegistry::new();
    let (port, _server) = registry.listen(0);
    let wrong = Servers::parse(&format!("http://tradepost:topsecret@127.0.0.1:{port}/eureka")).unwrap();
    let message = wrong.call(actix_web::http::Method::DELETE, "/apps/A/a", None).await.err().unwrap().to_string();
    assert!(message.contains("401") && !message.contains("topsecret"), "{message}");
}
