//! The token endpoint: one way in for each grant of RFC 6749 that we serve.

use super::accounts::Account;
use super::claims::{Grant, Kind, Scope, Session};
use super::clients::Client;
use super::codes::Bad;
use super::issuer::{Issuer, now_seconds};
use super::oauth::{self, Form, Refusal};
use super::sessions::Rotated;
use actix_web::dev::Payload;
use actix_web::{HttpRequest, HttpResponse};
use std::sync::Arc;

/// `POST token`
pub(super) async fn token(issuer: Arc<Issuer>, request: HttpRequest, payload: Payload) -> Result<HttpResponse, Refusal> {
    let form = Form::read(&request, payload).await?;
    let client = issuer.clients.authenticate(&request, &form)?;
    let grant = match form.required("grant_type")? {
        "password" => issuer.by_password(&client, &form).await,
        "client_credentials" => by_client(&client, &form),
        "refresh_token" => issuer.by_refresh_token(&client, &form).await,
        "authorization_code" => issuer.by_code(&client, &form).await,
        _ => Err(Refusal::new("unsupported_grant_type", "grants: authorization_code, refresh_token, password, client_credentials")),
    }?;
    Ok(oauth::json(&issuer.mint(grant).await?))
}

fn by_client(client: &Client, form: &Form) -> Result<Grant, Refusal> {
    let account = client.service.clone();
    let account = account.ok_or_else(|| Refusal::new("unauthorized_client", "this client has no service account"))?;
    let scope = Scope::parse(form.get("scope"))?;
    Ok(Grant { account, client: client.id.clone(), scope, session: None, nonce: None })
}

impl Issuer {
    async fn by_password(&self, client: &Client, form: &Form) -> Result<Grant, Refusal> {
        if !client.password_grant {
            return Err(Refusal::new("unauthorized_client", "this client may not send passwords; use authorization_code with PKCE"));
        }
        let scope = Scope::parse(form.get("scope"))?;
        let account = self.check_password(form.required("username")?, form.required("password")?).await?;
        let account = account.ok_or_else(|| Refusal::grant("wrong username or password"))?;
        let session = self.start(uuid::Uuid::new_v4().to_string(), now_seconds(), scope).await?;
        Ok(Grant { account, client: client.id.clone(), scope, session: Some(session), nonce: None })
    }

    async fn by_code(&self, client: &Client, form: &Form) -> Result<Grant, Refusal> {
        let (name, redirect, verifier) = (form.required("code")?, form.get("redirect_uri"), form.get("code_verifier"));
        let code = match self.codes.redeem(name, &client.id, redirect, verifier, now_seconds()).await {
            Ok(code) => code,
            Err(Bad::Refused(why)) => return Err(Refusal::grant(why)),
            Err(Bad::Store(cause)) => return Err(cause.into()),
            Err(Bad::Replayed { session }) => {
                tracing::warn!(client = client.id, session, "an authorization code came twice: its session is ended");
                self.sessions.end(&session, now_seconds()).await?;
                return Err(Refusal::grant("the code was used before; what it granted is withdrawn"));
            }
        };
        let session = self.start(code.session, code.started, code.scope).await?;
        Ok(Grant {
            account: Arc::new(code.account),
            client: client.id.clone(),
            scope: code.scope,
            session: Some(session),
            nonce: code.nonce,
        })
    }

    async fn by_refresh_token(&self, client: &Client, form: &Form) -> Result<Grant, Refusal> {
        let bad = || Refusal::grant("the refresh token is not valid");
        let claims = self.read(form.required("refresh_token")?, Kind::Refresh, false).ok_or_else(bad)?;
        if claims.azp != client.id {
            return Err(Refusal::grant("the refresh token is another client's"));
        }
        let granted = claims.scope();
        let scope = form.get("scope").map_or(Ok(granted), |asked| Scope::parse(Some(asked)))?;
        if scope.openid && !granted.openid {
            return Err(Refusal::new("invalid_scope", "the refresh token was not granted this scope"));
        }
        let over = || Refusal::grant("the session is over");
        let account = self.bearer(&claims)?.ok_or_else(over)?;
        let (Some(id), Some(started)) = (claims.sid, claims.auth_time) else { return Err(bad()) };
        let refresh = uuid::Uuid::new_v4().to_string();
        match self.sessions.rotate(&id, &claims.jti, &refresh, now_seconds()).await? {
            Rotated::Yes => {}
            Rotated::Over => return Err(over()),
            Rotated::Replayed => {
                tracing::warn!(client = client.id, session = id, "a replaced refresh token came again: its session is ended");
                self.sessions.end(&id, now_seconds()).await?;
                return Err(Refusal::grant("the refresh token was used before; its session is ended"));
            }
        }
        let session = Session { id, started, refresh, scope: granted };
        Ok(Grant { account, client: client.id.clone(), scope, session: Some(session), nonce: None })
    }

    /// Who has this name and password; nobody may guess for long.
    pub(super) async fn check_password(&self, username: &str, password: &str) -> Result<Option<Arc<Account>>, Refusal> {
        let username = username.to_lowercase();
        let found = self.users.check(&username, password);
        match self.limiter.count(&username, found.is_some(), now_seconds()).await? {
            Ok(()) => Ok(found),
            Err(closed) => Err(Refusal::closed(closed.0)),
        }
    }

    async fn start(&self, id: String, started: i64, scope: Scope) -> Result<Session, Refusal> {
        let refresh = uuid::Uuid::new_v4().to_string();
        self.sessions.start(&id, &refresh, now_seconds()).await?;
        Ok(Session { id, started, refresh, scope })
    }
}
