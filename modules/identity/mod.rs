//! Identity issues access tokens for development: an OpenID Connect issuer with Keycloak's paths and
//! Keycloak's tokens, so that a shop starts with nothing beside it. In production a real Keycloak
//! takes its place through `identity.issuer`, and this module refuses to start.
//!
//! It promises tokens that a client made for Keycloak takes as Keycloak's: RS256, `realm_access.roles`,
//! rotating refresh tokens, codes with PKCE. It depends on no peer, and no peer calls it by contract (they
//! know an issuer by its URL, as any other), so there is no `api.rs`. What it keeps is in
//! `{data.dir}/identity` (the key and the service client's secret) and in `{data.dir}/identity.db`
//! (sessions, codes, failed logins), so that several processes on them are one issuer.

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
use crate::kernel::error::StartError;
use crate::kernel::error::{OutOfRange, PartError};
use crate::kernel::files;
use crate::runtime::host::{Host, Parts};
use crate::settings::{Profile, Secret, Server, Settings};
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use issuer::Issuer;
pub use realm::{REALM, issuer_url};
use serde_json::json;
use std::convert::Infallible;
use std::sync::Arc;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/identity/sqlite");
const SECRET_FILE: &str = "service-secret";
/// Ten years: more is a slip of the finger, and would overflow somewhere.
const LONGEST: u64 = 315_360_000;

/// Settings or files with which the issuer does not start.
#[derive(Debug, thiserror::Error)]
enum IssuerError {
    #[error(
        "the built-in issuer is for development, and {reason}; use Keycloak: set identity.issuer to its realm's URL (TRADEPOST__IDENTITY__ISSUER), or set identity.force=true if you know what you do"
    )]
    OutsideDevelopment { reason: Reachable },
    #[error("identity.force in production needs identity.users: everybody knows the demo users' passwords")]
    DemoUsers,
    #[error("identity.audience is empty; it is what tokens name in aud, by default tradepost")]
    NoAudience,
    #[error(transparent)]
    User(#[from] accounts::UserError),
    #[error(transparent)]
    Client(#[from] clients::ClientError),
    #[error(transparent)]
    Key(#[from] keys::KeyError),
    #[error("identity/{SECRET_FILE} is empty; remove it and a new one is made")]
    EmptySecret,
    #[error(transparent)]
    Files(#[from] files::FileError),
}

impl PartError for IssuerError {}

/// What makes a process more than a developer's own.
#[derive(Debug, thiserror::Error)]
enum Reachable {
    #[error("server.profile is production")]
    Production,
    #[error("server.host ({host}) can be reached from other machines")]
    Host { host: String },
}

/// The module, and what the rest of the process needs to know of it.
pub struct Built {
    /// What it serves.
    pub parts: Parts,
    /// The issuer's URL.
    pub issuer: String,
    /// Secret of the client `identity.client_id`.
    pub client_secret: Secret,
    /// Names and roles of the demo users; empty where the settings name users.
    pub demo_users: Vec<(String, String)>,
}

/// Reads or makes the key and builds the issuer. Refused outside development, and where the settings
/// cannot be meant so.
pub fn build(host: &Host) -> Result<Built, StartError> {
    let settings = &host.settings.identity;
    refuse_outside_development(&host.settings)?;
    let access_seconds = seconds("identity.access_seconds", settings.access_seconds)?;
    let refresh_seconds = seconds("identity.refresh_seconds", settings.refresh_seconds)?;
    if settings.audience.is_empty() {
        return Err(IssuerError::NoAudience.into());
    }
    // mistakes in the settings are told before anything is written
    let users = accounts::Users::new(&settings.users).map_err(IssuerError::from)?;
    let clients = |secret: &str| clients::Clients::new(&settings.client_id, secret, &settings.clients).map_err(IssuerError::from);
    clients("not known yet")?;
    let folder = || files::Folder::open(host.settings.data.dir.join("identity")).map_err(IssuerError::from);
    let client_secret = service_secret(settings.client_secret.as_ref(), &folder()?)?;
    let db = Db::open(&host.settings.data.dir.join("identity.db"), MIGRATIONS)?;
    db.measured("identity", &host.metrics)?;
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
        limiter: limiter::Limiter::new(db, client_secret.expose()),
    });
    tracing::info!(issuer = issuer.url, kid = issuer.keys.kid(), "the built-in issuer is for development");
    let mut parts = Parts { endpoints: endpoints::endpoints(&issuer), ..Parts::default() };
    let shown = json!({ "issuer": issuer.url, "kid": issuer.keys.kid() });
    parts.check("identityKey", move || std::future::ready(Ok(shown.clone())));
    Ok(Built { parts, issuer: issuer.url.clone(), client_secret, demo_users: issuer.users.demo() })
}

fn refuse_outside_development(settings: &Settings) -> Result<(), IssuerError> {
    let Some(reason) = outside_development(&settings.server) else { return Ok(()) };
    if !settings.identity.force {
        return Err(IssuerError::OutsideDevelopment { reason });
    }
    if settings.server.profile == Profile::Production && settings.identity.users.is_empty() {
        return Err(IssuerError::DemoUsers);
    }
    tracing::warn!(%reason, "the built-in issuer is forced to run outside development");
    Ok(())
}

fn outside_development(server: &Server) -> Option<Reachable> {
    if server.profile == Profile::Production {
        return Some(Reachable::Production);
    }
    let host = server.host.trim_start_matches('[').trim_end_matches(']');
    let here = host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    (!here).then(|| Reachable::Host { host: server.host.clone() })
}

fn seconds(key: &str, value: u64) -> Result<i64, OutOfRange> {
    let good = i64::try_from(value).ok().filter(|_| (1..=LONGEST).contains(&value));
    good.ok_or_else(|| OutOfRange::new(key, value, format!("1 to {LONGEST}")))
}

/// The settings' secret; without one, that of the first start.
fn service_secret(configured: Option<&Secret>, folder: &files::Folder) -> Result<Secret, IssuerError> {
    if let Some(secret) = configured {
        return Ok(secret.clone());
    }
    let kept = folder.get_or_make(SECRET_FILE, || Ok::<_, Infallible>(secrets::random()))?;
    match kept.trim() {
        "" => Err(IssuerError::EmptySecret),
        kept => Ok(Secret::new(kept)),
    }
}
