//! Our config server with Vault: expects the answers of Spring's server, which `.ci/vault.sh` compares.

use super::{TestVault, plain};
use crate::support::on_system;
use crate::support::process::Process;
use serde_json::{Value, json};
use tradepost::net::http::http;

#[test]
#[ignore = "needs a Vault: .ci/vault.sh"]
fn secrets_are_served_like_the_spring_config_server() {
    on_system(async {
        let (vault, data) = (TestVault::fresh(json!({})).await, tempfile::tempdir().unwrap());
        vault.keep("application", json!({ "shop.currency": "EUR", "shop.a": "1" })).await;
        vault.keep("application,prod", json!({ "shop.currency": "USD" })).await;
        vault.keep("basket,prod", json!({ "limit": 7, "deep": { "er": ["x", { "y": true }] }, "none": null })).await;
        let mut env = vault.by_role().await;
        for (key, value) in [
            ("SERVER__MODULES", "config-server"),
            ("IDENTITY__ISSUER", "http://127.0.0.1:9/realms/none"),
            ("CONFIG_SERVER__PASSWORD", "pw"),
            ("CONFIG_SERVER__VAULT", &vault.name),
        ] {
            env.push((format!("TRADEPOST__{key}"), value.to_string()));
        }
        let server = Process::start(data.path(), &plain(&env));
        let get = async |path: &str, token: Option<&str>| {
            let mut request = http().get(format!("{}{path}", server.url)).basic_auth("tradepost", "pw");
            if let Some(token) = token {
                request = request.insert_header(("x-config-token", token));
            }
            let mut answer = request.send().await.unwrap();
            let body: Value = serde_json::from_slice(&answer.body().await.unwrap()).unwrap();
            (answer.status().as_u16(), body)
        };
        let expected = json!({
            "name": "basket", "profiles": ["prod"], "label": null, "version": null, "state": null,
            "propertySources": [
                { "name": "vault:basket,prod", "source": { "limit": 7, "deep.er[0]": "x", "deep.er[1].y": true, "none": "" } },
                { "name": "vault:application,prod", "source": { "shop.currency": "USD" } },
                { "name": "vault:application", "source": { "shop.currency": "EUR", "shop.a": "1" } },
            ] });
        assert_eq!(get("/basket/prod", None).await, (200, expected.clone()));
        assert_eq!(get("/basket/prod", Some(&vault.reader().await)).await, (200, expected));
        let stranger = vault.done("auth/token/create", json!({ "policies": ["default"] })).await;
        let stranger = stranger["auth"]["client_token"].as_str().unwrap().to_string();
        for token in [stranger.as_str(), "unknown"] {
            let (status, body) = get("/basket/prod", Some(token)).await;
            assert!(status == 403 && body.to_string().contains("X-Config-Token") && !body.to_string().contains(token), "{body}");
        }
        assert_eq!(get("/basket/prod", Some("two words")).await.0, 400);

        // One of our own modules starts from it, with its keys below `tradepost.`.
        vault.keep("application", json!({ "tradepost.gateway.rate": 900, "shop.a": "1" })).await;
        let own = tempfile::tempdir().unwrap();
        let from = server.url.replace("http://", "http://tradepost:pw@");
        let shop = Process::start(own.path(), &[("TRADEPOST__CONFIG__SERVER", &from)]);
        let c = shop.client().await;
        let (rate, origin) = super::in_force(&c, "gateway.rate").await;
        assert!(rate == 900 && origin.ends_with("(vault:application)"), "{rate} {origin}");
    });
}
