//! Test support: a shop on a free port for each test, and a client for it.

#[cfg(feature = "tls")]
pub mod certs;
pub mod client;
pub mod hooks;
pub mod metrics;
/// Shared with the unit tests; the library does not export it.
#[path = "../../src/kernel/ports.rs"]
pub mod ports;
pub mod process;
pub mod stores;

use client::Client;
use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, Instant};
use stores::Stores;
use tempfile::TempDir;
use tokio::sync::Mutex;
use tradepost::app::serve;
use tradepost::app::serve::Running;
use tradepost::app::up::{Plan, Split};
use tradepost::config::Loaded;
use tradepost::kernel::module::Module;
use tradepost::settings::{Identity, PeerMode, Secret, Settings};

/// How the modules of the shop under test call each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Local,
    Loopback,
    Split,
}

/// A shop under test: in this process, or with one process per module.
pub struct Shop {
    pub client: Client,
    pub data: TempDir,
    pub settings: Settings,
    running: Option<Deployment>,
    stores: Stores,
}

enum Deployment {
    InProcess(Running),
    Split(Split),
}

/// Maximum wait for any condition. Long, because a wait ends as soon as its condition holds.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// The issuer's keys, generated once for all tests: key generation dominates the first start.
static KEYS: LazyLock<TempDir> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = Settings::default();
    settings.data.dir = dir.path().into();
    serve::prepare(Loaded::from(settings)).unwrap();
    dir
});

/// Copies the shared issuer keys into a data folder.
pub fn share_keys(dir: &Path) {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    let to = dir.join("identity");
    std::fs::DirBuilder::new().mode(0o700).create(&to).unwrap();
    for entry in std::fs::read_dir(KEYS.path().join("identity")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        std::fs::set_permissions(to.join(entry.file_name()), std::fs::Permissions::from_mode(0o600)).unwrap();
    }
}

impl Shop {
    /// Starts a shop with these changes to the settings.
    pub async fn start(shape: Shape, change: impl FnOnce(&mut Settings)) -> Self {
        let data = tempfile::tempdir().unwrap();
        share_keys(data.path());
        let mut settings = Settings::default();
        settings.data.dir = data.path().into();
        settings.server.port = 0;
        settings.server.workers = 2;
        settings.server.shutdown_seconds = 5;
        settings.order.lease_seconds = 1;
        // many tests share few cores: slow responses must not count as failures
        settings.resilience.call_ms = 8000;
        settings.order.peer_timeout_ms = 8000;
        if shape == Shape::Loopback {
            settings.server.peers = PeerMode::Http;
            settings.server.send_twice = true;
        }
        let stores = Stores::of(data.path());
        stores.apply(&mut settings);
        if let Ok(issuer) = std::env::var("TRADEPOST_TEST_ISSUER") {
            settings.identity.issuer = Some(issuer);
            settings.identity.client_secret = Some(Secret::new(std::env::var("TRADEPOST_SERVICE_SECRET").unwrap()));
        }
        if let Ok(brokers) = std::env::var("TRADEPOST_TEST_KAFKA") {
            settings.bus.url = format!("kafka://{brokers}");
            settings.bus.prefix = format!("t{}.", uuid::Uuid::new_v4().simple());
            settings.bus.partitions = 3;
        }
        #[cfg(feature = "tls")]
        if let Some(authority) = &*certs::SHARED {
            authority.apply(&mut settings);
        }
        change(&mut settings);
        match shape {
            Shape::Split => Self::split(data, settings, stores).await,
            _ => Self::in_process(data, settings, stores).await,
        }
    }

    /// Starts one process per module. The processes receive only these settings: data folder, lease, bus, issuer, TLS,
    /// route file, Zipkin and mail server.
    async fn split(data: TempDir, settings: Settings, stores: Stores) -> Self {
        let set = |key: &str, value: &str| (format!("TRADEPOST__{key}"), value.to_string());
        let lease = settings.order.lease_seconds.to_string();
        let routes = settings.gateway.routes.as_ref().map(|file| set("GATEWAY__ROUTES", &file.to_string_lossy()));
        let mut plan = Plan {
            binary: env!("CARGO_BIN_EXE_tradepost").into(),
            data: data.path().into(),
            port: 0,
            registry_port: 0,
            instances: 1,
            config: None,
            scheme: settings.server.scheme(),
            actuator: Default::default(),
            settings: vec![
                set("LOG__LEVEL", "warn"),
                set("ORDER__LEASE_SECONDS", &lease),
                set("SERVER__SHUTDOWN_SECONDS", "5"),
                // a slow response on a busy machine must not count as an unavailable peer
                set("RESILIENCE__CALL_MS", "8000"),
                set("ORDER__PEER_TIMEOUT_MS", "8000"),
                set("GATEWAY__CONNECT_MS", "8000"),
                set("BUS__URL", &settings.bus.url),
                set("BUS__PREFIX", &settings.bus.prefix),
                set("BUS__PARTITIONS", &settings.bus.partitions.to_string()),
            ]
            .into_iter()
            .chain(routes)
            .collect(),
        };
        let Identity { issuer, client_secret, .. } = &settings.identity;
        plan.settings.extend(issuer.iter().flat_map(|url| [set("IDENTITY__ISSUER", url), set("IDENTITY__BACKCHANNEL", "")]));
        plan.settings.extend(client_secret.iter().map(|secret| set("IDENTITY__CLIENT_SECRET", secret.expose())));
        plan.settings.extend(stores.environment());
        if let Some(zipkin) = &settings.telemetry.zipkin {
            let (sample, queue) = (settings.telemetry.sample.to_string(), settings.telemetry.queue.to_string());
            plan.settings.extend(
                [("ZIPKIN", zipkin.expose()), ("SAMPLE", &sample), ("QUEUE", &queue)]
                    .map(|(key, value)| set(&format!("TELEMETRY__{key}"), value)),
            );
        }
        plan.settings.extend(settings.notification.smtp.iter().map(|url| set("NOTIFICATION__SMTP", url.expose())));
        #[cfg(feature = "tls")]
        {
            plan.settings.extend(certs::environment(&settings));
            tradepost::net::tls::start(&settings).unwrap();
        }
        let split = Split::start(&plan).unwrap();
        let client = login(&settings, &split.urls[0]).await;
        Self { client, data, settings, running: Some(Deployment::Split(split)), stores }
    }

    async fn in_process(data: TempDir, settings: Settings, stores: Stores) -> Self {
        let running = serve::start(Loaded::from(settings.clone())).await.unwrap();
        let client = login(&settings, &running.public_url).await;
        Self { client, data, settings, running: Some(Deployment::InProcess(running)), stores }
    }

    /// Drops its databases on servers; the data folder is deleted on drop.
    pub fn clear(&self) {
        self.stores.drop_all();
    }

    /// A token of the service client.
    pub async fn service_token(&self) -> String {
        let secret = match &self.settings.identity.client_secret {
            Some(secret) => secret.expose().to_string(),
            None => std::fs::read_to_string(self.data.path().join("identity/service-secret")).unwrap().trim().to_string(),
        };
        self.client.service_token(&secret).await
    }

    /// URL of the module's process; `None` if all modules run in one process.
    pub fn member(&self, module: Module) -> Option<String> {
        match &self.running {
            Some(Deployment::Split(split)) => split.member(module).map(|(url, _)| url),
            _ => None,
        }
    }

    /// Stops gracefully, as SIGTERM does.
    pub async fn stop(&mut self) {
        match self.running.take() {
            Some(Deployment::InProcess(running)) => running.stop().await,
            Some(Deployment::Split(mut split)) => split.stop(),
            None => {}
        }
    }

    /// Restarts the shop on the same data.
    pub async fn restart(mut self) -> Self {
        self.stop().await;
        Self::in_process(self.data, self.settings, self.stores).await
    }

    /// Waits until every invariant holds and no event is pending.
    pub async fn assert_sound(&self) {
        let settings = self.settings.clone();
        wait_for("the audit is clean and no event is pending", || async {
            // on another thread: the consumers of an in-process shop must keep running
            let settings = settings.clone();
            let report = tokio::task::spawn_blocking(move || tradepost::app::audit::run(&settings)).await.unwrap().unwrap();
            let quiet = report.summary.iter().any(|line| line.ends_with(" 0 under way"));
            if report.violations.is_empty() && quiet { Ok(()) } else { Err(format!("{report:?}")) }
        })
        .await;
    }
}

/// Returns a client with tokens. Tokens of an external issuer are cached for all tests: Keycloak checks passwords
/// slowly and rejects concurrent logins of one user.
async fn login(settings: &Settings, url: &str) -> Client {
    static TOKENS: Mutex<Option<(Instant, String, [String; 2])>> = Mutex::const_new(None);
    const MAX_AGE: Duration = Duration::from_secs(60);
    let Some(issuer) = &settings.identity.issuer else { return Client::login(url).await };
    if std::env::var("TRADEPOST_TEST_ISSUER").as_ref() != Ok(issuer) {
        return Client::login_at(issuer, url).await;
    }
    let mut cached = TOKENS.lock().await;
    if let Some((_, _, tokens)) = cached.as_ref().filter(|(since, url, _)| since.elapsed() < MAX_AGE && url == issuer) {
        return Client::with_tokens(issuer, url, tokens.clone());
    }
    let client = Client::login_at(issuer, url).await;
    *cached = Some((Instant::now(), issuer.clone(), [client.admin.clone(), client.alice.clone()]));
    client
}

/// Waits for a condition; panics with its last error.
pub async fn wait_until(what: &str, mut condition: impl FnMut() -> Result<(), String>) {
    wait_for(what, || std::future::ready(condition())).await;
}

/// Like `wait_until`, for an asynchronous condition.
pub async fn wait_for<F, Fut>(what: &str, mut condition: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<(), String>>,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        match condition().await {
            Ok(()) => return,
            Err(state) if Instant::now() > deadline => panic!("timed out waiting until {what}: {state}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Runs a test on a new actix system.
pub fn on_system<F: Future<Output = ()>>(test: F) {
    actix_web::rt::System::new().block_on(test);
}

/// Generates one test per shape from a scenario. `of one process` omits `split`: for scenarios about a single process,
/// or about requests that the gateway refuses before they reach a module.
#[macro_export]
macro_rules! scenario {
    ($(#[doc = $doc:literal])* async fn $name:ident($shop:ident) $body:block) => {
        $(#[doc = $doc])*
        mod $name {
            $crate::scenario!(@run $shop $body);
            #[test]
            fn local() { in_shape($crate::support::Shape::Local); }
            #[test]
            fn loopback() { in_shape($crate::support::Shape::Loopback); }
            #[test]
            fn split() { in_shape($crate::support::Shape::Split); }
        }
    };
    (of one process: $(#[doc = $doc:literal])* async fn $name:ident($shop:ident) $body:block) => {
        $(#[doc = $doc])*
        mod $name {
            $crate::scenario!(@run $shop $body);
            #[test]
            fn local() { in_shape($crate::support::Shape::Local); }
            #[test]
            fn loopback() { in_shape($crate::support::Shape::Loopback); }
        }
    };
    (@run $shop:ident $body:block) => {
        #[allow(unused_imports, reason = "not every scenario uses items of its file")]
        use super::*;
        async fn run($shop: &$crate::support::Shop) $body
        fn in_shape(shape: $crate::support::Shape) {
            $crate::support::on_system(async move {
                let mut shop = $crate::support::Shop::start(shape, |_| {}).await;
                run(&shop).await;
                shop.assert_sound().await;
                shop.stop().await;
                shop.clear();
            });
        }
    };
}
