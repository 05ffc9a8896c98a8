//! What every test stands on: a shop of its own on a free port, and a client for it.

#[cfg(feature = "tls")]
pub mod certs;
pub mod client;
pub mod hooks;
pub mod metrics;
/// The unit tests' own, which the library keeps to itself.
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

/// A shop under test: in this process, or in one process a module.
pub struct Shop {
    pub client: Client,
    pub data: TempDir,
    pub settings: Settings,
    running: Option<Runs>,
    stores: Stores,
}

enum Runs {
    Here(Running),
    Split(Split),
}

/// How long a test waits for anything. Long: it is over as soon as what is waited for is there.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// The issuer's keys are made once for all tests: that is the one slow part of a first start.
static KEYS: LazyLock<TempDir> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = Settings::default();
    settings.data.dir = dir.path().into();
    serve::prepare(Loaded::from(settings)).unwrap();
    dir
});

/// Gives a data folder the keys that all tests share.
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
    /// Starts one, with these changes to the settings.
    pub async fn start(shape: Shape, change: impl FnOnce(&mut Settings)) -> Self {
        let data = tempfile::tempdir().unwrap();
        share_keys(data.path());
        let mut settings = Settings::default();
        settings.data.dir = data.path().into();
        settings.server.port = 0;
        settings.server.workers = 2;
        settings.server.shutdown_seconds = 5;
        settings.order.lease_seconds = 1;
        // many tests share few cores: one that is slow for it is not in trouble
        settings.resilience.call_ms = 8000;
        settings.order.peers_ms = 8000;
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
            _ => Self::on(data, settings, stores).await,
        }
    }

    /// One process a module; of the settings only the data folder, the lease, the bus, the issuer, TLS, the route file, Zipkin and the mail server reach them.
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
                // a busy machine must not be taken for a peer that is away
                set("RESILIENCE__CALL_MS", "8000"),
                set("ORDER__PEERS_MS", "8000"),
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
        Self { client, data, settings, running: Some(Runs::Split(split)), stores }
    }

    async fn on(data: TempDir, settings: Settings, stores: Stores) -> Self {
        let running = serve::start(Loaded::from(settings.clone())).await.unwrap();
        let client = login(&settings, &running.public_url).await;
        Self { client, data, settings, running: Some(Runs::Here(running)), stores }
    }

    /// Removes what it keeps on a server; its data folder goes by itself.
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

    /// Where a module's own process answers; none where all is one process.
    pub fn member(&self, module: Module) -> Option<String> {
        match &self.running {
            Some(Runs::Split(split)) => split.member(module).map(|(url, _)| url),
            _ => None,
        }
    }

    /// Stops it in order, as SIGTERM does.
    pub async fn stop(&mut self) {
        match self.running.take() {
            Some(Runs::Here(running)) => running.stop().await,
            Some(Runs::Split(mut split)) => split.stop(),
            None => {}
        }
    }

    /// Stops it and starts it again on the same data.
    pub async fn restart(mut self) -> Self {
        self.stop().await;
        Self::on(self.data, self.settings, self.stores).await
    }

    /// Every invariant holds, and no event is on its way any more.
    pub async fn assert_sound(&self) {
        let settings = self.settings.clone();
        wait_for("the audit is clean and nothing is under way", || async {
            // aside: the consumers of a shop in this process must go on meanwhile
            let settings = settings.clone();
            let report = tokio::task::spawn_blocking(move || tradepost::app::audit::run(&settings)).await.unwrap().unwrap();
            let quiet = report.summary.iter().any(|line| line.ends_with(" 0 under way"));
            if report.violations.is_empty() && quiet { Ok(()) } else { Err(format!("{report:?}")) }
        })
        .await;
    }
}

/// With the issuer's tokens. Those of a real one serve many tests: it takes its time to check a password,
/// and refuses logins of one user side by side.
async fn login(settings: &Settings, url: &str) -> Client {
    static TOKENS: Mutex<Option<(Instant, String, [String; 2])>> = Mutex::const_new(None);
    const FRESH: Duration = Duration::from_secs(60);
    let Some(issuer) = &settings.identity.issuer else { return Client::login(url).await };
    if std::env::var("TRADEPOST_TEST_ISSUER").as_ref() != Ok(issuer) {
        return Client::login_at(issuer, url).await;
    }
    let mut kept = TOKENS.lock().await;
    if let Some((_, _, tokens)) = kept.as_ref().filter(|(since, whose, _)| since.elapsed() < FRESH && whose == issuer) {
        return Client::with_tokens(issuer, url, tokens.clone());
    }
    let client = Client::login_at(issuer, url).await;
    *kept = Some((Instant::now(), issuer.clone(), [client.admin.clone(), client.alice.clone()]));
    client
}

/// Waits for a condition; fails with what it last said.
pub async fn wait_until(what: &str, mut condition: impl FnMut() -> Result<(), String>) {
    wait_for(what, || std::future::ready(condition())).await;
}

/// The same for a condition that must be asked for.
pub async fn wait_for<F, Fut>(what: &str, mut condition: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<(), String>>,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        match condition().await {
            Ok(()) => return,
            Err(state) if Instant::now() > deadline => panic!("waited in vain until {what}: {state}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Runs a test on an actix system of its own.
pub fn on_system<F: Future<Output = ()>>(test: F) {
    actix_web::rt::System::new().block_on(test);
}

/// Writes a scenario once; it becomes a test in each shape. One that is about a single process, or about
/// what the gateway refuses before a module sees it, says `of one process`.
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
        #[allow(unused_imports, reason = "not every scenario names something of its file")]
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
