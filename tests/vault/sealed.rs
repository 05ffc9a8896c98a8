//! A sealed Vault: a start waits for it; a running shop is not affected.
//!
//! Sealing affects the whole Vault, so this test runs alone. `TRADEPOST_TEST_VAULT_UNSEAL` is the key.

use super::{TestVault, in_force, plain, shop, started};
use crate::support::process::tradepost;
use crate::support::{on_system, wait_for};
use serde_json::json;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

#[test]
#[ignore = "needs a Vault: .ci/vault.sh"]
fn sealed_vault_delays_a_start_and_does_not_affect_a_running_shop() {
    on_system(async {
        let (vault, data) = (TestVault::fresh(json!({})).await, tempfile::tempdir().unwrap());
        vault.keep("tradepost", json!({ "gateway.rate": 1000 })).await;
        let key = std::env::var("TRADEPOST_TEST_VAULT_UNSEAL").unwrap();
        let mut env = vault.by_role().await;
        let running = shop(data.path(), &env);
        let c = running.client().await;

        vault.done("sys/seal", json!({})).await;
        let (well, said) = started(data.path(), &env);
        assert!(!well && said.contains("vault.url") && said.contains("is sealed") && said.contains("vault operator unseal"), "{said}");
        // A running process keeps its secrets.
        assert_eq!(in_force(&c, "gateway.rate").await.0, 1000);
        c.stocked("sku", "1.00", 5).await;
        c.order(&[("sku", 1)]).await.expect(201);

        env.retain(|(key, _)| !key.ends_with("RETRY_SECONDS"));
        env.push(("TRADEPOST__VAULT__RETRY_SECONDS".into(), "60".into()));
        let mut waiting = tradepost(&["migrate", "--modules", "identity", "--data", data.path().to_str().unwrap()])
            .envs(plain(&env))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(waiting.stderr.take().unwrap()).lines();
        let first = said.next().unwrap().unwrap();
        assert!(first.contains("waiting for Vault") && first.contains("is sealed"), "{first}");
        vault.done("sys/unseal", json!({ "key": key })).await;
        assert!(waiting.wait().unwrap().success(), "{:?}", said.collect::<Vec<_>>());

        vault.keep("tradepost", json!({ "gateway.rate": 1001 })).await;
        wait_for("changes are applied again", || async {
            let found = in_force(&c, "gateway.rate").await;
            if found.0 == 1001 { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
        assert_eq!(running.terminate(), Some(0));
    });
}
