//! The logout endpoint: Keycloak's own with a refresh token, and OpenID Connect's RP-initiated one.

use super::claims::Kind;
use super::html;
use super::issuer::{Issuer, now_seconds};
use super::oauth::{self, Form, Refusal};
use super::redirects;
use actix_web::dev::Payload;
use actix_web::{HttpRequest, HttpResponse};
use std::sync::Arc;

/// `GET logout`
pub(super) async fn visit(issuer: Arc<Issuer>, request: HttpRequest, _: Payload) -> Result<HttpResponse, Refusal> {
    let form = Form::parse(request.query_string()).map_err(Refusal::for_person)?;
    issuer.leave(&form).await
}

/// `POST logout`
pub(super) async fn submit(issuer: Arc<Issuer>, request: HttpRequest, payload: Payload) -> Result<HttpResponse, Refusal> {
    let form = Form::read(&request, payload).await?;
    let Some(token) = form.get("refresh_token") else { return issuer.leave(&form).await };
    let client = issuer.clients.authenticate(&request, &form)?;
    // a token that was replaced before, or whose session is over, still names the session to end
    let claims = issuer.read(token, Kind::Refresh, false).filter(|claims| claims.azp == client.id);
    let session = claims.and_then(|claims| claims.sid).ok_or_else(|| Refusal::grant("the refresh token is not valid"))?;
    issuer.sessions.end(&session, now_seconds()).await?;
    Ok(oauth::nothing())
}

impl Issuer {
    /// Ends the session of the ID token, if there is one, and goes back to where the client registered.
    async fn leave(&self, form: &Form) -> Result<HttpResponse, Refusal> {
        let hint = match form.get("id_token_hint") {
            // the hint may be long past: a person logs out when they like
            Some(token) => {
                Some(self.read(token, Kind::Id, true).ok_or_else(|| Refusal::person("the id_token_hint is not a token of this issuer"))?)
            }
            None => None,
        };
        let named = hint.as_ref().map(|claims| claims.azp.as_str());
        let client_id = form.get("client_id").or(named);
        if named.is_some() && client_id != named {
            return Err(Refusal::person("client_id is not the client of the id_token_hint"));
        }
        let target = form.get("post_logout_redirect_uri");
        if let Some(target) = target {
            let client = client_id.and_then(|id| self.clients.get(id));
            if !client.is_some_and(|client| client.may_redirect_to(target)) {
                return Err(Refusal::person("the post_logout_redirect_uri is not registered for this client"));
            }
        }
        if let Some(session) = hint.and_then(|claims| claims.sid) {
            self.sessions.end(&session, now_seconds()).await?;
        }
        let Some(target) = target else {
            let done = html::Message { title: "Signed out", text: "you can close this page" };
            return Ok(oauth::page(200, &done, None)?);
        };
        let state = form.get("state").map(|state| ("state", state));
        oauth::redirect(&redirects::append(target, false, state.as_slice()))
    }
}
