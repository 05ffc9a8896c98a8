//! Who is calling: access tokens checked against the issuer's published keys.
//!
//! Rules: RFC 7519 and RFC 9068 for claims, Keycloak's for roles. Nothing here knows which issuer
//! it is; the built-in one is reached over HTTP like any other.

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

/// Public-key algorithms only: with a shared-secret one among them, the public key would be the secret.
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
/// The public client that may send a user's name and password, of the built-in issuer and of our realm of Keycloak.
pub const PASSWORD_CLIENT: &str = "tradepost-demo";
/// No honest token is longer.
const MAX_TOKEN: usize = 16 * 1024;
/// Characters of a token's subject at most.
const MAX_SUBJECT: usize = 255;
/// Clocks differ.
const LEEWAY: u64 = 5;
/// A verified token is taken at its word for so long: a withdrawn key is noticed after it.
const REMEMBER: Duration = Duration::from_secs(30);
const REMEMBER_MOST: usize = 4096;

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

/// Tokens that were found good, each until when it is taken at its word.
type Known = HashMap<String, (Arc<Principal>, Instant)>;

/// Checks access tokens of one issuer. Clones share what they know.
#[derive(Clone)]
pub struct Authenticator {
    issuer: Arc<crate::rpc::oidc::OidcClient>,
    audience: String,
    parties: Vec<String>,
    keys: Arc<jwks::Jwks>,
    known: Arc<Mutex<Known>>,
}

impl Authenticator {
    /// For tokens of this issuer that are meant for this audience.
    pub fn new(issuer: Arc<crate::rpc::oidc::OidcClient>, audience: &str) -> Self {
        let keys = Arc::new(jwks::Jwks::new(issuer.clone()));
        Self { keys, issuer, audience: audience.into(), parties: Vec::new(), known: Arc::default() }
    }

    /// Takes tokens of these clients only (`azp`, OpenID Connect Core 2); of every client where there are none.
    pub fn for_parties(self, parties: Vec<String>) -> Self {
        Self { parties, ..self }
    }

    /// The bearer of this token; 401 says what is wrong with it, 503 that the issuer's keys cannot be had.
    pub async fn authenticate(&self, token: &str) -> Result<Arc<Principal>, Problem> {
        if let Some(principal) = self.recall(token) {
            return Ok(principal);
        }
        if token.len() > MAX_TOKEN {
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
        self.remember(token, &principal, Duration::from_secs(lifetime));
        Ok(principal)
    }

    /// An access token for this name and password; `None` where the issuer does not take them.
    pub async fn login(&self, username: &str, password: &str) -> Result<Option<String>, Problem> {
        #[derive(Deserialize)]
        struct Granted {
            access_token: String,
        }
        let form = [("grant_type", "password"), ("client_id", PASSWORD_CLIENT), ("username", username), ("password", password)];
        let granted = self
            .issuer
            .grant_unless_refused::<Granted>(&form)
            .await
            .map_err(|cause| Problem::unavailable("the token issuer is not available").with_cause(cause))?;
        Ok(granted.map(|granted| granted.access_token))
    }

    fn principal(&self, claims: Claims, token: &str) -> Result<Principal, Problem> {
        let subject = claims.sub.filter(|s| !s.is_empty()).ok_or_else(|| refuse("the token has no subject"))?;
        check_subject(&subject).map_err(|wrong| refuse(&format!("the token's subject {wrong}")))?;
        let mut roles = claims.realm_access.roles;
        // only roles of our own client: `admin` of another one says nothing about this shop
        roles.extend(claims.resource_access.into_iter().filter(|(client, _)| *client == self.audience).flat_map(|(_, r)| r.roles));
        Ok(Principal {
            username: claims.preferred_username.unwrap_or_else(|| subject.clone()),
            subject,
            email: claims.email,
            roles,
            token: token.to_string(),
        })
    }

    fn recall(&self, token: &str) -> Option<Arc<Principal>> {
        let known = self.known.lock();
        known.get(token).filter(|(_, until)| *until > Instant::now()).map(|(principal, _)| principal.clone())
    }

    fn remember(&self, token: &str, principal: &Arc<Principal>, lifetime: Duration) {
        let mut known = self.known.lock();
        if known.len() >= REMEMBER_MOST {
            let now = Instant::now();
            known.retain(|_, (_, until)| *until > now);
            if known.len() >= REMEMBER_MOST {
                known.clear();
            }
        }
        known.insert(token.to_string(), (principal.clone(), Instant::now() + lifetime.min(REMEMBER)));
    }
}

/// Whether every store can keep this subject and tells it from others, or why not. OpenID Connect Core 2 allows
/// 255 ASCII characters; to a column of MySQL a space at the end is none.
pub fn check_subject(subject: &str) -> Result<(), &'static str> {
    if subject.chars().count() > MAX_SUBJECT {
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
    fn a_subject_is_one_that_every_store_tells_from_all_others() {
        for good in ["alice", "auth0|5f7c", "CN=A B", "\u{1d4d0}"] {
            assert_eq!(check_subject(good), Ok(()), "{good}");
        }
        assert!(check_subject(&"\u{1d4d0}".repeat(255)).is_ok());
        for bad in ["alice ", " alice", "al\nice", &"x".repeat(256)] {
            assert!(check_subject(bad).is_err(), "{bad:?}");
        }
    }
}
