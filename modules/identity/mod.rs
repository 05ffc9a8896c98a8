//! Identity issues access tokens for development: an OpenID Connect issuer with Keycloak's paths and
//! token format, so that a shop starts without an external identity provider. In production,
//! `identity.issuer` names a real Keycloak, and this module refuses to start.
//!
//! Tokens are compatible with clients made for Keycloak: RS256, `realm_access.roles`, rotating refresh
//! tokens, codes with PKCE. The module depends on no peer. Peers use it by its URL, like any other issuer,
//! so there is no `api.rs`. The key and the service client's secret are in `{data.dir}/identity`; sessions,
//! codes and failed logins are in `{data.dir}/identity.db`. Processes that share these files act as one
//! issuer.

mod accounts;
mod claims;
mod clients;
mod codes;
mod endpoints;
mod grants;
mod html;
mod issuer;
mod keys;
mod limiter;
mod login;
mod logout;
mod lookups;
mod oauth;
mod realm;
mod redirects;
mod secrets;
mod sessions;
mod tokens;

#[cfg(test)]
mod tests;

use crate::data::sqlite::Db;
use crate::kernel::error::{ComponentError, OutOfRange};
use crate::kernel::error::{HealthError, StartError};
use crate::kernel::files;
use crate::runtime::{Host, Parts};
use crate::settings::{Profile, Secret, Server, Settings};
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use issuer::Issuer;
pub use realm::{REALM, issuer_url};
use serde_json::json;
use std::convert::Infallible;
use std::sync::Arc;

pub const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/identity/sqlite");
const SECRET_FILE: &str = "service-secret";
/// Ten years. Longer is a typing error, and could overflow.
const MAX_LIFETIME_SECONDS: u64 = 315_360_000;

/// Settings or files that prevent the issuer's start.
#[derive(Debug, thiserror::Error)]
enum IssuerError {
    #[error(
        "the built-in issuer is for development, and {reason}; use Keycloak: set identity.issuer to its realm's URL (TRADEPOST__IDENTITY__ISSUER), or set identity.allow_in_production=true if you know what you do"
    )]
    OutsideDevelopment { reason: ExposureReason },
    #[error("identity.allow_in_production in production needs identity.users: the demo users' passwords are public")]
    DemoUsers,
    #[error("identity.audience is empty; tokens carry it in aud; the default is tradepost")]
    NoAudience,
    #[error(transparent)]
    User(#[from] accounts::UserError),
    #[error(transparent)]
    Client(#[from] clients::ClientError),
    #[error(transparent)]
    Key(#[from] keys::KeyError),
    #[error("identity/{SECRET_FILE} is empty; remove the file to generate a new secret")]
    EmptySecret,
    #[error(transparent)]
    Files(#[from] files::FileError),
}

impl ComponentError for IssuerError {}

/// Why the process is not a developer's own.
#[derive(Debug, thiserror::Error)]
enum ExposureReason {
    #[error("server.profile is production")]
    Production,
    #[error("server.host ({host}) can be reached from other machines")]
    Host { host: String },
}

pub struct IdentityModule {
    pub parts: Parts,
    pub issuer: String,
    /// Secret of the client `identity.client_id`.
    pub client_secret: Secret,
    /// Names and roles of the demo users; empty if the settings name users.
    pub demo_users: Vec<(String, String)>,
}

/// Reads or generates the key and builds the issuer. Fails outside development and on invalid settings.
pub fn build(host: &Host) -> Result<IdentityModule, StartError> {
    let settings = &host.settings.identity;
    refuse_outside_development(&host.settings)?;
    let access_seconds = seconds("identity.access_seconds", settings.access_seconds)?;
    let refresh_seconds = seconds("identity.refresh_seconds", settings.refresh_seconds)?;
    if settings.audience.is_empty() {
        return Err(IssuerError::NoAudience.into());
    }
    // validates the settings before anything is written
    let users = accounts::Users::new(&settings.users).map_err(IssuerError::from)?;
    let clients = |secret: &str| clients::Clients::new(&settings.client_id, secret, &settings.clients).map_err(IssuerError::from);
    clients("placeholder")?;
    let folder = || files::SecretFolder::open(host.settings.data.dir.join("identity")).map_err(IssuerError::from);
    let client_secret = service_secret(settings.client_secret.as_ref(), &folder()?)?;
    let db = Db::open(&host.settings.data.dir.join("identity.db"), MIGRATIONS)?;
    db.register_metrics("identity", &host.metrics)?;
    let issuer = Arc::new(Issuer {
        url: issuer_url(&host.public_url),
        audience: settings.audience.clone(),
        access_seconds,
        refresh_seconds,
        keys: keys::Keys::open(&folder()?).map_err(IssuerError::from)?,
        clients: clients(client_secret.expose())?,
        users,
        sessions: sessions::Sessions::new(db.clone(), access_seconds.max(refresh_seconds)),
        codes: codes::Codes::new(db.clone()),
        limiter: limiter::Limiter::new(db.clone(), client_secret.expose()),
    });
    tracing::info!(issuer = issuer.url, kid = issuer.keys.kid(), "the built-in issuer is for development");
    let mut parts = Parts { endpoints: endpoints::endpoints(&issuer), ..Parts::default() };
    let details = json!({ "issuer": issuer.url, "kid": issuer.keys.kid() });
    parts.check("identityKey", move || std::future::ready(Ok(details.clone())));
    parts.check("identityStore", move || std::future::ready(db.check_file().map(|()| json!({})).map_err(HealthError::from)));
    Ok(IdentityModule { parts, issuer: issuer.url.clone(), client_secret, demo_users: issuer.users.demo_users() })
}

fn refuse_outside_development(settings: &Settings) -> Result<(), IssuerError> {
    let Some(reason) = outside_development(&settings.server) else { return Ok(()) };
    if !settings.identity.allow_in_production {
        return Err(IssuerError::OutsideDevelopment { reason });
    }
    if settings.server.profile == Profile::Production && settings.identity.users.is_empty() {
        return Err(IssuerError::DemoUsers);
    }
    tracing::warn!(%reason, "the built-in issuer is forced to run outside development");
    Ok(())
}

fn outside_development(server: &Server) -> Option<ExposureReason> {
    if server.profile == Profile::Production {
        return Some(ExposureReason::Production);
    }
    let host = server.host.trim_start_matches('[').trim_end_matches(']');
    let is_local = host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    (!is_local).then(|| ExposureReason::Host { host: server.host.clone() })
}

fn seconds(key: &str, value: u64) -> Result<i64, OutOfRange> {
    let valid = i64::try_from(value).ok().filter(|_| (1..=MAX_LIFETIME_SECONDS).contains(&value));
    valid.ok_or_else(|| OutOfRange::new(key, value, format!("1 to {MAX_LIFETIME_SECONDS}")))
}

/// The configured secret, or the one generated at the first start.
fn service_secret(configured: Option<&Secret>, folder: &files::SecretFolder) -> Result<Secret, IssuerError> {
    if let Some(secret) = configured {
        return Ok(secret.clone());
    }
    let stored = folder.get_or_create(SECRET_FILE, || Ok::<_, Infallible>(secrets::random_secret()))?;
    match stored.trim() {
        "" => Err(IssuerError::EmptySecret),
        secret => Ok(Secret::new(secret)),
    }
}
