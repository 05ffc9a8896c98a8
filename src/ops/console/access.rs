//! Who may look: whoever has the role `admin`.
//!
//! A program sends an access token, as everywhere. A browser asks for name and password (RFC 7617), which are
//! exchanged for an access token at the issuer, by the grant and the client that the shop's own commands use. So
//! there are no further passwords, no sessions and no cookies, and the issuer's limit of guesses holds here, too.
//! A password that is withdrawn is good here until its token expires, as for every program that has one.
//! Nothing can be changed here: that a browser sends the password along by itself harms nobody.

use crate::edge::auth::Authenticator;
use crate::edge::auth::basic::credentials;
use crate::edge::web::bearer;
use crate::kernel::problem::Problem;
use actix_web::HttpRequest;
use actix_web::http::header;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::collections::HashMap;

/// People whose tokens are remembered at once.
const REMEMBER: usize = 64;

/// Checks who asks.
pub(super) struct Access {
    authenticator: Authenticator,
    /// Tokens by a digest of name and password.
    tokens: Mutex<HashMap<[u8; 32], String>>,
}

impl Access {
    pub(super) fn new(authenticator: Authenticator) -> Self {
        Self { authenticator, tokens: Mutex::default() }
    }

    /// 401 asks for name and password, 403 says that they are not enough.
    pub(super) async fn check(&self, request: &HttpRequest) -> Result<(), Problem> {
        let sent = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let roles = match sent.and_then(credentials) {
            Some((user, password)) => self.roles(&user, &password).await?,
            None if sent.is_some() => self.authenticator.authenticate(&bearer(request)?).await?.roles.clone(),
            None => return Err(ask("the console asks for an administrator's name and password, or for an access token")),
        };
        if roles.iter().any(|role| role == "admin") { Ok(()) } else { Err(Problem::forbidden("this needs the role admin")) }
    }

    async fn roles(&self, user: &str, password: &str) -> Result<Vec<String>, Problem> {
        let key: [u8; 32] = Sha256::digest(format!("{}:{user}{password}", user.len())).into();
        let known = self.tokens.lock().get(&key).cloned();
        if let Some(token) = known
            && let Ok(principal) = self.authenticator.authenticate(&token).await
        {
            return Ok(principal.roles.clone());
        }
        let token =
            self.authenticator.login(user, password).await?.ok_or_else(|| ask("the issuer does not take this name and password"))?;
        let roles = self.authenticator.authenticate(&token).await?.roles.clone();
        let mut tokens = self.tokens.lock();
        if tokens.len() >= REMEMBER {
            tokens.clear();
        }
        tokens.insert(key, token);
        Ok(roles)
    }
}

fn ask(why: &str) -> Problem {
    let mut problem = Problem::new(401, why);
    problem.challenge = Some("Basic realm=\"Tradepost console\", charset=\"UTF-8\"".into());
    problem
}
