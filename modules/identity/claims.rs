//! What a token contains, in Keycloak's form.

use super::accounts::Account;
use super::oauth::OAuthError;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::sync::Arc;

/// Keycloak's default scopes. Those beyond `openid`, `email` and `profile` have no effect here, but clients
/// of the Spring system request them.
const KNOWN_SCOPES: [&str; 10] =
    ["openid", "profile", "email", "roles", "offline_access", "microprofile-jwt", "web-origins", "acr", "address", "phone"];

/// Granted scope: always `email profile`, and `openid` if requested.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Scope {
    /// Grants an ID token and access to the userinfo endpoint.
    pub(super) openid: bool,
}

impl Scope {
    /// Parses the request parameter; rejects unknown scopes.
    pub(super) fn parse(text: Option<&str>) -> Result<Self, OAuthError> {
        let mut scope = Scope::default();
        for word in text.unwrap_or_default().split_whitespace() {
            if !KNOWN_SCOPES.contains(&word) {
                return Err(OAuthError::new("invalid_scope", "a scope is not known to this issuer"));
            }
            scope.openid |= word == "openid";
        }
        Ok(scope)
    }

    pub(super) fn as_str(self) -> &'static str {
        if self.openid { "openid email profile" } else { "email profile" }
    }

    fn from_claim(text: &str) -> Self {
        Scope { openid: text.split(' ').any(|word| word == "openid") }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    Access,
    Id,
    Refresh,
}

impl TokenKind {
    pub(super) fn typ(self) -> &'static str {
        match self {
            TokenKind::Access => "Bearer",
            TokenKind::Id => "ID",
            TokenKind::Refresh => "Refresh",
        }
    }
}

/// Claims of an access, ID or refresh token.
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
    /// Roles and user data; empty in refresh tokens.
    #[serde(flatten)]
    pub(super) user_claims: Map<String, Value>,
}

impl Claims {
    pub(super) fn scope(&self) -> Scope {
        Scope::from_claim(self.scope.as_deref().unwrap_or_default())
    }
}

/// Session from login to logout.
pub(super) struct Session {
    /// `sid`.
    pub(super) id: String,
    /// Time of login (`auth_time`).
    pub(super) started: i64,
    /// `jti` of the next refresh token.
    pub(super) refresh: String,
    /// Scope granted at login; a refresh may request less.
    pub(super) scope: Scope,
}

/// A validated grant: the contents of the tokens to issue.
pub(super) struct Grant {
    pub(super) account: Arc<Account>,
    pub(super) client: String,
    pub(super) scope: Scope,
    /// `None` for service accounts, which get no refresh token.
    pub(super) session: Option<Session>,
    /// Returned in the ID token.
    pub(super) nonce: Option<String>,
}

/// User claims of tokens and the userinfo endpoint.
pub(super) fn profile(account: &Account) -> Map<String, Value> {
    let mut claims = Map::new();
    claims.insert("preferred_username".into(), account.username.as_str().into());
    claims.insert("name".into(), account.username.as_str().into());
    claims.insert("email_verified".into(), account.email.is_some().into());
    if let Some(email) = &account.email {
        claims.insert("email".into(), email.as_str().into());
    }
    claims
}
