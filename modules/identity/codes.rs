//! Authorization codes: good once, for a minute, for the client and redirect URI they were made for, in
//! whichever process of the issuer they are redeemed.

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

const LIFE: i64 = 60;
/// A spent code is remembered for so long, to notice when it comes again.
const REMEMBER: i64 = 600;

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

/// What a login granted.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Code {
    /// Who logged in.
    pub(super) account: Account,
    /// For which client.
    pub(super) client: String,
    /// Where the code was sent.
    pub(super) redirect_uri: String,
    /// PKCE's challenge, by S256.
    pub(super) challenge: Option<String>,
    /// What was asked for.
    pub(super) scope: Scope,
    /// OpenID Connect's, for the ID token.
    pub(super) nonce: Option<String>,
    /// The session that the login started.
    pub(super) session: String,
    /// When.
    pub(super) started: i64,
}

/// Why a code is not good.
#[derive(Debug)]
pub(super) enum Bad {
    /// Unknown or too old, or not for this client, redirect URI or verifier.
    Refused(&'static str),
    /// It was used before: somebody else has it too, so what it granted is to be ended.
    Replayed { session: String },
    /// It cannot be looked up.
    Store(StoreError),
}

/// The codes of the last minutes.
pub(super) struct Codes(Db);

/// Who reads the store learns no code.
fn digest(name: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(name))
}

impl Codes {
    /// In this store.
    pub(super) fn new(db: Db) -> Self {
        Self(db)
    }

    /// A new code for this login.
    pub(super) async fn issue(&self, code: Code) -> Result<String, StoreError> {
        let (name, now) = (secrets::random(), code.started);
        let (digest, granted) = (digest(&name), types::to_json(&code)?);
        let issued = self.0.write(async move |c| {
            diesel::delete(codes::table.filter(codes::keep_to.le(now))).execute(c).await?;
            let row = (codes::digest.eq(&digest), codes::granted.eq(&granted), codes::spent.eq(false), codes::keep_to.eq(now + REMEMBER));
            diesel::insert_into(codes::table).values(row).execute(c).await?;
            Ok::<_, StoreError>(())
        });
        issued.await?;
        Ok(name)
    }

    /// The login behind a code, and whether it was spent before; it is now.
    async fn spend(&self, name: &str) -> Result<Option<(Code, bool)>, StoreError> {
        let digest = digest(name);
        let spent = self.0.write(async move |c| {
            let fresh = codes::table.filter(codes::digest.eq(&digest).and(codes::spent.eq(false)));
            let now = diesel::update(fresh).set(codes::spent.eq(true)).execute(c).await? == 1;
            let granted: Option<String> = codes::table.find(&digest).select(codes::granted).first(c).await.optional()?;
            Ok::<_, StoreError>(granted.map(|granted| (granted, !now)))
        });
        spent.await?.map(|(granted, before)| Ok((types::from_json(&granted)?, before))).transpose()
    }

    /// Spends a code. It is spent by the first try, good or not: nobody gets a second guess.
    pub(super) async fn redeem(
        &self,
        name: &str,
        client: &str,
        redirect: Option<&str>,
        verifier: Option<&str>,
        now: i64,
    ) -> Result<Code, Bad> {
        let code: Code = match self.spend(name).await.map_err(Bad::Store)? {
            None => return Err(Bad::Refused("the code is not valid")),
            Some((code, true)) => return Err(Bad::Replayed { session: code.session }),
            Some((code, false)) => code,
        };
        if now - code.started >= LIFE {
            return Err(Bad::Refused("the code has expired"));
        }
        if code.client != client {
            return Err(Bad::Refused("the code is another client's"));
        }
        if redirect != Some(&code.redirect_uri) {
            return Err(Bad::Refused("redirect_uri is not that of the authorization request"));
        }
        match (&code.challenge, verifier) {
            (None, None) => Ok(code),
            (Some(challenge), Some(verifier)) if proves(verifier, challenge) => Ok(code),
            // also a verifier where there was no challenge: somebody took the challenge out on the way
            _ => Err(Bad::Refused("PKCE verification failed")),
        }
    }
}

/// RFC 7636: what an S256 challenge looks like.
pub(super) fn is_challenge(text: &str) -> bool {
    text.len() == 43 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
}

fn proves(verifier: &str, challenge: &str) -> bool {
    let well_formed = (43..=128).contains(&verifier.len()) && verifier.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b));
    // the challenge is no secret: it was in the browser's address bar
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
    async fn a_code_is_good_once_and_for_a_minute_in_whichever_process() {
        let dir = tempfile::tempdir().unwrap();
        let (codes, other) = (Codes::new(store(&dir)), Codes::new(store(&dir)));
        let name = codes.issue(code(Some(CHALLENGE))).await.unwrap();
        assert!(other.redeem(&name, "app", Some(URI), Some(VERIFIER), 1059).await.is_ok());
        let again = codes.redeem(&name, "app", Some(URI), Some(VERIFIER), 1059).await.err();
        assert!(matches!(again, Some(Bad::Replayed { session }) if session == "s1"));
        let late = codes.issue(code(Some(CHALLENGE))).await.unwrap();
        let late = codes.redeem(&late, "app", Some(URI), Some(VERIFIER), 1060).await.err();
        assert!(matches!(late, Some(Bad::Refused("the code has expired"))), "{late:?}");
        assert!(codes.redeem("made-up", "app", Some(URI), None, 1000).await.is_err());
    }

    #[tokio::test]
    async fn a_code_is_bound_to_client_redirect_and_verifier() {
        let dir = tempfile::tempdir().unwrap();
        let codes = Codes::new(store(&dir));
        let tries = [
            ("other", Some(URI), Some(VERIFIER)),
            ("app", Some("http://127.0.0.1/cc"), Some(VERIFIER)),
            ("app", None, Some(VERIFIER)),
            ("app", Some(URI), None),
            ("app", Some(URI), Some(CHALLENGE)),
            ("app", Some(URI), Some("short")),
        ];
        for (client, redirect, verifier) in tries {
            let name = codes.issue(code(Some(CHALLENGE))).await.unwrap();
            let refused = codes.redeem(&name, client, redirect, verifier, 1001).await;
            assert!(matches!(refused, Err(Bad::Refused(_))), "{client} {redirect:?}");
        }
        let plain = codes.issue(code(None)).await.unwrap();
        assert!(codes.redeem(&plain, "app", Some(URI), Some(VERIFIER), 1001).await.is_err(), "a verifier without a challenge");
        let plain = codes.issue(code(None)).await.unwrap();
        assert!(codes.redeem(&plain, "app", Some(URI), None, 1001).await.is_ok());
    }
}
