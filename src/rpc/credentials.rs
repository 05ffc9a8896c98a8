//! Our own identity towards peers: OAuth 2.0 client credentials, kept until shortly before they expire.

use crate::kernel::problem::Problem;
use crate::rpc::oidc::{IssuerError, OidcClient};
use async_trait::async_trait;
use serde::Deserialize;
use std::sync::Arc;
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
    issuer: Arc<OidcClient>,
    id: String,
    secret: parking_lot::Mutex<String>,
    kept: Mutex<Option<(String, Instant)>>,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: u64,
}

impl ClientCredentials {
    /// For a confidential client of this issuer.
    pub fn new(issuer: Arc<OidcClient>, id: &str, secret: &str) -> Self {
        Self { issuer, id: id.into(), secret: parking_lot::Mutex::new(secret.into()), kept: Mutex::new(None) }
    }

    /// The secret to ask for the next token with; the one in use is good until it expires.
    pub fn change(&self, secret: &str) {
        *self.secret.lock() = secret.into();
    }

    async fn grant(&self) -> Result<Granted, IssuerError> {
        let secret = self.secret.lock().clone();
        let form = [("grant_type", "client_credentials"), ("client_id", &self.id), ("client_secret", &secret)];
        self.issuer.grant(&form).await
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
            Problem::unavailable("the token issuer is not available").with_cause(format!("client {}: {cause}", self.id))
        })?;
        let margin = (granted.expires_in / 5).clamp(1, 30);
        *kept = Some((granted.access_token.clone(), Instant::now() + Duration::from_secs(granted.expires_in.saturating_sub(margin))));
        Ok(granted.access_token)
    }
}
