//! A client of the OpenID Connect issuer. It connects to the issuer's public URL, or to other addresses (Keycloak
//! calls them the back channel). The `iss` claim of tokens is always the public URL.

use crate::net::http::http;
use actix_web::error::PayloadError;
use actix_web::http::StatusCode;
use awc::error::SendRequestError;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// No address of the issuer gave a valid response; one cause per address.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct IssuerError(Vec<ResponseError>);

#[derive(Debug, thiserror::Error)]
enum ResponseError {
    #[error("{url}: {cause}")]
    Send { url: String, cause: SendRequestError },
    #[error("{url}: {cause}")]
    Payload { url: String, cause: PayloadError },
    #[error("{url}: answered {status}")]
    Status { url: String, status: StatusCode },
    #[error("{url}: {cause}")]
    Json { url: String, cause: serde_json::Error },
}

/// For a token. A caller waits for it.
const TIMEOUT: Duration = Duration::from_secs(3);
/// For the discovery document and for the key set. Longer: without keys no token is accepted, and a slow issuer must not
/// keep it so.
const KEYS_TIMEOUT: Duration = Duration::from_secs(10);
/// In bytes.
const MAX_RESPONSE_LEN: usize = 1 << 20;

/// The members of the discovery document that this client uses.
#[derive(Debug, Clone, Deserialize)]
struct DiscoveryDocument {
    jwks_uri: String,
    token_endpoint: String,
}

/// Client of one issuer, with failover between its addresses.
pub struct OidcClient {
    issuer: String,
    addresses: Vec<String>,
    current: AtomicUsize,
}

impl OidcClient {
    /// `addresses` is a comma-separated list; the default is the issuer's own URL.
    pub fn new(issuer: &str, addresses: Option<&str>) -> Self {
        let issuer = issuer.trim_end_matches('/').to_string();
        let listed = addresses.unwrap_or_default().split(',').map(|one| one.trim().trim_end_matches('/').to_string());
        let mut addresses: Vec<String> = listed.filter(|one| !one.is_empty()).collect();
        if addresses.is_empty() {
            addresses.push(issuer.clone());
        }
        Self { issuer, addresses, current: AtomicUsize::new(0) }
    }

    /// The `iss` claim of the issuer's tokens.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Fetches the key set from the issuer's `jwks_uri`.
    pub async fn keys<T: DeserializeOwned>(&self) -> Result<T, IssuerError> {
        self.with_failover(async |at| get(&at(&self.discover(at, KEYS_TIMEOUT).await?.jwks_uri), KEYS_TIMEOUT).await).await
    }

    /// Sends the form to the token endpoint.
    pub async fn request_token<T: DeserializeOwned>(&self, form: &[(&str, &str)]) -> Result<T, IssuerError> {
        self.with_failover(async |at| {
            let endpoint = at(&self.discover(at, TIMEOUT).await?.token_endpoint);
            let sent = http().post(&endpoint).timeout(TIMEOUT).send_form(&form);
            read(&endpoint, sent.await.map_err(|cause| ResponseError::Send { url: endpoint.clone(), cause })?).await
        })
        .await
    }

    /// Sends the form to the token endpoint; `None` if the issuer rejects it with 4xx.
    pub async fn request_token_unless_rejected<T: DeserializeOwned>(&self, form: &[(&str, &str)]) -> Result<Option<T>, IssuerError> {
        self.with_failover(async |at| {
            let endpoint = at(&self.discover(at, TIMEOUT).await?.token_endpoint);
            let sent = http().post(&endpoint).timeout(TIMEOUT).send_form(&form);
            let response = sent.await.map_err(|cause| ResponseError::Send { url: endpoint.clone(), cause })?;
            if response.status().is_client_error() {
                return Ok(None);
            }
            read(&endpoint, response).await.map(Some)
        })
        .await
    }

    async fn discover(&self, at: &dyn Fn(&str) -> String, limit: Duration) -> Result<DiscoveryDocument, ResponseError> {
        get(&at(&format!("{}/.well-known/openid-configuration", self.issuer)), limit).await
    }

    /// Returns the first valid response; starts with the address that responded last.
    async fn with_failover<T>(&self, request: impl AsyncFn(&dyn Fn(&str) -> String) -> Result<T, ResponseError>) -> Result<T, IssuerError> {
        let start = self.current.load(Ordering::Relaxed);
        let mut causes = Vec::new();
        for step in 0..self.addresses.len() {
            let index = (start + step) % self.addresses.len();
            let Some(address) = self.addresses.get(index) else { continue };
            let at = |url: &str| url.strip_prefix(&self.issuer).map_or_else(|| url.to_string(), |rest| format!("{address}{rest}"));
            match request(&at).await {
                Ok(response) => {
                    self.current.store(index, Ordering::Relaxed);
                    return Ok(response);
                }
                Err(cause) => causes.push(cause),
            }
        }
        Err(IssuerError(causes))
    }
}

async fn get<T: DeserializeOwned>(url: &str, limit: Duration) -> Result<T, ResponseError> {
    let response = http().get(url).timeout(limit).send().await.map_err(|cause| ResponseError::Send { url: url.into(), cause })?;
    read(url, response).await
}

async fn read<T, S>(url: &str, mut response: awc::ClientResponse<S>) -> Result<T, ResponseError>
where
    T: DeserializeOwned,
    S: futures_util::Stream<Item = Result<actix_web::web::Bytes, PayloadError>>,
{
    if !response.status().is_success() {
        return Err(ResponseError::Status { url: url.into(), status: response.status() });
    }
    let body = response.body().limit(MAX_RESPONSE_LEN).await.map_err(|cause| ResponseError::Payload { url: url.into(), cause })?;
    serde_json::from_slice(&body).map_err(|cause| ResponseError::Json { url: url.into(), cause })
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::{App, HttpResponse, HttpServer, web};
    use serde_json::{Value, json};

    const ISSUER: &str = "https://id.example/realms/r";

    /// An issuer whose document has its public URL, which is not reachable.
    fn start_issuer() -> String {
        let document = json!({ "jwks_uri": format!("{ISSUER}/certs"), "token_endpoint": format!("{ISSUER}/token") });
        let server = HttpServer::new(move || {
            let document = document.clone();
            let discovery = web::get().to(move || std::future::ready(HttpResponse::Ok().json(document.clone())));
            App::new()
                .route("/realms/r/.well-known/openid-configuration", discovery)
                .route("/realms/r/certs", web::get().to(|| std::future::ready(HttpResponse::Ok().json(json!({ "keys": [] })))))
                .route("/realms/r/token", web::post().to(|form: String| std::future::ready(HttpResponse::Ok().json(form))))
        });
        let server = server.workers(1).disable_signals().bind("127.0.0.1:0").unwrap();
        let address = server.addrs()[0];
        actix_web::rt::spawn(server.run());
        format!("http://{address}/realms/r")
    }

    #[actix_web::test]
    async fn issuer_with_other_addresses_is_called_there_and_keeps_its_public_name() {
        let client = OidcClient::new(&format!("{ISSUER}/"), Some(&format!("http://127.0.0.1:1/realms/r, {}/", start_issuer())));
        assert_eq!(client.issuer(), ISSUER);
        assert_eq!(client.keys::<Value>().await.unwrap(), json!({ "keys": [] }), "failover to the second address");
        assert_eq!(client.request_token::<String>(&[("grant_type", "x")]).await.unwrap(), "grant_type=x");
        let error = OidcClient::new("http://127.0.0.1:1/realms/r", None).keys::<Value>().await.unwrap_err().to_string();
        assert!(error.contains("http://127.0.0.1:1/realms/r"), "{error}");
    }
}
