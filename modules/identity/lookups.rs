//! What can be asked of the issuer: what it is, its keys, and what a token says.

use super::claims::{self, Kind};
use super::issuer::Issuer;
use super::oauth::{self, Form, Refusal};
use super::realm::REALM;
use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};
use std::sync::Arc;

/// `GET .well-known/openid-configuration`
pub(super) async fn discovery(issuer: Arc<Issuer>, _: HttpRequest, _: Payload) -> Result<HttpResponse, Refusal> {
    let at = |path: &str| format!("{}/protocol/openid-connect/{path}", issuer.url);
    let confidential = ["client_secret_basic", "client_secret_post"];
    Ok(HttpResponse::Ok().json(json!({
        "issuer": issuer.url,
        "authorization_endpoint": at("auth"),
        "token_endpoint": at("token"),
        "introspection_endpoint": at("token/introspect"),
        "userinfo_endpoint": at("userinfo"),
        "end_session_endpoint": at("logout"),
        "jwks_uri": at("certs"),
        "grant_types_supported": ["authorization_code", "refresh_token", "password", "client_credentials"],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query", "fragment"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "scopes_supported": ["openid", "profile", "email", "roles", "offline_access", "microprofile-jwt"],
        "claims_supported": ["iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "preferred_username", "name", "email", "email_verified"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
        "introspection_endpoint_auth_methods_supported": confidential,
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
        "claims_parameter_supported": false,
        "request_parameter_supported": false,
        "request_uri_parameter_supported": false,
    })))
}

/// `GET certs`
pub(super) async fn certs(issuer: Arc<Issuer>, _: HttpRequest, _: Payload) -> Result<HttpResponse, Refusal> {
    Ok(HttpResponse::Ok().json(issuer.keys.jwks()))
}

/// `GET` and `POST userinfo`
pub(super) async fn userinfo(issuer: Arc<Issuer>, request: HttpRequest, _: Payload) -> Result<HttpResponse, Refusal> {
    let Some(header) = request.headers().get(header::AUTHORIZATION) else {
        return Err(Refusal::Client {
            status: 401,
            error: "invalid_request",
            description: "an access token is required: Authorization: Bearer <JWT>".into(),
            challenge: Some(format!("Bearer realm=\"{}\"", REALM)),
            retry_after: None,
        });
    };
    let bad = || Refusal::bearer(401, "invalid_token", "the access token is not valid");
    let (kind, token) = header.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(bad)?;
    let claims = Some(token.trim()).filter(|_| kind.eq_ignore_ascii_case("bearer"));
    let claims = claims.and_then(|token| issuer.read(token, Kind::RequiredRole, false)).ok_or_else(bad)?;
    let account = issuer.bearer(&claims)?.ok_or_else(bad)?;
    if !claims.scope().openid {
        return Err(Refusal::bearer(403, "insufficient_scope", "the access token lacks the scope openid"));
    }
    let mut about = claims::profile(&account);
    about.insert("sub".into(), account.subject.as_str().into());
    Ok(oauth::json(&Value::Object(about)))
}

/// `POST token/introspect`, RFC 7662
pub(super) async fn introspect(issuer: Arc<Issuer>, request: HttpRequest, payload: Payload) -> Result<HttpResponse, Refusal> {
    let form = Form::read(&request, payload).await?;
    // who has no secret could be anybody, and anybody could try tokens here
    if issuer.clients.authenticate(&request, &form)?.is_public() {
        return Err(Refusal::client());
    }
    let token = form.required("token")?;
    Ok(oauth::json(&issuer.introspected(token)?.unwrap_or_else(|| json!({ "active": false }))))
}

impl Issuer {
    fn introspected(&self, token: &str) -> Result<Option<Value>, Refusal> {
        let claims = self.read(token, Kind::RequiredRole, false).or_else(|| self.read(token, Kind::Refresh, false));
        let Some(claims) = claims else { return Ok(None) };
        let Some(account) = self.bearer(&claims)? else { return Ok(None) };
        if claims.typ == "Refresh" && !self.sessions.is_current(claims.sid.as_deref().unwrap_or_default(), &claims.jti)? {
            return Ok(None);
        }
        let mut answer = serde_json::to_value(&claims).map_err(Refusal::internal)?;
        if let Value::Object(answer) = &mut answer {
            answer.insert("active".into(), true.into());
            answer.insert("client_id".into(), claims.azp.into());
            answer.insert("username".into(), account.username.as_str().into());
            answer.insert("token_type".into(), claims.typ.into());
        }
        Ok(Some(answer))
    }
}
