//! The token endpoint: the grants of RFC 6749 that the issuer supports.

use super::accounts::Account;
use super::claims::{Grant, Scope, Session, TokenKind};
use super::clients::Client;
use super::codes::RedeemError;
use super::issuer::{Issuer, now_seconds};
use super::oauth::{self, Form, OAuthError};
use super::sessions::Rotation;
use actix_web::dev::Payload;
use actix_web::{HttpRequest, HttpResponse};
use std::sync::Arc;

/// `POST token`
pub(super) async fn token(issuer: Arc<Issuer>, request: HttpRequest, payload: Payload) -> Result<HttpResponse, OAuthError> {
    let form = Form::read(&request, payload).await?;
    let client = issuer.clients.authenticate(&request, &form)?;
    let grant = match form.required("grant_type")? {
        "password" => issuer.password_grant(&client, &form).await,
        "client_credentials" => client_credentials_grant(&client, &form),
        "refresh_token" => issuer.refresh_token_grant(&client, &form).await,
        "authorization_code" => issuer.authorization_code_grant(&client, &form).await,
        _ => Err(OAuthError::new("unsupported_grant_type", "grants: authorization_code, refresh_token, password, client_credentials")),
    }?;
    Ok(oauth::json(&issuer.issue_tokens(grant).await?))
}

fn client_credentials_grant(client: &Client, form: &Form) -> Result<Grant, OAuthError> {
    let account = client.service_account.clone();
    let account = account.ok_or_else(|| OAuthError::new("unauthorized_client", "this client has no service account"))?;
    let scope = Scope::parse(form.get("scope"))?;
    Ok(Grant { account, client: client.id.clone(), scope, session: None, nonce: None })
}

impl Issuer {
    async fn password_grant(&self, client: &Client, form: &Form) -> Result<Grant, OAuthError> {
        if !client.password_grant_allowed {
            return Err(OAuthError::new("unauthorized_client", "this client may not send passwords; use authorization_code with PKCE"));
        }
        let scope = Scope::parse(form.get("scope"))?;
        let account = self.check_password(form.required("username")?, form.required("password")?).await?;
        let account = account.ok_or_else(|| OAuthError::invalid_grant("wrong username or password"))?;
        let session = self.start_session(uuid::Uuid::new_v4().to_string(), now_seconds(), scope).await?;
        Ok(Grant { account, client: client.id.clone(), scope, session: Some(session), nonce: None })
    }

    async fn authorization_code_grant(&self, client: &Client, form: &Form) -> Result<Grant, OAuthError> {
        let (code, redirect, verifier) = (form.required("code")?, form.get("redirect_uri"), form.get("code_verifier"));
        let code = match self.codes.redeem(code, &client.id, redirect, verifier, now_seconds()).await {
            Ok(code) => code,
            Err(RedeemError::Invalid(reason)) => return Err(OAuthError::invalid_grant(reason)),
            Err(RedeemError::Store(cause)) => return Err(cause.into()),
            Err(RedeemError::Replayed { session }) => {
                tracing::warn!(client = client.id, session, "authorization code replayed; session ended");
                self.sessions.end(&session, now_seconds()).await?;
                return Err(OAuthError::invalid_grant("the code was used before; its session is ended"));
            }
        };
        let session = self.start_session(code.session, code.started, code.scope).await?;
        Ok(Grant {
            account: Arc::new(code.account),
            client: client.id.clone(),
            scope: code.scope,
            session: Some(session),
            nonce: code.nonce,
        })
    }

    async fn refresh_token_grant(&self, client: &Client, form: &Form) -> Result<Grant, OAuthError> {
        let invalid = || OAuthError::invalid_grant("the refresh token is not valid");
        let claims = self.verify(form.required("refresh_token")?, TokenKind::Refresh, false).ok_or_else(invalid)?;
        if claims.azp != client.id {
            return Err(OAuthError::invalid_grant("the refresh token is another client's"));
        }
        let granted = claims.scope();
        let scope = form.get("scope").map_or(Ok(granted), |requested| Scope::parse(Some(requested)))?;
        if scope.openid && !granted.openid {
            return Err(OAuthError::new("invalid_scope", "the refresh token was not granted this scope"));
        }
        let ended = || OAuthError::invalid_grant("the session is over");
        let account = self.token_account(&claims)?.ok_or_else(ended)?;
        let (Some(id), Some(started)) = (claims.sid, claims.auth_time) else { return Err(invalid()) };
        let refresh = uuid::Uuid::new_v4().to_string();
        match self.sessions.rotate(&id, &claims.jti, &refresh, now_seconds()).await? {
            Rotation::Rotated => {}
            Rotation::SessionEnded => return Err(ended()),
            Rotation::Replayed => {
                tracing::warn!(client = client.id, session = id, "refresh token replayed; session ended");
                self.sessions.end(&id, now_seconds()).await?;
                return Err(OAuthError::invalid_grant("the refresh token was used before; its session is ended"));
            }
        }
        let session = Session { id, started, refresh, scope: granted };
        Ok(Grant { account, client: client.id.clone(), scope, session: Some(session), nonce: None })
    }

    /// The account with this name and password. Limits the number of failed attempts.
    pub(super) async fn check_password(&self, username: &str, password: &str) -> Result<Option<Arc<Account>>, OAuthError> {
        let username = username.to_lowercase();
        let found = self.users.check(&username, password);
        match self.limiter.record_attempt(&username, found.is_some(), now_seconds()).await? {
            Ok(()) => Ok(found),
            Err(locked) => Err(OAuthError::account_locked(locked.seconds)),
        }
    }

    async fn start_session(&self, id: String, started: i64, scope: Scope) -> Result<Session, OAuthError> {
        let refresh = uuid::Uuid::new_v4().to_string();
        self.sessions.start(&id, &refresh, now_seconds()).await?;
        Ok(Session { id, started, refresh, scope })
    }
}
