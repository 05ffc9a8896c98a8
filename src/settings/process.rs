//! What can be set: one struct a concern, with its defaults.

use crate::kernel::secret::Secret;
use crate::settings::Resilience;
use crate::settings::Telemetry;
use crate::settings::{Actuator, Tls, Vault};
use crate::settings::{Bus, MongoDb, MySql};
use crate::settings::{ConfigClient, ConfigServer, Gateway, Identity, Registry};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Whether this is somebody's desk or somebody's shop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// The built-in issuer with its demo users may run.
    #[default]
    Development,
    /// It may not, unless forced.
    Production,
}

/// How calls between modules of this process travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum PeerMode {
    /// As function calls, wherever the peer runs here.
    #[default]
    InProcess,
    /// Through the generated client over HTTP, even to this very process.
    Http,
}

/// Whether clients must show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    /// None is asked for.
    #[default]
    None,
    /// One that is shown must be good.
    Optional,
    /// Nobody connects without.
    Required,
}

/// `server.*`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Server {
    /// Address to listen on.
    pub host: String,
    /// Port to listen on; 0 takes any free one and prints it. A registry with a process to itself listens
    /// on 8761 where nothing is set.
    pub port: u16,
    /// How clients reach us, where that differs from `http://host:port`, or `https://host:port` with a certificate.
    pub public_url: Option<String>,
    /// Certificate chain (PEM) of this process; with it, the port speaks TLS and nothing else.
    pub tls_cert: Option<PathBuf>,
    /// The private key (PEM) to it.
    pub tls_key: Option<PathBuf>,
    /// Certificates (PEM) of the authorities that vouch for clients.
    pub tls_client_ca: Option<PathBuf>,
    /// Whether clients must show a certificate.
    pub tls_client: ClientCertificates,
    /// HTTP worker threads; 0 means one a core.
    pub workers: usize,
    /// Largest request body, in bytes.
    pub body_limit: usize,
    /// Longest time for one request, in seconds.
    pub request_seconds: u64,
    /// Told to stop: how long it goes on answering before it closes its port, in seconds. Each answer closes its connection,
    /// and readiness is down. For behind a load balancer, or callers that keep connections.
    pub linger_seconds: u64,
    /// Longest time for finishing what runs at shutdown, in seconds.
    pub shutdown_seconds: u64,
    /// Origins that browsers may call from; `*` for any. Tokens travel in a header, never in a cookie.
    pub origins: Vec<String>,
    /// Development or production.
    pub profile: Profile,
    /// Modules to run, of those compiled in; empty for all.
    pub modules: Vec<String>,
    /// In-process or http.
    pub peers: PeerMode,
    /// Stop when the standard input closes: a process that somebody started for themselves ends with them.
    pub until_input_closes: bool,
    /// Test aid: generated clients send each repeatable call twice.
    pub send_twice: bool,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".into(),
            port: 5294,
            public_url: None,
            tls_cert: None,
            tls_key: None,
            tls_client_ca: None,
            tls_client: ClientCertificates::None,
            workers: 0,
            body_limit: 1 << 20,
            request_seconds: 10,
            linger_seconds: 0,
            shutdown_seconds: 20,
            origins: vec!["*".into()],
            profile: Profile::Development,
            modules: Vec::new(),
            peers: PeerMode::InProcess,
            until_input_closes: false,
            send_twice: false,
        }
    }
}

impl Server {
    /// `https` where the process has a certificate, else `http`.
    pub fn scheme(&self) -> &'static str {
        if self.tls_cert.is_some() { "https" } else { "http" }
    }
}

/// `data.*`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Data {
    /// Folder of the embedded stores, the bus and the built-in issuer's keys.
    pub dir: PathBuf,
    /// Load the demo catalogue into an empty shop at the first start.
    pub demo: bool,
}

impl Default for Data {
    fn default() -> Self {
        Self { dir: "data".into(), demo: true }
    }
}

/// `product.*`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Product {
    /// URL of its store; by default `sqlite://{data.dir}/product.db`; or `mongodb://user:password@host:port/database`.
    pub store: Option<Secret>,
}

/// `inventory.*`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Inventory {
    /// URL of its store; by default `sqlite://{data.dir}/inventory.db`; or `mysql://user:password@host:port/database`.
    pub store: Option<Secret>,
    /// A reservation that is neither committed nor released for so long is looked into, in seconds.
    pub reservation_seconds: u64,
    /// `stock.low` is told when a quantity falls to this.
    pub low: i64,
}

impl Default for Inventory {
    fn default() -> Self {
        Self { store: None, reservation_seconds: 60, low: 5 }
    }
}

/// `order.*`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Order {
    /// URL of its store; by default `sqlite://{data.dir}/order.db`; or `mysql://user:password@host:port/database`.
    pub store: Option<Secret>,
    /// An order that is PENDING for so long is taken up by the recovery worker, in seconds.
    pub lease_seconds: u64,
    /// How long the answer to an `Idempotency-Key` is kept, in hours.
    pub idempotency_hours: u64,
    /// Lines in one order at most.
    pub max_lines: usize,
    /// How long placing an order waits for its peers, all steps together, in milliseconds.
    pub peers_ms: u64,
}

impl Default for Order {
    fn default() -> Self {
        Self { store: None, lease_seconds: 15, idempotency_hours: 48, max_lines: 1000, peers_ms: 900 }
    }
}

/// `notification.*`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Notification {
    /// URL of its store; by default `sqlite://{data.dir}/notification.db`; or `mysql://user:password@host:port/database`.
    pub store: Option<Secret>,
    /// Mail server, e.g. `smtp://user:password@host:587?tls=required`; none sends no mail.
    pub smtp: Option<Secret>,
    /// Sender of mail.
    pub from: String,
    /// Receivers of signed webhooks.
    pub webhooks: Vec<Webhook>,
    /// Attempts at a delivery before it is a dead letter.
    pub attempts: u32,
    /// Pause after the first failed attempt, in milliseconds; it doubles with each further one.
    pub backoff_ms: u64,
}

impl Default for Notification {
    fn default() -> Self {
        Self { store: None, smtp: None, from: "Tradepost <shop@localhost>".into(), webhooks: Vec::new(), attempts: 8, backoff_ms: 1000 }
    }
}

/// One receiver of webhooks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Webhook {
    /// Where to POST.
    pub url: String,
    /// Signing secret in Standard Webhooks form: `whsec_` and base64.
    pub secret: Secret,
    /// Event types it wants; empty for all.
    #[serde(default)]
    pub events: Vec<String>,
}

/// `log.*`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Log {
    /// Default level and per-target ones: `info,tradepost::modules::order=debug`.
    pub level: String,
    /// `auto` (human on a terminal, JSON otherwise), `human` or `json`.
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum LogFormat {
    Auto,
    Human,
    Json,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Auto }
    }
}

/// All settings.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Settings {
    pub server: Server,
    pub data: Data,
    pub product: Product,
    pub inventory: Inventory,
    pub order: Order,
    pub notification: Notification,
    pub mysql: MySql,
    pub mongodb: MongoDb,
    pub bus: Bus,
    pub identity: Identity,
    pub registry: Registry,
    pub gateway: Gateway,
    pub config: ConfigClient,
    pub config_server: ConfigServer,
    pub tls: Tls,
    pub vault: Vault,
    pub log: Log,
    pub telemetry: Telemetry,
    pub actuator: Actuator,
    pub resilience: Resilience,
    /// An address for each module that runs elsewhere: `peers.product = "http://host:port"`.
    pub peers: BTreeMap<String, String>,
}
