//! The config server's state, from its settings.

use super::backend::{Backend, Folder};
use super::error::GitError;
use super::{access, cipher, git};
use crate::edge::auth::Authenticator;
use crate::edge::auth::basic::CredentialsError;
use crate::kernel::error::PartError;
use crate::settings::ConfigServer as Settings;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Settings with which the config server does not start.
#[derive(Debug, thiserror::Error)]
pub(super) enum SettingsError {
    #[error("config_server.search_paths: `{path}` is no folder within")]
    SearchPath { path: String },
    #[error("config_server.git and config_server.folder are both set; expected one")]
    GitAndFolder,
    #[error("config_server.vault is set beside config_server.git or config_server.folder; expected one")]
    VaultAndFiles,
    #[error("config_server.git: {0}")]
    Git(#[from] GitError),
    #[error("config_server.folder: {} is no folder", path.display())]
    NoFolder { path: PathBuf },
    #[error("config_server.folder: {}: {source}", path.display())]
    Folder { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Cipher(#[from] cipher::CipherError),
    #[error(transparent)]
    Password(#[from] CredentialsError),
    #[cfg(feature = "vault")]
    #[error("config_server.vault needs vault.url, and vault.auth with what belongs to it")]
    VaultUrl,
    #[cfg(feature = "vault")]
    #[error(transparent)]
    Vault(#[from] crate::net::vault::VaultError),
    #[cfg(not(feature = "vault"))]
    #[error("config_server.vault is set, and this build knows no Vault: build with --features vault")]
    NoVault,
}

impl PartError for SettingsError {}

/// The server with all that its endpoints share.
pub(super) struct ConfigServer {
    pub(super) access: access::Access,
    pub(super) backend: Backend,
    pub(super) cipher: Option<cipher::Cipher>,
}

impl ConfigServer {
    pub(super) fn new(settings: &Settings, data: &Path, authenticator: Authenticator) -> Result<Self, SettingsError> {
        for search in &settings.search_paths {
            if search.split('/').any(|part| part == "..") || search.starts_with('/') {
                return Err(SettingsError::SearchPath { path: search.clone() });
            }
        }
        let backend = match (&settings.git, &settings.folder) {
            (Some(_), Some(_)) => return Err(SettingsError::GitAndFolder),
            (Some(url), None) => {
                let every = Duration::from_secs(settings.refresh_seconds);
                Backend::Git(git::Git::open(url, &settings.label, &settings.search_paths, every, data)?)
            }
            (None, folder) => Backend::Folder(Folder { root: root(folder.as_deref())?, search: settings.search_paths.clone() }),
        };
        if settings.vault.is_some() && (settings.git.is_some() || settings.folder.is_some()) {
            return Err(SettingsError::VaultAndFiles);
        }
        let cipher = settings.encrypt_key.as_ref().map(|key| cipher::Cipher::new(key.expose(), &settings.encrypt_salt)).transpose()?;
        Ok(Self { access: access::Access::new(settings, data, authenticator)?, backend, cipher })
    }

    /// The same on a mount of the Vault that this process knows.
    #[cfg(feature = "vault")]
    pub(super) fn on_vault(self, mount: &str, settings: &crate::settings::Settings) -> Result<Self, SettingsError> {
        let url = settings.vault.url.as_ref().ok_or(SettingsError::VaultUrl)?;
        let vault = crate::net::vault::Vault::open(url, &settings.vault, &settings.tls)?;
        Ok(Self { backend: Backend::Vault(super::vault::Keys { vault, mount: mount.trim_matches('/').into() }), ..self })
    }

    #[cfg(not(feature = "vault"))]
    pub(super) fn on_vault(self, _: &str, _: &crate::settings::Settings) -> Result<Self, SettingsError> {
        Err(SettingsError::NoVault)
    }
}

/// A folder that is named must be there; `./config` is taken where it is.
fn root(folder: Option<&Path>) -> Result<Option<PathBuf>, SettingsError> {
    let path = folder.unwrap_or(Path::new("config"));
    if !path.is_dir() {
        return if folder.is_some() { Err(SettingsError::NoFolder { path: path.into() }) } else { Ok(None) };
    }
    std::path::absolute(path).map(Some).map_err(|source| SettingsError::Folder { path: path.into(), source })
}
