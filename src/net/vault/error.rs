//! Errors in the settings of Vault.

use crate::kernel::error::{PartError, ThreadError};
use std::error::Error;
use std::io;
use std::path::PathBuf;
use vaultrs::error::ClientError;

/// Why the settings of a Vault cannot be used. No secret is in it.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// A setting that the login needs.
    #[error("{key} is not set; vault.auth = \"{auth}\" needs it")]
    Missing {
        /// The setting.
        key: &'static str,
        /// The login method.
        auth: &'static str,
    },
    /// One secret by two settings.
    #[error("{one} and {other} are both set; expected one")]
    Both {
        /// The one.
        one: &'static str,
        /// The other.
        other: &'static str,
    },
    /// Its address.
    #[error("vault.url: expected http(s)://host:port")]
    Url,
    /// Its namespace.
    #[error("vault.namespace: expected a name of plain characters")]
    Namespace,
    /// The authorities of `tls.ca`.
    #[error("tls.ca: {cause}{}", .cause.source().map(|further| format!(": {further}")).unwrap_or_default())]
    Authorities {
        /// What Vault's client says.
        #[source]
        cause: Box<ClientError>,
    },
    /// Something else that Vault's client does not take.
    #[error("vault.url: {0}")]
    Client(#[source] Box<ClientError>),
    /// Our certificate or its key.
    #[error("{key}: {}: {cause}", .path.display())]
    Read {
        /// The setting that names the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        cause: io::Error,
    },
    /// Both files together.
    #[error("tls.cert: {} with tls.key is no certificate with its key: {cause}", .path.display())]
    Identity {
        /// The certificate's file.
        path: PathBuf,
        /// What Vault's client says.
        cause: String,
    },
    /// No runtime for its thread.
    #[error("{0}")]
    Runtime(#[source] io::Error),
    /// No thread.
    #[error(transparent)]
    Thread(#[from] ThreadError),
}

impl PartError for VaultError {}
