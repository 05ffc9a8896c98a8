//! OAuth clients and their authentication.

use super::accounts::{Account, SERVICE_PREFIX};
use super::oauth::{Form, OAuthError};
use super::redirects::{RedirectError, RegisteredRedirect};
use super::secrets::{self, HashedSecret};
use crate::edge::auth::basic::credentials;
use crate::kernel::uri::form_decode;
use crate::settings;
use actix_web::HttpRequest;
use actix_web::http::header;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The public demo client. It may use the password grant, and log in from any loopback port.
pub(super) const DEMO_CLIENT: &str = crate::edge::auth::PASSWORD_CLIENT;

/// An invalid client in the settings.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    #[error("{origin}: `{}` is not a client id: expected 1 or more ASCII characters without spaces", id.escape_debug())]
    Id { origin: &'static str, id: String },
    #[error("{origin}: client `{id}` {kind}")]
    Client { origin: &'static str, id: String, kind: ClientErrorKind },
    #[error("{origin}: client `{id}`: {source}")]
    Redirect { origin: &'static str, id: String, source: RedirectError },
}

#[derive(Debug, thiserror::Error)]
pub(super) enum ClientErrorKind {
    #[error("is listed twice (`{DEMO_CLIENT}` and identity.client_id are built in)")]
    Duplicate,
    #[error("has an empty secret; leave the secret out for a public client")]
    EmptySecret,
    #[error("has roles but no secret: any caller could get its tokens; set a secret")]
    PublicRoles,
    #[error("has neither a secret nor redirect_uris, so it can get no token")]
    NoGrant,
}

pub(super) struct Client {
    /// `azp` of its tokens.
    pub(super) id: String,
    secret: Option<HashedSecret>,
    redirects: Vec<RegisteredRedirect>,
    /// Account for the client credentials grant; `None` for clients without roles.
    pub(super) service_account: Option<Arc<Account>>,
    /// Whether the client may use the password grant.
    pub(super) password_grant_allowed: bool,
}

impl Client {
    /// Public clients have no secret and must use PKCE.
    pub(super) fn is_public(&self) -> bool {
        self.secret.is_none()
    }

    pub(super) fn allows_redirect(&self, uri: &str) -> bool {
        self.redirects.iter().any(|registered| registered.matches(uri))
    }
}

pub(super) struct Clients {
    by_id: BTreeMap<String, Arc<Client>>,
    /// Compared for unknown clients, so that they take as long as a wrong secret.
    dummy_secret: HashedSecret,
}

impl Clients {
    /// The demo client, the shop's service client, and those of the settings.
    pub(super) fn new(service_id: &str, service_secret: &str, configured: &[settings::Client]) -> Result<Self, ClientError> {
        let mut clients = Self { by_id: BTreeMap::new(), dummy_secret: HashedSecret::new(&secrets::random_secret()) };
        let loopback = ["http://127.0.0.1/*", "http://localhost/*", "http://[::1]/*"];
        clients.add("the built-in demo client", DEMO_CLIENT, None, &loopback.map(String::from), &[])?;
        clients.add("identity.client_id", service_id, Some(service_secret), &[], &["service".into()])?;
        for client in configured {
            let secret = client.secret.as_ref().map(|s| s.expose());
            clients.add("identity.clients", &client.id, secret, &client.redirect_uris, &client.roles)?;
        }
        Ok(clients)
    }

    fn add(
        &mut self,
        origin: &'static str,
        id: &str,
        secret: Option<&str>,
        redirects: &[String],
        roles: &[String],
    ) -> Result<(), ClientError> {
        let invalid = |kind| Err(ClientError::Client { origin, id: id.into(), kind });
        if id.is_empty() || !id.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(ClientError::Id { origin, id: id.into() });
        }
        // service account names are in lower case, so ids must be unique regardless of case
        if self.by_id.keys().any(|other| other.eq_ignore_ascii_case(id)) {
            return invalid(ClientErrorKind::Duplicate);
        }
        if secret == Some("") {
            return invalid(ClientErrorKind::EmptySecret);
        }
        if secret.is_none() && !roles.is_empty() {
            return invalid(ClientErrorKind::PublicRoles);
        }
        if secret.is_none() && redirects.is_empty() {
            return invalid(ClientErrorKind::NoGrant);
        }
        let redirect = |source| ClientError::Redirect { origin, id: id.into(), source };
        let registered = redirects.iter().map(|uri| RegisteredRedirect::parse(uri).map_err(redirect));
        let client = Client {
            id: id.into(),
            secret: secret.map(HashedSecret::new),
            redirects: registered.collect::<Result<_, _>>()?,
            service_account: (!roles.is_empty()).then(|| Arc::new(Account::new(&format!("{SERVICE_PREFIX}{id}"), None, roles.to_vec()))),
            password_grant_allowed: id == DEMO_CLIENT,
        };
        self.by_id.insert(id.into(), Arc::new(client));
        Ok(())
    }

    pub(super) fn get(&self, id: &str) -> Option<&Arc<Client>> {
        self.by_id.get(id)
    }

    /// The service account with this `sub`.
    pub(super) fn by_subject(&self, subject: &str) -> Option<Arc<Account>> {
        self.by_id.values().filter_map(|client| client.service_account.as_ref()).find(|account| account.subject == subject).cloned()
    }

    /// Authenticates the client of a request: by `client_secret_basic`, `client_secret_post`, or, for
    /// public clients, by id only.
    pub(super) fn authenticate(&self, request: &HttpRequest, form: &Form) -> Result<Arc<Client>, OAuthError> {
        let (id, secret) = match request.headers().get(header::AUTHORIZATION) {
            None => (form.required("client_id")?.to_string(), form.get("client_secret").map(String::from)),
            Some(value) => {
                if form.get("client_secret").is_some() {
                    return Err(OAuthError::invalid_request("the client's secret is sent twice: in the header and in the form"));
                }
                let (id, secret) = value.to_str().ok().and_then(basic).ok_or_else(OAuthError::invalid_client)?;
                if form.get("client_id").is_some_and(|other| other != id) {
                    return Err(OAuthError::invalid_request("client_id is not the client of the Authorization header"));
                }
                (id, Some(secret))
            }
        };
        let client = self.by_id.get(&id);
        if let Some(public) = client.filter(|client| client.is_public()) {
            return Ok(public.clone());
        }
        let expected = client.and_then(|client| client.secret.as_ref()).unwrap_or(&self.dummy_secret);
        let matches = expected.matches(&secret.unwrap_or_default());
        client.filter(|_| matches).cloned().ok_or_else(OAuthError::invalid_client)
    }
}

/// RFC 6749, 2.3.1: id and secret are urlencoded before they are joined.
fn basic(header: &str) -> Option<(String, String)> {
    let (id, secret) = credentials(header)?;
    Some((form_decode(&id), form_decode(&secret)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::secret::Secret;
    use actix_web::test::TestRequest;
    use base64::{Engine, engine::general_purpose::STANDARD};

    fn client(id: &str, secret: Option<&str>, redirects: &[&str], roles: &[&str]) -> settings::Client {
        settings::Client {
            id: id.into(),
            secret: secret.map(Secret::new),
            redirect_uris: redirects.iter().map(|u| u.to_string()).collect(),
            roles: roles.iter().map(|r| r.to_string()).collect(),
        }
    }

    #[test]
    fn authenticate_credentials_sent_twice_or_wrong_is_rejected() {
        let clients = Clients::new("svc", "p:a&s+s", &[]).unwrap();
        let authenticate = |header: Option<&str>, form: &str| {
            let mut request = TestRequest::post();
            if let Some(text) = header {
                request = request.insert_header(("authorization", format!("Basic {}", STANDARD.encode(text))));
            }
            clients.authenticate(&request.to_http_request(), &Form::parse(form).unwrap()).map(|c| c.id.clone())
        };
        let status = |result: Result<String, OAuthError>| match result {
            Err(OAuthError::Client { status, error, .. }) => (status, error),
            other => panic!("{other:?}"),
        };
        assert_eq!(authenticate(Some("svc:p%3Aa%26s%2Bs"), "").unwrap(), "svc");
        assert_eq!(authenticate(None, "client_id=svc&client_secret=p:a%26s%2Bs").unwrap(), "svc");
        assert_eq!(authenticate(None, "client_id=tradepost-demo").unwrap(), DEMO_CLIENT);
        assert_eq!(status(authenticate(None, "client_id=svc")), (401, "invalid_client"));
        assert_eq!(status(authenticate(None, "client_id=svc&client_secret=x")), (401, "invalid_client"));
        assert_eq!(status(authenticate(None, "client_id=none&client_secret=x")), (401, "invalid_client"));
        assert_eq!(status(authenticate(Some("svc:wrong"), "")), (401, "invalid_client"));
        assert_eq!(status(authenticate(Some("no colon"), "")), (401, "invalid_client"));
        assert_eq!(status(authenticate(None, "")), (400, "invalid_request"));
        assert_eq!(status(authenticate(Some("svc:p%3Aa%26s%2Bs"), "client_secret=x")), (400, "invalid_request"));
        assert_eq!(status(authenticate(Some("svc:p%3Aa%26s%2Bs"), "client_id=tradepost-demo")), (400, "invalid_request"));
    }

    #[test]
    fn clients_with_invalid_settings_are_rejected_with_reason() {
        for (invalid, expected) in [
            (client("a", None, &[], &["service"]), "roles but no secret"),
            (client("a", Some(""), &[], &[]), "empty secret"),
            (client("a", None, &[], &[]), "neither a secret nor redirect_uris"),
            (client(DEMO_CLIENT, Some("x"), &[], &[]), "twice"),
            (client("svc", Some("x"), &[], &[]), "twice"),
            (client("a b", Some("x"), &[], &[]), "not a client id"),
            (client("a", None, &["https://shop.example/*"], &[]), "loopback"),
        ] {
            let error = Clients::new("svc", "secret", &[invalid]).err().unwrap().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
