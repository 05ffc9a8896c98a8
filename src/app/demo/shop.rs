//! A running shop, as a client with a user's name and password sees it.

use super::ShopError;
use crate::net::http::http;
use actix_web::http::{Method, header};
use awc::error::SendRequestError;
use backon::{ExponentialBuilder, Retryable};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// The realm of the built-in issuer, below the shop's own address.
pub const REALM: &str = "/realms/spring-cloud-microservices-realm";
pub use crate::edge::auth::PASSWORD_CLIENT as CLIENT_ID;

const MAX_ANSWER: usize = 16 << 20;
/// A token that lives no longer than this is fetched anew before it is used.
const MARGIN: Duration = Duration::from_secs(30);
/// Longer than the shop itself gives a request.
const PATIENCE: Duration = Duration::from_secs(15);
/// Tries for a call that may be repeated, with a pause before each further one that doubles up to
/// the longest: seven seconds in all, so a shop may be restarted meanwhile.
const TRIES: u32 = 8;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Where a shop answers, and who asks. Tokens are fetched when needed and before they expire.
pub struct Shop {
    url: String,
    issuer: String,
    user: String,
    password: String,
    tries: u32,
    token: Mutex<Option<Token>>,
}

struct Token {
    text: String,
    fresh_until: Instant,
}

#[derive(Deserialize)]
struct Grant {
    access_token: String,
    #[serde(default)]
    expires_in: u64,
}

/// What the shop answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Its body; null where that is no JSON.
    pub body: Value,
}

#[derive(Deserialize)]
struct Page<T> {
    content: Vec<T>,
    last: bool,
}

/// A stock row.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stock {
    /// Its id, which changes name.
    pub id: i64,
    /// The product.
    pub sku_code: String,
    /// Pieces that can be sold.
    pub quantity: i64,
}

/// A call, as it is sent.
pub struct Call<'a> {
    /// Its method.
    pub method: Method,
    /// Path below the shop's address.
    pub path: String,
    /// JSON body.
    pub body: Option<Value>,
    /// `Idempotency-Key`.
    pub key: Option<&'a str>,
}

impl Answer {
    /// What the shop says about a refusal.
    pub fn message(&self) -> String {
        let message = self.body.get("message").and_then(Value::as_str).unwrap_or("without a reason");
        format!("{} {}", self.status, message.lines().next().unwrap_or_default())
    }

    /// True where the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self.status, 429 | 502..=504)
    }
}

impl Shop {
    /// The shop at this address, with its built-in issuer.
    pub fn new(url: &str, user: &str, password: &str) -> Self {
        let url = url.trim_end_matches('/').to_string();
        let issuer = format!("{url}{REALM}");
        Self { url, issuer, user: user.into(), password: password.into(), tries: TRIES, token: Mutex::new(None) }
    }

    /// Takes tokens from another issuer, e.g. a Keycloak realm.
    pub fn with_issuer(mut self, issuer: &str) -> Self {
        self.issuer = issuer.trim_end_matches('/').to_string();
        self
    }

    /// Tries once: a test of a shop that went away need not wait.
    #[cfg(test)]
    pub(super) fn impatient(mut self) -> Self {
        self.tries = 1;
        self
    }

    /// A token that is good for a while yet. One fetch at a time: the others wait for it.
    pub async fn token(&self) -> Result<String, ShopError> {
        let mut token = self.token.lock().await;
        if let Some(fresh) = token.as_ref().filter(|token| Instant::now() < token.fresh_until) {
            return Ok(fresh.text.clone());
        }
        let grant = self.grant().await?;
        let life = Duration::from_secs(grant.expires_in);
        // of a life shorter than the margin, half is used
        let fresh_until = Instant::now() + life.saturating_sub(MARGIN).max(life / 2);
        *token = Some(Token { text: grant.access_token.clone(), fresh_until });
        Ok(grant.access_token)
    }

    async fn grant(&self) -> Result<Grant, ShopError> {
        let url = format!("{}/protocol/openid-connect/token", self.issuer);
        let form =
            [("grant_type", "password"), ("client_id", CLIENT_ID), ("username", self.user.as_str()), ("password", self.password.as_str())];
        let mut answer = http().post(&url).send_form(&form).await.map_err(|cause| self.silent(cause))?;
        let status = answer.status().as_u16();
        let body = answer.body().await.map_err(|cause| ShopError::TokenBrokeOff { url: url.clone(), cause })?;
        if status == 200 {
            return serde_json::from_slice(&body).map_err(|cause| ShopError::NoToken { url, cause });
        }
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let why = ["error_description", "message", "error"].iter().find_map(|member| body.get(member).and_then(Value::as_str));
        let reason = why.unwrap_or("without a reason").to_string();
        Err(ShopError::TokenRefused { url, user: self.user.clone(), status, reason })
    }

    /// Says that nobody answered in words that help.
    fn silent(&self, cause: SendRequestError) -> ShopError {
        let url = self.url.clone();
        match cause {
            SendRequestError::Connect(_) | SendRequestError::Url(_) => ShopError::Absent { url, cause },
            SendRequestError::Timeout => ShopError::Timeout { url },
            cause => ShopError::BrokeOff { url, cause },
        }
    }

    /// Sends a call once. An error means that nobody knows what became of it.
    pub async fn send(&self, call: &Call<'_>) -> Result<Answer, ShopError> {
        let answer = self.send_with_token(call).await?;
        if answer.status != 401 {
            return Ok(answer);
        }
        // refused before anything was done: the issuer may have new keys, or the clocks differ
        *self.token.lock().await = None;
        self.send_with_token(call).await
    }

    async fn send_with_token(&self, call: &Call<'_>) -> Result<Answer, ShopError> {
        let token = self.token().await?;
        let mut request = http().request(call.method.clone(), format!("{}{}", self.url, call.path)).timeout(PATIENCE).bearer_auth(token);
        request = request.insert_header((header::ACCEPT, "application/json, application/problem+json"));
        if let Some(key) = call.key {
            request = request.insert_header(("idempotency-key", key));
        }
        let sent = match &call.body {
            Some(body) => request.send_json(body),
            None => request.send(),
        };
        let mut answer = sent.await.map_err(|cause| self.silent(cause))?;
        let status = answer.status().as_u16();
        let body = answer.body().limit(MAX_ANSWER).await.map_err(ShopError::AnswerBrokeOff)?;
        Ok(Answer { status, body: serde_json::from_slice(&body).unwrap_or_default() })
    }

    /// Sends a call that may be repeated: again, a bounded number of times, while the shop is busy or silent.
    pub async fn send_patiently(&self, call: &Call<'_>) -> Result<Answer, ShopError> {
        let retries = self.tries.saturating_sub(1) as usize;
        let backoff = ExponentialBuilder::new().with_min_delay(FIRST_PAUSE).with_max_delay(LONGEST_PAUSE).with_max_times(retries);
        // an answer can be a reason to retry as well: the last one is handed on, whichever it is
        let attempt = || async {
            match self.send(call).await {
                Ok(answer) if !answer.is_transient() && !in_progress(call, &answer) => Ok(answer),
                other => Err(other),
            }
        };
        attempt.retry(backoff).await.or_else(|last| last)
    }

    /// All stock rows by SKU code.
    pub async fn stock(&self) -> Result<BTreeMap<String, Stock>, ShopError> {
        let mut stock = BTreeMap::new();
        for number in 0.. {
            let page: Page<Stock> = self.read(format!("/api/v1/inventory?page={number}&size=1000")).await?;
            stock.extend(page.content.into_iter().map(|row| (row.sku_code.clone(), row)));
            if page.last {
                break;
            }
        }
        Ok(stock)
    }

    async fn read<T: DeserializeOwned>(&self, path: String) -> Result<T, ShopError> {
        let call = Call { method: Method::GET, path, body: None, key: None };
        let answer = self.send_patiently(&call).await?;
        if answer.status != 200 {
            return Err(ShopError::NotRead { path: call.path, answer: answer.message() });
        }
        serde_json::from_value(answer.body).map_err(|cause| ShopError::Unreadable { path: call.path, cause })
    }
}

/// The first try of this key may still be at work in the shop when the second one comes.
fn in_progress(call: &Call<'_>, answer: &Answer) -> bool {
    call.key.is_some() && answer.status == 409
}

/// An access token of a user, from the issuer of the shop at this address.
pub async fn token(url: &str, user: &str, password: &str) -> Result<String, ShopError> {
    Shop::new(url, user, password).token().await
}
