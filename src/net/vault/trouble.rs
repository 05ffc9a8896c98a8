//! What went wrong with a Vault, in words that say what to do. No token and no secret is in them.

use std::error::Error;
use std::io;
use vaultrs::error::ClientError;

/// Why there is no secret.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{text}")]
pub struct Trouble {
    /// It cannot be reached, is sealed, or is not itself: a repetition makes sense.
    pub away: bool,
    text: String,
}

impl Trouble {
    pub(super) fn away(text: impl Into<String>) -> Self {
        Self { away: true, text: text.into() }
    }

    pub(super) fn refused(text: impl Into<String>) -> Self {
        Self { away: false, text: text.into() }
    }

    pub(super) fn ended() -> Self {
        Self::refused("the thread that asks Vault has ended")
    }
}

/// What Vault answered a request that came to nothing.
pub(super) enum Answer {
    /// It answered with this status, and said this of it.
    Status(u16, String),
    /// It did not; `untrusted`: because its certificate is not trusted.
    None { cause: String, untrusted: bool },
    /// It, or something else, answered what is no answer of Vault's.
    Strange,
}

impl Answer {
    /// Of bodies only the list of errors is kept: the rest of one may be a secret.
    pub(super) fn of(error: &ClientError) -> Self {
        use rustify::errors::ClientError as Sent;
        match error {
            ClientError::APIError { code, errors } => Answer::Status(*code, plain(errors)),
            ClientError::RestClientError { source: Sent::ServerResponseError { code, .. } } => Answer::Status(*code, String::new()),
            ClientError::RestClientError { source: Sent::RequestError { source, .. } | Sent::ResponseError { source } } => {
                Answer::None { cause: source.root_cause().to_string(), untrusted: source.chain().any(is_untrusted) }
            }
            _ => Answer::Strange,
        }
    }
}

/// An I/O error holds the error of rustls, and does not return it by `source()`.
fn is_untrusted(cause: &(dyn Error + 'static)) -> bool {
    use rustls::Error::{InvalidCertificate, NoCertificatesPresented};
    match cause.downcast_ref::<io::Error>() {
        Some(outer) => outer.get_ref().is_some_and(|inner| is_untrusted(inner)),
        None => matches!(cause.downcast_ref(), Some(InvalidCertificate(_) | NoCertificatesPresented)),
    }
}

/// Vault lists several causes as text of lines and stars.
fn plain(errors: &[String]) -> String {
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
    fn untrusted_certificate_within_io_errors_is_found() {
        let rejected =
            || io::Error::new(io::ErrorKind::InvalidData, rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer));
        assert!(is_untrusted(&rejected()) && is_untrusted(&io::Error::other(rejected())));
        assert!(!is_untrusted(&io::Error::other("certificate")) && !is_untrusted(&io::Error::other(rustls::Error::DecryptError)));
    }
}
