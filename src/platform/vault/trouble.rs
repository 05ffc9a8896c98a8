//! What went wrong with a Vault, in words that say what to do. No token and no secret is in them.

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
    /// It did not.
    None(String),
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
                Answer::None(source.root_cause().to_string())
            }
            _ => Answer::Strange,
        }
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
