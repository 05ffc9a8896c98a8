//! A login at a Vault: on first use, renewed while the token is valid, and repeated when it has expired.

use super::VaultSetupError;
use super::login::{AuthMethod, TokenLease};
use super::request_error::{RequestFailure, VaultRequestError};
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

/// Vault answers in milliseconds; after this time it counts as unavailable.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Between two attempts at a login in the background.
const LOGIN_RETRY_DELAY: Duration = Duration::from_secs(5);

/// The key-value pairs at one path.
pub type Secrets = Map<String, Value>;

pub(super) struct Session {
    url: String,
    mount: String,
    auth_mount: String,
    method: AuthMethod,
    client: Arc<VaultClient>,
    lease: Mutex<Option<TokenLease>>,
    lease_changed: Notify,
}

/// The client with one token. Clients for all tokens share one connection pool.
struct TokenClient {
    client: Arc<VaultClient>,
    middle: EndpointMiddleware,
}

impl Client for TokenClient {
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
    pub(super) fn new(url: &str, settings: &Settings, tls: &Tls) -> Result<Self, VaultSetupError> {
        let method = AuthMethod::new(settings)?;
        let auth_mount = settings.auth_mount.clone().unwrap_or_else(|| method.name().into());
        Ok(Self {
            url: url.trim_end_matches('/').into(),
            mount: settings.mount.trim_matches('/').into(),
            auth_mount: auth_mount.trim_matches('/').into(),
            method,
            client: Arc::new(client(url, settings, tls)?),
            lease: Mutex::default(),
            lease_changed: Notify::new(),
        })
    }

    fn with_token(&self, token: &str) -> TokenClient {
        TokenClient { client: self.client.clone(), middle: EndpointMiddleware { token: token.into(), ..self.client.middle.clone() } }
    }

    pub(super) async fn read_all(&self, paths: &[String]) -> Result<Vec<Option<Secrets>>, VaultRequestError> {
        let mut all = Vec::new();
        for path in paths {
            all.push(self.read(&self.mount, path).await?);
        }
        Ok(all)
    }

    /// Reads with this process's own token. If the token has expired, logs in again and retries once.
    pub(super) async fn read(&self, mount: &str, path: &str) -> Result<Option<Secrets>, VaultRequestError> {
        let token = self.token().await?;
        let reason = match self.fetch(&token, mount, path).await {
            Err(RequestFailure::Status(403, reason)) => reason,
            other => return self.map_failure(other, mount, path).await,
        };
        if token::lookup_self(&self.with_token(&token)).await.is_ok() {
            return Err(self.permission_denied(mount, path, &reason));
        }
        if !self.method.can_log_in_again() {
            let key = self.method.setting_keys();
            return Err(VaultRequestError::permanent(format!(
                "{key}: Vault refuses {mount}/{path} ({reason}): the token has ended or belongs to another Vault; set another one"
            )));
        }
        tracing::info!("Vault rejects the token; logging in again");
        self.discard(&token).await;
        let token = self.token().await?;
        let outcome = self.fetch(&token, mount, path).await;
        self.map_failure(outcome, mount, path).await
    }

    /// Reads with a caller's token.
    pub(super) async fn read_as(&self, token: &str, mount: &str, path: &str) -> Result<Option<Secrets>, VaultRequestError> {
        let outcome = self.fetch(token, mount, path).await;
        self.map_failure(outcome, mount, path).await
    }

    /// `None` if there is no such secret, or its last version was deleted.
    async fn fetch(&self, token: &str, mount: &str, path: &str) -> Result<Option<Secrets>, RequestFailure> {
        match kv2::read::<Value>(&self.with_token(token), mount.trim_matches('/'), path.trim_matches('/')).await {
            Ok(Value::Object(secrets)) => Ok(Some(secrets)),
            Ok(_) => Err(RequestFailure::Unexpected),
            Err(error) => match RequestFailure::of(&error) {
                RequestFailure::Status(404, reason) if reason.is_empty() => Ok(None),
                other => Err(other),
            },
        }
    }

    async fn map_failure(
        &self,
        outcome: Result<Option<Secrets>, RequestFailure>,
        mount: &str,
        path: &str,
    ) -> Result<Option<Secrets>, VaultRequestError> {
        match outcome {
            Ok(secrets) => Ok(secrets),
            Err(RequestFailure::Status(403, reason)) => Err(self.permission_denied(mount, path, &reason)),
            Err(RequestFailure::Status(404, reason)) => {
                Err(VaultRequestError::permanent(format!("vault.mount: there is no KV engine of version 2 at `{mount}` ({reason})")))
            }
            Err(failure) => Err(self.request_error(failure, &format!("{mount}/{path}")).await),
        }
    }

    fn permission_denied(&self, mount: &str, path: &str, reason: &str) -> VaultRequestError {
        let auth = self.method.name();
        VaultRequestError::permanent(format!(
            "vault {mount}/{path}: Vault refuses it ({reason}): with vault.auth = \"{auth}\" this process has no policy with `read` on {mount}/data/{path}"
        ))
    }

    pub(super) async fn decrypt(&self, mount: &str, key: &str, ciphertext: &str) -> Result<Secret, VaultRequestError> {
        let (mount, client) = (mount.trim_matches('/'), self.with_token(&self.token().await?));
        let path = format!("{mount}/decrypt/{key}");
        let error = match transit::data::decrypt(&client, mount, key, ciphertext, None).await {
            Ok(decrypted) => {
                let text = STANDARD.decode(decrypted.plaintext).ok().and_then(|bytes| String::from_utf8(bytes).ok());
                return text
                    .map(Secret::new)
                    .ok_or_else(|| VaultRequestError::permanent(format!("vault {path}: the decrypted value is not text (UTF-8)")));
            }
            Err(error) => error,
        };
        Err(match RequestFailure::of(&error) {
            RequestFailure::Status(400, reason) => VaultRequestError::permanent(format!(
                "vault {path}: decryption failed ({reason}): was the value encrypted with the key of vault.transit_key?"
            )),
            RequestFailure::Status(403, reason) => VaultRequestError::permanent(format!(
                "vault {path}: Vault refuses it ({reason}): with vault.auth = \"{}\" this process has no policy with `update` on {path}",
                self.method.name()
            )),
            RequestFailure::Status(404, reason) => {
                VaultRequestError::permanent(format!("vault.transit_mount: there is no transit engine at `{mount}` ({reason})"))
            }
            failure => self.request_error(failure, &path).await,
        })
    }

    /// Maps failures that do not concern one secret.
    async fn request_error(&self, failure: RequestFailure, what: &str) -> VaultRequestError {
        let url = &self.url;
        match failure {
            RequestFailure::NoResponse { cause, untrusted: true } => {
                VaultRequestError::unavailable(format!("vault.url: {url}: {cause}; tls.ca names further authorities to be trusted"))
            }
            RequestFailure::NoResponse { cause, .. } => {
                VaultRequestError::unavailable(format!("vault.url: {url} does not answer: {cause}"))
            }
            RequestFailure::Unexpected => {
                VaultRequestError::permanent(format!("vault.url: {what} at {url}: the response is not understood; is it a Vault?"))
            }
            RequestFailure::Status(code, reason) if code >= 500 || code == 429 => {
                VaultRequestError::unavailable(self.server_state(code, &reason).await)
            }
            RequestFailure::Status(code, reason) => {
                VaultRequestError::permanent(format!("vault.url: {what} at {url}: answered {code} ({reason})"))
            }
        }
    }

    /// Explains an unavailable Vault by its `sys/health`.
    async fn server_state(&self, code: u16, reason: &str) -> String {
        let url = &self.url;
        let mut anonymous = self.with_token("");
        // `sys/health` does not exist in a namespace
        anonymous.middle.namespace = None;
        match sys::status(&anonymous).await {
            Ok(ServerStatus::SEALED) => format!("vault.url: the Vault at {url} is sealed: run `vault operator unseal`"),
            Ok(ServerStatus::UNINITIALIZED) => format!("vault.url: the Vault at {url} is not initialized: run `vault operator init`"),
            Ok(ServerStatus::STANDBY | ServerStatus::PERFSTANDBY) => {
                format!(
                    "vault.url: the Vault at {url} is a standby that cannot reach the active node ({reason}); use the active node's URL, or repair the cluster"
                )
            }
            Ok(ServerStatus::RECOVERY) => format!("vault.url: the Vault at {url} is in recovery mode and serves no secrets"),
            _ => format!("vault.url: the Vault at {url} answered {code} ({reason})"),
        }
    }

    /// This process's token; logs in if there is no valid one.
    async fn token(&self) -> Result<String, VaultRequestError> {
        let mut lease = self.lease.lock().await;
        if let Some(lease) = lease.as_ref().filter(|lease| !lease.is_expired()) {
            return Ok(lease.token.clone());
        }
        let new = self.log_in().await?;
        let token = new.token.clone();
        *lease = Some(new);
        self.lease_changed.notify_one();
        Ok(token)
    }

    async fn discard(&self, token: &str) {
        let mut lease = self.lease.lock().await;
        if lease.as_ref().is_some_and(|lease| lease.token == token) {
            *lease = None;
        }
    }

    async fn log_in(&self) -> Result<TokenLease, VaultRequestError> {
        let (anonymous, mount) = (self.with_token(""), &self.auth_mount);
        let granted = match &self.method {
            AuthMethod::Token(source) => return self.lookup_self(source.read()?).await,
            AuthMethod::AppRole { role, secret } => approle::login(&anonymous, mount, role, &secret.read()?).await,
            AuthMethod::Kubernetes { role, jwt } => kubernetes::login(&anonymous, mount, role, &jwt.read()?).await,
        };
        match granted {
            Ok(AuthInfo { client_token, lease_duration, renewable, .. }) => Ok(TokenLease::new(client_token, lease_duration, renewable)),
            Err(error) => Err(self.login_error(RequestFailure::of(&error)).await),
        }
    }

    async fn login_error(&self, failure: RequestFailure) -> VaultRequestError {
        let (name, mount, keys) = (self.method.name(), &self.auth_mount, self.method.setting_keys());
        match failure {
            RequestFailure::Status(404, _) => {
                VaultRequestError::permanent(format!("vault.auth_mount: no auth method is mounted at auth/{mount}"))
            }
            RequestFailure::Status(code @ 400..=403, reason) => VaultRequestError::permanent(format!(
                "vault.auth: the {name} login at auth/{mount} is refused ({code}: {reason}); see {keys}, and vault.auth_mount"
            )),
            other => self.request_error(other, &format!("auth/{mount}")).await,
        }
    }

    /// Looks up the TTL of a token from the settings. A token without permission for the lookup may still read secrets.
    async fn lookup_self(&self, token: String) -> Result<TokenLease, VaultRequestError> {
        match token::lookup_self(&self.with_token(&token)).await {
            Ok(found) => {
                let renewable = found.renewable.unwrap_or_default();
                if found.ttl > 0 && !renewable && !self.method.can_log_in_again() {
                    tracing::warn!(seconds = found.ttl, "the token of vault.token expires and cannot be renewed");
                }
                Ok(TokenLease::new(token, found.ttl, renewable))
            }
            Err(error) => match RequestFailure::of(&error) {
                RequestFailure::Status(403, _) => Ok(TokenLease::new(token, 0, false)),
                other => Err(self.request_error(other, "auth/token/lookup-self").await),
            },
        }
    }

    pub(super) async fn renew_periodically(self: Rc<Self>) {
        loop {
            let lease = self.lease.lock().await.clone();
            let Some((lease, renew_at)) = lease.and_then(|lease| lease.renew_at().map(|renew_at| (lease, renew_at))) else {
                self.lease_changed.notified().await;
                continue;
            };
            tokio::select! {
                () = tokio::time::sleep_until(renew_at) => {}
                () = self.lease_changed.notified() => continue,
            }
            if let Err(cause) = self.renew(&lease).await {
                tracing::warn!(%cause, "renewal of the Vault token failed; known secrets stay in use");
                match self.method.can_log_in_again() || cause.is_transient {
                    true => tokio::time::sleep(if lease.is_expired() { LOGIN_RETRY_DELAY } else { lease.retry_delay() }).await,
                    // this token cannot be replaced: wait for another one
                    false => self.lease_changed.notified().await,
                }
            }
        }
    }

    /// Renews a token, or logs in again if the token is near its max TTL.
    async fn renew(&self, lease: &TokenLease) -> Result<(), VaultRequestError> {
        let mut next = None;
        if lease.renewable && !lease.is_expired() {
            match token::renew_self(&self.with_token(&lease.token), None).await {
                Ok(auth) => next = lease.renewed(&auth),
                Err(error) => match RequestFailure::of(&error) {
                    // Vault reports "past the max TTL" as a 500, so any other error is answered by another login
                    RequestFailure::Status(code, _) if !matches!(code, 429 | 503) => {}
                    other => return Err(self.request_error(other, "auth/token/renew-self").await),
                },
            }
        }
        let next = match next {
            Some(next) => next,
            None if self.method.can_log_in_again() => {
                let next = self.log_in().await?;
                tracing::info!("logged in to Vault again: the token was near its max TTL");
                next
            }
            None => {
                return Err(VaultRequestError::permanent(format!(
                    "{} expires and cannot be renewed: set another one",
                    self.method.setting_keys()
                )));
            }
        };
        let mut current = self.lease.lock().await;
        // a concurrent request may have logged in again
        if current.as_ref().is_some_and(|current| current.token == lease.token) {
            *current = Some(next);
        }
        Ok(())
    }
}

/// Sets every option explicitly: vaultrs takes missing ones from the environment.
fn client(url: &str, settings: &Settings, tls: &Tls) -> Result<VaultClient, VaultSetupError> {
    crate::net::tls::install();
    let parsed = url.parse::<actix_web::http::Uri>().map_err(|_| VaultSetupError::Url)?;
    let is_server_url = parsed.authority().is_some_and(|authority| !authority.as_str().contains('@')) && matches!(parsed.path(), "/" | "");
    if !is_server_url || !matches!(parsed.scheme_str(), Some("http" | "https")) {
        return Err(VaultSetupError::Url);
    }
    if settings.namespace.as_ref().is_some_and(|name| name.is_empty() || name.chars().any(|c| !c.is_ascii_graphic())) {
        return Err(VaultSetupError::Namespace);
    }
    let ca = tls.ca.iter().map(|path| path.to_string_lossy().into_owned()).collect();
    let mut builder = VaultClientSettingsBuilder::default();
    builder.address(url).token("").verify(true).ca_certs(ca).identity(client_identity(tls)?).timeout(Some(TIMEOUT));
    builder.namespace(settings.namespace.clone());
    let built = builder.build().map_err(|_| VaultSetupError::Url)?;
    VaultClient::new(built).map_err(|cause| match cause {
        ClientError::FileReadError { .. } | ClientError::ParseCertificateError { .. } => {
            VaultSetupError::Authorities { cause: Box::new(cause) }
        }
        other => VaultSetupError::Client(Box::new(other)),
    })
}

/// The client certificate, for a Vault that requires one.
fn client_identity(tls: &Tls) -> Result<Option<Identity>, VaultSetupError> {
    let (Some(cert), Some(key)) = (&tls.cert, &tls.key) else { return Ok(None) };
    let read = |key, path: &std::path::Path| std::fs::read(path).map_err(|cause| VaultSetupError::Read { key, path: path.into(), cause });
    let mut pem = read("tls.cert", cert)?;
    pem.push(b'\n');
    pem.extend(read("tls.key", key)?);
    Identity::from_pem(&pem).map(Some).map_err(|cause| VaultSetupError::Identity { path: cert.clone(), cause: cause.to_string() })
}
