//! Which programs may ask for tokens, and how they prove which one they are.

use super::accounts::{Account, SERVICE_PREFIX};
use super::oauth::{Form, Refusal};
use super::redirects::{RedirectError, Registered};
use super::secrets::{self, HashedSecret};
use crate::edge::auth::basic::credentials;
use crate::kernel::uri::form_decode;
use crate::settings;
use actix_web::HttpRequest;
use actix_web::http::header;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The public client of the demo: it may send a user's password, and log in from any loopback port.
pub(super) const DEMO: &str = crate::edge::auth::PASSWORD_CLIENT;

/// A client that the settings name and that cannot be.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    #[error("{origin}: `{}` is no client id: 1 or more ASCII characters without spaces", id.escape_debug())]
    Id { origin: &'static str, id: String },
    #[error("{origin}: client `{id}` {reason}")]
    Client { origin: &'static str, id: String, reason: ClientReason },
    #[error("{origin}: client `{id}`: {source}")]
    Redirect { origin: &'static str, id: String, source: RedirectError },
}

/// Why a client cannot be.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientReason {
    #[error("is there twice (`{DEMO}` and identity.client_id are built in)")]
    Twice,
    #[error("has an empty secret; leave the secret out for a public client")]
    EmptySecret,
    #[error("has roles but no secret: anybody could have its tokens; give it a secret")]
    PublicRoles,
    #[error("has neither a secret nor redirect_uris, so it can get no token")]
    Useless,
}

/// A program that may ask for tokens.
pub(super) struct Client {
    /// `azp` of its tokens.
    pub(super) id: String,
    secret: Option<HashedSecret>,
    redirects: Vec<Registered>,
    /// Whom its own tokens name, where it may have some.
    pub(super) service: Option<Arc<Account>>,
    /// Whether it may send a user's name and password.
    pub(super) password_grant: bool,
}

impl Client {
    /// Whether it has no secret, and so must use PKCE.
    pub(super) fn is_public(&self) -> bool {
        self.secret.is_none()
    }

    /// Whether a browser may be sent there on its behalf.
    pub(super) fn may_redirect_to(&self, uri: &str) -> bool {
        self.redirects.iter().any(|registered| registered.matches(uri))
    }
}

/// All clients, by id.
pub(super) struct Clients {
    by_id: BTreeMap<String, Arc<Client>>,
    nobody: HashedSecret,
}

impl Clients {
    /// The demo client, our own service client, and those of the settings.
    pub(super) fn new(service_id: &str, service_secret: &str, configured: &[settings::Client]) -> Result<Self, ClientError> {
        let mut clients = Self { by_id: BTreeMap::new(), nobody: HashedSecret::new(&secrets::random()) };
        let loopback = ["http://127.0.0.1/*", "http://localhost/*", "http://[::1]/*"];
        clients.add("the built-in demo client", DEMO, None, &loopback.map(String::from), &[])?;
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
        let refused = |reason| Err(ClientError::Client { origin, id: id.into(), reason });
        if id.is_empty() || !id.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(ClientError::Id { origin, id: id.into() });
        }
        // a service account's name is in lower case: two ids must differ by more than that
        if self.by_id.keys().any(|other| other.eq_ignore_ascii_case(id)) {
            return refused(ClientReason::Twice);
        }
        if secret == Some("") {
            return refused(ClientReason::EmptySecret);
        }
        if secret.is_none() && !roles.is_empty() {
            return refused(ClientReason::PublicRoles);
        }
        if secret.is_none() && redirects.is_empty() {
            return refused(ClientReason::Useless);
        }
        let redirect = |source| ClientError::Redirect { origin, id: id.into(), source };
        let registered = redirects.iter().map(|uri| Registered::parse(uri).map_err(redirect));
        let client = Client {
            id: id.into(),
            secret: secret.map(HashedSecret::new),
            redirects: registered.collect::<Result<_, _>>()?,
            service: (!roles.is_empty()).then(|| Arc::new(Account::new(&format!("{SERVICE_PREFIX}{id}"), None, roles.to_vec()))),
            password_grant: id == DEMO,
        };
        self.by_id.insert(id.into(), Arc::new(client));
        Ok(())
    }

    /// The client of this id, whoever asks.
    pub(super) fn get(&self, id: &str) -> Option<&Arc<Client>> {
        self.by_id.get(id)
    }

    /// The service account with this `sub`.
    pub(super) fn by_subject(&self, subject: &str) -> Option<Arc<Account>> {
        self.by_id.values().filter_map(|client| client.service.as_ref()).find(|account| account.subject == subject).cloned()
    }

    /// The client that sends this request: by `client_secret_basic`, `client_secret_post`, or, if it is
    /// public, by its id alone.
    pub(super) fn authenticate(&self, request: &HttpRequest, form: &Form) -> Result<Arc<Client>, Refusal> {
        let (id, secret) = match request.headers().get(header::AUTHORIZATION) {
            None => (form.required("client_id")?.to_string(), form.get("client_secret").map(String::from)),
            Some(value) => {
                if form.get("client_secret").is_some() {
                    return Err(Refusal::invalid("the client's secret is sent in two ways"));
                }
                let (id, secret) = value.to_str().ok().and_then(basic).ok_or_else(Refusal::client)?;
                if form.get("client_id").is_some_and(|other| other != id) {
                    return Err(Refusal::invalid("client_id is not the client of the Authorization header"));
                }
                (id, Some(secret))
            }
        };
        let client = self.by_id.get(&id);
        if let Some(public) = client.filter(|client| client.is_public()) {
            return Ok(public.clone());
        }
        let kept = client.and_then(|client| client.secret.as_ref()).unwrap_or(&self.nobody);
        let right = kept.is(&secret.unwrap_or_default());
        client.filter(|_| right).cloned().ok_or_else(Refusal::client)
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
    fn a_client_proves_itself_in_one_way_only() {
        let clients = Clients::new("svc", "p:a&s+s", &[]).unwrap();
        let ask = |header: Option<&str>, form: &str| {
            let mut request = TestRequest::post();
            if let Some(text) = header {
                request = request.insert_header(("authorization", format!("Basic {}", STANDARD.encode(text))));
            }
            clients.authenticate(&request.to_http_request(), &Form::parse(form).unwrap()).map(|c| c.id.clone())
        };
        let status = |answer: Result<String, Refusal>| match answer {
            Err(Refusal::Client { status, error, .. }) => (status, error),
            other => panic!("{other:?}"),
        };
        assert_eq!(ask(Some("svc:p%3Aa%26s%2Bs"), "").unwrap(), "svc");
        assert_eq!(ask(None, "client_id=svc&client_secret=p:a%26s%2Bs").unwrap(), "svc");
        assert_eq!(ask(None, "client_id=tradepost-demo").unwrap(), DEMO);
        assert_eq!(status(ask(None, "client_id=svc")), (401, "invalid_client"));
        assert_eq!(status(ask(None, "client_id=svc&client_secret=x")), (401, "invalid_client"));
        assert_eq!(status(ask(None, "client_id=none&client_secret=x")), (401, "invalid_client"));
        assert_eq!(status(ask(Some("svc:wrong"), "")), (401, "invalid_client"));
        assert_eq!(status(ask(Some("no colon"), "")), (401, "invalid_client"));
        assert_eq!(status(ask(None, "")), (400, "invalid_request"));
        assert_eq!(status(ask(Some("svc:p%3Aa%26s%2Bs"), "client_secret=x")), (400, "invalid_request"));
        assert_eq!(status(ask(Some("svc:p%3Aa%26s%2Bs"), "client_id=tradepost-demo")), (400, "invalid_request"));
    }

    #[test]
    fn mistakes_in_the_settings_are_named() {
        for (wrong, says) in [
            (client("a", None, &[], &["service"]), "roles but no secret"),
            (client("a", Some(""), &[], &[]), "empty secret"),
            (client("a", None, &[], &[]), "neither a secret nor redirect_uris"),
            (client(DEMO, Some("x"), &[], &[]), "twice"),
            (client("svc", Some("x"), &[], &[]), "twice"),
            (client("a b", Some("x"), &[], &[]), "no client id"),
            (client("a", None, &["https://shop.example/*"], &[]), "loopback"),
        ] {
            let refused = Clients::new("svc", "secret", &[wrong]).err().unwrap().to_string();
            assert!(refused.contains(says), "{refused}");
        }
    }
}
