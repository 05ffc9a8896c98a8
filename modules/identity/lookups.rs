//! Read-only endpoints: discovery, keys, userinfo and token introspection.

use super::claims::{self, TokenKind};
use super::issuer::Issuer;
use super::oauth::{self, Form, OAuthError};
use super::realm::REALM;
use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};
use std::sync::Arc;

/// `GET .well-known/openid-configuration`
pub(super) async fn discovery(issuer: Arc<Issuer>, _: HttpRequest, _: Payload) -> Result<HttpResponse, OAuthError> {
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
pub(super) async fn certs(issuer: Arc<Issuer>, _: HttpRequest, _: Payload) -> Result<HttpResponse, OAuthError> {
    Ok(HttpResponse::Ok().json(issuer.keys.jwks()))
}

/// `GET` and `POST userinfo`
pub(super) async fn userinfo(issuer: Arc<Issuer>, request: HttpRequest, _: Payload) -> Result<HttpResponse, OAuthError> {
    let Some(header) = request.headers().get(header::AUTHORIZATION) else {
        return Err(OAuthError::Client {
            status: 401,
            error: "invalid_request",
            description: "an access token is required: Authorization: Bearer <JWT>".into(),
            challenge: Some(format!("Bearer realm=\"{}\"", REALM)),
            retry_after: None,
        });
    };
    let invalid = || OAuthError::bearer(401, "invalid_token", "the access token is not valid");
    let (kind, token) = header.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(invalid)?;
    let claims = Some(token.trim()).filter(|_| kind.eq_ignore_ascii_case("bearer"));
    let claims = claims.and_then(|token| issuer.verify(token, TokenKind::Access, false)).ok_or_else(invalid)?;
    let account = issuer.token_account(&claims)?.ok_or_else(invalid)?;
    if !claims.scope().openid {
        return Err(OAuthError::bearer(403, "insufficient_scope", "the access token lacks the scope openid"));
    }
    let mut profile = claims::profile(&account);
    profile.insert("sub".into(), account.subject.as_str().into());
    Ok(oauth::json(&Value::Object(profile)))
}

/// `POST token/introspect`, RFC 7662
pub(super) async fn introspect(issuer: Arc<Issuer>, request: HttpRequest, payload: Payload) -> Result<HttpResponse, OAuthError> {
    let form = Form::read(&request, payload).await?;
    // a public client is not authenticated; introspection would let any caller probe tokens
    if issuer.clients.authenticate(&request, &form)?.is_public() {
        return Err(OAuthError::invalid_client());
    }
    let token = form.required("token")?;
    Ok(oauth::json(&issuer.introspect_token(token)?.unwrap_or_else(|| json!({ "active": false }))))
}

impl Issuer {
    fn introspect_token(&self, token: &str) -> Result<Option<Value>, OAuthError> {
        let claims = self.verify(token, TokenKind::Access, false).or_else(|| self.verify(token, TokenKind::Refresh, false));
        let Some(claims) = claims else { return Ok(None) };
        let Some(account) = self.token_account(&claims)? else { return Ok(None) };
        if claims.typ == "Refresh" && !self.sessions.is_current(claims.sid.as_deref().unwrap_or_default(), &claims.jti)? {
            return Ok(None);
        }
        let mut response = serde_json::to_value(&claims).map_err(OAuthError::internal)?;
        if let Value::Object(response) = &mut response {
            response.insert("active".into(), true.into());
            response.insert("client_id".into(), claims.azp.into());
            response.insert("username".into(), account.username.as_str().into());
            response.insert("token_type".into(), claims.typ.into());
        }
        Ok(Some(response))
    }
}
