//! A login at a Vault: made when it is needed, renewed while it lasts, made anew when it has ended.

use super::VaultError;
use super::login::{Login, Method};
use super::trouble::{Answer, Trouble};
use crate::settings::{Secret, Tls, Vault as Settings};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Notify};
use vaultrs::api::{AuthInfo, EndpointMiddleware};
use vaultrs::auth::{approle, kubernetes};
use vaultrs::client::{Client, Identity, VaultClient, VaultClientSettings, VaultClientSettingsBuilder};
use vaultrs::error::ClientError;
use vaultrs::sys::ServerStatus;
use vaultrs::{kv2, sys, token, transit};

/// Vault answers in milliseconds; one that does not is away.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Between two attempts at a login that came to nothing, where nobody waits for it.
const PAUSE: Duration = Duration::from_secs(5);

/// The key-value pairs at one path.
pub type Secrets = Map<String, Value>;

pub(super) struct Session {
    url: String,
    mount: String,
    auth_mount: String,
    method: Method,
    client: Arc<VaultClient>,
    login: Mutex<Option<Login>>,
    changed: Notify,
}

/// The client with a token of its own: one pool of connections for all tokens.
struct As {
    client: Arc<VaultClient>,
    middle: EndpointMiddleware,
}

impl Client for As {
    fn http(&self) -> &rustify::clients::reqwest::Client {
        &self.client.http
    }

    fn middle(&self) -> &EndpointMiddleware {
        &self.middle
    }

    fn settings(&self) -> &VaultClientSettings {
        &self.client.settings
    }

    fn set_token(&mut self, token: &str) {
        self.middle.token = token.into();
    }
}

impl Session {
    pub(super) fn new(url: &str, settings: &Settings, tls: &Tls) -> Result<Self, VaultError> {
        let method = Method::new(settings)?;
        let auth_mount = settings.auth_mount.clone().unwrap_or_else(|| method.name().into());
        Ok(Self {
            url: url.trim_end_matches('/').into(),
            mount: settings.mount.trim_matches('/').into(),
            auth_mount: auth_mount.trim_matches('/').into(),
            method,
            client: Arc::new(client(url, settings, tls)?),
            login: Mutex::default(),
            changed: Notify::new(),
        })
    }

    fn with(&self, token: &str) -> As {
        As { client: self.client.clone(), middle: EndpointMiddleware { token: token.into(), ..self.client.middle.clone() } }
    }

    pub(super) async fn read_all(&self, paths: &[String]) -> Result<Vec<Option<Secrets>>, Trouble> {
        let mut all = Vec::new();
        for path in paths {
            all.push(self.read(&self.mount, path).await?);
        }
        Ok(all)
    }

    /// With our own token. One that has ended meanwhile is replaced by a new login, once.
    pub(super) async fn read(&self, mount: &str, path: &str) -> Result<Option<Secrets>, Trouble> {
        let token = self.token().await?;
        let refused = match self.fetch(&token, mount, path).await {
            Err(Answer::Status(403, said)) => said,
            other => return self.explained(other, mount, path).await,
        };
        if token::lookup_self(&self.with(&token)).await.is_ok() {
            return Err(self.forbidden(mount, path, &refused));
        }
        if !self.method.repeatable() {
            let key = self.method.keys();
            return Err(Trouble::refused(format!(
                "{key}: Vault refuses {mount}/{path} ({refused}): the token has ended, or is none of this Vault's; set another one"
            )));
        }
        tracing::info!("Vault does not know our token any more; logging in anew");
        self.forget(&token).await;
        let token = self.token().await?;
        let found = self.fetch(&token, mount, path).await;
        self.explained(found, mount, path).await
    }

    /// With somebody else's token.
    pub(super) async fn read_as(&self, token: &str, mount: &str, path: &str) -> Result<Option<Secrets>, Trouble> {
        let found = self.fetch(token, mount, path).await;
        self.explained(found, mount, path).await
    }

    /// None where there is no such secret, or its last version was deleted.
    async fn fetch(&self, token: &str, mount: &str, path: &str) -> Result<Option<Secrets>, Answer> {
        match kv2::read::<Value>(&self.with(token), mount.trim_matches('/'), path.trim_matches('/')).await {
            Ok(Value::Object(secrets)) => Ok(Some(secrets)),
            Ok(_) => Err(Answer::Strange),
            Err(error) => match Answer::of(&error) {
                Answer::Status(404, said) if said.is_empty() => Ok(None),
                other => Err(other),
            },
        }
    }

    async fn explained(&self, found: Result<Option<Secrets>, Answer>, mount: &str, path: &str) -> Result<Option<Secrets>, Trouble> {
        match found {
            Ok(found) => Ok(found),
            Err(Answer::Status(403, said)) => Err(self.forbidden(mount, path, &said)),
            Err(Answer::Status(404, said)) => {
                Err(Trouble::refused(format!("vault.mount: there is no KV engine of version 2 at `{mount}` ({said})")))
            }
            Err(answer) => Err(self.trouble(answer, &format!("{mount}/{path}")).await),
        }
    }

    fn forbidden(&self, mount: &str, path: &str, said: &str) -> Trouble {
        let auth = self.method.name();
        Trouble::refused(format!(
            "vault {mount}/{path}: Vault refuses it ({said}): with vault.auth = \"{auth}\" this process has no policy with `read` on {mount}/data/{path}"
        ))
    }

    /// A ciphertext's text.
    pub(super) async fn decrypt(&self, mount: &str, key: &str, ciphertext: &str) -> Result<Secret, Trouble> {
        let (mount, client) = (mount.trim_matches('/'), self.with(&self.token().await?));
        let path = format!("{mount}/decrypt/{key}");
        let error = match transit::data::decrypt(&client, mount, key, ciphertext, None).await {
            Ok(answer) => {
                let text = STANDARD.decode(answer.plaintext).ok().and_then(|bytes| String::from_utf8(bytes).ok());
                return text
                    .map(Secret::new)
                    .ok_or_else(|| Trouble::refused(format!("vault {path}: what was encrypted is no text (UTF-8)")));
            }
            Err(error) => error,
        };
        Err(match Answer::of(&error) {
            Answer::Status(400, said) => Trouble::refused(format!(
                "vault {path}: Vault does not decrypt it ({said}): was it encrypted with the key of vault.transit_key?"
            )),
            Answer::Status(403, said) => Trouble::refused(format!(
                "vault {path}: Vault refuses it ({said}): with vault.auth = \"{}\" this process has no policy with `update` on {path}",
                self.method.name()
            )),
            Answer::Status(404, said) => Trouble::refused(format!("vault.transit_mount: there is no transit engine at `{mount}` ({said})")),
            answer => self.trouble(answer, &path).await,
        })
    }

    /// What an answer means that is neither a secret nor a refusal of one.
    async fn trouble(&self, answer: Answer, what: &str) -> Trouble {
        let url = &self.url;
        match answer {
            Answer::None { cause, untrusted: true } => {
                Trouble::away(format!("vault.url: {url}: {cause}; tls.ca names further authorities to be trusted"))
            }
            Answer::None { cause, .. } => Trouble::away(format!("vault.url: {url} does not answer: {cause}")),
            Answer::Strange => Trouble::refused(format!("vault.url: {what} at {url}: the answer is not understood; is it a Vault?")),
            Answer::Status(code, said) if code >= 500 || code == 429 => Trouble::away(self.state(code, &said).await),
            Answer::Status(code, said) => Trouble::refused(format!("vault.url: {what} at {url}: answered {code} ({said})")),
        }
    }

    /// What Vault says of itself.
    async fn state(&self, code: u16, said: &str) -> String {
        let url = &self.url;
        let mut plain = self.with("");
        // the namespace has no health of its own
        plain.middle.namespace = None;
        match sys::status(&plain).await {
            Ok(ServerStatus::SEALED) => format!("vault.url: the Vault at {url} is sealed: unseal it (`vault operator unseal`)"),
            Ok(ServerStatus::UNINITIALIZED) => format!("vault.url: the Vault at {url} is not initialized: `vault operator init` does it"),
            Ok(ServerStatus::STANDBY | ServerStatus::PERFSTANDBY) => {
                format!(
                    "vault.url: the Vault at {url} is a standby and does not reach the active one ({said}); name that, or mend the cluster"
                )
            }
            Ok(ServerStatus::RECOVERY) => format!("vault.url: the Vault at {url} is in recovery mode, and serves no secrets"),
            _ => format!("vault.url: the Vault at {url} answered {code} ({said})"),
        }
    }

    /// Our token; a login, where there is none that lasts.
    async fn token(&self) -> Result<String, Trouble> {
        let mut login = self.login.lock().await;
        if let Some(login) = login.as_ref().filter(|login| !login.over()) {
            return Ok(login.token.clone());
        }
        let made = self.log_in().await?;
        let token = made.token.clone();
        *login = Some(made);
        self.changed.notify_one();
        Ok(token)
    }

    async fn forget(&self, token: &str) {
        let mut login = self.login.lock().await;
        if login.as_ref().is_some_and(|login| login.token == token) {
            *login = None;
        }
    }

    async fn log_in(&self) -> Result<Login, Trouble> {
        let (nobody, mount) = (self.with(""), &self.auth_mount);
        let granted = match &self.method {
            Method::Token(kept) => return self.look_up(kept.read()?).await,
            Method::AppRole { role, secret } => approle::login(&nobody, mount, role, &secret.read()?).await,
            Method::Kubernetes { role, jwt } => kubernetes::login(&nobody, mount, role, &jwt.read()?).await,
        };
        match granted {
            Ok(AuthInfo { client_token, lease_duration, renewable, .. }) => Ok(Login::new(client_token, lease_duration, renewable)),
            Err(error) => Err(self.not_logged_in(Answer::of(&error)).await),
        }
    }

    async fn not_logged_in(&self, answer: Answer) -> Trouble {
        let (name, mount, keys) = (self.method.name(), &self.auth_mount, self.method.keys());
        match answer {
            Answer::Status(404, _) => Trouble::refused(format!("vault.auth_mount: no login method is mounted at auth/{mount}")),
            Answer::Status(code @ 400..=403, said) => Trouble::refused(format!(
                "vault.auth: the {name} login at auth/{mount} is refused ({code}: {said}); see {keys}, and vault.auth_mount"
            )),
            other => self.trouble(other, &format!("auth/{mount}")).await,
        }
    }

    /// How long a token lasts that was given to us. One that may not even ask that may yet read secrets.
    async fn look_up(&self, token: String) -> Result<Login, Trouble> {
        match token::lookup_self(&self.with(&token)).await {
            Ok(found) => {
                let renewable = found.renewable.unwrap_or_default();
                if found.ttl > 0 && !renewable && !self.method.repeatable() {
                    tracing::warn!(seconds = found.ttl, "the token of vault.token ends, and cannot be renewed");
                }
                Ok(Login::new(token, found.ttl, renewable))
            }
            Err(error) => match Answer::of(&error) {
                Answer::Status(403, _) => Ok(Login::new(token, 0, false)),
                other => Err(self.trouble(other, "auth/token/lookup-self").await),
            },
        }
    }

    /// Renews the token for as long as this is asked to.
    pub(super) async fn keep(self: Rc<Self>) {
        loop {
            let login = self.login.lock().await.clone();
            let Some((login, due)) = login.and_then(|login| login.due().map(|due| (login, due))) else {
                self.changed.notified().await;
                continue;
            };
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                () = self.changed.notified() => continue,
            }
            if let Err(cause) = self.prolong(&login).await {
                tracing::warn!(%cause, "Vault's token is not renewed; the secrets that are known stay in use");
                match self.method.repeatable() || cause.away {
                    true => tokio::time::sleep(if login.over() { PAUSE } else { login.pause() }).await,
                    // nothing more can be done with it
                    false => self.changed.notified().await,
                }
            }
        }
    }

    /// Renews a token, or replaces it by a new login where its longest life is about to end.
    async fn prolong(&self, login: &Login) -> Result<(), Trouble> {
        let mut next = None;
        if login.renewable && !login.over() {
            match token::renew_self(&self.with(&login.token), None).await {
                Ok(auth) => next = login.renewed(&auth),
                Err(error) => match Answer::of(&error) {
                    // "past the max TTL" is a 500 to Vault: what it says is not worth more than another login
                    Answer::Status(code, _) if !matches!(code, 429 | 503) => {}
                    other => return Err(self.trouble(other, "auth/token/renew-self").await),
                },
            }
        }
        let next = match next {
            Some(next) => next,
            None if self.method.repeatable() => {
                let next = self.log_in().await?;
                tracing::info!("logged in to Vault anew: the token was about to end");
                next
            }
            None => return Err(Trouble::refused(format!("{} ends and cannot be renewed: set another one", self.method.keys()))),
        };
        let mut current = self.login.lock().await;
        // another one may have been made meanwhile
        if current.as_ref().is_some_and(|current| current.token == login.token) {
            *current = Some(next);
        }
        Ok(())
    }
}

/// Every setting is given: what is not, Vault's client takes from the environment.
fn client(url: &str, settings: &Settings, tls: &Tls) -> Result<VaultClient, VaultError> {
    crate::net::tls::install();
    let parsed = url.parse::<actix_web::http::Uri>().map_err(|_| VaultError::Url)?;
    let plain = parsed.authority().is_some_and(|authority| !authority.as_str().contains('@')) && matches!(parsed.path(), "/" | "");
    if !plain || !matches!(parsed.scheme_str(), Some("http" | "https")) {
        return Err(VaultError::Url);
    }
    if settings.namespace.as_ref().is_some_and(|name| name.is_empty() || name.chars().any(|c| !c.is_ascii_graphic())) {
        return Err(VaultError::Namespace);
    }
    let ca = tls.ca.iter().map(|path| path.to_string_lossy().into_owned()).collect();
    let mut builder = VaultClientSettingsBuilder::default();
    builder.address(url).token("").verify(true).ca_certs(ca).identity(identity(tls)?).timeout(Some(TIMEOUT));
    builder.namespace(settings.namespace.clone());
    let built = builder.build().map_err(|_| VaultError::Url)?;
    VaultClient::new(built).map_err(|cause| match cause {
        ClientError::FileReadError { .. } | ClientError::ParseCertificateError { .. } => VaultError::Authorities { cause: Box::new(cause) },
        other => VaultError::Client(Box::new(other)),
    })
}

/// Our certificate, for a Vault that asks for one.
fn identity(tls: &Tls) -> Result<Option<Identity>, VaultError> {
    let (Some(cert), Some(key)) = (&tls.cert, &tls.key) else { return Ok(None) };
    let read = |key, path: &std::path::Path| std::fs::read(path).map_err(|cause| VaultError::Read { key, path: path.into(), cause });
    let mut pem = read("tls.cert", cert)?;
    pem.push(b'\n');
    pem.extend(read("tls.key", key)?);
    Identity::from_pem(&pem).map(Some).map_err(|cause| VaultError::Identity { path: cert.clone(), cause: cause.to_string() })
}
