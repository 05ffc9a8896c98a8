//! The registries' addresses, and a call to the first of them that answers.

use crate::kernel::uri::user_info;
use crate::net::http::http;
use actix_web::error::PayloadError;
use actix_web::http::{Method, header};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A registry answers in milliseconds; one that does not is away.
const TIMEOUT: Duration = Duration::from_secs(3);
/// A registry of ten thousand instances.
const MAX_ANSWER: usize = 32 << 20;

/// What is wrong with an address. It is not shown: there may be a password in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// There is none.
    #[error("expected an address such as http://127.0.0.1:8761/eureka, or several by comma")]
    Missing,
    /// It is none.
    #[error("expected http://[user:password@]host:port/path, several by comma")]
    Malformed,
    /// Its user or password.
    #[error("its credentials are not well percent-encoded")]
    Credentials,
}

/// Why a call to the registries failed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No registry answered.
    #[error("{}", .0.iter().map(|(address, cause)| format!("{address}: {cause}")).collect::<Vec<_>>().join("; "))]
    Away(Vec<(String, CallError)>),
    /// The response cannot be parsed.
    #[error("the registry's answer is not understood: {0}")]
    NotUnderstood(#[from] serde_json::Error),
    /// One answered a fetch with another status.
    #[error("GET /apps/ answered {status}")]
    NotFetched {
        /// HTTP status.
        status: u16,
    },
    /// One refused a registration.
    #[error("registration was answered {status}: {body}")]
    NotRegistered {
        /// HTTP status.
        status: u16,
        /// Its response body.
        body: String,
    },
    /// One refused a renewal.
    #[error("renewal was answered {status}")]
    NotRenewed {
        /// HTTP status.
        status: u16,
    },
}

/// Why one registry did not answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// It was not reached, or broke off. This is awc's text: its error cannot leave the thread.
    #[error("{0}")]
    Send(String),
    /// Its answer broke off.
    #[error("{0}")]
    Payload(PayloadError),
    /// It does not take our credentials.
    #[error("answered {status}; are there good credentials in its URL?")]
    Refused {
        /// HTTP status.
        status: u16,
    },
    /// It fails.
    #[error("answered {status}")]
    Failed {
        /// HTTP status.
        status: u16,
    },
}

/// One registry. Its credentials are shown nowhere.
struct Server {
    base: String,
    credentials: Option<(String, String)>,
}

/// Registries of which each can stand in for the others.
pub struct Servers {
    servers: Vec<Server>,
    current: AtomicUsize,
}

/// What a registry answered.
pub struct Answer {
    /// HTTP status, never 5xx.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The JSON in it, where it is what was asked for.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, RegistryError> {
        Ok(serde_json::from_slice(&self.body)?)
    }
}

impl Servers {
    /// From URLs by comma, as `eureka.client.service-url.defaultZone` has them: with Basic credentials
    /// in front of the host. What is wrong is said without them.
    pub fn parse(urls: &str) -> Result<Self, AddressError> {
        let servers = urls.split(',').map(str::trim).filter(|url| !url.is_empty()).map(Server::parse).collect::<Result<Vec<_>, _>>()?;
        if servers.is_empty() {
            return Err(AddressError::Missing);
        }
        Ok(Self { servers, current: AtomicUsize::new(0) })
    }

    /// With these credentials where the URLs name none.
    pub fn or_as(mut self, user: &str, password: &str) -> Self {
        for server in &mut self.servers {
            server.credentials.get_or_insert_with(|| (user.into(), password.into()));
        }
        self
    }

    /// The addresses, without credentials.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        self.servers.iter().map(|server| server.base.as_str())
    }

    /// The first answer, beginning with the registry that answered last. Away, or 5xx: the next is asked.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, RegistryError> {
        let start = self.current.load(Ordering::Relaxed);
        let mut causes = Vec::new();
        for step in 0..self.servers.len() {
            let index = (start + step) % self.servers.len();
            let Some(server) = self.servers.get(index) else { continue };
            match server.call(&method, path, body).await {
                Ok(answer) => {
                    self.current.store(index, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(cause) => causes.push((server.base.clone(), cause)),
            }
        }
        Err(RegistryError::Away(causes))
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

    async fn call(&self, method: &Method, path: &str, body: Option<&Value>) -> Result<Answer, CallError> {
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
        let mut answer = sent.await.map_err(|cause| CallError::Send(cause.to_string()))?;
        let status = answer.status().as_u16();
        if matches!(status, 401 | 403) {
            return Err(CallError::Refused { status });
        }
        if status >= 500 {
            return Err(CallError::Failed { status });
        }
        let body = answer.body().limit(MAX_ANSWER).await.map_err(CallError::Payload)?.to_vec();
        Ok(Answer { status, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_taken_out_of_the_address() {
        let servers = Servers::parse("http://us%40er:p%3Aw@a:1/eureka/, https://b/eureka/v2").unwrap();
        assert_eq!(servers.addresses().collect::<Vec<_>>(), ["http://a:1/eureka", "https://b/eureka/v2"]);
        assert_eq!(servers.servers[0].credentials, Some(("us@er".into(), "p:w".into())));
    }

    #[test]
    fn credentials_of_our_own_are_for_those_without() {
        let servers = Servers::parse("http://a:1/eureka,http://u:p@b:1/eureka").unwrap().or_as("us", "pw");
        let sent: Vec<_> = servers.servers.iter().flat_map(|server| server.credentials.clone()).collect();
        assert_eq!(sent, [("us".into(), "pw".into()), ("u".to_string(), "p".to_string())]);
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for wrong in ["", "user:topsecret@host", "ftp://user:topsecret@host", "http://user:topsecret@/x", "http://u:topsecret%zz@h"] {
            let said = Servers::parse(wrong).err().unwrap().to_string();
            assert!(!said.contains("topsecret"), "{said}");
        }
    }
}
