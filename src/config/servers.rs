//! What can be set of the ways to other servers.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// `tls.*`: whom this process trusts, and who it is, wherever it connects to others by TLS.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Tls {
    /// Certificates (PEM) of authorities that are trusted beside the public ones.
    pub ca: Option<PathBuf>,
    /// Certificate chain (PEM) by which this process shows others who it is.
    pub cert: Option<PathBuf>,
    /// The private key (PEM) to it.
    pub key: Option<PathBuf>,
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
