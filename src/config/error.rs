//! Errors of loading settings: the key, its layer, and what was expected.

use super::placeholders::PlaceholderError;
use crate::kernel::error::ComponentError;
use crate::net::server_list::{AddressError, RegistryError};
use crate::net::tls::TlsError;
#[cfg(feature = "vault")]
use crate::net::vault::{VaultRequestError, VaultSetupError};
use crate::settings::StoreUrlError;
use config::ConfigError;
use std::io;

#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("unknown setting `{key}` in {origin}{}", .closest.as_ref().map(|closest| format!("; did you mean `{closest}`?")).unwrap_or_default())]
    Unknown { key: String, origin: String, closest: Option<String> },
    /// Does not show the value: it may be a secret.
    #[error("settings: `{key}` in {origin}: expected {expected}; the value is not shown")]
    WrongType { key: String, origin: String, expected: &'static str },
    /// A layer that cannot be read or merged.
    #[error("settings: {0}")]
    Layer(#[source] Box<ConfigError>),
    #[error("settings: `{key}` in {origin} is encrypted: {cause}")]
    Encrypted {
        key: String,
        origin: String,
        #[source]
        cause: DecryptError,
    },
    #[error("settings: {variable}={path}: {cause}")]
    ValueFile {
        variable: String,
        path: String,
        #[source]
        cause: ValueFileError,
    },
    /// Two variables that set the same key.
    #[error("settings: {one} and {other} are both set, for the same setting; unset one of them")]
    Duplicate { one: String, other: String },
    #[error("settings: the value of {variable} is not UTF-8")]
    NotUtf8 { variable: String },
    #[error("config.server: {0}")]
    ConfigServer(#[from] ConfigServerError),
    #[error("config.server: the thread that reads the config server panicked")]
    ConfigServerPanicked,
    /// A value from the config server that cannot be used.
    #[error("`{key}` in {origin}: {cause}")]
    Value {
        /// As the server names it.
        key: String,
        origin: String,
        #[source]
        cause: ValueError,
    },
    /// Files of `tls.*` or `server.tls_*`.
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[cfg(feature = "vault")]
    #[error(transparent)]
    Vault(#[from] VaultSetupError),
    #[cfg(feature = "vault")]
    #[error(transparent)]
    Secrets(#[from] VaultRequestError),
    #[cfg(not(feature = "vault"))]
    #[error("vault.url is set, but this build has no Vault support: build with --features vault")]
    NoVault,
    #[error(transparent)]
    Store(#[from] StoreUrlError),
    /// The settings cannot be serialized as JSON: a bug.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// Settings that were not loaded from layers cannot be reloaded.
    #[error("these settings were not loaded from a file and cannot be reloaded")]
    NotFromFile,
    #[error("these settings were not loaded from Vault")]
    NotFromVault,
}

impl ComponentError for SettingsError {}

impl From<ConfigError> for SettingsError {
    fn from(error: ConfigError) -> Self {
        Self::Layer(Box::new(error))
    }
}

/// Why a file is not usable as the value of a setting.
#[derive(Debug, thiserror::Error)]
pub enum ValueFileError {
    #[error("the file cannot be read: {0}")]
    Read(#[from] io::Error),
    #[error("the file has more than {limit} bytes; expected the value of one setting")]
    TooLarge { limit: u64 },
    #[error("the file is not UTF-8")]
    NotUtf8,
    /// The file has nothing but white space.
    #[error("the file is empty; expected the value of one setting")]
    Empty,
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigServerError {
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error(transparent)]
    Unreachable(#[from] RegistryError),
    #[error("{path}: malformed response: {cause}")]
    MalformedResponse {
        path: String,
        #[source]
        cause: serde_json::Error,
    },
    #[error("{path}: answered 404; is there such a label?")]
    NoLabel { path: String },
    #[error("{path}: answered {status}")]
    Status { path: String, status: u16 },
}

/// Why a value from the config server cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ValueError {
    /// The server reports that it could not decrypt the value.
    #[error("the config server could not decrypt it")]
    DecryptionFailed,
    /// The server sends the ciphertext.
    #[error("it is encrypted, and the config server has no key for it")]
    Encrypted,
    #[error(transparent)]
    Placeholder(#[from] PlaceholderError),
}

/// Why a value encrypted by Vault's transit engine cannot be decrypted.
#[derive(Debug, thiserror::Error)]
pub enum DecryptError {
    #[error("set vault.url and vault.transit_key to the Vault and the key that decrypt it")]
    NoVault,
    /// The setting is needed to connect to Vault.
    #[error("it is needed before Vault can be asked to decrypt it; set it in plain text")]
    NeededBeforeVault,
    #[cfg(feature = "vault")]
    #[error("vault.transit_key is not set; expected the name of the key that it was encrypted with")]
    NoKey,
    #[cfg(feature = "vault")]
    #[error(transparent)]
    Vault(#[from] VaultRequestError),
    #[cfg(not(feature = "vault"))]
    #[error("this build has no Vault support")]
    NotCompiledIn,
}
