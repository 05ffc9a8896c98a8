//! Errors that prevent a Vault client from starting.

use crate::kernel::error::{ComponentError, ThreadError};
use std::error::Error;
use std::io;
use std::path::PathBuf;
use vaultrs::error::ClientError;

/// Why a Vault client cannot start. Contains no secret.
#[derive(Debug, thiserror::Error)]
pub enum VaultSetupError {
    #[error("{key} is not set; vault.auth = \"{auth}\" needs it")]
    Missing { key: &'static str, auth: &'static str },
    #[error("{one} and {other} are both set; expected one")]
    Conflicting { one: &'static str, other: &'static str },
    #[error("vault.url: expected http(s)://host:port")]
    Url,
    #[error("vault.namespace: expected a name of plain characters")]
    Namespace,
    #[error("tls.ca: {cause}{}", .cause.source().map(|further| format!(": {further}")).unwrap_or_default())]
    Authorities {
        #[source]
        cause: Box<ClientError>,
    },
    /// Any other error of vaultrs while it builds its client.
    #[error("vault.url: {0}")]
    Client(#[source] Box<ClientError>),
    #[error("{key}: {}: {cause}", .path.display())]
    Read {
        key: &'static str,
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    /// The certificate and the key do not form an identity.
    #[error("tls.cert: {} with tls.key is no certificate with its key: {cause}", .path.display())]
    Identity { path: PathBuf, cause: String },
    #[error("{0}")]
    Runtime(#[source] io::Error),
    #[error(transparent)]
    Thread(#[from] ThreadError),
}

impl ComponentError for VaultSetupError {}
