//! Signing and verifying tokens.

use super::accounts::Account;
use super::claims::{Claims, Grant, Kind, profile};
use super::issuer::{Issuer, now_seconds};
use super::keys::SignError;
use super::oauth::Refusal;
use crate::kernel::error::StoreError;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, Validation};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::sync::Arc;

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
        let (now, account) = (now_seconds(), &grant.account);
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
