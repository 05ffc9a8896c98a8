//! A Vault with https, with a certificate of its own authority: `TRADEPOST_TEST_VAULT_TLS` is its address, and
//! `TRADEPOST_TEST_VAULT_CA` the authority's certificate.

use super::{in_force, shop, started};
use crate::support::certs::{self, Authority};
use crate::support::on_system;
use serde_json::json;
use std::path::Path;

#[test]
#[ignore = "needs a Vault that speaks TLS: .ci/vault.sh"]
fn vault_is_trusted_only_by_its_authority() {
    on_system(async {
        let of = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name}"));
        let (url, ca, data) = (of("TRADEPOST_TEST_VAULT_TLS"), of("TRADEPOST_TEST_VAULT_CA"), tempfile::tempdir().unwrap());
        let kept = certs::http(certs::client(Path::new(&ca), None))
            .post(format!("{url}/v1/secret/data/tradepost"))
            .insert_header(("x-vault-token", "root"))
            .send_json(&json!({ "data": { "order.max_lines": 7 } }))
            .await
            .unwrap();
        assert!(kept.status().is_success(), "{}", kept.status());
        let env = |ca: Option<&str>| {
            let vault = [("VAULT__URL", url.as_str()), ("VAULT__TOKEN", "root"), ("VAULT__RETRY_SECONDS", "0")];
            let all = vault.into_iter().chain(ca.map(|ca| ("TLS__CA", ca)));
            all.map(|(key, value)| (format!("TRADEPOST__{key}"), value.to_string())).collect::<Vec<_>>()
        };
        let other = Authority::new();
        for untrusted in [None, other.ca().to_str()] {
            let (well, said) = started(data.path(), &env(untrusted));
            assert!(!well && ["vault.url", &url, "UnknownIssuer", "tls.ca"].iter().all(|word| said.contains(word)), "{said}");
        }
        let shop = shop(data.path(), &env(Some(&ca)));
        let c = shop.client().await;
        assert_eq!(in_force(&c, "order.max_lines").await, (json!(7), "vault secret/tradepost".into()));
        assert_eq!(shop.terminate(), Some(0));
    });
}
