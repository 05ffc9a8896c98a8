//! The authorization endpoint: shows the login page and redirects back to the client with a code.
//!
//! There is no cookie: each authorization request asks for the password. So no user stays logged in
//! unknowingly, and `prompt=none` always fails with `login_required`.

use super::accounts::Account;
use super::claims::Scope;
use super::clients::Client;
use super::codes::{Code, is_challenge};
use super::html;
use super::issuer::{Issuer, now_seconds};
use super::oauth::{self, Form, OAuthError};
use super::redirects;
use actix_web::dev::Payload;
use actix_web::{HttpRequest, HttpResponse};
use std::sync::Arc;

/// Request parameters that the login form sends target.
const FORM_PARAMETERS: [&str; 9] =
    ["client_id", "redirect_uri", "response_type", "response_mode", "scope", "state", "nonce", "code_challenge", "code_challenge_method"];

/// `GET auth`
pub(super) async fn show(issuer: Arc<Issuer>, request: HttpRequest, _: Payload) -> Result<HttpResponse, OAuthError> {
    let form = Form::parse(request.query_string()).map_err(OAuthError::into_page)?;
    issuer.authorize(&form, None).await
}

/// `POST auth`: an authorization request, or with `username` the login form.
pub(super) async fn submit(issuer: Arc<Issuer>, request: HttpRequest, payload: Payload) -> Result<HttpResponse, OAuthError> {
    let form = Form::read(&request, payload).await.map_err(OAuthError::into_page)?;
    issuer.authorize(&form, form.get("username")).await
}

/// A redirect URI that the client has registered.
struct RedirectTarget<'a> {
    client: &'a Client,
    redirect_uri: &'a str,
    state: Option<&'a str>,
    fragment: bool,
}

impl Issuer {
    async fn authorize(&self, form: &Form, username: Option<&str>) -> Result<HttpResponse, OAuthError> {
        let target = self.redirect_target(form)?;
        let (scope, challenge) = match validate_request(form, target.client) {
            Ok(valid) => valid,
            Err((error, description)) => return self.redirect_back(&target, &[("error", error), ("error_description", description)]),
        };
        let Some(username) = username else { return self.login_page(200, form, &target, form.get("login_hint"), None) };
        let account = match self.check_password(username, form.get("password").unwrap_or_default()).await {
            Ok(Some(account)) => account,
            Ok(None) => return self.login_page(401, form, &target, Some(username), Some("wrong username or password")),
            Err(OAuthError::Client { status, description, .. }) => {
                return self.login_page(status, form, &target, Some(username), Some(&description));
            }
            Err(other) => return Err(other),
        };
        let session = uuid::Uuid::new_v4().to_string();
        let code = Code {
            account: Account::clone(&account),
            client: target.client.id.clone(),
            redirect_uri: target.redirect_uri.into(),
            challenge: challenge.map(String::from),
            scope,
            nonce: form.get("nonce").map(String::from),
            session: session.clone(),
            started: now_seconds(),
        };
        let code = self.codes.issue(code).await?;
        self.redirect_back(&target, &[("code", &code), ("session_state", &session)])
    }

    /// Checks client and redirect URI first: until both are known, errors are shown on the issuer's own page
    /// and never sent to the redirect URI.
    fn redirect_target<'a>(&'a self, form: &'a Form) -> Result<RedirectTarget<'a>, OAuthError> {
        let id = form.get("client_id").ok_or_else(|| OAuthError::page("the parameter client_id is missing"))?;
        let client = self.clients.get(id).ok_or_else(|| OAuthError::page("this client is not known here"))?;
        let redirect_uri = form.get("redirect_uri").ok_or_else(|| OAuthError::page("the parameter redirect_uri is missing"))?;
        if !client.allows_redirect(redirect_uri) {
            return Err(OAuthError::page("the redirect_uri is not registered for this client"));
        }
        let fragment = form.get("response_mode") == Some("fragment");
        Ok(RedirectTarget { client, redirect_uri, state: form.get("state"), fragment })
    }

    fn redirect_back(&self, target: &RedirectTarget<'_>, parameters: &[(&str, &str)]) -> Result<HttpResponse, OAuthError> {
        let mut all = parameters.to_vec();
        all.extend(target.state.map(|state| ("state", state)));
        // RFC 9207: lets a client of several issuers detect mix-up attacks
        all.push(("iss", &self.url));
        oauth::redirect(&redirects::append(target.redirect_uri, target.fragment, &all))
    }

    fn login_page(
        &self,
        status: u16,
        form: &Form,
        target: &RedirectTarget<'_>,
        username: Option<&str>,
        error: Option<&str>,
    ) -> Result<HttpResponse, OAuthError> {
        let page = html::Login {
            client: &target.client.id,
            error,
            username: username.unwrap_or_default(),
            hidden_fields: FORM_PARAMETERS.iter().filter_map(|name| form.get(name).map(|value| (*name, value))).collect(),
            demo: &self.users.demo_users(),
        };
        Ok(oauth::page(status, &page, Some(&redirects::policy_source(target.redirect_uri)))?)
    }
}

/// Validates the rest of an authorization request; returns the scope and the PKCE challenge.
fn validate_request<'a>(form: &'a Form, client: &Client) -> Result<(Scope, Option<&'a str>), (&'static str, &'static str)> {
    for (parameter, error) in [("request", "request_not_supported"), ("request_uri", "request_uri_not_supported")] {
        if form.get(parameter).is_some() {
            return Err((error, "send the parameters themselves"));
        }
    }
    match form.get("response_type") {
        Some("code") => {}
        None => return Err(("invalid_request", "the parameter response_type is missing")),
        Some(_) => return Err(("unsupported_response_type", "only response_type=code is supported")),
    }
    if !matches!(form.get("response_mode"), None | Some("query" | "fragment")) {
        return Err(("invalid_request", "response_mode must be query or fragment"));
    }
    let scope = Scope::parse(form.get("scope")).map_err(|_| ("invalid_scope", "a scope is not known to this issuer"))?;
    let challenge = match (form.get("code_challenge"), form.get("code_challenge_method")) {
        // RFC 7636: without a method it is `plain`
        (Some(_), method) if method != Some("S256") => return Err(("invalid_request", "code_challenge_method must be S256")),
        (Some(challenge), _) if !is_challenge(challenge) => return Err(("invalid_request", "code_challenge is not an S256 challenge")),
        (None, _) if client.is_public() => return Err(("invalid_request", "a public client must send code_challenge (PKCE, S256)")),
        (challenge, _) => challenge,
    };
    if form.get("prompt").is_some_and(|prompt| prompt.split(' ').any(|word| word == "none")) {
        return Err(("login_required", "this issuer has no login sessions"));
    }
    Ok((scope, challenge))
}
