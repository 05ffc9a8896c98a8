//! The config server's state, from its settings.

use super::backend::{Backend, Folder};
use super::error::GitError;
use super::{auth, cipher, git};
use crate::edge::auth::Authenticator;
use crate::edge::auth::basic::CredentialsError;
use crate::kernel::error::ComponentError;
use crate::settings::ConfigServer as Settings;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub(super) enum SettingsError {
    #[error("config_server.search_paths: `{path}`: expected a relative path without `..`")]
    SearchPath { path: String },
    #[error("config_server.git and config_server.folder are both set; expected one")]
    GitAndFolder,
    #[error("config_server.vault is set together with config_server.git or config_server.folder; expected one")]
    VaultAndFiles,
    #[error("config_server.git: {0}")]
    Git(#[from] GitError),
    #[error("config_server.folder: {} is not a folder", path.display())]
    NoFolder { path: PathBuf },
    #[error("config_server.folder: {}: {source}", path.display())]
    Folder { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Cipher(#[from] cipher::CipherError),
    #[error(transparent)]
    Password(#[from] CredentialsError),
    #[cfg(feature = "vault")]
    #[error("config_server.vault requires vault.url and vault.auth")]
    VaultUrl,
    #[cfg(feature = "vault")]
    #[error(transparent)]
    Vault(#[from] crate::net::vault::VaultSetupError),
    #[cfg(not(feature = "vault"))]
    #[error("config_server.vault is set, but this build has no Vault support: build with --features vault")]
    NoVault,
}

impl ComponentError for SettingsError {}

/// State shared by all endpoints.
pub(super) struct ConfigServer {
    pub(super) auth: auth::ConfigServerAuth,
    pub(super) backend: Backend,
    pub(super) cipher: Option<cipher::Cipher>,
}

impl ConfigServer {
    pub(super) fn new(settings: &Settings, data: &Path, authenticator: Authenticator) -> Result<Self, SettingsError> {
        for path in &settings.search_paths {
            if path.split('/').any(|part| part == "..") || path.starts_with('/') {
                return Err(SettingsError::SearchPath { path: path.clone() });
            }
        }
        let backend = match (&settings.git, &settings.folder) {
            (Some(_), Some(_)) => return Err(SettingsError::GitAndFolder),
            (Some(url), None) => {
                let refresh_interval = Duration::from_secs(settings.refresh_seconds);
                Backend::Git(git::GitRepository::open(url, &settings.label, &settings.search_paths, refresh_interval, data)?)
            }
            (None, folder) => {
                Backend::Folder(Folder { root: folder_root(folder.as_deref())?, search_paths: settings.search_paths.clone() })
            }
        };
        if settings.vault.is_some() && (settings.git.is_some() || settings.folder.is_some()) {
            return Err(SettingsError::VaultAndFiles);
        }
        let cipher = settings.encrypt_key.as_ref().map(|key| cipher::Cipher::new(key.expose(), &settings.encrypt_salt)).transpose()?;
        Ok(Self { auth: auth::ConfigServerAuth::new(settings, data, authenticator)?, backend, cipher })
    }

    /// Replaces the backend by a mount of the process's Vault.
    #[cfg(feature = "vault")]
    pub(super) fn with_vault(self, mount: &str, settings: &crate::settings::Settings) -> Result<Self, SettingsError> {
        let url = settings.vault.url.as_ref().ok_or(SettingsError::VaultUrl)?;
        let vault = crate::net::vault::Vault::open(url, &settings.vault, &settings.tls)?;
        Ok(Self { backend: Backend::Vault(super::vault::VaultBackend { vault, mount: mount.trim_matches('/').into() }), ..self })
    }

    #[cfg(not(feature = "vault"))]
    pub(super) fn with_vault(self, _: &str, _: &crate::settings::Settings) -> Result<Self, SettingsError> {
        Err(SettingsError::NoVault)
    }
}

/// A configured folder must exist; the default `./config` is optional.
fn folder_root(folder: Option<&Path>) -> Result<Option<PathBuf>, SettingsError> {
    let path = folder.unwrap_or(Path::new("config"));
    if !path.is_dir() {
        return if folder.is_some() { Err(SettingsError::NoFolder { path: path.into() }) } else { Ok(None) };
    }
    std::path::absolute(path).map(Some).map_err(|source| SettingsError::Folder { path: path.into(), source })
}
