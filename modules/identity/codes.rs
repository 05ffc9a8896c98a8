//! Authorization codes: valid once, for a minute, for one client and redirect URI, in every process of the
//! issuer.

use super::accounts::Account;
use super::claims::Scope;
use super::secrets;
use crate::data::sqlite::Db;
use crate::data::types;
use crate::kernel::error::StoreError;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const LIFETIME_SECONDS: i64 = 60;
/// Spent codes are kept this long to detect replays.
const RETENTION_SECONDS: i64 = 600;

mod tables {
    diesel::table! {
        codes (digest) {
            digest -> Text,
            granted -> Text,
            spent -> Bool,
            keep_to -> BigInt,
        }
    }
}
use tables::codes;

/// The grant behind an authorization code.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Code {
    pub(super) account: Account,
    pub(super) client: String,
    pub(super) redirect_uri: String,
    /// PKCE challenge (S256).
    pub(super) challenge: Option<String>,
    pub(super) scope: Scope,
    /// Returned in the ID token.
    pub(super) nonce: Option<String>,
    pub(super) session: String,
    /// Seconds since 1970.
    pub(super) started: i64,
}

#[derive(Debug)]
pub(super) enum RedeemError {
    /// Unknown or expired, or for another client, redirect URI or verifier.
    Invalid(&'static str),
    /// The code was used before and may have leaked: the session must be ended.
    Replayed {
        session: String,
    },
    Store(StoreError),
}

pub(super) struct Codes(Db);

/// The store holds only digests: a copy of it contains no usable code.
fn digest(code: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(code))
}

impl Codes {
    pub(super) fn new(db: Db) -> Self {
        Self(db)
    }

    pub(super) async fn issue(&self, grant: Code) -> Result<String, StoreError> {
        let (code, now) = (secrets::random_secret(), grant.started);
        let (digest, granted) = (digest(&code), types::to_json(&grant)?);
        let issued = self.0.write(async move |c| {
            diesel::delete(codes::table.filter(codes::keep_to.le(now))).execute(c).await?;
            let row = (
                codes::digest.eq(&digest),
                codes::granted.eq(&granted),
                codes::spent.eq(false),
                codes::keep_to.eq(now + RETENTION_SECONDS),
            );
            diesel::insert_into(codes::table).values(row).execute(c).await?;
            Ok::<_, StoreError>(())
        });
        issued.await?;
        Ok(code)
    }

    /// Marks a code as spent. Returns its grant and whether it was spent before.
    async fn spend(&self, code: &str) -> Result<Option<(Code, bool)>, StoreError> {
        let digest = digest(code);
        let spent = self.0.write(async move |c| {
            let unspent = codes::table.filter(codes::digest.eq(&digest).and(codes::spent.eq(false)));
            let is_first_use = diesel::update(unspent).set(codes::spent.eq(true)).execute(c).await? == 1;
            let granted: Option<String> = codes::table.find(&digest).select(codes::granted).first(c).await.optional()?;
            Ok::<_, StoreError>(granted.map(|granted| (granted, !is_first_use)))
        });
        spent.await?.map(|(granted, spent_before)| Ok((types::from_json(&granted)?, spent_before))).transpose()
    }

    /// Redeems a code. The first attempt spends it, also a failed one, so that parameters cannot be guessed.
    pub(super) async fn redeem(
        &self,
        code: &str,
        client: &str,
        redirect: Option<&str>,
        verifier: Option<&str>,
        now: i64,
    ) -> Result<Code, RedeemError> {
        let code: Code = match self.spend(code).await.map_err(RedeemError::Store)? {
            None => return Err(RedeemError::Invalid("the code is not valid")),
            Some((code, true)) => return Err(RedeemError::Replayed { session: code.session }),
            Some((code, false)) => code,
        };
        if now - code.started >= LIFETIME_SECONDS {
            return Err(RedeemError::Invalid("the code has expired"));
        }
        if code.client != client {
            return Err(RedeemError::Invalid("the code is another client's"));
        }
        if redirect != Some(&code.redirect_uri) {
            return Err(RedeemError::Invalid("redirect_uri is not that of the authorization request"));
        }
        match (&code.challenge, verifier) {
            (None, None) => Ok(code),
            (Some(challenge), Some(verifier)) if verifier_matches(verifier, challenge) => Ok(code),
            // also a verifier without a challenge: an attacker may have removed the challenge (downgrade)
            _ => Err(RedeemError::Invalid("PKCE verification failed")),
        }
    }
}

/// Syntax of an S256 challenge (RFC 7636).
pub(super) fn is_challenge(text: &str) -> bool {
    text.len() == 43 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
}

fn verifier_matches(verifier: &str, challenge: &str) -> bool {
    let well_formed = (43..=128).contains(&verifier.len()) && verifier.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b));
    // no constant-time compare: the challenge is public, it was in the browser's address bar
    well_formed && URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)) == challenge
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::identity::tests::support::store;

    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
    const URI: &str = "http://127.0.0.1/cb";

    fn code(challenge: Option<&str>) -> Code {
        Code {
            account: Account::new("alice", None, vec![]),
            client: "app".into(),
            redirect_uri: URI.into(),
            challenge: challenge.map(String::from),
            scope: Scope::default(),
            nonce: None,
            session: "s1".into(),
            started: 1000,
        }
    }

    #[tokio::test]
    async fn code_reused_or_expired_is_rejected_in_every_process() {
        let dir = tempfile::tempdir().unwrap();
        let (codes, other) = (Codes::new(store(&dir)), Codes::new(store(&dir)));
        let name = codes.issue(code(Some(CHALLENGE))).await.unwrap();
        assert!(other.redeem(&name, "app", Some(URI), Some(VERIFIER), 1059).await.is_ok());
        let replayed = codes.redeem(&name, "app", Some(URI), Some(VERIFIER), 1059).await.err();
        assert!(matches!(replayed, Some(RedeemError::Replayed { session }) if session == "s1"));
        let expired = codes.issue(code(Some(CHALLENGE))).await.unwrap();
        let result = codes.redeem(&expired, "app", Some(URI), Some(VERIFIER), 1060).await.err();
        assert!(matches!(result, Some(RedeemError::Invalid("the code has expired"))), "{result:?}");
        assert!(codes.redeem("made-up", "app", Some(URI), None, 1000).await.is_err());
    }

    #[tokio::test]
    async fn code_with_other_client_redirect_or_verifier_is_rejected() {
        let dir = tempfile::tempdir().unwrap();
        let codes = Codes::new(store(&dir));
        let attempts = [
            ("other", Some(URI), Some(VERIFIER)),
            ("app", Some("http://127.0.0.1/cc"), Some(VERIFIER)),
            ("app", None, Some(VERIFIER)),
            ("app", Some(URI), None),
            ("app", Some(URI), Some(CHALLENGE)),
            ("app", Some(URI), Some("short")),
        ];
        for (client, redirect, verifier) in attempts {
            let name = codes.issue(code(Some(CHALLENGE))).await.unwrap();
            let result = codes.redeem(&name, client, redirect, verifier, 1001).await;
            assert!(matches!(result, Err(RedeemError::Invalid(_))), "{client} {redirect:?}");
        }
        let plain = codes.issue(code(None)).await.unwrap();
        assert!(codes.redeem(&plain, "app", Some(URI), Some(VERIFIER), 1001).await.is_err(), "a verifier without a challenge");
        let plain = codes.issue(code(None)).await.unwrap();
        assert!(codes.redeem(&plain, "app", Some(URI), None, 1001).await.is_ok());
    }
}
