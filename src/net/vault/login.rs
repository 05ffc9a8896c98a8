//! How this process shows Vault who it is.

use super::VaultError;
use super::trouble::Trouble;
use crate::settings::{Secret, Vault as Settings, VaultAuth};
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;
use vaultrs::api::AuthInfo;

/// A way to log in, with all that it needs.
pub(super) enum Method {
    Token(Kept),
    AppRole { role: String, secret: Kept },
    Kubernetes { role: String, jwt: Kept },
}

/// A secret in the settings, or in a file that somebody else may write anew.
pub(super) enum Kept {
    Here(Secret),
    File { key: &'static str, path: std::path::PathBuf },
}

impl Kept {
    /// As it is now.
    pub(super) fn read(&self) -> Result<String, Trouble> {
        let (key, text) = match self {
            Kept::Here(secret) => ("vault.token", secret.expose().to_string()),
            Kept::File { key, path } => {
                let read = std::fs::read_to_string(path);
                (*key, read.map_err(|e| Trouble::refused(format!("{key}: {} cannot be read: {e}", path.display())))?)
            }
        };
        let text = text.trim().to_string();
        // Vault's client sends tokens as they are, and must not be given what no header can carry
        if text.chars().any(|c| !c.is_ascii_graphic()) {
            return Err(Trouble::refused(format!("{key}: expected one word of plain characters")));
        }
        Ok(text)
    }
}

fn one_of(here: (&'static str, Option<&Secret>), file: (&'static str, Option<&Path>)) -> Result<Option<Kept>, VaultError> {
    match (here.1, file.1) {
        (Some(_), Some(_)) => Err(VaultError::Both { one: here.0, other: file.0 }),
        (Some(secret), None) => Ok(Some(Kept::Here(secret.clone()))),
        (None, Some(path)) => Ok(Some(Kept::File { key: file.0, path: path.into() })),
        (None, None) => Ok(None),
    }
}

impl Method {
    /// As settings say; what is missing is named.
    pub(super) fn new(settings: &Settings) -> Result<Self, VaultError> {
        let missing = |key, auth| VaultError::Missing { key, auth };
        match settings.auth {
            VaultAuth::Token => {
                let kept = one_of(("vault.token", settings.token.as_ref()), ("vault.token_file", settings.token_file.as_deref()))?;
                kept.map(Method::Token).ok_or_else(|| missing("vault.token (or vault.token_file)", "token"))
            }
            VaultAuth::AppRole => {
                let role = settings.role_id.clone().ok_or_else(|| missing("vault.role_id", "approle"))?;
                let file = ("vault.secret_id_file", settings.secret_id_file.as_deref());
                let kept = one_of(("vault.secret_id", settings.secret_id.as_ref()), file)?;
                // a role may ask for none (bind_secret_id = false)
                Ok(Method::AppRole { role, secret: kept.unwrap_or_else(|| Kept::Here(Secret::default())) })
            }
            VaultAuth::Kubernetes => {
                let role = settings.role.clone().ok_or_else(|| missing("vault.role", "kubernetes"))?;
                Ok(Method::Kubernetes { role, jwt: Kept::File { key: "vault.jwt_file", path: settings.jwt_file.clone() } })
            }
        }
    }

    /// As settings and Vault's paths have it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Method::Token(_) => "token",
            Method::AppRole { .. } => "approle",
            Method::Kubernetes { .. } => "kubernetes",
        }
    }

    /// What to look at when Vault refuses the login.
    pub(super) fn keys(&self) -> &'static str {
        match self {
            Method::Token(Kept::Here(_)) => "vault.token",
            Method::Token(Kept::File { .. }) => "vault.token_file",
            Method::AppRole { .. } => "vault.role_id and vault.secret_id",
            Method::Kubernetes { .. } => "vault.role and vault.jwt_file",
        }
    }

    /// Whether another login may give another token.
    pub(super) fn repeatable(&self) -> bool {
        !matches!(self, Method::Token(Kept::Here(_)))
    }
}

/// A token, and how long it lasts.
#[derive(Clone)]
pub(super) struct Login {
    pub(super) token: String,
    pub(super) renewable: bool,
    /// Its life when it was given out; none for one that does not end, or of which that is not known.
    granted: Option<Duration>,
    /// What was left of it at `since`.
    left: Option<Duration>,
    since: Instant,
}

impl Login {
    pub(super) fn new(token: String, seconds: u64, renewable: bool) -> Self {
        let life = (seconds > 0).then(|| Duration::from_secs(seconds));
        Self { token, renewable, granted: life, left: life, since: Instant::now() }
    }

    /// When to do something about it: at two thirds of its life.
    pub(super) fn due(&self) -> Option<Instant> {
        self.left.map(|left| self.since + left * 2 / 3)
    }

    /// Whether it has ended.
    pub(super) fn over(&self) -> bool {
        self.left.is_some_and(|left| self.since + left <= Instant::now())
    }

    /// Between two attempts to renew it while Vault is away.
    pub(super) fn pause(&self) -> Duration {
        (self.left.unwrap_or_default() / 10).clamp(Duration::from_millis(500), Duration::from_secs(30))
    }

    /// After a renewal. None where it was given so little that its longest life must be about to end.
    pub(super) fn renewed(&self, auth: &AuthInfo) -> Option<Self> {
        let left = Duration::from_secs(auth.lease_duration);
        let little = self.granted.is_some_and(|granted| left <= granted / 3);
        (!little).then(|| Self { renewable: auth.renewable, left: Some(left), since: Instant::now(), ..self.clone() })
    }
}
