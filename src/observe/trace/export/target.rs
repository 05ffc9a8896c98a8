//! An HTTP endpoint that receives spans.

use crate::kernel::error::ComponentError;
use crate::kernel::secret::Secret;
use crate::kernel::uri::user_info;
use crate::net::http;
use actix_web::http::{StatusCode, Uri};
use actix_web::web::Bytes;
use awc::error::SendRequestError;
use std::time::Duration;

/// From the TCP connect to the response head.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// The response body is discarded; it is drained within these limits so that the connection can be reused.
const MAX_DRAIN_BYTES: usize = 64 << 10;
const DRAIN_TIMEOUT: Duration = Duration::from_millis(500);

/// Why an address is invalid. The address is not shown, as it may contain a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error("expected http://[user:password@]host:port")]
    Malformed,
    #[error("https needs a build with the feature `tls`")]
    NoTls,
    #[error("its credentials are not well percent-encoded")]
    Credentials,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {cause}")]
pub struct TargetError {
    pub key: &'static str,
    #[source]
    pub cause: UrlError,
}

impl ComponentError for TargetError {}

/// An endpoint that receives batches. Its credentials are never shown.
pub struct Target {
    url: String,
    credentials: Option<(String, String)>,
    content_type: &'static str,
}

pub(super) fn client() -> awc::Client {
    http::build(REQUEST_TIMEOUT, Some(REQUEST_TIMEOUT))
}

#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    #[error("{0}")]
    Send(SendRequestError),
    #[error("no answer in time")]
    Timeout,
    #[error("answered {0}")]
    Status(StatusCode),
    #[error("{0}")]
    Encode(#[from] serde_json::Error),
}

impl SendError {
    /// Whether a retry can succeed.
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
    /// Parses a setting `http[s]://[user:password@]host[:port][/path]`. Errors name `key` and omit the credentials.
    pub fn parse(key: &'static str, setting: &Secret, path: &str, content_type: &'static str) -> Result<Self, TargetError> {
        let (base, credentials, own_path) = split(setting.expose()).map_err(|cause| TargetError { key, cause })?;
        let path = if own_path.is_empty() { path } else { &own_path };
        Ok(Self { url: format!("{base}{path}"), credentials, content_type })
    }

    /// The URL without credentials.
    pub fn address(&self) -> &str {
        &self.url
    }

    pub(super) async fn post(&self, client: &awc::Client, body: Bytes) -> Result<(), SendError> {
        let request = client.post(&self.url).content_type(self.content_type);
        let request = match &self.credentials {
            Some((user, password)) => request.basic_auth(user, password),
            None => request,
        };
        let sent = request.send_body(body);
        let mut response = match tokio::time::timeout(REQUEST_TIMEOUT, sent).await {
            Ok(response) => response.map_err(SendError::Send)?,
            Err(_) => return Err(SendError::Timeout),
        };
        let status = response.status();
        let _ = tokio::time::timeout(DRAIN_TIMEOUT, response.body().limit(MAX_DRAIN_BYTES)).await;
        if status.is_success() {
            return Ok(());
        }
        Err(SendError::Status(status))
    }
}

/// `scheme://host:port`, user and password, and the path (empty if there is none).
type UrlParts = (String, Option<(String, String)>, String);

pub fn split(url: &str) -> Result<UrlParts, UrlError> {
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
    fn address_with_credentials_and_path_is_split() {
        let parts = |url: &str| split(url).unwrap();
        assert_eq!(parts("http://127.0.0.1:9411"), ("http://127.0.0.1:9411".into(), None, String::new()));
        assert_eq!(parts("http://[::1]:9411/"), ("http://[::1]:9411".into(), None, String::new()));
        let credentials = Some(("me".to_string(), "p@:w".to_string()));
        assert_eq!(parts("http://me:p%40:w@zipkin/x/spans"), ("http://zipkin".into(), credentials, "/x/spans".into()));
    }

    #[test]
    fn malformed_address_error_has_the_key_and_no_password() {
        for url in ["", "zipkin:9411", "ftp://zipkin", "http://", "http://me:secret@", "me:secret@zipkin", "http://zipkin/?a=secret"] {
            let wrong =
                Target::parse("telemetry.zipkin", &Secret::new(url), "/api/v2/spans", "application/json").err().unwrap().to_string();
            assert!(wrong.starts_with("telemetry.zipkin: expected") && !wrong.contains("secret"), "{url}: {wrong}");
        }
        let https = Target::parse("telemetry.zipkin", &Secret::new("https://zipkin"), "/api/v2/spans", "application/json");
        assert_eq!(https.is_ok(), cfg!(feature = "tls"));
    }

    #[test]
    fn address_without_path_gets_the_default_path() {
        let at = |url| Target::parse("k", &Secret::new(url), "/api/v2/spans", "application/json").unwrap().url;
        assert_eq!(at("http://z:1"), "http://z:1/api/v2/spans");
        assert_eq!(at("http://me:pw@z:1/"), "http://z:1/api/v2/spans");
        assert_eq!(at("http://z:1/elsewhere"), "http://z:1/elsewhere");
    }
}
