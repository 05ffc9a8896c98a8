//! Settings of TLS and Vault clients, and of monitoring tools' access to the actuator.

use super::Secret;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// `tls.*`: trusted CAs and the client certificate of outgoing TLS connections.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tls {
    /// CA certificates (PEM) to trust in addition to the public ones.
    pub ca: Option<PathBuf>,
    /// Client certificate chain (PEM).
    pub cert: Option<PathBuf>,
    /// Private key (PEM) of `cert`.
    pub key: Option<PathBuf>,
}

/// Vault authentication method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum VaultAuth {
    #[default]
    Token,
    AppRole,
    /// With the token of the pod's service account.
    Kubernetes,
}

/// `vault.*`: the HashiCorp Vault to read secrets from.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Vault {
    /// URL, e.g. `https://vault.example:8200`. Without it, no Vault is used.
    pub url: Option<String>,
    pub auth: VaultAuth,
    pub token: Option<Secret>,
    /// Token: file with the token, e.g. written by Vault Agent. It is read again when the token has expired.
    pub token_file: Option<PathBuf>,
    pub role_id: Option<String>,
    pub secret_id: Option<Secret>,
    /// AppRole: file with the secret id, read at each login.
    pub secret_id_file: Option<PathBuf>,
    /// Kubernetes: role to log in with.
    pub role: Option<String>,
    /// Kubernetes: file with the service account's token, read at each login.
    pub jwt_file: PathBuf,
    /// Mount of the authentication method; by default its name.
    pub auth_mount: Option<String>,
    /// Mount of the secrets: a KV engine, version 2.
    pub mount: String,
    /// Paths of the secrets to read, weakest first; by default `tradepost`, then the application, each followed by
    /// `{path}/{profile}` for every profile in `config.profile` except `default`.
    pub paths: Vec<String>,
    /// Key of the transit engine that decrypts values of the form `vault:v1:...`, in any layer.
    pub transit_key: Option<String>,
    /// Mount of the transit engine.
    pub transit_mount: String,
    /// Namespace of Vault Enterprise.
    pub namespace: Option<String>,
    /// Stop the start if Vault is unreachable; if false, start without it and print a warning.
    pub fail_fast: bool,
    /// How long the start waits for an unreachable or sealed Vault, in seconds.
    pub retry_seconds: u64,
    /// Interval of checking for changed secrets, in seconds; 0: only on `POST /actuator/refresh`.
    pub refresh_seconds: u64,
}

impl Default for Vault {
    fn default() -> Self {
        Self {
            url: None,
            auth: VaultAuth::Token,
            token: None,
            token_file: None,
            role_id: None,
            secret_id: None,
            secret_id_file: None,
            role: None,
            jwt_file: "/var/run/secrets/kubernetes.io/serviceaccount/token".into(),
            auth_mount: None,
            mount: "secret".into(),
            paths: Vec::new(),
            transit_key: None,
            transit_mount: "transit".into(),
            namespace: None,
            fail_fast: true,
            retry_seconds: 10,
            refresh_seconds: 30,
        }
    }
}

/// `actuator.*`: HTTP Basic for monitoring tools that do not support tokens, e.g. Spring Boot Admin.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Actuator {
    /// User name of HTTP Basic for `/actuator/**`, with the rights of an administrator.
    pub user: String,
    /// Without a password, the actuator accepts tokens only.
    pub password: Option<Secret>,
}

impl Default for Actuator {
    fn default() -> Self {
        Self { user: "tradepost".into(), password: None }
    }
}
