//! Config-server hands applications their settings: Spring Cloud Config's protocol over a folder, a git
//! repository or a Vault, for our own modules and for any Spring Cloud Config client.
//!
//! It promises that what is in the files is in the next answer (a repository elsewhere: after
//! `refresh_seconds`), in the order in which the real server has it; that nobody reads without its
//! credentials or an admin's token; and that no name leads out of the files. It depends on no peer and
//! keeps nothing but its password and a copy of the repository.
//!
//! It does not do what Spring's server leaves to other back ends, or to a bus: XML, `spring.config.import`
//! and `spring.profiles.include` in its files, RSA keys, and telling applications of a change.

mod access;
mod backend;
mod cipher;
mod document;
mod environment;
mod git;
mod http;
mod monitor;
mod profiles;
mod properties;
#[cfg(test)]
mod tests;
mod text;
#[cfg(feature = "vault")]
mod vault;

use crate::edge::auth::Authenticator;
use crate::edge::auth::basic::CredentialsError;
use crate::kernel::error::PartError;
use crate::kernel::error::StartError;
use crate::runtime::{Host, Parts};
use crate::settings::ConfigServer as Settings;
use backend::{Backend, Folder};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Settings with which the config server does not start.
#[derive(Debug, thiserror::Error)]
enum SettingsError {
    #[error("config_server.search_paths: `{path}` is no folder within")]
    SearchPath { path: String },
    #[error("config_server.git and config_server.folder are both set; expected one")]
    GitAndFolder,
    #[error("config_server.vault is set beside config_server.git or config_server.folder; expected one")]
    VaultAndFiles,
    #[error("config_server.git: {0}")]
    Git(#[from] git::GitError),
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
struct ConfigServer {
    access: access::Access,
    backend: Backend,
    cipher: Option<cipher::Cipher>,
}

/// Builds the module. `alone` in its process it answers at the root, as Spring's does; below `/config` otherwise.
pub fn build(host: &Host, authenticator: &Authenticator, alone: bool) -> Result<Parts, StartError> {
    let (settings, data) = (&host.settings.config_server, &host.settings.data.dir);
    let server = ConfigServer::new(settings, data, authenticator.clone())?;
    let server = Arc::new(match &settings.vault {
        Some(mount) => server.on_vault(mount, &host.settings)?,
        None => server,
    });
    let mut parts = Parts { endpoints: http::endpoints(&server, alone), ..Parts::default() };
    let (kind, place) = match &server.backend {
        Backend::Git(git) => ("git", git.shown.clone()),
        Backend::Folder(Folder { root: Some(root), .. }) => ("folder", root.display().to_string()),
        Backend::Folder(_) => ("none", "no folder ./config".into()),
        #[cfg(feature = "vault")]
        Backend::Vault(keys) => ("vault", keys.mount.clone()),
    };
    tracing::info!(backend = kind, place, "settings are served");
    // anybody may ask for health: where the files are is nobody's business
    parts.check("config-server", move || std::future::ready(Ok(json!({ "backend": kind }))));
    Ok(parts)
}

impl ConfigServer {
    fn new(settings: &Settings, data: &Path, authenticator: Authenticator) -> Result<Self, SettingsError> {
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
    fn on_vault(self, mount: &str, settings: &crate::settings::Settings) -> Result<Self, SettingsError> {
        let url = settings.vault.url.as_ref().ok_or(SettingsError::VaultUrl)?;
        let vault = crate::net::vault::Vault::open(url, &settings.vault, &settings.tls)?;
        Ok(Self { backend: Backend::Vault(vault::Keys { vault, mount: mount.trim_matches('/').into() }), ..self })
    }

    #[cfg(not(feature = "vault"))]
    fn on_vault(self, _: &str, _: &crate::settings::Settings) -> Result<Self, SettingsError> {
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
