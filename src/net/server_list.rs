//! A list of registries, and calls that fail over to the next one.

use crate::kernel::uri::user_info;
use crate::net::http::http;
use actix_web::error::PayloadError;
use actix_web::http::{Method, header};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A registry answers in milliseconds; after this time it counts as down.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Enough for a registry of ten thousand instances.
const MAX_RESPONSE_BYTES: usize = 32 << 20;

/// Why an address is invalid. The address is not shown, as it may contain a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("expected an address such as http://127.0.0.1:8761/eureka, or several by comma")]
    Missing,
    #[error("expected http://[user:password@]host:port/path, several by comma")]
    Malformed,
    #[error("its credentials are not well percent-encoded")]
    Credentials,
}

/// Why a call to the registries failed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No registry answered: each address with its cause.
    #[error("{}", .0.iter().map(|(address, cause)| format!("{address}: {cause}")).collect::<Vec<_>>().join("; "))]
    Unreachable(Vec<(String, CallError)>),
    #[error("the registry's response cannot be parsed: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("GET /apps/ answered {status}")]
    NotFetched { status: u16 },
    #[error("registration was answered {status}: {body}")]
    NotRegistered { status: u16, body: String },
    #[error("renewal was answered {status}")]
    NotRenewed { status: u16 },
}

/// Why a call to one registry failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Not connected, or disconnected. Text of awc's error, which is not `Send`.
    #[error("{0}")]
    Send(String),
    /// Disconnected while the response was read.
    #[error("{0}")]
    Payload(PayloadError),
    /// 401 or 403.
    #[error("answered {status}; are there good credentials in its URL?")]
    Unauthorized { status: u16 },
    /// 5xx.
    #[error("answered {status}")]
    ServerError { status: u16 },
}

/// One registry. Its credentials are never shown.
struct Server {
    base: String,
    credentials: Option<(String, String)>,
}

/// Registries with the same content: each can replace another.
pub struct Servers {
    servers: Vec<Server>,
    current: AtomicUsize,
}

pub struct Response {
    /// Never 5xx.
    pub status: u16,
    pub body: Vec<u8>,
}

impl Response {
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, RegistryError> {
        Ok(serde_json::from_slice(&self.body)?)
    }
}

impl Servers {
    /// Parses comma-separated URLs in the form of `eureka.client.service-url.defaultZone`, with Basic credentials
    /// before the host. Errors do not contain the credentials.
    pub fn parse(urls: &str) -> Result<Self, AddressError> {
        let servers = urls.split(',').map(str::trim).filter(|url| !url.is_empty()).map(Server::parse).collect::<Result<Vec<_>, _>>()?;
        if servers.is_empty() {
            return Err(AddressError::Missing);
        }
        Ok(Self { servers, current: AtomicUsize::new(0) })
    }

    /// Uses these credentials for URLs without any.
    pub fn with_default_credentials(mut self, user: &str, password: &str) -> Self {
        for server in &mut self.servers {
            server.credentials.get_or_insert_with(|| (user.into(), password.into()));
        }
        self
    }

    /// The addresses, without credentials.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        self.servers.iter().map(|server| server.base.as_str())
    }

    /// Returns the first response, starting with the registry that answered last. After a connection error or a
    /// 5xx, the next registry is called.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Response, RegistryError> {
        let start = self.current.load(Ordering::Relaxed);
        let mut causes = Vec::new();
        for step in 0..self.servers.len() {
            let index = (start + step) % self.servers.len();
            let Some(server) = self.servers.get(index) else { continue };
            match server.call(&method, path, body).await {
                Ok(response) => {
                    self.current.store(index, Ordering::Relaxed);
                    return Ok(response);
                }
                Err(cause) => causes.push((server.base.clone(), cause)),
            }
        }
        Err(RegistryError::Unreachable(causes))
    }
}

impl Server {
    fn parse(url: &str) -> Result<Self, AddressError> {
        let (scheme, rest) = url.split_once("://").ok_or(AddressError::Malformed)?;
        let authority = rest.split('/').next().unwrap_or_default();
        let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
        if !matches!(scheme, "http" | "https") || host.is_empty() {
            return Err(AddressError::Malformed);
        }
        let path = rest.get(authority.len()..).unwrap_or_default().trim_end_matches('/');
        let credentials = user.map(|user| user_info(user).ok_or(AddressError::Credentials)).transpose()?;
        Ok(Self { base: format!("{scheme}://{host}{path}"), credentials })
    }

    async fn call(&self, method: &Method, path: &str, body: Option<&Value>) -> Result<Response, CallError> {
        let mut request = http().request(method.clone(), format!("{}{path}", self.base)).timeout(TIMEOUT);
        request = request.insert_header((header::ACCEPT, "application/json"));
        if path.starts_with("/peerreplication") {
            request = request.insert_header(("x-netflix-discovery-replication", "true"));
        }
        if let Some((name, password)) = &self.credentials {
            request = request.basic_auth(name, password);
        }
        let sent = match body {
            Some(body) => request.send_json(body),
            None => request.send(),
        };
        let mut response = sent.await.map_err(|cause| CallError::Send(cause.to_string()))?;
        let status = response.status().as_u16();
        if matches!(status, 401 | 403) {
            return Err(CallError::Unauthorized { status });
        }
        if status >= 500 {
            return Err(CallError::ServerError { status });
        }
        let body = response.body().limit(MAX_RESPONSE_BYTES).await.map_err(CallError::Payload)?.to_vec();
        Ok(Response { status, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_with_credentials_are_shown_without_them() {
        let servers = Servers::parse("http://us%40er:p%3Aw@a:1/eureka/, https://b/eureka/v2").unwrap();
        assert_eq!(servers.addresses().collect::<Vec<_>>(), ["http://a:1/eureka", "https://b/eureka/v2"]);
        assert_eq!(servers.servers[0].credentials, Some(("us@er".into(), "p:w".into())));
    }

    #[test]
    fn default_credentials_apply_only_to_addresses_without() {
        let servers = Servers::parse("http://a:1/eureka,http://u:p@b:1/eureka").unwrap().with_default_credentials("us", "pw");
        let sent: Vec<_> = servers.servers.iter().flat_map(|server| server.credentials.clone()).collect();
        assert_eq!(sent, [("us".into(), "pw".into()), ("u".to_string(), "p".to_string())]);
    }

    #[test]
    fn malformed_address_error_omits_the_password() {
        for wrong in ["", "user:topsecret@host", "ftp://user:topsecret@host", "http://user:topsecret@/x", "http://u:topsecret%zz@h"] {
            let error = Servers::parse(wrong).err().unwrap().to_string();
            assert!(!error.contains("topsecret"), "{error}");
        }
    }
}
