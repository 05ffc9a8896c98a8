//! Values encrypted with the transit engine, in files, in the environment and in secrets.

use super::{TestVault, in_force, plain, shop};
use crate::support::on_system;
use crate::support::process::tradepost;
use actix_web::http::Method;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

impl TestVault {
    /// A test Vault with its own transit engine, a key `shop`, and a policy to decrypt with it.
    async fn with_transit() -> Self {
        let vault = Self::fresh(json!({})).await;
        let (name, mount) = (&vault.name, format!("{}-transit", vault.name));
        vault.done(&format!("sys/mounts/{mount}"), json!({ "type": "transit" })).await;
        for key in ["shop", "foreign"] {
            vault.done(&format!("{mount}/keys/{key}"), json!({})).await;
        }
        let policy = format!(
            "path \"{name}/data/*\" {{ capabilities = [\"read\"] }}\npath \"{mount}/decrypt/shop\" {{ capabilities = [\"update\"] }}"
        );
        vault.done(&format!("sys/policies/acl/{mount}"), json!({ "policy": policy })).await;
        vault.done(&format!("auth/{name}/role/shop"), json!({ "token_policies": [mount] })).await;
        vault
    }

    async fn encrypted(&self, key: &str, text: &str) -> String {
        let answer = self.done(&format!("{}-transit/encrypt/{key}", self.name), json!({ "plaintext": STANDARD.encode(text) })).await;
        answer["data"]["ciphertext"].as_str().unwrap().to_string()
    }

    async fn by_role_with(&self, key: &str) -> Vec<(String, String)> {
        let transit = [("TRANSIT_KEY", key.to_string()), ("TRANSIT_MOUNT", format!("{}-transit", self.name))];
        let transit = transit.map(|(key, value)| (format!("TRADEPOST__VAULT__{key}"), value));
        self.by_role().await.into_iter().chain(transit).collect()
    }
}

#[test]
#[ignore = "needs a Vault: .ci/vault.sh"]
fn encrypted_values_of_any_layer_are_used_and_hidden() {
    on_system(async {
        let (vault, data) = (TestVault::with_transit().await, tempfile::tempdir().unwrap());
        let webhook =
            json!({ "url": "http://127.0.0.1:9/", "secret": vault.encrypted("shop", "whsec_aGlkZGVuLWhpZGRlbi1oaWRkZW4taGlkZGVu").await });
        let keep = async |secret: &str, rate: u32| {
            let webhooks = json!([webhook]);
            let all = json!({ "notification.webhooks": webhooks, "identity.client_secret": secret, "gateway.rate": rate });
            vault.keep("tradepost", all).await;
        };
        keep(&vault.encrypted("shop", "hidden-1").await, 700).await;
        let mut env = vault.by_role_with("shop").await;
        // This key is not a secret by itself; and no poll is due.
        env.push(("TRADEPOST__NOTIFICATION__FROM".into(), vault.encrypted("shop", "hidden@shop.example").await));
        env.push(("TRADEPOST__VAULT__REFRESH_SECONDS".into(), "0".into()));
        let shop = shop(data.path(), &env);
        let c = shop.client().await;
        assert_eq!(in_force(&c, "notification.from").await, (json!("******"), "vault transit (from the environment)".into()));
        let shown = c.get(&c.admin, "/actuator/env").await.expect(200).text;
        assert!(!shown.contains("hidden") && !shown.contains("whsec") && !shown.contains("vault:v"), "{shown}");

        let bearer = format!("Bearer {}", c.admin);
        let refresh = async |status: u16| c.send(Method::POST, "/actuator/refresh", &[("authorization", &bearer)], "").await.expect(status);
        assert_eq!(refresh(200).await.json(), json!([]));
        let foreign = vault.encrypted("foreign", "hidden-2").await;
        keep(&foreign, 800).await;
        let refused = refresh(409).await;
        let words = ["nothing was changed", "`identity.client_secret`", &format!("vault {}/tradepost", vault.name), "vault.transit_key"];
        assert!(words.iter().all(|word| refused.message().contains(word)) && !refused.message().contains(&foreign), "{refused:?}");
        assert_eq!(in_force(&c, "gateway.rate").await.0, 700);
        // The same plaintext in another ciphertext is not a change.
        keep(&vault.encrypted("shop", "hidden-1").await, 700).await;
        assert_eq!(refresh(200).await.json(), json!([]));
        keep(&vault.encrypted("shop", "hidden-1").await, 800).await;
        assert_eq!(refresh(200).await.json(), json!(["gateway.rate"]));
        assert_eq!(shop.terminate(), Some(0));
    });
}

#[test]
#[ignore = "needs a Vault: .ci/vault.sh"]
fn undecryptable_value_stops_the_start_with_its_key_and_layer() {
    on_system(async {
        let (vault, data) = (TestVault::with_transit().await, tempfile::tempdir().unwrap());
        let file = data.path().join("shop.toml");
        let begun = |text: String, env: &[(String, String)]| {
            std::fs::write(&file, text).unwrap();
            let dir = data.path().to_str().unwrap();
            let mut command = tradepost(&["migrate", "--modules", "identity", "--data", dir, "--config", file.to_str().unwrap()]);
            let output = command.envs(plain(env)).output().unwrap();
            (output.status.success(), String::from_utf8(output.stderr).unwrap())
        };
        let from = |text: &str| format!("[notification]\nfrom = \"{text}\"\n");
        let (good, foreign) = (vault.encrypted("shop", "hidden").await, vault.encrypted("foreign", "hidden").await);
        let mount = format!("{}-transit", vault.name);
        let by_role = vault.by_role_with("shop").await;
        let webhook = format!("[[notification.webhooks]]\nurl = \"http://hook.example\"\nsecret = \"{foreign}\"\n");
        let elsewhere = [by_role.clone(), vec![("TRADEPOST__VAULT__TRANSIT_MOUNT".into(), vault.name.clone())]].concat();
        let away = [("URL", "http://127.0.0.1:9"), ("FAIL_FAST", "false")];
        let away = away.map(|(key, value)| (format!("TRADEPOST__VAULT__{key}"), value.to_string()));
        let away = [by_role.clone(), away.to_vec()].concat();
        for (text, env, words) in [
            (from(&good), away, vec!["`notification.from`", "vault.url", "does not answer"]),
            (from(&good), vec![], vec!["`notification.from`", "set vault.url and vault.transit_key"]),
            (from(&good), vault.by_role().await, vec!["`notification.from`", "vault.transit_key is not set"]),
            (from(&foreign), by_role.clone(), vec!["`notification.from`", &mount, "vault.transit_key"]),
            (from("vault:v1:none"), by_role.clone(), vec!["`notification.from`", &mount, "vault.transit_key"]),
            (webhook, by_role.clone(), vec!["`notification.webhooks[0].secret`", &mount]),
            (from(&foreign), vault.by_role_with("foreign").await, vec!["`notification.from`", "policy", "`update`", "decrypt/foreign"]),
            (from(&good), elsewhere, vec!["`notification.from`", &vault.name]),
            (format!("[vault]\ntoken = \"{good}\"\n"), by_role.clone(), vec!["`vault.token`", "before Vault can be asked"]),
        ] {
            let (well, said) = begun(text, &env);
            assert!(!well && said.contains("shop.toml") && words.iter().all(|word| said.contains(word)), "{words:?}: {said}");
            assert!(![good.as_str(), &foreign, "v1:none", "hidden"].iter().any(|hidden| said.contains(hidden)), "{said}");
        }
        let (well, said) = begun(from(&good), &by_role);
        assert!(well, "{said}");
    });
}
