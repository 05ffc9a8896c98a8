//! Where the issuer is asked: at its public URL, or where services find it instead (Keycloak calls this the
//! back channel). Tokens name the public URL in any case.

use crate::net::http::http;
use actix_web::error::PayloadError;
use actix_web::http::StatusCode;
use awc::error::SendRequestError;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Why no address of the issuer gave a valid response.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct IssuerError(Vec<AnswerError>);

/// Why one address gave no valid response.
#[derive(Debug, thiserror::Error)]
enum AnswerError {
    #[error("{url}: {cause}")]
    Send { url: String, cause: SendRequestError },
    #[error("{url}: {cause}")]
    Payload { url: String, cause: PayloadError },
    #[error("{url}: answered {status}")]
    Status { url: String, status: StatusCode },
    #[error("{url}: {cause}")]
    Json { url: String, cause: serde_json::Error },
}

const TIMEOUT: Duration = Duration::from_secs(3);
const MAX_ANSWER: usize = 1 << 20;

/// The parts of OpenID Connect Discovery that we use.
#[derive(Debug, Clone, Deserialize)]
struct Discovered {
    jwks_uri: String,
    token_endpoint: String,
}

/// One issuer, at one or several addresses of which each can stand in for the others.
pub struct OidcClient {
    issuer: String,
    addresses: Vec<String>,
    current: AtomicUsize,
}

impl OidcClient {
    /// At these addresses, several by comma; without any, at its own URL.
    pub fn new(issuer: &str, addresses: Option<&str>) -> Self {
        let issuer = issuer.trim_end_matches('/').to_string();
        let given = addresses.unwrap_or_default().split(',').map(|one| one.trim().trim_end_matches('/').to_string());
        let mut addresses: Vec<String> = given.filter(|one| !one.is_empty()).collect();
        if addresses.is_empty() {
            addresses.push(issuer.clone());
        }
        Self { issuer, addresses, current: AtomicUsize::new(0) }
    }

    /// What tokens of this issuer name in `iss`.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// What is at the issuer's `jwks_uri`.
    pub async fn keys<T: DeserializeOwned>(&self) -> Result<T, IssuerError> {
        self.ask(async |at| get(&at(&self.discover(at).await?.jwks_uri)).await).await
    }

    /// What the token endpoint grants for this form.
    pub async fn grant<T: DeserializeOwned>(&self, form: &[(&str, &str)]) -> Result<T, IssuerError> {
        self.ask(async |at| {
            let endpoint = at(&self.discover(at).await?.token_endpoint);
            let sent = http().post(&endpoint).timeout(TIMEOUT).send_form(&form);
            read(&endpoint, sent.await.map_err(|cause| AnswerError::Send { url: endpoint.clone(), cause })?).await
        })
        .await
    }

    /// The same; `None` where the issuer says no.
    pub async fn grant_unless_refused<T: DeserializeOwned>(&self, form: &[(&str, &str)]) -> Result<Option<T>, IssuerError> {
        self.ask(async |at| {
            let endpoint = at(&self.discover(at).await?.token_endpoint);
            let sent = http().post(&endpoint).timeout(TIMEOUT).send_form(&form);
            let answer = sent.await.map_err(|cause| AnswerError::Send { url: endpoint.clone(), cause })?;
            if answer.status().is_client_error() {
                return Ok(None);
            }
            read(&endpoint, answer).await.map(Some)
        })
        .await
    }

    async fn discover(&self, at: &dyn Fn(&str) -> String) -> Result<Discovered, AnswerError> {
        get(&at(&format!("{}/.well-known/openid-configuration", self.issuer))).await
    }

    /// The first good answer, beginning at the address that answered last.
    async fn ask<T>(&self, question: impl AsyncFn(&dyn Fn(&str) -> String) -> Result<T, AnswerError>) -> Result<T, IssuerError> {
        let start = self.current.load(Ordering::Relaxed);
        let mut causes = Vec::new();
        for step in 0..self.addresses.len() {
            let index = (start + step) % self.addresses.len();
            let Some(address) = self.addresses.get(index) else { continue };
            let at = |url: &str| url.strip_prefix(&self.issuer).map_or_else(|| url.to_string(), |rest| format!("{address}{rest}"));
            match question(&at).await {
                Ok(answer) => {
                    self.current.store(index, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(cause) => causes.push(cause),
            }
        }
        Err(IssuerError(causes))
    }
}

async fn get<T: DeserializeOwned>(url: &str) -> Result<T, AnswerError> {
    let answer = http().get(url).timeout(TIMEOUT).send().await.map_err(|cause| AnswerError::Send { url: url.into(), cause })?;
    read(url, answer).await
}

async fn read<T, S>(url: &str, mut answer: awc::ClientResponse<S>) -> Result<T, AnswerError>
where
    T: DeserializeOwned,
    S: futures_util::Stream<Item = Result<actix_web::web::Bytes, PayloadError>>,
{
    if !answer.status().is_success() {
        return Err(AnswerError::Status { url: url.into(), status: answer.status() });
    }
    let body = answer.body().limit(MAX_ANSWER).await.map_err(|cause| AnswerError::Payload { url: url.into(), cause })?;
    serde_json::from_slice(&body).map_err(|cause| AnswerError::Json { url: url.into(), cause })
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::{App, HttpResponse, HttpServer, web};
    use serde_json::{Value, json};

    const ISSUER: &str = "https://id.example/realms/r";

    /// An issuer that names its public URL in its document, and is not reached there.
    fn behind() -> String {
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
    async fn the_issuer_is_asked_where_it_is_reached_and_named_as_it_is_called() {
        let reach = OidcClient::new(&format!("{ISSUER}/"), Some(&format!("http://127.0.0.1:1/realms/r, {}/", behind())));
        assert_eq!(reach.issuer(), ISSUER);
        assert_eq!(reach.keys::<Value>().await.unwrap(), json!({ "keys": [] }), "one that is away is stood in for");
        assert_eq!(reach.grant::<String>(&[("grant_type", "x")]).await.unwrap(), "grant_type=x");
        let nobody = OidcClient::new("http://127.0.0.1:1/realms/r", None).keys::<Value>().await.unwrap_err().to_string();
        assert!(nobody.contains("http://127.0.0.1:1/realms/r"), "{nobody}");
    }
}
