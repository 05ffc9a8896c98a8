//! This process's own access token for calls to peers: OAuth 2.0 client credentials, cached until shortly before they expire.

use crate::kernel::problem::Problem;
use crate::rpc::oidc::{IssuerError, OidcClient};
use async_trait::async_trait;
use serde::Deserialize;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// A source of access tokens with the role `service`.
#[async_trait(?Send)]
pub trait Credentials: Send + Sync {
    /// A token that does not expire soon.
    async fn token(&self) -> Result<String, Problem>;
}

/// The client credentials grant at the issuer's token endpoint.
pub struct ClientCredentials {
    issuer: Arc<OidcClient>,
    id: String,
    secret: parking_lot::Mutex<String>,
    cached: Mutex<Option<(String, Instant)>>,
}

#[derive(Deserialize)]
struct TokenResponse {
    access_token: String,
    expires_in: u64,
}

impl ClientCredentials {
    /// `id` and `secret` are those of a confidential client at this issuer.
    pub fn new(issuer: Arc<OidcClient>, id: &str, secret: &str) -> Self {
        Self { issuer, id: id.into(), secret: parking_lot::Mutex::new(secret.into()), cached: Mutex::new(None) }
    }

    /// Sets the secret for the next token request. The cached token stays in use until it expires.
    pub fn set_secret(&self, secret: &str) {
        *self.secret.lock() = secret.into();
    }

    async fn grant(&self) -> Result<TokenResponse, IssuerError> {
        let secret = self.secret.lock().clone();
        let form = [("grant_type", "client_credentials"), ("client_id", &self.id), ("client_secret", &secret)];
        self.issuer.request_token(&form).await
    }
}

#[async_trait(?Send)]
impl Credentials for ClientCredentials {
    async fn token(&self) -> Result<String, Problem> {
        let mut cached = self.cached.lock().await;
        if let Some((token, renew_at)) = cached.as_ref()
            && *renew_at > Instant::now()
        {
            return Ok(token.clone());
        }
        let granted = self.grant().await.map_err(|cause| {
            Problem::unavailable("the token issuer is not available").with_cause(format!("client {}: {cause}", self.id))
        })?;
        let margin = (granted.expires_in / 5).clamp(1, 30);
        *cached = Some((granted.access_token.clone(), Instant::now() + Duration::from_secs(granted.expires_in.saturating_sub(margin))));
        Ok(granted.access_token)
    }
}
