//! Settings of the process and of the domain modules, and [`Settings`], the root of all settings.

use crate::kernel::secret::Secret;
use crate::settings::Resilience;
use crate::settings::Telemetry;
use crate::settings::{Actuator, Tls, Vault};
use crate::settings::{Bus, MongoDb, MySql};
use crate::settings::{ConfigClient, ConfigServer, Gateway, Identity, Registry};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Allows the built-in issuer with its demo users.
    #[default]
    Development,
    /// Rejects the built-in issuer unless `identity.allow_in_production` is set.
    Production,
}

/// How modules of this process call each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum PeerMode {
    /// Call local peers as functions.
    #[default]
    InProcess,
    /// Call every peer through the generated HTTP client, local peers too.
    Http,
}

/// TLS client certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    #[default]
    None,
    /// Requested; verified if the client sends one.
    Optional,
    Required,
}

/// `server.*`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Server {
    /// Address to listen on.
    pub host: String,
    /// Port to listen on; 0 picks a free port and prints it. By default 5294; 8761 if the process runs only the registry,
    /// 8888 if it runs only the config-server.
    pub port: u16,
    /// Base URL for clients, if it differs from `http://host:port`, or from `https://host:port` with a certificate.
    pub public_url: Option<String>,
    /// Server certificate chain (PEM); if set, the port accepts TLS only.
    pub tls_cert: Option<PathBuf>,
    /// Private key (PEM) of `tls_cert`.
    pub tls_key: Option<PathBuf>,
    /// CA certificates (PEM) that client certificates are verified against.
    pub tls_client_ca: Option<PathBuf>,
    pub tls_client: ClientCertificates,
    /// HTTP worker threads; 0 means one per core.
    pub workers: usize,
    /// Maximum size of a request body, in bytes.
    pub body_limit: usize,
    /// Request timeout, in seconds.
    pub request_seconds: u64,
    /// Shutdown delay: after a stop signal the process keeps serving for this long before it closes its port, in seconds.
    /// Readiness is down, and each response closes its connection. For load balancers and clients that keep connections.
    pub shutdown_delay_seconds: u64,
    /// Shutdown deadline for running requests and workers, in seconds.
    pub shutdown_seconds: u64,
    /// Allowed CORS origins; `*` for any, which is safe because tokens are in a header, not in a cookie.
    pub origins: Vec<String>,
    pub profile: Profile,
    /// Modules to run; empty for all that are compiled in.
    pub modules: Vec<String>,
    pub peers: PeerMode,
    /// Stop when the standard input closes, so that a child process ends with its parent.
    pub exit_on_stdin_eof: bool,
    /// For tests: generated clients send each retryable call twice.
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
            shutdown_delay_seconds: 0,
            shutdown_seconds: 20,
            origins: vec!["*".into()],
            profile: Profile::Development,
            modules: Vec::new(),
            peers: PeerMode::InProcess,
            exit_on_stdin_eof: false,
            send_twice: false,
        }
    }
}

impl Server {
    pub fn scheme(&self) -> &'static str {
        if self.tls_cert.is_some() { "https" } else { "http" }
    }
}

/// `data.*`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Data {
    /// Folder of the embedded stores, the local bus and the built-in issuer's keys.
    pub dir: PathBuf,
    /// Load the demo catalogue into empty stores at the first start.
    pub demo: bool,
    /// Start although an embedded store is missing, older than the others, or of another shop. For one start.
    pub accept_loss: bool,
}

impl Default for Data {
    fn default() -> Self {
        Self { dir: "data".into(), demo: true, accept_loss: false }
    }
}

/// `product.*`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Product {
    /// URL of the store; by default `sqlite://{data.dir}/product.db`; or `mongodb://user:password@host:port/database`.
    pub store: Option<Secret>,
}

/// `inventory.*`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Inventory {
    /// URL of the store; by default `sqlite://{data.dir}/inventory.db`; or `mysql://user:password@host:port/database`.
    pub store: Option<Secret>,
    /// Age after which a HELD reservation is checked against its order, in seconds.
    pub reservation_seconds: u64,
    /// Threshold: `stock.low` is published when a quantity falls to this value.
    pub low_stock_threshold: i64,
}

impl Default for Inventory {
    fn default() -> Self {
        Self { store: None, reservation_seconds: 60, low_stock_threshold: 5 }
    }
}

/// `order.*`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Order {
    /// URL of the store; by default `sqlite://{data.dir}/order.db`; or `mysql://user:password@host:port/database`.
    pub store: Option<Secret>,
    /// Age after which the recovery worker resumes a PENDING order, in seconds.
    pub lease_seconds: u64,
    /// Retention of the response to an `Idempotency-Key`, in hours.
    pub idempotency_hours: u64,
    /// Maximum number of lines per order.
    pub max_lines: usize,
    /// Timeout of all peer calls of placing one order together, in milliseconds.
    pub peer_timeout_ms: u64,
}

impl Default for Order {
    fn default() -> Self {
        Self { store: None, lease_seconds: 15, idempotency_hours: 48, max_lines: 1000, peer_timeout_ms: 900 }
    }
}

/// `notification.*`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Notification {
    /// URL of the store; by default `sqlite://{data.dir}/notification.db`; or `mysql://user:password@host:port/database`.
    pub store: Option<Secret>,
    /// Mail server, e.g. `smtp://user:password@host:587?tls=required`; without it, no mail is sent.
    pub smtp: Option<Secret>,
    /// Sender address of mail.
    pub from: String,
    pub webhooks: Vec<Webhook>,
    /// Maximum number of delivery attempts; then the delivery becomes a dead letter.
    pub attempts: u32,
    /// Backoff after the first failed attempt, in milliseconds; doubled after each further one.
    pub backoff_ms: u64,
}

impl Default for Notification {
    fn default() -> Self {
        Self { store: None, smtp: None, from: "Tradepost <shop@localhost>".into(), webhooks: Vec::new(), attempts: 8, backoff_ms: 1000 }
    }
}

/// Receiver of webhooks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Webhook {
    pub url: String,
    /// Signing secret in Standard Webhooks form: `whsec_` and base64.
    pub secret: Secret,
    /// Event types to send; empty for all.
    #[serde(default)]
    pub events: Vec<String>,
}

/// `log.*`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Log {
    /// Default level, optionally with levels per target: `info,tradepost::modules::order=debug`.
    pub level: String,
    pub format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Human-readable on a terminal, JSON otherwise.
    Auto,
    Human,
    Json,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Auto }
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
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
    /// Address per remote module: `peers.product = "http://host:port"`.
    pub peers: BTreeMap<String, String>,
}
