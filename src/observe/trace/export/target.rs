//! Where spans are sent by HTTP.

use crate::kernel::error::PartError;
use crate::kernel::secret::Secret;
use crate::kernel::uri::user_info;
use crate::net::http;
use actix_web::http::{StatusCode, Uri};
use actix_web::web::Bytes;
use awc::error::SendRequestError;
use std::time::Duration;

/// For one request with its answer, the connection included.
const LIMIT: Duration = Duration::from_secs(5);
/// Of an answer nobody reads: so much and so long, that the connection can be used again.
const MAX_ANSWER: usize = 64 << 10;
const MAX_WAIT: Duration = Duration::from_millis(500);

/// What is wrong with an address of spans. It is not shown: there may be a password in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It is none.
    #[error("expected http://[user:password@]host:port")]
    Malformed,
    /// TLS in a build without it.
    #[error("https needs a build with the feature `tls`")]
    NoTls,
    /// Its user or password.
    #[error("its credentials are not well percent-encoded")]
    Credentials,
}

/// A setting with such an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {cause}")]
pub struct TargetError {
    /// The setting.
    pub key: &'static str,
    /// What is wrong with it.
    #[source]
    pub cause: UrlError,
}

impl PartError for TargetError {}

/// An address that takes batches. Its credentials are shown nowhere.
pub struct Target {
    url: String,
    credentials: Option<(String, String)>,
    content_type: &'static str,
}

/// A client for this thread.
pub(super) fn client() -> awc::Client {
    http::build(LIMIT, Some(LIMIT))
}

/// Why a batch was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    #[error("{0}")]
    Send(SendRequestError),
    #[error("no answer in time")]
    Timeout,
    #[error("answered {0}")]
    Status(StatusCode),
    /// It could not be written down.
    #[error("{0}")]
    Encode(#[from] serde_json::Error),
}

impl SendError {
    /// Whether it may be taken later.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Send(_) | Self::Timeout => true,
            Self::Status(status) => {
                status.is_server_error() || matches!(*status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
            }
            Self::Encode(_) => false,
        }
    }
}

impl Target {
    /// From a setting: `http[s]://[user:password@]host[:port][/path]`. `key` is named where it is wrong, and what
    /// is wrong is said without the credentials.
    pub fn parse(key: &'static str, setting: &Secret, path: &str, content_type: &'static str) -> Result<Self, TargetError> {
        let (base, credentials, given) = split(setting.expose()).map_err(|cause| TargetError { key, cause })?;
        let path = if given.is_empty() { path } else { &given };
        Ok(Self { url: format!("{base}{path}"), credentials, content_type })
    }

    /// Where it is, without credentials.
    pub fn address(&self) -> &str {
        &self.url
    }

    /// Sends a batch.
    pub(super) async fn post(&self, client: &awc::Client, body: Bytes) -> Result<(), SendError> {
        let request = client.post(&self.url).content_type(self.content_type);
        let request = match &self.credentials {
            Some((user, password)) => request.basic_auth(user, password),
            None => request,
        };
        let sent = request.send_body(body);
        let mut answer = match tokio::time::timeout(LIMIT, sent).await {
            Ok(answer) => answer.map_err(SendError::Send)?,
            Err(_) => return Err(SendError::Timeout),
        };
        let status = answer.status();
        let _ = tokio::time::timeout(MAX_WAIT, answer.body().limit(MAX_ANSWER)).await;
        if status.is_success() {
            return Ok(());
        }
        Err(SendError::Status(status))
    }
}

/// Scheme with host and port, user and password, and the path where there is one.
type Parts = (String, Option<(String, String)>, String);

/// An address in its parts.
pub fn split(url: &str) -> Result<Parts, UrlError> {
    let uri: Uri = url.trim().parse().map_err(|_| UrlError::Malformed)?;
    let (Some(scheme @ ("http" | "https")), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return Err(UrlError::Malformed) };
    if scheme == "https" && cfg!(not(feature = "tls")) {
        return Err(UrlError::NoTls);
    }
    if authority.host().is_empty() || uri.query().is_some() {
        return Err(UrlError::Malformed);
    }
    let (user, host) = authority.as_str().rsplit_once('@').map_or((None, authority.as_str()), |(user, host)| (Some(user), host));
    let credentials = user.map(|user| user_info(user).ok_or(UrlError::Credentials)).transpose()?;
    Ok((format!("{scheme}://{host}"), credentials, uri.path().trim_end_matches('/').to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_all_its_parts() {
        let parts = |url: &str| split(url).unwrap();
        assert_eq!(parts("http://127.0.0.1:9411"), ("http://127.0.0.1:9411".into(), None, String::new()));
        assert_eq!(parts("http://[::1]:9411/"), ("http://[::1]:9411".into(), None, String::new()));
        let credentials = Some(("me".to_string(), "p@:w".to_string()));
        assert_eq!(parts("http://me:p%40:w@zipkin/x/spans"), ("http://zipkin".into(), credentials, "/x/spans".into()));
    }

    #[test]
    fn a_wrong_one_is_told_by_its_key_and_without_its_password() {
        for url in ["", "zipkin:9411", "ftp://zipkin", "http://", "http://me:secret@", "me:secret@zipkin", "http://zipkin/?a=secret"] {
            let wrong =
                Target::parse("telemetry.zipkin", &Secret::new(url), "/api/v2/spans", "application/json").err().unwrap().to_string();
            assert!(wrong.starts_with("telemetry.zipkin: expected") && !wrong.contains("secret"), "{url}: {wrong}");
        }
        let https = Target::parse("telemetry.zipkin", &Secret::new("https://zipkin"), "/api/v2/spans", "application/json");
        assert_eq!(https.is_ok(), cfg!(feature = "tls"));
    }

    #[test]
    fn the_path_is_the_protocols_where_none_is_given() {
        let at = |url| Target::parse("k", &Secret::new(url), "/api/v2/spans", "application/json").unwrap().url;
        assert_eq!(at("http://z:1"), "http://z:1/api/v2/spans");
        assert_eq!(at("http://me:pw@z:1/"), "http://z:1/api/v2/spans");
        assert_eq!(at("http://z:1/elsewhere"), "http://z:1/elsewhere");
    }
}
