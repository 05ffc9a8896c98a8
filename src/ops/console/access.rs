//! AdminGuard control of the console: it requires the role `admin`.
//!
//! Programs send an access token. Browsers send name and password by HTTP Basic (RFC 7617), which the console exchanges
//! for an access token at the issuer, with the grant and client of the shop's own commands. This needs no further
//! passwords, no sessions and no cookies, and the issuer's limit on password guesses applies. After a password is
//! revoked, the console still accepts it until the token expires, as with any token. Browsers send the credentials with
//! every request, also with forged ones; that is harmless because the console changes nothing.

use crate::edge::auth::Authenticator;
use crate::edge::auth::basic::credentials;
use crate::edge::web::bearer_token;
use crate::kernel::problem::Problem;
use actix_web::HttpRequest;
use actix_web::http::header;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::collections::HashMap;

const MAX_CACHED_TOKENS: usize = 64;

pub(super) struct AdminGuard {
    authenticator: Authenticator,
    /// By a digest of name and password.
    tokens: Mutex<HashMap<[u8; 32], String>>,
}

impl AdminGuard {
    pub(super) fn new(authenticator: Authenticator) -> Self {
        Self { authenticator, tokens: Mutex::default() }
    }

    /// 401 without valid credentials, 403 without the role `admin`.
    pub(super) async fn check(&self, request: &HttpRequest) -> Result<(), Problem> {
        let authorization = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let roles = match authorization.and_then(credentials) {
            Some((user, password)) => self.roles(&user, &password).await?,
            None if authorization.is_some() => self.authenticator.authenticate(&bearer_token(request)?).await?.roles.clone(),
            None => return Err(unauthorized("the console requires an administrator's name and password, or an access token")),
        };
        if roles.iter().any(|role| role == "admin") { Ok(()) } else { Err(Problem::forbidden("this needs the role admin")) }
    }

    async fn roles(&self, user: &str, password: &str) -> Result<Vec<String>, Problem> {
        let key: [u8; 32] = Sha256::digest(format!("{}:{user}{password}", user.len())).into();
        let cached = self.tokens.lock().get(&key).cloned();
        if let Some(token) = cached
            && let Ok(principal) = self.authenticator.authenticate(&token).await
        {
            return Ok(principal.roles.clone());
        }
        let token = self
            .authenticator
            .password_grant(user, password)
            .await?
            .ok_or_else(|| unauthorized("the issuer rejected this name and password"))?;
        let roles = self.authenticator.authenticate(&token).await?.roles.clone();
        let mut tokens = self.tokens.lock();
        if tokens.len() >= MAX_CACHED_TOKENS {
            tokens.clear();
        }
        tokens.insert(key, token);
        Ok(roles)
    }
}

fn unauthorized(message: &str) -> Problem {
    let mut problem = Problem::new(401, message);
    problem.challenge = Some("Basic realm=\"Tradepost console\", charset=\"UTF-8\"".into());
    problem
}
