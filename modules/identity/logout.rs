//! The logout endpoint: Keycloak's own with a refresh token, and OpenID Connect's RP-initiated one.

use super::claims::TokenKind;
use super::html;
use super::issuer::{Issuer, now_seconds};
use super::oauth::{self, Form, OAuthError};
use super::redirects;
use actix_web::dev::Payload;
use actix_web::{HttpRequest, HttpResponse};
use std::sync::Arc;

/// `GET logout`
pub(super) async fn by_get(issuer: Arc<Issuer>, request: HttpRequest, _: Payload) -> Result<HttpResponse, OAuthError> {
    let form = Form::parse(request.query_string()).map_err(OAuthError::into_page)?;
    issuer.end_session(&form).await
}

/// `POST logout`
pub(super) async fn by_post(issuer: Arc<Issuer>, request: HttpRequest, payload: Payload) -> Result<HttpResponse, OAuthError> {
    let form = Form::read(&request, payload).await?;
    let Some(token) = form.get("refresh_token") else { return issuer.end_session(&form).await };
    let client = issuer.clients.authenticate(&request, &form)?;
    // a replaced token, or one of an ended session, still identifies the session to end
    let claims = issuer.verify(token, TokenKind::Refresh, false).filter(|claims| claims.azp == client.id);
    let session = claims.and_then(|claims| claims.sid).ok_or_else(|| OAuthError::invalid_grant("the refresh token is not valid"))?;
    issuer.sessions.end(&session, now_seconds()).await?;
    Ok(oauth::no_content())
}

impl Issuer {
    /// Ends the session of the ID token, if any, and redirects to the registered URI.
    async fn end_session(&self, form: &Form) -> Result<HttpResponse, OAuthError> {
        let hint = match form.get("id_token_hint") {
            // the hint may have expired: users log out at any time
            Some(token) => Some(
                self.verify(token, TokenKind::Id, true)
                    .ok_or_else(|| OAuthError::page("the id_token_hint is not a token of this issuer"))?,
            ),
            None => None,
        };
        let hint_client = hint.as_ref().map(|claims| claims.azp.as_str());
        let client_id = form.get("client_id").or(hint_client);
        if hint_client.is_some() && client_id != hint_client {
            return Err(OAuthError::page("client_id is not the client of the id_token_hint"));
        }
        let target = form.get("post_logout_redirect_uri");
        if let Some(target) = target {
            let client = client_id.and_then(|id| self.clients.get(id));
            if !client.is_some_and(|client| client.allows_redirect(target)) {
                return Err(OAuthError::page("the post_logout_redirect_uri is not registered for this client"));
            }
        }
        if let Some(session) = hint.and_then(|claims| claims.sid) {
            self.sessions.end(&session, now_seconds()).await?;
        }
        let Some(target) = target else {
            let message = html::Message { title: "Signed out", text: "you can close this page" };
            return Ok(oauth::page(200, &message, None)?);
        };
        let state = form.get("state").map(|state| ("state", state));
        oauth::redirect(&redirects::append(target, false, state.as_slice()))
    }
}
