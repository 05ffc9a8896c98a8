//! What can be set of the ways to other servers.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// `tls.*`: whom this process trusts, and who it is, wherever it connects to others by TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tls {
    /// Certificates (PEM) of authorities that are trusted beside the public ones.
    pub ca: Option<PathBuf>,
    /// Certificate chain (PEM) by which this process shows others who it is.
    pub cert: Option<PathBuf>,
    /// The private key (PEM) to it.
    pub key: Option<PathBuf>,
}
