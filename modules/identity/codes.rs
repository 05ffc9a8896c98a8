//! Authorization codes: good once, for a minute, for the client and redirect URI they were made for.

use super::accounts::Account;
use super::tokens::Scope;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

const LIFE: i64 = 60;
/// A spent code is remembered for so long, to notice when it comes again.
const REMEMBER: i64 = 600;
const MOST: usize = 10_000;

/// What a login granted.
#[derive(Clone)]
pub(super) struct Code {
    /// Who logged in.
    pub(super) account: Arc<Account>,
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
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Bad {
    /// Unknown or too old, or not for this client, redirect URI or verifier.
    Refused(&'static str),
    /// It was used before: somebody else has it too, so what it granted is to be ended.
    Replayed { session: String },
}

/// The codes of the last minutes.
#[derive(Default)]
pub(super) struct Codes(Mutex<HashMap<String, (Code, bool)>>);

impl Codes {
    /// A new code for this login.
    pub(super) fn issue(&self, code: Code) -> String {
        let mut codes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if codes.len() >= MOST {
            let now = code.started;
            codes.retain(|_, (code, _)| now - code.started < REMEMBER);
            if codes.len() >= MOST {
                // more logins in ten minutes than any desk sees: those who are on their way log in again
                codes.clear();
            }
        }
        let name = super::random();
        codes.insert(name.clone(), (code, false));
        name
    }

    /// Spends a code. It is spent by the first try, good or not: nobody gets a second guess.
    pub(super) fn redeem(&self, name: &str, client: &str, redirect: Option<&str>, verifier: Option<&str>, now: i64) -> Result<Code, Bad> {
        let code = {
            let mut codes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let Some((code, spent)) = codes.get_mut(name) else { return Err(Bad::Refused("the code is not valid")) };
            if *spent {
                return Err(Bad::Replayed { session: code.session.clone() });
            }
            *spent = true;
            code.clone()
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

    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
    const URI: &str = "http://127.0.0.1/cb";

    fn code(challenge: Option<&str>) -> Code {
        Code {
            account: Arc::new(Account::new("alice", None, vec![])),
            client: "app".into(),
            redirect_uri: URI.into(),
            challenge: challenge.map(String::from),
            scope: Scope::default(),
            nonce: None,
            session: "s1".into(),
            started: 1000,
        }
    }

    #[test]
    fn a_code_is_good_once_and_for_a_minute() {
        let codes = Codes::default();
        let name = codes.issue(code(Some(CHALLENGE)));
        assert!(codes.redeem(&name, "app", Some(URI), Some(VERIFIER), 1059).is_ok());
        let again = codes.redeem(&name, "app", Some(URI), Some(VERIFIER), 1059).err();
        assert_eq!(again, Some(Bad::Replayed { session: "s1".into() }));
        let late = codes.issue(code(Some(CHALLENGE)));
        assert_eq!(codes.redeem(&late, "app", Some(URI), Some(VERIFIER), 1060).err(), Some(Bad::Refused("the code has expired")));
        assert!(codes.redeem("made-up", "app", Some(URI), None, 1000).is_err());
    }

    #[test]
    fn a_code_is_bound_to_client_redirect_and_verifier() {
        let codes = Codes::default();
        let tries = [
            ("other", Some(URI), Some(VERIFIER)),
            ("app", Some("http://127.0.0.1/cc"), Some(VERIFIER)),
            ("app", None, Some(VERIFIER)),
            ("app", Some(URI), None),
            ("app", Some(URI), Some(CHALLENGE)),
            ("app", Some(URI), Some("short")),
        ];
        for (client, redirect, verifier) in tries {
            let name = codes.issue(code(Some(CHALLENGE)));
            assert!(matches!(codes.redeem(&name, client, redirect, verifier, 1001), Err(Bad::Refused(_))), "{client} {redirect:?}");
        }
        let plain = codes.issue(code(None));
        assert!(codes.redeem(&plain, "app", Some(URI), Some(VERIFIER), 1001).is_err(), "a verifier without a challenge");
        let plain = codes.issue(code(None));
        assert!(codes.redeem(&plain, "app", Some(URI), None, 1001).is_ok());
    }

    #[test]
    fn codes_do_not_pile_up() {
        let codes = Codes::default();
        for _ in 0..MOST + 5 {
            codes.issue(code(None));
        }
        assert!(codes.0.lock().unwrap().len() <= MOST);
    }
}
