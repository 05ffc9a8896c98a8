//! Signing and verifying tokens.

use super::accounts::Account;
use super::claims::{Claims, Grant, TokenKind, profile};
use super::issuer::{Issuer, now_seconds};
use super::keys::SignError;
use super::oauth::OAuthError;
use crate::kernel::error::StoreError;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, Validation};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::sync::Arc;

impl Issuer {
    /// Issues the tokens of a grant. Signing takes milliseconds of CPU, so it runs on a blocking thread.
    pub(super) async fn issue_tokens(self: &Arc<Self>, grant: Grant) -> Result<Value, OAuthError> {
        let issuer = self.clone();
        let result = tokio::task::spawn_blocking(move || issuer.sign(&grant)).await;
        let signed = result.map_err(|cause| OAuthError::internal(format!("the signing task failed: {cause}")))?;
        signed.map_err(OAuthError::internal)
    }

    fn sign(&self, grant: &Grant) -> Result<Value, SignError> {
        let access = self.keys.sign(&self.claims(grant, TokenKind::Access, json!([self.audience, "account"])))?;
        let mut response = Map::new();
        let mut put = |name: &str, value: Value| response.insert(name.into(), value);
        let mut refresh_seconds = 0;
        if let Some(session) = &grant.session {
            let mut claims = self.claims(grant, TokenKind::Refresh, json!(self.url));
            claims.jti = session.refresh.clone();
            claims.scope = Some(session.scope.as_str().into());
            refresh_seconds = self.refresh_seconds;
            put("refresh_token", self.keys.sign(&claims)?.into());
            put("session_state", session.id.as_str().into());
        }
        if grant.scope.openid {
            let mut claims = self.claims(grant, TokenKind::Id, json!(grant.client));
            let left_half: Vec<u8> = Sha256::digest(&access).into_iter().take(16).collect();
            claims.at_hash = Some(URL_SAFE_NO_PAD.encode(left_half));
            claims.nonce = grant.nonce.clone();
            put("id_token", self.keys.sign(&claims)?.into());
        }
        put("access_token", access.into());
        put("expires_in", self.access_seconds.into());
        put("refresh_expires_in", refresh_seconds.into());
        put("token_type", "Bearer".into());
        put("not-before-policy", 0.into());
        put("scope", grant.scope.as_str().into());
        Ok(Value::Object(response))
    }

    fn claims(&self, grant: &Grant, kind: TokenKind, aud: Value) -> Claims {
        let (now, account) = (now_seconds(), &grant.account);
        let mut user_claims = Map::new();
        if kind != TokenKind::Refresh {
            user_claims = profile(account);
        }
        if kind == TokenKind::Access {
            user_claims.insert("realm_access".into(), json!({ "roles": account.roles }));
            user_claims.insert("resource_access".into(), json!({}));
        }
        Claims {
            exp: now + if kind == TokenKind::Refresh { self.refresh_seconds } else { self.access_seconds },
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
            scope: (kind != TokenKind::Id).then(|| grant.scope.as_str().into()),
            user_claims,
        }
    }

    /// The claims of a valid token of this kind. With `allow_expired`, also of an expired one.
    pub(super) fn verify(&self, token: &str, kind: TokenKind, allow_expired: bool) -> Option<Claims> {
        let mut rules = Validation::new(Algorithm::RS256);
        rules.leeway = 0;
        rules.validate_exp = !allow_expired;
        rules.set_issuer(&[&self.url]);
        rules.set_required_spec_claims(&["exp", "iss", "aud"]);
        match kind {
            TokenKind::Access => rules.set_audience(&[&self.audience]),
            TokenKind::Refresh => rules.set_audience(&[&self.url]),
            // an ID token's audience is its client
            TokenKind::Id => rules.validate_aud = false,
        }
        self.keys.verify::<Claims>(token, &rules).filter(|claims| claims.typ == kind.typ())
    }

    /// The account of a token; `None` if its session has ended or the settings no longer contain its account
    /// or client.
    pub(super) fn token_account(&self, claims: &Claims) -> Result<Option<Arc<Account>>, StoreError> {
        let ended = claims.sid.as_ref().map_or(Ok(false), |sid| self.sessions.is_ended(sid))?;
        if ended || self.clients.get(&claims.azp).is_none() {
            return Ok(None);
        }
        Ok(self.users.by_subject(&claims.sub).or_else(|| self.clients.by_subject(&claims.sub)))
    }
}
