//! What can be set of the servers that the shop stands on: its databases and its brokers.

use crate::kernel::secret::Secret;
#[cfg(feature = "mysql")]
use crate::settings::Tls;
use serde::{Deserialize, Serialize};

/// Whether connections to MySQL and MariaDB are encrypted, by MySQL's names of its modes. Those between the two
/// are not here: they encrypt towards whoever answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum SslMode {
    /// They are not.
    #[default]
    Disabled,
    /// They are, and the server's certificate is from an authority that `tls.ca` or the public list names, and
    /// for the host of the URL.
    VerifyIdentity,
}

/// `mysql.*`: how a module whose store is a `mysql://` URL uses its server, be it MySQL or MariaDB.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct MySql {
    /// Connections of a module at most.
    pub connections: usize,
    /// How long connecting may take, in milliseconds.
    pub connect_ms: u64,
    /// How long a transaction waits for a free connection, in milliseconds.
    pub acquire_ms: u64,
    /// Longest time for one statement, and beside it for its wait for locks, in milliseconds.
    pub statement_ms: u64,
    /// Longest time for a transaction with all its repetitions, in milliseconds.
    pub transaction_ms: u64,
    /// How long a start waits for a server that is not up yet, in seconds.
    pub wait_seconds: u64,
    /// Bring the schema up to date at the start; otherwise one that is behind stops it.
    pub migrate: bool,
    /// Whether connections are encrypted.
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

/// `mongodb.*`: how product uses its server where its store is a `mongodb://` URL.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct MongoDb {
    /// Connections to each server at most.
    pub connections: u32,
    /// How long connecting may take, in milliseconds.
    pub connect_ms: u64,
    /// How long an operation waits for a server that takes it, in milliseconds.
    pub acquire_ms: u64,
    /// Longest time for one operation once a server is found, with its wait for a free connection, in milliseconds.
    pub statement_ms: u64,
    /// How long a start waits for a server that is not up yet, in seconds.
    pub wait_seconds: u64,
    /// Create the indexes that are missing at the start; otherwise one that is missing stops it.
    pub migrate: bool,
}

impl Default for MongoDb {
    fn default() -> Self {
        Self { connections: 16, connect_ms: 1000, acquire_ms: 2000, statement_ms: 2000, wait_seconds: 30, migrate: false }
    }
}

/// How a connection to Kafka is made, by Kafka's names in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Security {
    /// Neither encrypted nor logged in.
    #[default]
    Plaintext,
    /// Encrypted.
    Ssl,
    /// Logged in.
    SaslPlaintext,
    /// Both.
    SaslSsl,
}

impl Security {
    /// Whether it is encrypted.
    pub fn encrypts(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }

    /// Whether it begins with a name and a password.
    pub fn logs_in(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }
}

/// How Kafka is told who we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub enum SaslMechanism {
    /// The password as it is.
    #[serde(rename = "PLAIN")]
    Plain,
    /// A proof that we know it.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// The same, with the longer hash.
    #[default]
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

/// `bus.*`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Bus {
    /// `local://`: durable, in `data.dir`; `kafka://host:port[,host:port]` where that is compiled in.
    pub url: String,
    /// Kafka: stands before the names of all topics and groups, for several shops on one cluster.
    pub prefix: String,
    /// Kafka: partitions of the topics that are created.
    pub partitions: u16,
    /// Kafka: copies of each partition of the topics that are created; 0 for the brokers' default.
    pub replication: u16,
    /// Kafka: name of this instance, the same after a restart, different for each of several: what it reads
    /// is kept for it while it restarts (static membership). None: others take over at once.
    pub instance: Option<String>,
    /// Kafka: whether connections are encrypted and logged in. Whom to trust is in `tls.ca`; without it, those
    /// whom the system trusts.
    pub security: Security,
    /// Kafka: how to log in.
    pub sasl_mechanism: SaslMechanism,
    /// Kafka: as whom.
    pub username: Option<String>,
    /// Kafka: and with which password.
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
            security: Security::Plaintext,
            sasl_mechanism: SaslMechanism::ScramSha512,
            username: None,
            password: None,
        }
    }
}

/// A database on a server, and the way there.
#[cfg(feature = "mysql")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MySqlUrl {
    /// `mysql://user:password@host:port/database`.
    pub url: Secret,
    /// Whom to trust and who we are, where connections are encrypted.
    pub tls: Option<Tls>,
}
