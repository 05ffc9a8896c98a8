//! Token lifetime: tokens are renewed, replaced at their maximum lifetime, and replaced after a revocation.

use super::{TestVault, in_force, shop};
use crate::support::client::Client;
use crate::support::{on_system, wait_for};
use serde_json::{Value, json};

/// Changes a secret and waits until the shop uses it.
async fn sees(vault: &TestVault, c: &Client, rate: u64) {
    vault.keep("tradepost", json!({ "gateway.rate": rate })).await;
    wait_for("the shop sees the new rate", || async {
        let found = in_force(c, "gateway.rate").await;
        if found.0 == rate { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}

#[test]
#[ignore = "needs a Vault: .ci/vault.sh"]
fn token_is_renewed_until_its_maximum_lifetime_and_then_replaced() {
    on_system(async {
        let (vault, data) = (TestVault::fresh(json!({ "token_ttl": "4s", "token_max_ttl": "12s" })).await, tempfile::tempdir().unwrap());
        vault.keep("tradepost", json!({ "gateway.rate": 1000 })).await;
        let shop = shop(data.path(), &vault.by_role().await);
        let c = shop.client().await;
        let first = wait_for_token(&vault, "its token was renewed", |token| token["last_renewal_time"].is_number()).await;
        let next = wait_for_token(&vault, "another token has taken its place", |token| token["accessor"] != first["accessor"]).await;
        sees(&vault, &c, 1001).await;
        wait_for_token(&vault, "the next one has followed", |token| {
            token["accessor"] != first["accessor"] && token["accessor"] != next["accessor"]
        })
        .await;
        sees(&vault, &c, 1002).await;
        assert_eq!(shop.terminate(), Some(0));
    });
}

#[test]
#[ignore = "needs a Vault: .ci/vault.sh"]
fn revoked_token_is_replaced_by_a_new_login() {
    on_system(async {
        let (vault, data) = (TestVault::fresh(json!({})).await, tempfile::tempdir().unwrap());
        vault.keep("tradepost", json!({ "gateway.rate": 1000 })).await;
        let shop = shop(data.path(), &vault.by_role().await);
        let c = shop.client().await;
        let tokens = vault.tokens().await;
        assert_eq!(tokens.len(), 1, "{tokens:?}");
        vault.done("auth/token/revoke-accessor", json!({ "accessor": tokens[0]["accessor"] })).await;
        sees(&vault, &c, 1001).await;
        let after = vault.tokens().await;
        assert!(after.len() == 1 && after[0]["accessor"] != tokens[0]["accessor"], "{after:?}");
        assert_eq!(shop.terminate(), Some(0));
    });
}

async fn wait_for_token(vault: &TestVault, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
    let found = std::cell::RefCell::new(Value::Null);
    wait_for(what, || async {
        let tokens = vault.tokens().await;
        match tokens.iter().find(|token| is_it(token)) {
            Some(token) => {
                *found.borrow_mut() = token.clone();
                Ok(())
            }
            None => Err(format!("{tokens:?}")),
        }
    })
    .await;
    found.into_inner()
}
