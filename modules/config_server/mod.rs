//! Config server: Spring Cloud Config's protocol over a folder, a git repository or Vault, for Tradepost's modules and
//! for any Spring Cloud Config client.
//!
//! Guarantees: a response contains the current files (of a remote repository: at most `refresh_seconds` old), in the
//! order of Spring's server; reading requires the server's credentials or an admin's token; no path leads out of the
//! files. The module depends on no peer, and stores only its password and a copy of the repository.
//!
//! Not supported: XML, `spring.config.import` and `spring.profiles.include` in its files, RSA keys, and notifying
//! applications of a change.

mod auth;
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
use crate::runtime::{Host, Parts};
use backend::{Backend, Folder};
use serde_json::json;
use server::ConfigServer;
use std::sync::Arc;

/// Builds the module. If it is `alone` in its process, its paths start at the root, as in Spring; else at `/config`.
pub fn build(host: &Host, authenticator: &Authenticator, alone: bool) -> Result<Parts, StartError> {
    let (settings, data) = (&host.settings.config_server, &host.settings.data.dir);
    let server = ConfigServer::new(settings, data, authenticator.clone())?;
    let server = Arc::new(match &settings.vault {
        Some(mount) => server.with_vault(mount, &host.settings)?,
        None => server,
    });
    let mut parts = Parts { endpoints: http::endpoints(&server, alone), ..Parts::default() };
    let (kind, location) = match &server.backend {
        Backend::Git(git) => ("git", git.address.clone()),
        Backend::Folder(Folder { root: Some(root), .. }) => ("folder", root.display().to_string()),
        Backend::Folder(_) => ("none", "no folder ./config".into()),
        #[cfg(feature = "vault")]
        Backend::Vault(vault) => ("vault", vault.mount.clone()),
    };
    tracing::info!(backend = kind, location, "config server backend opened");
    // health needs no credentials, so it does not contain the location
    parts.check("config-server", move || std::future::ready(Ok(json!({ "backend": kind }))));
    Ok(parts)
}
