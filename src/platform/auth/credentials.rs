//! Our own identity towards peers: OAuth 2.0 client credentials, kept until shortly before they expire.

use super::jwks;
use crate::platform::contract::client::http;
use crate::platform::problem::Problem;
use async_trait::async_trait;
use serde::Deserialize;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// Gives an access token with the role `service`.
#[async_trait(?Send)]
pub trait Credentials: Send + Sync {
    /// A token that is valid for some time yet.
    async fn token(&self) -> Result<String, Problem>;
}

/// The client credentials grant at the issuer's token endpoint.
pub struct ClientCredentials {
    issuer: String,
    id: String,
    secret: String,
    kept: Mutex<Option<(String, Instant)>>,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: u64,
}

impl ClientCredentials {
    /// For a confidential client of this issuer.
    pub fn new(issuer: &str, id: &str, secret: &str) -> Self {
        Self { issuer: issuer.trim_end_matches('/').into(), id: id.into(), secret: secret.into(), kept: Mutex::new(None) }
    }

    async fn grant(&self) -> Result<Granted, String> {
        let endpoint = jwks::discover(&self.issuer).await?.token_endpoint;
        let form = [("grant_type", "client_credentials"), ("client_id", &self.id), ("client_secret", &self.secret)];
        let mut answer =
            http().post(&endpoint).timeout(Duration::from_secs(3)).send_form(&form).await.map_err(|e| format!("{endpoint}: {e}"))?;
        let body = answer.body().await.map_err(|e| format!("{endpoint}: {e}"))?;
        if !answer.status().is_success() {
            return Err(format!("{endpoint}: answered {} to client {}", answer.status(), self.id));
        }
        serde_json::from_slice(&body).map_err(|e| format!("{endpoint}: {e}"))
    }
}

#[async_trait(?Send)]
impl Credentials for ClientCredentials {
    async fn token(&self) -> Result<String, Problem> {
        let mut kept = self.kept.lock().await;
        if let Some((token, until)) = kept.as_ref()
            && *until > Instant::now()
        {
            return Ok(token.clone());
        }
        let granted = self.grant().await.map_err(|cause| {
            tracing::error!(cause, "no token for calls to peers");
            Problem::unavailable("the token issuer is not available")
        })?;
        let margin = (granted.expires_in / 5).clamp(1, 30);
        *kept = Some((granted.access_token.clone(), Instant::now() + Duration::from_secs(granted.expires_in.saturating_sub(margin))));
        Ok(granted.access_token)
    }
}
