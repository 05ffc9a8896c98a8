//! HTTP client of a running shop, with a user's name and password.

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

const MAX_RESPONSE: usize = 16 << 20;
/// A token is renewed this long before it expires.
const RENEWAL_MARGIN: Duration = Duration::from_secs(30);
/// Longer than the shop's own request timeout.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// Attempts of a request that may be repeated, with exponential backoff: seven seconds in total, enough for a restart of the
/// shop.
const MAX_ATTEMPTS: u32 = 8;
const MIN_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// Acquires tokens on demand and renews them before they expire.
pub struct Shop {
    url: String,
    issuer: String,
    user: String,
    password: String,
    attempts: u32,
    token: Mutex<Option<Token>>,
}

struct Token {
    text: String,
    renew_at: Instant,
}

#[derive(Deserialize)]
struct Grant {
    access_token: String,
    #[serde(default)]
    expires_in: u64,
}

#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    /// Null if the body is not JSON.
    pub body: Value,
}

#[derive(Deserialize)]
struct Page<T> {
    content: Vec<T>,
    last: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stock {
    /// Path parameter of stock adjustments.
    pub id: i64,
    pub sku_code: String,
    /// Pieces available for sale.
    pub quantity: i64,
}

pub struct Request<'a> {
    pub method: Method,
    /// Relative to the shop's URL.
    pub path: String,
    pub body: Option<Value>,
    /// `Idempotency-Key`.
    pub key: Option<&'a str>,
}

impl Response {
    /// Status and first line of the error message.
    pub fn message(&self) -> String {
        let message = self.body.get("message").and_then(Value::as_str).unwrap_or("no message");
        format!("{} {}", self.status, message.lines().next().unwrap_or_default())
    }

    /// The same request may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self.status, 429 | 502..=504)
    }
}

impl Shop {
    /// Uses the shop's built-in issuer.
    pub fn new(url: &str, user: &str, password: &str) -> Self {
        let url = url.trim_end_matches('/').to_string();
        let issuer = format!("{url}{REALM}");
        Self { url, issuer, user: user.into(), password: password.into(), attempts: MAX_ATTEMPTS, token: Mutex::new(None) }
    }

    /// Acquires tokens from another issuer, such as a Keycloak realm.
    pub fn with_issuer(mut self, issuer: &str) -> Self {
        self.issuer = issuer.trim_end_matches('/').to_string();
        self
    }

    /// For tests of an unreachable shop.
    #[cfg(test)]
    pub(super) fn without_retries(mut self) -> Self {
        self.attempts = 1;
        self
    }

    /// The cached token, or a new one close to its expiry. Concurrent callers wait for one request.
    pub async fn token(&self) -> Result<String, ShopError> {
        let mut token = self.token.lock().await;
        if let Some(cached) = token.as_ref().filter(|token| Instant::now() < token.renew_at) {
            return Ok(cached.text.clone());
        }
        let grant = self.request_token().await?;
        let lifetime = Duration::from_secs(grant.expires_in);
        // a lifetime shorter than the margin is used by half
        let renew_at = Instant::now() + lifetime.saturating_sub(RENEWAL_MARGIN).max(lifetime / 2);
        *token = Some(Token { text: grant.access_token.clone(), renew_at });
        Ok(grant.access_token)
    }

    async fn request_token(&self) -> Result<Grant, ShopError> {
        let url = format!("{}/protocol/openid-connect/token", self.issuer);
        let form =
            [("grant_type", "password"), ("client_id", CLIENT_ID), ("username", self.user.as_str()), ("password", self.password.as_str())];
        let mut response = http().post(&url).send_form(&form).await.map_err(|cause| self.classify(cause))?;
        let status = response.status().as_u16();
        let body = response.body().await.map_err(|cause| ShopError::IncompleteTokenResponse { url: url.clone(), cause })?;
        if status == 200 {
            return serde_json::from_slice(&body).map_err(|cause| ShopError::MalformedToken { url, cause });
        }
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let message = ["error_description", "message", "error"].iter().find_map(|member| body.get(member).and_then(Value::as_str));
        let reason = message.unwrap_or("no message").to_string();
        Err(ShopError::LoginRejected { url, user: self.user.clone(), status, reason })
    }

    fn classify(&self, cause: SendRequestError) -> ShopError {
        let url = self.url.clone();
        match cause {
            SendRequestError::Connect(_) | SendRequestError::Url(_) => ShopError::Unreachable { url, cause },
            SendRequestError::Timeout => ShopError::Timeout { url },
            cause => ShopError::Disconnected { url, cause },
        }
    }

    /// Sends a request once. After an error its effect is unknown.
    pub async fn send(&self, request: &Request<'_>) -> Result<Response, ShopError> {
        let response = self.send_with_token(request).await?;
        if response.status != 401 {
            return Ok(response);
        }
        // rejected before any effect: the issuer may have new keys, or the clocks differ
        *self.token.lock().await = None;
        self.send_with_token(request).await
    }

    async fn send_with_token(&self, request: &Request<'_>) -> Result<Response, ShopError> {
        let token = self.token().await?;
        let mut http_request =
            http().request(request.method.clone(), format!("{}{}", self.url, request.path)).timeout(REQUEST_TIMEOUT).bearer_auth(token);
        http_request = http_request.insert_header((header::ACCEPT, "application/json, application/problem+json"));
        if let Some(key) = request.key {
            http_request = http_request.insert_header(("idempotency-key", key));
        }
        let sent = match &request.body {
            Some(body) => http_request.send_json(body),
            None => http_request.send(),
        };
        let mut response = sent.await.map_err(|cause| self.classify(cause))?;
        let status = response.status().as_u16();
        let body = response.body().limit(MAX_RESPONSE).await.map_err(ShopError::IncompleteResponse)?;
        Ok(Response { status, body: serde_json::from_slice(&body).unwrap_or_default() })
    }

    /// Sends an idempotent request; retries transient responses and connection errors.
    pub async fn send_with_retries(&self, request: &Request<'_>) -> Result<Response, ShopError> {
        let retries = self.attempts.saturating_sub(1) as usize;
        let backoff = ExponentialBuilder::new().with_min_delay(MIN_BACKOFF).with_max_delay(MAX_BACKOFF).with_max_times(retries);
        // transient responses are retried like errors; the last outcome is returned, response or error
        let attempt = || async {
            match self.send(request).await {
                Ok(response) if !response.is_transient() && !in_progress(request, &response) => Ok(response),
                other => Err(other),
            }
        };
        attempt.retry(backoff).await.or_else(|last| last)
    }

    /// By SKU code.
    pub async fn stock(&self) -> Result<BTreeMap<String, Stock>, ShopError> {
        let mut stock = BTreeMap::new();
        for number in 0.. {
            let page: Page<Stock> = self.get(format!("/api/v1/inventory?page={number}&size=1000")).await?;
            stock.extend(page.content.into_iter().map(|row| (row.sku_code.clone(), row)));
            if page.last {
                break;
            }
        }
        Ok(stock)
    }

    async fn get<T: DeserializeOwned>(&self, path: String) -> Result<T, ShopError> {
        let request = Request { method: Method::GET, path, body: None, key: None };
        let response = self.send_with_retries(&request).await?;
        if response.status != 200 {
            return Err(ShopError::ReadFailed { path: request.path, response: response.message() });
        }
        serde_json::from_value(response.body).map_err(|cause| ShopError::MalformedResponse { path: request.path, cause })
    }
}

/// The shop may still process the first request with this idempotency key.
fn in_progress(request: &Request<'_>, response: &Response) -> bool {
    request.key.is_some() && response.status == 409
}

pub async fn token(url: &str, user: &str, password: &str) -> Result<String, ShopError> {
    Shop::new(url, user, password).token().await
}
