//! What is in a token, as Keycloak puts it.

use super::Issuer;
use super::accounts::Account;
use super::keys::SignError;
use super::oauth::Refusal;
use crate::kernel::error::StoreError;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, Validation};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
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

    fn text(self) -> &'static str {
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
    fn typ(self) -> &'static str {
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

impl Issuer {
    /// Makes the tokens of a grant. Signing takes milliseconds of CPU, so it leaves this thread.
    pub(super) async fn mint(self: &Arc<Self>, grant: Grant) -> Result<Value, Refusal> {
        let issuer = self.clone();
        let made = tokio::task::spawn_blocking(move || issuer.sign(&grant)).await;
        let signed = made.map_err(|cause| Refusal::internal(format!("signing broke off: {cause}")))?;
        signed.map_err(Refusal::internal)
    }

    fn sign(&self, grant: &Grant) -> Result<Value, SignError> {
        let access = self.keys.sign(&self.claims(grant, Kind::RequiredRole, json!([self.audience, "account"])))?;
        let mut answer = Map::new();
        let mut put = |name: &str, value: Value| answer.insert(name.into(), value);
        let mut refresh_seconds = 0;
        if let Some(session) = &grant.session {
            let mut claims = self.claims(grant, Kind::Refresh, json!(self.url));
            claims.jti = session.refresh.clone();
            claims.scope = Some(session.scope.text().into());
            refresh_seconds = self.refresh_seconds;
            put("refresh_token", self.keys.sign(&claims)?.into());
            put("session_state", session.id.as_str().into());
        }
        if grant.scope.openid {
            let mut claims = self.claims(grant, Kind::Id, json!(grant.client));
            let half: Vec<u8> = Sha256::digest(&access).into_iter().take(16).collect();
            claims.at_hash = Some(URL_SAFE_NO_PAD.encode(half));
            claims.nonce = grant.nonce.clone();
            put("id_token", self.keys.sign(&claims)?.into());
        }
        put("access_token", access.into());
        put("expires_in", self.access_seconds.into());
        put("refresh_expires_in", refresh_seconds.into());
        put("token_type", "Bearer".into());
        put("not-before-policy", 0.into());
        put("scope", grant.scope.text().into());
        Ok(Value::Object(answer))
    }

    fn claims(&self, grant: &Grant, kind: Kind, aud: Value) -> Claims {
        let (now, account) = (super::now(), &grant.account);
        let mut about = Map::new();
        if kind != Kind::Refresh {
            about = profile(account);
        }
        if kind == Kind::RequiredRole {
            about.insert("realm_access".into(), json!({ "roles": account.roles }));
            about.insert("resource_access".into(), json!({}));
        }
        Claims {
            exp: now + if kind == Kind::Refresh { self.refresh_seconds } else { self.access_seconds },
            iat: now,
            auth_time: grant.session.as_ref().map(|s| s.started),
            jti: uuid::Uuid::new_v4().to_string(),
            iss: self.url.clone(),
            aud,
            sub: account.subject.clone(),
            typ: kind.typ().into(),
            azp: grant.client.clone(),
            nonce: None,
            sid: grant.session.as_ref().map(|s| s.id.clone()),
            at_hash: None,
            scope: (kind != Kind::Id).then(|| grant.scope.text().into()),
            about,
        }
    }

    /// The claims of a token of ours of this kind. With `expired_too`, also of one that has had its day.
    pub(super) fn read(&self, token: &str, kind: Kind, expired_too: bool) -> Option<Claims> {
        let mut rules = Validation::new(Algorithm::RS256);
        rules.leeway = 0;
        rules.validate_exp = !expired_too;
        rules.set_issuer(&[&self.url]);
        rules.set_required_spec_claims(&["exp", "iss", "aud"]);
        match kind {
            Kind::RequiredRole => rules.set_audience(&[&self.audience]),
            Kind::Refresh => rules.set_audience(&[&self.url]),
            // meant for whichever client it names
            Kind::Id => rules.validate_aud = false,
        }
        self.keys.verify::<Claims>(token, &rules).filter(|claims| claims.typ == kind.typ())
    }

    /// Whom a token names, while its session goes on and the settings still have that account and client.
    pub(super) fn bearer(&self, claims: &Claims) -> Result<Option<Arc<Account>>, StoreError> {
        let over = claims.sid.as_ref().map_or(Ok(false), |sid| self.sessions.is_over(sid))?;
        if over || self.clients.get(&claims.azp).is_none() {
            return Ok(None);
        }
        Ok(self.users.by_subject(&claims.sub).or_else(|| self.clients.by_subject(&claims.sub)))
    }
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
