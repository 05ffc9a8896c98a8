//! Secrets as a layer of the settings, and the login methods.

use super::{TestVault, in_force, shop, started};
use crate::support::{on_system, wait_for};
use actix_web::http::Method;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rsa::pkcs8::EncodePublicKey;
use rsa::signature::{SignatureEncoding, Signer};
use serde_json::{Value, json};

#[test]
#[ignore = "needs a Vault: .ci/vault.sh"]
fn secrets_override_the_file_and_changes_are_reloaded() {
    on_system(async {
        let (vault, data) = (TestVault::fresh(json!({})).await, tempfile::tempdir().unwrap());
        vault.keep("tradepost", json!({ "order.max_lines": 7, "gateway": { "rate": 700, "burst": 900 } })).await;
        vault.keep("tradepost/eu", json!({ "tradepost.gateway.rate": "800", "identity.client_secret": "topsecret-service" })).await;
        let file = data.path().join("shop.toml");
        std::fs::write(&file, "[order]\nmax_lines = 5\npeer_timeout_ms = 901\n[vault]\nmount = \"elsewhere\"\n").unwrap();
        let mut env = vault.by_role().await;
        let secret = env.iter().find(|(key, _)| key.ends_with("SECRET_ID")).unwrap().1.clone();
        env.push(("TRADEPOST__CONFIG__PROFILE".into(), "eu".into()));
        env.push(("TRADEPOST__GATEWAY__BURST".into(), "1000".into()));
        let shop = shop(data.path(), &env);
        let c = shop.client().await;
        assert_eq!(in_force(&c, "order.max_lines").await, (json!(7), format!("vault {}/tradepost", vault.name)));
        assert_eq!(in_force(&c, "gateway.rate").await, (json!(800), format!("vault {}/tradepost/eu", vault.name)));
        assert_eq!(in_force(&c, "gateway.burst").await, (json!(1000), "the environment".into()));
        let shown = c.get(&c.admin, "/actuator/env").await.expect(200).text;
        assert!(!shown.contains("topsecret") && !shown.contains(&secret), "{shown}");

        // The change is applied by itself, within a few polls.
        vault.keep("tradepost", json!({ "order.max_lines": 9, "gateway": { "rate": 700 } })).await;
        vault.keep("tradepost/eu", json!({ "gateway.rate": 850 })).await;
        wait_for("the new rate is in force", || async {
            let found = in_force(&c, "gateway.rate").await;
            if found.0 == 850 { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
        assert_eq!(in_force(&c, "order.max_lines").await.0, 7, "what needs a restart waits for it");
        // An invalid value changes nothing.
        vault.keep("tradepost/eu", json!({ "gateway.rates": 1 })).await;
        let bearer = format!("Bearer {}", c.admin);
        let refused = c.send(Method::POST, "/actuator/refresh", &[("authorization", &bearer)], "").await.expect(409);
        assert!(refused.message().contains("gateway.rates") && refused.message().contains("tradepost/eu"), "{refused:?}");
        vault.keep("tradepost/eu", json!({ "gateway.rate": 860 })).await;
        wait_for("the corrected rate is in force", || async {
            let found = in_force(&c, "gateway.rate").await;
            if found.0 == 860 { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
        assert_eq!(shop.terminate(), Some(0));
    });
}

#[test]
#[ignore = "needs a Vault: .ci/vault.sh"]
fn vault_refusal_stops_the_start_and_shows_no_secret() {
    on_system(async {
        let (vault, data) = (TestVault::fresh(json!({})).await, tempfile::tempdir().unwrap());
        let (role, secret) = vault.role().await;
        let reader = vault.reader().await;
        let stranger = vault.done("auth/token/create", json!({ "policies": ["default"] })).await;
        let stranger = stranger["auth"]["client_token"].as_str().unwrap().to_string();
        let by_role = |role: &str, secret: &str, mount: &str| {
            vault.settings(&[("AUTH", "approle"), ("ROLE_ID", role), ("SECRET_ID", secret), ("AUTH_MOUNT", mount)])
        };
        let name = &vault.name;
        for (env, words) in [
            (by_role(&role, "hidden-secret", name), vec!["vault.auth", "approle", "vault.secret_id"]),
            (by_role(&role, &secret, "nowhere"), vec!["auth/nowhere", "vault.auth_mount"]),
            (vault.settings(&[("TOKEN", "hidden-token")]), vec!["vault.token", "ended", "tradepost"]),
            (vault.settings(&[("TOKEN", &stranger)]), vec!["policy", "data/tradepost", "vault.auth = \"token\""]),
            (vault.settings(&[("TOKEN", &reader), ("MOUNT", "nowhere")]), vec!["nowhere"]),
            (vault.settings(&[("TOKEN", &reader), ("URL", "http://127.0.0.1:9")]), vec!["vault.url", "refused"]),
            (vault.settings(&[("TOKEN", "two words")]), vec!["vault.token", "one word"]),
        ] {
            let (well, said) = started(data.path(), &env);
            assert!(!well && words.iter().all(|word| said.contains(word)), "{words:?}: {said}");
            for hidden in ["hidden-secret", "hidden-token", &secret, &reader, &stranger] {
                assert!(!said.contains(hidden), "{said}");
            }
        }
        let (well, said) = started(data.path(), &vault.settings(&[("TOKEN", &reader)]));
        assert!(well && said.contains(&format!("Vault has none of {name}/tradepost")), "{said}");
        vault.keep("identity-service", json!({ "identity.clientsecret": 1, "order.stoer": "topsecret" })).await;
        vault.keep("identity", json!({ "order.stoer": "topsecret" })).await;
        let env = [vault.settings(&[("TOKEN", &reader)]), vec![("TRADEPOST__CONFIG__NAME".into(), "identity".into())]].concat();
        let (well, said) = started(data.path(), &env);
        assert!(!well && said.contains(&format!("unknown setting `order.stoer` in vault {name}/identity")), "{said}");
        assert!(!said.contains("topsecret"), "{said}");
        // Vault is unavailable, and settings permit that.
        let env = vault.settings(&[("TOKEN", &reader), ("URL", "http://127.0.0.1:9"), ("FAIL_FAST", "false")]);
        let (well, said) = started(data.path(), &env);
        assert!(well && said.contains("started without secrets from Vault"), "{said}");
    });
}

/// Vault's JWT method replaces its Kubernetes one, which this build of Vault lacks: the login is the same call, and
/// Vault verifies the service account's JWT itself instead of asking Kubernetes.
#[test]
#[ignore = "needs a Vault: .ci/vault.sh"]
fn service_account_token_logs_in() {
    on_system(async {
        let (vault, data) = (TestVault::fresh(json!({})).await, tempfile::tempdir().unwrap());
        let key = rsa::PrivateKey::new(&mut rand::rng(), 2048).unwrap();
        let public = key.to_public_key().to_public_key_pem(rsa::pkcs8::LineEnding::LF).unwrap();
        let mount = format!("{}-k8s", vault.name);
        vault.done(&format!("sys/auth/{mount}"), json!({ "type": "jwt" })).await;
        vault.done(&format!("auth/{mount}/config"), json!({ "jwt_validation_pubkeys": [public] })).await;
        let role = json!({
            "role_type": "jwt", "user_claim": "sub", "bound_audiences": ["vault"], "token_policies": [vault.name],
            "bound_subject": "system:serviceaccount:shop:order" });
        vault.done(&format!("auth/{mount}/role/shop"), role).await;
        let token = |subject: &str| {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
            let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
            let claims = json!({ "sub": subject, "aud": ["vault"], "iat": now, "nbf": now - 5, "exp": now + 600 });
            let text = format!("{}.{}", part(json!({ "alg": "RS256", "typ": "JWT" })), part(claims));
            let signed = rsa::pkcs1v15::SigningKey::<sha2::Sha256>::new(key.clone()).sign(text.as_bytes());
            format!("{text}.{}", URL_SAFE_NO_PAD.encode(signed.to_bytes()))
        };
        let file = data.path().join("token");
        let env = vault.settings(&[("AUTH", "kubernetes"), ("ROLE", "shop"), ("AUTH_MOUNT", &mount), ("JWT_FILE", file.to_str().unwrap())]);
        vault.keep("tradepost", json!({ "order.max_lines": 7 })).await;
        std::fs::write(&file, token("system:serviceaccount:shop:other")).unwrap();
        let (well, said) = started(data.path(), &env);
        assert!(!well && said.contains("vault.auth: the kubernetes login") && said.contains("vault.jwt_file"), "{said}");
        std::fs::write(&file, token("system:serviceaccount:shop:order")).unwrap();
        let (well, said) = started(data.path(), &env);
        assert!(well && said.is_empty(), "{said}");
    });
}
