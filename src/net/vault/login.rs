//! Vault authentication methods, and the token that a login returns.

use super::VaultSetupError;
use super::request_error::VaultRequestError;
use crate::settings::{Secret, Vault as Settings, VaultAuth};
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;
use vaultrs::api::AuthInfo;

pub(super) enum AuthMethod {
    Token(SecretSource),
    AppRole { role: String, secret: SecretSource },
    Kubernetes { role: String, jwt: SecretSource },
}

/// A secret in the settings, or in a file that another program may rewrite.
pub(super) enum SecretSource {
    Inline(Secret),
    File { key: &'static str, path: std::path::PathBuf },
}

impl SecretSource {
    /// Reads the file on each call.
    pub(super) fn read(&self) -> Result<String, VaultRequestError> {
        let (key, text) = match self {
            SecretSource::Inline(secret) => ("vault.token", secret.expose().to_string()),
            SecretSource::File { key, path } => {
                let read = std::fs::read_to_string(path);
                (*key, read.map_err(|e| VaultRequestError::permanent(format!("{key}: {} cannot be read: {e}", path.display())))?)
            }
        };
        let text = text.trim().to_string();
        // vaultrs puts tokens into a header unchecked
        if text.chars().any(|c| !c.is_ascii_graphic()) {
            return Err(VaultRequestError::permanent(format!("{key}: expected one word of plain characters")));
        }
        Ok(text)
    }
}

fn secret_source(
    inline: (&'static str, Option<&Secret>),
    file: (&'static str, Option<&Path>),
) -> Result<Option<SecretSource>, VaultSetupError> {
    match (inline.1, file.1) {
        (Some(_), Some(_)) => Err(VaultSetupError::Conflicting { one: inline.0, other: file.0 }),
        (Some(secret), None) => Ok(Some(SecretSource::Inline(secret.clone()))),
        (None, Some(path)) => Ok(Some(SecretSource::File { key: file.0, path: path.into() })),
        (None, None) => Ok(None),
    }
}

impl AuthMethod {
    pub(super) fn new(settings: &Settings) -> Result<Self, VaultSetupError> {
        let missing = |key, auth| VaultSetupError::Missing { key, auth };
        match settings.auth {
            VaultAuth::Token => {
                let source = secret_source(("vault.token", settings.token.as_ref()), ("vault.token_file", settings.token_file.as_deref()))?;
                source.map(AuthMethod::Token).ok_or_else(|| missing("vault.token (or vault.token_file)", "token"))
            }
            VaultAuth::AppRole => {
                let role = settings.role_id.clone().ok_or_else(|| missing("vault.role_id", "approle"))?;
                let file = ("vault.secret_id_file", settings.secret_id_file.as_deref());
                let source = secret_source(("vault.secret_id", settings.secret_id.as_ref()), file)?;
                // a role with bind_secret_id = false needs no secret ID
                Ok(AuthMethod::AppRole { role, secret: source.unwrap_or_else(|| SecretSource::Inline(Secret::default())) })
            }
            VaultAuth::Kubernetes => {
                let role = settings.role.clone().ok_or_else(|| missing("vault.role", "kubernetes"))?;
                Ok(AuthMethod::Kubernetes { role, jwt: SecretSource::File { key: "vault.jwt_file", path: settings.jwt_file.clone() } })
            }
        }
    }

    /// The name in `vault.auth` and in Vault's paths.
    pub(super) fn name(&self) -> &'static str {
        match self {
            AuthMethod::Token(_) => "token",
            AuthMethod::AppRole { .. } => "approle",
            AuthMethod::Kubernetes { .. } => "kubernetes",
        }
    }

    /// The settings to check when Vault rejects the login.
    pub(super) fn setting_keys(&self) -> &'static str {
        match self {
            AuthMethod::Token(SecretSource::Inline(_)) => "vault.token",
            AuthMethod::Token(SecretSource::File { .. }) => "vault.token_file",
            AuthMethod::AppRole { .. } => "vault.role_id and vault.secret_id",
            AuthMethod::Kubernetes { .. } => "vault.role and vault.jwt_file",
        }
    }

    /// Whether another login can return another token.
    pub(super) fn can_log_in_again(&self) -> bool {
        !matches!(self, AuthMethod::Token(SecretSource::Inline(_)))
    }
}

/// A Vault token with its time to live.
#[derive(Clone)]
pub(super) struct TokenLease {
    pub(super) token: String,
    pub(super) renewable: bool,
    /// `None` for a token that does not expire or whose TTL is unknown.
    initial_ttl: Option<Duration>,
    /// Remaining TTL at `measured_at`.
    ttl: Option<Duration>,
    measured_at: Instant,
}

impl TokenLease {
    pub(super) fn new(token: String, seconds: u64, renewable: bool) -> Self {
        let ttl = (seconds > 0).then(|| Duration::from_secs(seconds));
        Self { token, renewable, initial_ttl: ttl, ttl, measured_at: Instant::now() }
    }

    /// At two thirds of its TTL.
    pub(super) fn renew_at(&self) -> Option<Instant> {
        self.ttl.map(|ttl| self.measured_at + ttl * 2 / 3)
    }

    pub(super) fn is_expired(&self) -> bool {
        self.ttl.is_some_and(|ttl| self.measured_at + ttl <= Instant::now())
    }

    /// Between two attempts to renew it while Vault is unavailable.
    pub(super) fn retry_delay(&self) -> Duration {
        (self.ttl.unwrap_or_default() / 10).clamp(Duration::from_millis(500), Duration::from_secs(30))
    }

    /// The lease after a renewal, or `None` if the granted TTL is so short that the token's max TTL must be near.
    pub(super) fn renewed(&self, auth: &AuthInfo) -> Option<Self> {
        let ttl = Duration::from_secs(auth.lease_duration);
        let near_max_ttl = self.initial_ttl.is_some_and(|initial_ttl| ttl <= initial_ttl / 3);
        (!near_max_ttl).then(|| Self { renewable: auth.renewable, ttl: Some(ttl), measured_at: Instant::now(), ..self.clone() })
    }
}
