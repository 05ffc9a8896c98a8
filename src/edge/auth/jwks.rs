//! The issuer's keys: cached, and fetched again when a token
//! names one that is not there; never more often than a floor, so that made-up key ids cannot make
//! us call the issuer. A token of a key that is new at the issuer waits for the next fetch, so that
//! none is refused while keys change. Old keys stay in use while a fetch fails.

use crate::kernel::problem::Problem;
use crate::rpc::oidc::{IssuerError, OidcClient};
use jsonwebtoken::{Algorithm, DecodingKey, jwk::Jwk};
use parking_lot::RwLock;
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two fetches, and so the longest that a token of an unknown key waits for one.
const FLOOR: Duration = Duration::from_secs(1);
const REFRESH: Duration = Duration::from_secs(600);

#[derive(Clone)]
struct Key {
    jwk: Jwk,
    decoding: Arc<DecodingKey>,
}

#[derive(Default)]
struct Cached {
    keys: HashMap<String, Key>,
    tried: Option<Instant>,
    fetched: Option<Instant>,
}

/// Keys of one issuer.
pub struct Jwks {
    issuer: Arc<OidcClient>,
    cached: RwLock<Cached>,
    fetching: tokio::sync::Mutex<()>,
}

impl Jwks {
    /// For this issuer; nothing is fetched before the first token.
    pub fn new(issuer: Arc<OidcClient>) -> Self {
        Self { issuer, cached: RwLock::default(), fetching: tokio::sync::Mutex::new(()) }
    }

    /// The key of this id, if the issuer has it and it fits the algorithm.
    pub async fn find(self: &Arc<Self>, kid: &str, algorithm: Algorithm) -> Result<Option<Arc<DecodingKey>>, Problem> {
        let (keys, wanted, arrived) = (self.clone(), kid.to_string(), Instant::now());
        // a task of its own: a caller that hangs up does not break off what all others wait for
        let refresh = async move { keys.refresh(&wanted, arrived).await };
        match self.look(kid) {
            (Some(key), false) => Ok(fitting(key, algorithm)),
            (Some(key), true) => {
                // it was good and is so until we hear otherwise: nobody waits for an issuer that may be away
                actix_web::rt::spawn(refresh);
                Ok(fitting(key, algorithm))
            }
            (None, _) => {
                actix_web::rt::spawn(refresh).await.map_err(Problem::internal)?;
                match self.look(kid).0 {
                    None if self.empty() => Err(Problem::unavailable("the token issuer's keys cannot be had right now")),
                    key => Ok(key.and_then(|key| fitting(key, algorithm))),
                }
            }
        }
    }

    fn look(&self, kid: &str) -> (Option<Key>, bool) {
        let cached = self.cached.read();
        let stale = cached.fetched.is_none_or(|at| at.elapsed() > REFRESH);
        (cached.keys.get(kid).cloned(), stale)
    }

    fn empty(&self) -> bool {
        self.cached.read().keys.is_empty()
    }

    /// One fetch at a time, none sooner than the floor after the last.
    ///
    /// A fetch that began after the token `arrived` is the answer for all who waited: made-up keys
    /// share one, however many they are.
    async fn refresh(&self, kid: &str, arrived: Instant) {
        let _one = self.fetching.lock().await;
        let (found, stale) = self.look(kid);
        let tried = self.tried();
        if (found.is_some() && !stale) || tried.is_some_and(|at| at > arrived) {
            return;
        }
        let pause = tried.map_or(Duration::ZERO, |at| FLOOR.saturating_sub(at.elapsed()));
        if !pause.is_zero() {
            // a known key needs no answer, and with no key at all every request depends on the next try: do not make them wait
            if found.is_some() || self.empty() {
                return;
            }
            tokio::time::sleep(pause).await;
        }
        self.cached.write().tried = Some(Instant::now());
        match self.fetch().await {
            Ok(keys) => {
                let mut cached = self.cached.write();
                cached.keys = keys;
                cached.fetched = Some(Instant::now());
            }
            Err(cause) => tracing::error!(issuer = self.issuer.issuer(), %cause, "the issuer's keys could not be fetched"),
        }
    }

    fn tried(&self) -> Option<Instant> {
        self.cached.read().tried
    }

    async fn fetch(&self) -> Result<HashMap<String, Key>, IssuerError> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<serde_json::Value>,
        }
        let set: Set = self.issuer.keys().await?;
        // keys we cannot read (other uses, new algorithms) must not hide those we can
        let readable = set.keys.into_iter().filter_map(|value| serde_json::from_value::<Jwk>(value).ok());
        let keys = readable.filter_map(|jwk| {
            let kid = jwk.common.key_id.clone()?;
            let decoding = Arc::new(DecodingKey::from_jwk(&jwk).ok()?);
            Some((kid, Key { jwk, decoding }))
        });
        Ok(keys.collect())
    }
}

/// A key is used for what it says it is for, and for nothing else.
fn fitting(key: Key, algorithm: Algorithm) -> Option<Arc<DecodingKey>> {
    use jsonwebtoken::jwk::{AlgorithmParameters, PublicKeyUse};
    let signs = !matches!(key.jwk.common.public_key_use, Some(PublicKeyUse::Encryption));
    let named = key.jwk.common.key_algorithm.is_none_or(|a| a.to_string() == format!("{algorithm:?}"));
    let family = match key.jwk.algorithm {
        AlgorithmParameters::RSA(_) => !matches!(algorithm, Algorithm::ES256 | Algorithm::ES384),
        AlgorithmParameters::EllipticCurve(_) => matches!(algorithm, Algorithm::ES256 | Algorithm::ES384),
        _ => false,
    };
    (signs && named && family).then_some(key.decoding)
}
