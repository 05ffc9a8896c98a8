//! What a token contains, in Keycloak's form.

use super::accounts::Account;
use super::oauth::Refusal;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::sync::Arc;

/// Scopes that Keycloak knows by default. Those beyond `openid`, `email` and `profile` change nothing
/// here, but the clients of the Spring system ask for them.
const KNOWN: [&str; 10] =
    ["openid", "profile", "email", "roles", "offline_access", "microprofile-jwt", "web-origins", "acr", "address", "phone"];

/// What a token may be used for: `email profile` always, `openid` where it was asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Scope {
    /// An ID token, and the userinfo endpoint.
    pub(super) openid: bool,
}

impl Scope {
    /// Reads the parameter; an unknown scope is refused.
    pub(super) fn parse(text: Option<&str>) -> Result<Self, Refusal> {
        let mut scope = Scope::default();
        for word in text.unwrap_or_default().split_whitespace() {
            if !KNOWN.contains(&word) {
                return Err(Refusal::new("invalid_scope", "a scope is not known to this issuer"));
            }
            scope.openid |= word == "openid";
        }
        Ok(scope)
    }

    pub(super) fn text(self) -> &'static str {
        if self.openid { "openid email profile" } else { "email profile" }
    }

    fn of(text: &str) -> Self {
        Scope { openid: text.split(' ').any(|word| word == "openid") }
    }
}

/// Which of the three tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// For the shop.
    RequiredRole,
    /// For the client.
    Id,
    /// For us.
    Refresh,
}

impl Kind {
    pub(super) fn typ(self) -> &'static str {
        match self {
            Kind::RequiredRole => "Bearer",
            Kind::Id => "ID",
            Kind::Refresh => "Refresh",
        }
    }
}

/// The claims of any of our tokens.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Claims {
    pub(super) exp: i64,
    pub(super) iat: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) auth_time: Option<i64>,
    pub(super) jti: String,
    pub(super) iss: String,
    pub(super) aud: Value,
    pub(super) sub: String,
    pub(super) typ: String,
    pub(super) azp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) nonce: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) at_hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) scope: Option<String>,
    /// Roles and the person's data: not in refresh tokens.
    #[serde(flatten)]
    pub(super) about: Map<String, Value>,
}

impl Claims {
    /// What the token was granted.
    pub(super) fn scope(&self) -> Scope {
        Scope::of(self.scope.as_deref().unwrap_or_default())
    }
}

/// A login that goes on: from the first token to the logout.
pub(super) struct Session {
    /// `sid`.
    pub(super) id: String,
    /// When the person logged in.
    pub(super) started: i64,
    /// The `jti` of the refresh token to be made.
    pub(super) refresh: String,
    /// What the person was asked for; a refresh may ask for less.
    pub(super) scope: Scope,
}

/// What the token endpoint has decided to give.
pub(super) struct Grant {
    /// To whom.
    pub(super) account: Arc<Account>,
    /// Through which client.
    pub(super) client: String,
    /// For what.
    pub(super) scope: Scope,
    /// In which session; a service account has none, and no refresh token.
    pub(super) session: Option<Session>,
    /// For the ID token.
    pub(super) nonce: Option<String>,
}

/// What tokens and the userinfo endpoint tell of a person.
pub(super) fn profile(account: &Account) -> Map<String, Value> {
    let mut about = Map::new();
    about.insert("preferred_username".into(), account.username.as_str().into());
    about.insert("name".into(), account.username.as_str().into());
    about.insert("email_verified".into(), account.email.is_some().into());
    if let Some(email) = &account.email {
        about.insert("email".into(), email.as_str().into());
    }
    about
}
