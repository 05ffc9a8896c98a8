//! Secrets from a real HashiCorp Vault: the layer, login methods, token expiry, password rotation, encrypted values,
//! TLS.
//!
//! Ignored by default: `.ci/vault.sh` starts the server, names it in `TRADEPOST_TEST_VAULT` and its root token in
//! `TRADEPOST_TEST_VAULT_TOKEN`, and runs these with `--ignored`. Each test has its own KV engine and logins.

mod config_server;
mod layer;
mod renewal;
#[cfg(feature = "mysql")]
mod rotation;
pub mod sealed;
mod tls;
mod transit;

use crate::support::process::{Process, tradepost};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Output;
use tradepost::net::http::http;

/// The part of the Vault under test that belongs to one test.
pub struct TestVault {
    pub url: String,
    token: String,
    /// Name of the KV mount, the AppRole mount and the policy.
    pub name: String,
}

impl TestVault {
    /// Creates an engine, a policy that permits reading all of it, and an AppRole role `shop` with that policy. `role`
    /// configures the role's tokens.
    pub async fn fresh(role: Value) -> Self {
        let of = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name}"));
        let name = format!("t{}", uuid::Uuid::new_v4().simple());
        let corner = Self { url: of("TRADEPOST_TEST_VAULT"), token: of("TRADEPOST_TEST_VAULT_TOKEN"), name: name.clone() };
        corner.done(&format!("sys/mounts/{name}"), json!({ "type": "kv", "options": { "version": "2" } })).await;
        corner
            .done(
                &format!("sys/policies/acl/{name}"),
                json!({ "policy": format!("path \"{name}/data/*\" {{ capabilities = [\"read\"] }}") }),
            )
            .await;
        corner.done(&format!("sys/auth/{name}"), json!({ "type": "approle" })).await;
        let mut options = json!({ "token_policies": [name] });
        options.as_object_mut().unwrap().extend(role.as_object().cloned().unwrap_or_default());
        corner.done(&format!("auth/{name}/role/shop"), options).await;
        corner
    }

    /// Calls Vault's API with the root token.
    pub async fn call(&self, path: &str, body: Option<Value>) -> (u16, Value) {
        let url = format!("{}/v1/{path}", self.url);
        let request = if body.is_some() { http().post(url) } else { http().get(url) };
        let request = request.insert_header(("x-vault-token", self.token.as_str()));
        let sent = match &body {
            Some(body) => request.send_json(body),
            None => request.send(),
        };
        let mut answer = sent.await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(&answer.body().await.unwrap()).unwrap_or_default())
    }

    /// A call that must succeed.
    pub async fn done(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.call(path, Some(body)).await;
        assert!(status < 300, "{path}: {status} {answer}");
        answer
    }

    pub async fn keep(&self, path: &str, secrets: Value) {
        self.done(&format!("{}/data/{path}", self.name), json!({ "data": secrets })).await;
    }

    /// A token that may read the engine.
    pub async fn reader(&self) -> String {
        let made = self.done("auth/token/create", json!({ "policies": [self.name] })).await;
        made["auth"]["client_token"].as_str().unwrap().to_string()
    }

    /// The role's credentials.
    pub async fn role(&self) -> (String, String) {
        let (_, role) = self.call(&format!("auth/{}/role/shop/role-id", self.name), None).await;
        let secret = self.done(&format!("auth/{}/role/shop/secret-id", self.name), json!({})).await;
        let text = |value: &Value| value.as_str().unwrap().to_string();
        (text(&role["data"]["role_id"]), text(&secret["data"]["secret_id"]))
    }

    /// Settings of a process that logs in with the role, as environment variables.
    pub async fn by_role(&self) -> Vec<(String, String)> {
        let (role, secret) = self.role().await;
        let mut env = self.settings(&[("AUTH", "approle"), ("ROLE_ID", &role), ("SECRET_ID", &secret)]);
        env.push(("TRADEPOST__VAULT__AUTH_MOUNT".into(), self.name.clone()));
        env
    }

    /// Settings with this login, as environment variables.
    pub fn settings(&self, login: &[(&str, &str)]) -> Vec<(String, String)> {
        let all = [("URL", self.url.as_str()), ("MOUNT", &self.name), ("REFRESH_SECONDS", "1"), ("RETRY_SECONDS", "0")];
        all.iter().chain(login).map(|(key, value)| (format!("TRADEPOST__VAULT__{key}"), (*value).to_string())).collect()
    }

    /// The role's current tokens, as Vault describes them.
    pub async fn tokens(&self) -> Vec<Value> {
        let (_, all) = self.call("auth/token/accessors?list=true", None).await;
        let mut tokens = Vec::new();
        for accessor in all["data"]["keys"].as_array().cloned().unwrap_or_default() {
            // Skip a token that has expired meanwhile.
            let (status, found) = self.call("auth/token/lookup-accessor", Some(json!({ "accessor": accessor }))).await;
            if status == 200 && found["data"]["path"] == format!("auth/{}/login", self.name) {
                tokens.push(found["data"].clone());
            }
        }
        tokens
    }
}

/// The environment as string slices.
pub fn plain(env: &[(String, String)]) -> Vec<(&str, &str)> {
    env.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
}

/// Starts a shop with these settings.
pub fn shop(data: &Path, env: &[(String, String)]) -> Process {
    Process::start(data, &plain(env))
}

/// Runs a start that ends after loading its settings.
pub fn started(data: &Path, env: &[(String, String)]) -> (bool, String) {
    let Output { status, stderr, .. } =
        tradepost(&["migrate", "--modules", "identity", "--data", data.to_str().unwrap()]).envs(plain(env)).output().unwrap();
    (status.success(), String::from_utf8(stderr).unwrap())
}

/// An effective setting, and the layer that it comes from.
pub async fn in_force(c: &crate::support::client::Client, key: &str) -> (Value, String) {
    let env = c.get(&c.admin, "/actuator/env").await.expect(200).json();
    let found = &env["propertySources"][0]["properties"][key];
    (found["value"].clone(), found["origin"].as_str().unwrap_or_default().to_string())
}
