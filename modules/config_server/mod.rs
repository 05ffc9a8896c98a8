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
mod error;
mod git;
mod http;
mod monitor;
mod profiles;
mod properties;
mod request;
mod server;
#[cfg(test)]
mod tests;
mod text;
#[cfg(feature = "vault")]
mod vault;

use crate::edge::auth::Authenticator;
use crate::kernel::error::StartError;
use crate::runtime::host::{Host, Parts};
use backend::{Backend, Folder};
use serde_json::json;
use server::ConfigServer;
use std::sync::Arc;

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
