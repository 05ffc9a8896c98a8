//! Errors of Vault requests. Their text names the setting to check, and contains no token or secret.

use std::error::Error;
use std::io;
use vaultrs::error::ClientError;

/// Why a Vault request failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{text}")]
pub struct VaultRequestError {
    /// Vault is unreachable, sealed or unavailable: a retry can succeed.
    pub is_transient: bool,
    text: String,
}

impl VaultRequestError {
    pub(super) fn unavailable(text: impl Into<String>) -> Self {
        Self { is_transient: true, text: text.into() }
    }

    pub(super) fn permanent(text: impl Into<String>) -> Self {
        Self { is_transient: false, text: text.into() }
    }

    pub(super) fn thread_ended() -> Self {
        Self::permanent("the Vault client thread has ended")
    }
}

/// How a request to Vault failed.
pub(super) enum RequestFailure {
    /// An error status, with Vault's error texts.
    Status(u16, String),
    /// No response. `untrusted`: Vault's certificate is not trusted.
    NoResponse { cause: String, untrusted: bool },
    /// A response that does not have the form of a Vault response.
    Unexpected,
}

impl RequestFailure {
    /// Keeps only the error list of a response body: the rest may contain a secret.
    pub(super) fn of(error: &ClientError) -> Self {
        use rustify::errors::ClientError as TransportError;
        match error {
            ClientError::APIError { code, errors } => RequestFailure::Status(*code, join_causes(errors)),
            ClientError::RestClientError { source: TransportError::ServerResponseError { code, .. } } => {
                RequestFailure::Status(*code, String::new())
            }
            ClientError::RestClientError {
                source: TransportError::RequestError { source, .. } | TransportError::ResponseError { source },
            } => RequestFailure::NoResponse { cause: source.root_cause().to_string(), untrusted: source.chain().any(is_untrusted) },
            _ => RequestFailure::Unexpected,
        }
    }
}

/// `source()` of an I/O error skips the rustls error that it wraps, hence `get_ref()`.
fn is_untrusted(cause: &(dyn Error + 'static)) -> bool {
    use rustls::Error::{InvalidCertificate, NoCertificatesPresented};
    match cause.downcast_ref::<io::Error>() {
        Some(outer) => outer.get_ref().is_some_and(|inner| is_untrusted(inner)),
        None => matches!(cause.downcast_ref(), Some(InvalidCertificate(_) | NoCertificatesPresented)),
    }
}

/// Vault formats several causes as a multi-line bullet list (`* cause`); joins them to one line.
fn join_causes(errors: &[String]) -> String {
    let causes = errors.iter().flat_map(|error| match error.split_once("occurred:") {
        Some((_, list)) => list.split('*').collect::<Vec<_>>(),
        None => vec![error.as_str()],
    });
    let causes: Vec<_> = causes.map(|cause| cause.split_whitespace().collect::<Vec<_>>().join(" ")).filter(|c| !c.is_empty()).collect();
    causes.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificate_error_nested_in_io_errors_is_untrusted() {
        let rejected =
            || io::Error::new(io::ErrorKind::InvalidData, rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer));
        assert!(is_untrusted(&rejected()) && is_untrusted(&io::Error::other(rejected())));
        assert!(!is_untrusted(&io::Error::other("certificate")) && !is_untrusted(&io::Error::other(rustls::Error::DecryptError)));
    }
}
