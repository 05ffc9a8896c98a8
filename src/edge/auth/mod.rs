//! Authentication: validates access tokens with the issuer's published keys.
//!
//! Rules: RFC 7519 and RFC 9068 for claims, Keycloak's for roles. All issuers are treated alike: the built-in
//! one is called over HTTP too.

pub mod basic;
pub mod jwks;
pub mod operator;

pub use crate::rpc::credentials::Credentials;

use crate::kernel::problem::Problem;
use crate::rpc::context::Principal;
use jsonwebtoken::{Algorithm, Validation, decode, decode_header, errors::ErrorKind};
use parking_lot::Mutex;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Public-key algorithms only: with an HMAC algorithm, an attacker could sign with the public key as secret.
const ALGORITHMS: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
];
/// The public client with the password grant, at the built-in issuer and in the demo realm of Keycloak.
pub const PASSWORD_CLIENT: &str = "tradepost-demo";
/// In bytes.
const MAX_TOKEN_LEN: usize = 16 * 1024;
/// In characters.
const MAX_SUBJECT_LEN: usize = 255;
/// Tolerated clock difference, in seconds.
const LEEWAY: u64 = 5;
/// How long a validated token is cached; also the delay until the removal of a key takes effect.
const CACHE_TIME: Duration = Duration::from_secs(30);
const MAX_CACHED_TOKENS: usize = 4096;

#[derive(Debug, Deserialize)]
struct Claims {
    sub: Option<String>,
    exp: i64,
    typ: Option<String>,
    azp: Option<String>,
    preferred_username: Option<String>,
    email: Option<String>,
    #[serde(default)]
    realm_access: Roles,
    #[serde(default)]
    resource_access: BTreeMap<String, Roles>,
}

#[derive(Debug, Default, Deserialize)]
struct Roles {
    #[serde(default)]
    roles: Vec<String>,
}

/// Validated tokens, with the end of their cache time.
type TokenCache = HashMap<String, (Arc<Principal>, Instant)>;

/// Validates access tokens of one issuer. Clones share the caches.
#[derive(Clone)]
pub struct Authenticator {
    issuer: Arc<crate::rpc::oidc::OidcClient>,
    audience: String,
    parties: Vec<String>,
    keys: Arc<jwks::Jwks>,
    cached: Arc<Mutex<TokenCache>>,
}

impl Authenticator {
    /// Accepts tokens of this issuer for this audience.
    pub fn new(issuer: Arc<crate::rpc::oidc::OidcClient>, audience: &str) -> Self {
        let keys = Arc::new(jwks::Jwks::new(issuer.clone()));
        Self { keys, issuer, audience: audience.into(), parties: Vec::new(), cached: Arc::default() }
    }

    /// Accepts only tokens of these clients (`azp`, OpenID Connect Core 2); of all clients if empty.
    pub fn with_authorized_parties(self, parties: Vec<String>) -> Self {
        Self { parties, ..self }
    }

    /// Validates a token: 401 with the reason if it is invalid, 503 if the issuer's keys are not available.
    pub async fn authenticate(&self, token: &str) -> Result<Arc<Principal>, Problem> {
        if let Some(principal) = self.find_cached(token) {
            return Ok(principal);
        }
        if token.len() > MAX_TOKEN_LEN {
            return Err(refuse("the token is too long"));
        }
        let header = decode_header(token).map_err(|_| refuse("the token is not a JWT"))?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(refuse("the token's algorithm is not accepted"));
        }
        let kid = header.kid.as_deref().ok_or_else(|| refuse("the token names no key"))?;
        let key = self.keys.find(kid, header.alg).await?.ok_or_else(|| refuse("the token's key is not the issuer's"))?;
        let mut validation = Validation::new(header.alg);
        validation.leeway = LEEWAY;
        validation.validate_nbf = true;
        validation.set_issuer(&[self.issuer.issuer()]);
        validation.set_audience(&[&self.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        let claims = decode::<Claims>(token, &key, &validation).map_err(|e| refuse(reason(e.kind())))?.claims;
        let access_token =
            claims.typ.as_deref() == Some("Bearer") || header.typ.as_deref().is_some_and(|t| t.eq_ignore_ascii_case("at+jwt"));
        if !access_token {
            return Err(refuse("the token is not an access token"));
        }
        if !self.parties.is_empty() && !claims.azp.as_ref().is_some_and(|azp| self.parties.contains(azp)) {
            return Err(refuse("the token was issued to another client"));
        }
        let lifetime = u64::try_from(claims.exp - crate::kernel::clock::now_ms() / 1000).unwrap_or(0);
        let principal = Arc::new(self.principal(claims, token)?);
        self.cache(token, &principal, Duration::from_secs(lifetime));
        Ok(principal)
    }

    /// Requests an access token with the password grant; `None` if the issuer rejects the password.
    pub async fn password_grant(&self, username: &str, password: &str) -> Result<Option<String>, Problem> {
        #[derive(Deserialize)]
        struct TokenResponse {
            access_token: String,
        }
        let form = [("grant_type", "password"), ("client_id", PASSWORD_CLIENT), ("username", username), ("password", password)];
        let granted = self
            .issuer
            .request_token_unless_rejected::<TokenResponse>(&form)
            .await
            .map_err(|cause| Problem::unavailable("the token issuer is not available").with_cause(cause))?;
        Ok(granted.map(|granted| granted.access_token))
    }

    fn principal(&self, claims: Claims, token: &str) -> Result<Principal, Problem> {
        let subject = claims.sub.filter(|s| !s.is_empty()).ok_or_else(|| refuse("the token has no subject"))?;
        validate_subject(&subject).map_err(|wrong| refuse(&format!("the token's subject {wrong}")))?;
        let mut roles = claims.realm_access.roles;
        // Only roles of this shop's client: `admin` of another client is a different role.
        roles.extend(claims.resource_access.into_iter().filter(|(client, _)| *client == self.audience).flat_map(|(_, r)| r.roles));
        Ok(Principal {
            username: claims.preferred_username.unwrap_or_else(|| subject.clone()),
            subject,
            email: claims.email,
            roles,
            token: token.to_string(),
        })
    }

    fn find_cached(&self, token: &str) -> Option<Arc<Principal>> {
        let cached = self.cached.lock();
        cached.get(token).filter(|(_, until)| *until > Instant::now()).map(|(principal, _)| principal.clone())
    }

    fn cache(&self, token: &str, principal: &Arc<Principal>, lifetime: Duration) {
        let mut cached = self.cached.lock();
        if cached.len() >= MAX_CACHED_TOKENS {
            let now = Instant::now();
            cached.retain(|_, (_, until)| *until > now);
            if cached.len() >= MAX_CACHED_TOKENS {
                cached.clear();
            }
        }
        cached.insert(token.to_string(), (principal.clone(), Instant::now() + lifetime.min(CACHE_TIME)));
    }
}

/// Checks that every store can save this subject and distinguish it from others. OpenID Connect Core 2 permits 255
/// ASCII characters; MySQL ignores trailing spaces in comparisons.
pub fn validate_subject(subject: &str) -> Result<(), &'static str> {
    if subject.chars().count() > MAX_SUBJECT_LEN {
        Err("is longer than 255 characters")
    } else if subject.trim() != subject || subject.contains(char::is_control) {
        Err("has a space at an end or a control character")
    } else {
        Ok(())
    }
}

fn refuse(reason: &str) -> Problem {
    Problem::unauthorized(Some(reason))
}

fn reason(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::ExpiredSignature => "the token has expired",
        ErrorKind::ImmatureSignature => "the token is not valid yet",
        ErrorKind::InvalidIssuer => "the token is another issuer's",
        ErrorKind::InvalidAudience => "the token is meant for another audience",
        ErrorKind::InvalidSignature => "the token's signature is wrong",
        ErrorKind::MissingRequiredClaim(_) => "the token lacks exp, iss or aud",
        _ => "the token is malformed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subject_that_a_store_cannot_distinguish_is_rejected() {
        for good in ["alice", "auth0|5f7c", "CN=A B", "\u{1d4d0}"] {
            assert_eq!(validate_subject(good), Ok(()), "{good}");
        }
        assert!(validate_subject(&"\u{1d4d0}".repeat(255)).is_ok());
        for bad in ["alice ", " alice", "al\nice", &"x".repeat(256)] {
            assert!(validate_subject(bad).is_err(), "{bad:?}");
        }
    }
}
