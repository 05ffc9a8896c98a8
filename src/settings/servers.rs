//! What can be set of the ways to other servers, and of those of monitoring servers to us.

use super::Secret;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// `tls.*`: whom this process trusts, and who it is, wherever it connects to others by TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tls {
    /// Certificates (PEM) of authorities that are trusted beside the public ones.
    pub ca: Option<PathBuf>,
    /// Certificate chain (PEM) by which this process shows others who it is.
    pub cert: Option<PathBuf>,
    /// The private key (PEM) to it.
    pub key: Option<PathBuf>,
}

/// How a process shows a Vault who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum VaultAuth {
    /// By a token that somebody made for it.
    #[default]
    Token,
    /// By a role and its secret.
    AppRole,
    /// By the token of its Kubernetes service account.
    Kubernetes,
}

/// `vault.*`: the HashiCorp Vault that gives this process its secrets.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Vault {
    /// Its address, e.g. `https://vault.example:8200`. None: no Vault is asked.
    pub url: Option<String>,
    /// How to log in.
    pub auth: VaultAuth,
    /// Token: the token.
    pub token: Option<Secret>,
    /// Token: a file with it, such as a Vault agent writes. It is read again when the token has ended.
    pub token_file: Option<PathBuf>,
    /// AppRole: the role's id.
    pub role_id: Option<String>,
    /// AppRole: its secret id.
    pub secret_id: Option<Secret>,
    /// AppRole: a file with the secret id, read at each login.
    pub secret_id_file: Option<PathBuf>,
    /// Kubernetes: the role to log in as.
    pub role: Option<String>,
    /// Kubernetes: the file with the service account's token, read at each login.
    pub jwt_file: PathBuf,
    /// Where the login method is mounted; by default under its own name.
    pub auth_mount: Option<String>,
    /// Where the secrets are mounted: a KV engine, version 2.
    pub mount: String,
    /// Secrets to read, the weakest first; by default `tradepost`, then the application, each followed by
    /// itself with `/{profile}` for every profile in `config.profile` but `default`.
    pub paths: Vec<String>,
    /// The key of Vault's transit engine that decrypts values of the form `vault:v1:...`, in whatever layer.
    pub transit_key: Option<String>,
    /// Where that engine is mounted.
    pub transit_mount: String,
    /// Namespace of a Vault Enterprise.
    pub namespace: Option<String>,
    /// Refuse to start without it; else start with what else there is, and say so.
    pub fail_fast: bool,
    /// How long a Vault that is away or sealed is waited for at the start, in seconds.
    pub retry_seconds: u64,
    /// Time between two looks whether secrets have changed, in seconds; 0: only on `POST /actuator/refresh`.
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

/// `actuator.*`: how monitoring tools that know no tokens, such as Spring Boot Admin, get in.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Actuator {
    /// User of HTTP Basic at `/actuator/**`, who may do there what an administrator may.
    pub user: String,
    /// The password; none: tokens alone open the actuator.
    pub password: Option<Secret>,
}

impl Default for Actuator {
    fn default() -> Self {
        Self { user: "tradepost".into(), password: None }
    }
}
