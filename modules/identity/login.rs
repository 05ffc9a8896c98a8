//! The authorization endpoint: a person logs in here and goes back to the client with a code.
//!
//! There is no cookie: each authorization request asks for the password. So nobody is logged in
//! without knowing it, and `prompt=none` always ends in `login_required`.

use super::accounts::Account;
use super::claims::Scope;
use super::clients::Client;
use super::codes::{Code, is_challenge};
use super::html;
use super::issuer::{Issuer, now_seconds};
use super::oauth::{self, Form, Refusal};
use super::redirects;
use actix_web::dev::Payload;
use actix_web::{HttpRequest, HttpResponse};
use std::sync::Arc;

/// What the page hands from the request to the login.
const CARRIED: [&str; 9] =
    ["client_id", "redirect_uri", "response_type", "response_mode", "scope", "state", "nonce", "code_challenge", "code_challenge_method"];

/// `GET auth`
pub(super) async fn show(issuer: Arc<Issuer>, request: HttpRequest, _: Payload) -> Result<HttpResponse, Refusal> {
    let form = Form::parse(request.query_string()).map_err(Refusal::for_person)?;
    issuer.authorize(&form, None).await
}

/// `POST auth`: an authorization request too, or with `username` what the page sends.
pub(super) async fn submit(issuer: Arc<Issuer>, request: HttpRequest, payload: Payload) -> Result<HttpResponse, Refusal> {
    let form = Form::read(&request, payload).await.map_err(Refusal::for_person)?;
    issuer.authorize(&form, form.get("username")).await
}

/// Where the answer goes, once that is known to be a place of the client's.
struct Back<'a> {
    client: &'a Client,
    redirect_uri: &'a str,
    state: Option<&'a str>,
    fragment: bool,
}

impl Issuer {
    async fn authorize(&self, form: &Form, username: Option<&str>) -> Result<HttpResponse, Refusal> {
        let back = self.back(form)?;
        let (scope, challenge) = match checked(form, back.client) {
            Ok(checked) => checked,
            Err((error, description)) => return self.answer(&back, &[("error", error), ("error_description", description)]),
        };
        let Some(username) = username else { return self.page(200, form, &back, form.get("login_hint"), None) };
        let account = match self.check_password(username, form.get("password").unwrap_or_default()).await {
            Ok(Some(account)) => account,
            Ok(None) => return self.page(401, form, &back, Some(username), Some("wrong username or password")),
            Err(Refusal::Client { status, description, .. }) => {
                return self.page(status, form, &back, Some(username), Some(&description));
            }
            Err(other) => return Err(other),
        };
        let session = uuid::Uuid::new_v4().to_string();
        let code = Code {
            account: Account::clone(&account),
            client: back.client.id.clone(),
            redirect_uri: back.redirect_uri.into(),
            challenge: challenge.map(String::from),
            scope,
            nonce: form.get("nonce").map(String::from),
            session: session.clone(),
            started: now_seconds(),
        };
        let code = self.codes.issue(code).await?;
        self.answer(&back, &[("code", &code), ("session_state", &session)])
    }

    /// Client and redirect URI come first: until both are known, an error stays on a page of ours.
    fn back<'a>(&'a self, form: &'a Form) -> Result<Back<'a>, Refusal> {
        let id = form.get("client_id").ok_or_else(|| Refusal::person("the parameter client_id is missing"))?;
        let client = self.clients.get(id).ok_or_else(|| Refusal::person("this client is not known here"))?;
        let redirect_uri = form.get("redirect_uri").ok_or_else(|| Refusal::person("the parameter redirect_uri is missing"))?;
        if !client.may_redirect_to(redirect_uri) {
            return Err(Refusal::person("the redirect_uri is not registered for this client"));
        }
        let fragment = form.get("response_mode") == Some("fragment");
        Ok(Back { client, redirect_uri, state: form.get("state"), fragment })
    }

    fn answer(&self, back: &Back<'_>, parameters: &[(&str, &str)]) -> Result<HttpResponse, Refusal> {
        let mut all = parameters.to_vec();
        all.extend(back.state.map(|state| ("state", state)));
        // RFC 9207: a client of several issuers can tell whose answer this is
        all.push(("iss", &self.url));
        oauth::redirect(&redirects::append(back.redirect_uri, back.fragment, &all))
    }

    fn page(
        &self,
        status: u16,
        form: &Form,
        back: &Back<'_>,
        username: Option<&str>,
        error: Option<&str>,
    ) -> Result<HttpResponse, Refusal> {
        let page = html::Login {
            client: &back.client.id,
            error,
            username: username.unwrap_or_default(),
            carried: CARRIED.iter().filter_map(|name| form.get(name).map(|value| (*name, value))).collect(),
            demo: &self.users.demo(),
        };
        Ok(oauth::page(status, &page, Some(&redirects::policy_source(back.redirect_uri)))?)
    }
}

/// The rest of an authorization request: the scope and PKCE's challenge.
fn checked<'a>(form: &'a Form, client: &Client) -> Result<(Scope, Option<&'a str>), (&'static str, &'static str)> {
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
        // without a method it would be `plain`
        (Some(_), method) if method != Some("S256") => return Err(("invalid_request", "code_challenge_method must be S256")),
        (Some(challenge), _) if !is_challenge(challenge) => return Err(("invalid_request", "code_challenge is not an S256 challenge")),
        (None, _) if client.is_public() => return Err(("invalid_request", "a public client must send code_challenge (PKCE, S256)")),
        (challenge, _) => challenge,
    };
    if form.get("prompt").is_some_and(|prompt| prompt.split(' ').any(|word| word == "none")) {
        return Err(("login_required", "this issuer keeps nobody logged in"));
    }
    Ok((scope, challenge))
}
