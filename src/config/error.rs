//! Why settings cannot be used: the key, the layer that it came from, and what was expected.

use super::placeholders::PlaceholderError;
use crate::kernel::error::PartError;
use crate::net::server_list::{AddressError, RegistryError};
use crate::net::tls::TlsError;
#[cfg(feature = "vault")]
use crate::net::vault::{Trouble, VaultError};
use crate::settings::StoreUrlError;
use config::ConfigError;
use std::io;

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// There is no such setting.
    #[error("unknown setting `{key}` in {origin}{}", .near.as_ref().map(|near| format!("; did you mean `{near}`?")).unwrap_or_default())]
    Unknown {
        /// As it was written.
        key: String,
        /// The layer.
        origin: String,
        /// The setting that is called nearly so.
        near: Option<String>,
    },
    /// A value of another kind. It is not shown: it may be a secret.
    #[error("settings: `{key}` in {origin}: expected {expected}; what stands there is not repeated")]
    Misfit {
        /// The setting.
        key: String,
        /// The layer.
        origin: String,
        /// The kind that was expected.
        expected: &'static str,
    },
    /// A layer that cannot be read or merged.
    #[error("settings: {0}")]
    Layer(#[source] Box<ConfigError>),
    /// A value that cannot be decrypted.
    #[error("settings: `{key}` in {origin} is encrypted: {cause}")]
    Encrypted {
        /// The setting.
        key: String,
        /// The layer.
        origin: String,
        /// Why not.
        #[source]
        cause: DecryptError,
    },
    /// A file that should hold the value of one setting.
    #[error("settings: {variable}={path}: {cause}")]
    ValueFile {
        /// The variable that names the file.
        variable: String,
        /// The file.
        path: String,
        /// What is wrong with it.
        #[source]
        cause: ValueFileError,
    },
    /// One setting by two variables.
    #[error("settings: {one} and {other} are both set, and mean the same; unset one of them")]
    Twice {
        /// The one.
        one: String,
        /// The other.
        other: String,
    },
    /// A variable that is no text.
    #[error("settings: the value of {variable} is not UTF-8")]
    NotUtf8 {
        /// The variable.
        variable: String,
    },
    /// The config server gives no settings.
    #[error("config.server: {0}")]
    ConfigServer(#[from] ConfigServerError),
    /// The thread that asks the config server panicked.
    #[error("the config server's answer could not be read")]
    ConfigServerPanicked,
    /// A value of the config server that cannot be used.
    #[error("`{key}` in {origin}: {cause}")]
    Value {
        /// The key, as the server has it.
        key: String,
        /// The server and its source.
        origin: String,
        /// What is wrong with it.
        #[source]
        cause: ValueError,
    },
    /// Files of `tls.*` or `server.tls_*`.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Settings of the Vault.
    #[cfg(feature = "vault")]
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The Vault gives no secrets.
    #[cfg(feature = "vault")]
    #[error(transparent)]
    Secrets(#[from] Trouble),
    /// A Vault in a build without one.
    #[cfg(not(feature = "vault"))]
    #[error("vault.url is set, and this build knows no Vault: build with --features vault")]
    NoVault,
    /// A store's URL.
    #[error(transparent)]
    Store(#[from] StoreUrlError),
    /// The settings cannot be written as JSON: a defect of ours.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// Only settings that were read from layers can be read again.
    #[error("these settings came from no file")]
    NotFromFile,
    /// The same for a Vault.
    #[error("these settings came from no Vault")]
    NotFromVault,
}

impl PartError for SettingsError {}

/// Why a file is not the value of a setting.
#[derive(Debug, thiserror::Error)]
pub enum ValueFileError {
    /// It cannot be read.
    #[error("the file cannot be read: {0}")]
    Read(#[from] io::Error),
    /// No setting is so long.
    #[error("the file has more than {limit} bytes; expected the value of one setting")]
    TooLarge {
        /// Bytes at most.
        limit: u64,
    },
    /// It is no text.
    #[error("the file is not UTF-8")]
    NotUtf8,
    /// It has nothing but white space.
    #[error("the file is empty; expected the value of one setting")]
    Empty,
}

/// Why a config server gives no settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigServerError {
    /// Its address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// It is away.
    #[error(transparent)]
    Away(#[from] RegistryError),
    /// What it answered.
    #[error("{path}: the answer is not understood: {cause}")]
    NotUnderstood {
        /// The path that was asked.
        path: String,
        /// What is wrong with the answer.
        #[source]
        cause: serde_json::Error,
    },
    /// It has no such label.
    #[error("{path}: answered 404; is there such a label?")]
    NoLabel {
        /// The path that was asked.
        path: String,
    },
    /// It refuses.
    #[error("{path}: answered {status}")]
    Status {
        /// The path that was asked.
        path: String,
        /// HTTP status.
        status: u16,
    },
}

/// Why a value of a config server cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ValueError {
    /// The server says that it failed.
    #[error("the config server could not decrypt it")]
    NotDecrypted,
    /// The server hands it out as it is.
    #[error("it is encrypted, and the config server has no key for it")]
    Encrypted,
    /// Its placeholders.
    #[error(transparent)]
    Placeholder(#[from] PlaceholderError),
}

/// Why a value that Vault's transit engine has encrypted is not decrypted.
#[derive(Debug, thiserror::Error)]
pub enum DecryptError {
    /// No Vault is set.
    #[error("set vault.url and vault.transit_key to the Vault and the key that decrypt it")]
    NoVault,
    /// Vault is asked with this very setting.
    #[error("it is needed before Vault can be asked to decrypt it, and must stand there as it is")]
    NeededBefore,
    /// No key is set.
    #[cfg(feature = "vault")]
    #[error("vault.transit_key is not set; expected the name of the key that it was encrypted with")]
    NoKey,
    /// Vault does not do it.
    #[cfg(feature = "vault")]
    #[error(transparent)]
    Vault(#[from] Trouble),
    /// A build without Vault.
    #[cfg(not(feature = "vault"))]
    #[error("this build knows no Vault")]
    NotCompiledIn,
}
