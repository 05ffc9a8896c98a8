//! Settings of databases and of the event bus.

use crate::kernel::secret::Secret;
#[cfg(feature = "mysql")]
use crate::settings::Tls;
use serde::{Deserialize, Serialize};

/// MySQL's `ssl-mode`. Its modes `PREFERRED`, `REQUIRED` and `VERIFY_CA` are left out: they do not verify the
/// server's host name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum SslMode {
    #[default]
    Disabled,
    /// Encrypted. The server's certificate must match the URL's host and be signed by a CA in `tls.ca` or by a public CA.
    VerifyIdentity,
}

/// `mysql.*`: connections to MySQL or MariaDB, for stores with a `mysql://` URL.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct MySql {
    /// Maximum number of connections per module.
    pub connections: usize,
    /// Connect timeout in milliseconds.
    pub connect_ms: u64,
    /// Timeout of acquiring a connection from the pool, in milliseconds.
    pub acquire_ms: u64,
    /// Timeout of one statement, and separately of its lock waits, in milliseconds.
    pub statement_ms: u64,
    /// Timeout of one transaction with all its retries, in milliseconds.
    pub transaction_ms: u64,
    /// How long the start waits for an unreachable server, in seconds.
    pub wait_seconds: u64,
    /// Apply pending migrations at the start; if false, pending migrations stop the start.
    pub migrate: bool,
    pub ssl_mode: SslMode,
}

impl Default for MySql {
    fn default() -> Self {
        Self {
            connections: 16,
            connect_ms: 1000,
            acquire_ms: 5000,
            statement_ms: 2000,
            transaction_ms: 5000,
            wait_seconds: 30,
            migrate: false,
            ssl_mode: SslMode::Disabled,
        }
    }
}

/// `mongodb.*`: connections of the product module, for a store with a `mongodb://` URL.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct MongoDb {
    /// Maximum number of connections per server.
    pub connections: u32,
    /// Connect timeout in milliseconds.
    pub connect_ms: u64,
    /// Timeout of server selection, in milliseconds.
    pub acquire_ms: u64,
    /// Timeout of one operation after server selection, including the wait for a pooled connection, in milliseconds.
    pub statement_ms: u64,
    /// How long the start waits for an unreachable server, in seconds.
    pub wait_seconds: u64,
    /// Create missing indexes at the start; if false, a missing index stops the start.
    pub migrate: bool,
}

impl Default for MongoDb {
    fn default() -> Self {
        Self { connections: 16, connect_ms: 1000, acquire_ms: 2000, statement_ms: 2000, wait_seconds: 30, migrate: false }
    }
}

/// Kafka's `security.protocol`, in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum KafkaSecurityProtocol {
    #[default]
    Plaintext,
    Ssl,
    SaslPlaintext,
    SaslSsl,
}

impl KafkaSecurityProtocol {
    pub fn uses_tls(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }

    pub fn uses_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }
}

/// Kafka's `sasl.mechanism`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub enum KafkaSaslMechanism {
    #[serde(rename = "PLAIN")]
    Plain,
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    #[default]
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

/// `bus.*`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Bus {
    /// `local://`: durable, in `data.dir`; `kafka://host:port[,host:port]`: needs the feature `kafka`.
    pub url: String,
    /// Kafka: prefix of all topic and group names, for several shops on one cluster.
    pub prefix: String,
    /// Kafka: number of partitions of created topics.
    pub partitions: u16,
    /// Kafka: replication factor of created topics; 0 means the brokers' default.
    pub replication: u16,
    /// Kafka: `group.instance.id` (static membership), unique per instance and stable over restarts. During a restart
    /// the instance keeps its partitions. Without it, a restart triggers a rebalance.
    pub instance: Option<String>,
    /// Kafka: `security.protocol`. CAs come from `tls.ca`, or from the system if it is not set.
    pub security: KafkaSecurityProtocol,
    pub sasl_mechanism: KafkaSaslMechanism,
    /// Kafka: SASL user.
    pub username: Option<String>,
    /// Kafka: SASL password.
    pub password: Option<Secret>,
}

impl Default for Bus {
    fn default() -> Self {
        Self {
            url: "local://".into(),
            prefix: String::new(),
            partitions: 6,
            replication: 0,
            instance: None,
            security: KafkaSecurityProtocol::Plaintext,
            sasl_mechanism: KafkaSaslMechanism::ScramSha512,
            username: None,
            password: None,
        }
    }
}

#[cfg(feature = "mysql")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MySqlUrl {
    /// `mysql://user:password@host:port/database`.
    pub url: Secret,
    /// `None` for plain-text connections.
    pub tls: Option<Tls>,
}
