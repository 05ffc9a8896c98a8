//! The issuer's JSON Web Key Set (RFC 7517), cached.
//!
//! A token with an unknown key id triggers a fetch and waits for it, so that key rotation rejects no valid token.
//! Fetches have a minimum interval, so that invented key ids do not cause load at the issuer. If a fetch fails,
//! the old keys stay in use.

use crate::kernel::problem::Problem;
use crate::rpc::oidc::{IssuerError, OidcClient};
use jsonwebtoken::{Algorithm, DecodingKey, jwk::Jwk};
use parking_lot::RwLock;
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Minimum time between two fetches; also the longest wait of a token with an unknown key id for its fetch to start.
const MIN_FETCH_INTERVAL: Duration = Duration::from_secs(1);
const MAX_AGE: Duration = Duration::from_secs(600);

#[derive(Clone)]
struct Key {
    jwk: Jwk,
    decoding: Arc<DecodingKey>,
}

#[derive(Default)]
struct Cached {
    keys: HashMap<String, Key>,
    last_attempt: Option<Instant>,
    fetched: Option<Instant>,
}

pub struct Jwks {
    issuer: Arc<OidcClient>,
    cached: RwLock<Cached>,
    fetching: tokio::sync::Mutex<()>,
}

impl Jwks {
    /// Fetches nothing before the first token.
    pub fn new(issuer: Arc<OidcClient>) -> Self {
        Self { issuer, cached: RwLock::default(), fetching: tokio::sync::Mutex::new(()) }
    }

    /// The key with this id, if the issuer has it and it permits the algorithm.
    pub async fn find(self: &Arc<Self>, kid: &str, algorithm: Algorithm) -> Result<Option<Arc<DecodingKey>>, Problem> {
        let (keys, key_id, arrived) = (self.clone(), kid.to_string(), Instant::now());
        // A separate task: a cancelled request must not cancel the fetch that other requests wait for.
        let refresh = async move { keys.refresh(&key_id, arrived).await };
        match self.find_cached(kid) {
            (Some(key), false) => Ok(permitting(key, algorithm)),
            (Some(key), true) => {
                // Use the stale key and refresh in the background, so that no request waits for an unreachable issuer.
                actix_web::rt::spawn(refresh);
                Ok(permitting(key, algorithm))
            }
            (None, _) => {
                actix_web::rt::spawn(refresh).await.map_err(Problem::internal)?;
                match self.find_cached(kid).0 {
                    None if self.is_empty() => Err(Problem::unavailable("the token issuer's keys are not available")),
                    key => Ok(key.and_then(|key| permitting(key, algorithm))),
                }
            }
        }
    }

    /// The key, and whether the key set is stale.
    fn find_cached(&self, kid: &str) -> (Option<Key>, bool) {
        let cached = self.cached.read();
        let stale = cached.fetched.is_none_or(|at| at.elapsed() > MAX_AGE);
        (cached.keys.get(kid).cloned(), stale)
    }

    fn is_empty(&self) -> bool {
        self.cached.read().keys.is_empty()
    }

    /// One fetch at a time, with the minimum interval between them.
    ///
    /// A fetch that started after the token `arrived` is valid for all waiting tokens, so that any number of
    /// invented key ids share one fetch.
    async fn refresh(&self, kid: &str, arrived: Instant) {
        let _guard = self.fetching.lock().await;
        let (found, stale) = self.find_cached(kid);
        let last_attempt = self.last_attempt();
        if (found.is_some() && !stale) || last_attempt.is_some_and(|at| at > arrived) {
            return;
        }
        let pause = last_attempt.map_or(Duration::ZERO, |at| MIN_FETCH_INTERVAL.saturating_sub(at.elapsed()));
        if !pause.is_zero() {
            // A known key does not need this fetch. Without any key every request would wait here: fail them instead.
            if found.is_some() || self.is_empty() {
                return;
            }
            tokio::time::sleep(pause).await;
        }
        self.cached.write().last_attempt = Some(Instant::now());
        match self.fetch().await {
            Ok(keys) => {
                let mut cached = self.cached.write();
                cached.keys = keys;
                cached.fetched = Some(Instant::now());
            }
            Err(cause) => tracing::error!(issuer = self.issuer.issuer(), %cause, "fetching the issuer's keys failed"),
        }
    }

    fn last_attempt(&self) -> Option<Instant> {
        self.cached.read().last_attempt
    }

    async fn fetch(&self) -> Result<HashMap<String, Key>, IssuerError> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<serde_json::Value>,
        }
        let set: Set = self.issuer.keys().await?;
        // Skips keys that jsonwebtoken cannot parse (other uses, new algorithms).
        let supported = set.keys.into_iter().filter_map(|value| serde_json::from_value::<Jwk>(value).ok());
        let keys = supported.filter_map(|jwk| {
            let kid = jwk.common.key_id.clone()?;
            let decoding = Arc::new(DecodingKey::from_jwk(&jwk).ok()?);
            Some((kid, Key { jwk, decoding }))
        });
        Ok(keys.collect())
    }
}

/// The decoding key, if the JWK's use, algorithm and type permit this algorithm.
fn permitting(key: Key, algorithm: Algorithm) -> Option<Arc<DecodingKey>> {
    use jsonwebtoken::jwk::{AlgorithmParameters, PublicKeyUse};
    let for_signatures = !matches!(key.jwk.common.public_key_use, Some(PublicKeyUse::Encryption));
    let algorithm_permitted = key.jwk.common.key_algorithm.is_none_or(|a| a.to_string() == format!("{algorithm:?}"));
    let type_matches = match key.jwk.algorithm {
        AlgorithmParameters::RSA(_) => !matches!(algorithm, Algorithm::ES256 | Algorithm::ES384),
        AlgorithmParameters::EllipticCurve(_) => matches!(algorithm, Algorithm::ES256 | Algorithm::ES384),
        _ => false,
    };
    (for_signatures && algorithm_permitted && type_matches).then_some(key.decoding)
}
