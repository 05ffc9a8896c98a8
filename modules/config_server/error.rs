//! Why settings cannot be read from a backend.

use crate::kernel::problem::Problem;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

pub(super) const MAX_FILE_BYTES: usize = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub(super) enum BackendError {
    #[error(transparent)]
    Git(#[from] GitError),
    #[error("{path} cannot be read: {source}")]
    File { path: String, source: std::io::Error },
    #[error("{path} is larger than {MAX_FILE_BYTES} bytes")]
    TooLarge { path: String },
    /// The read task panicked or was cancelled.
    #[error("read task failed: {0}")]
    Reader(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The response names the file; only the log has the texts of git and the operating system.
impl From<BackendError> for Problem {
    fn from(error: BackendError) -> Self {
        let message = match &error {
            BackendError::Git(GitError::Truncated) | BackendError::Reader(_) => return Problem::internal(error),
            BackendError::Git(_) => "the repository cannot be read right now".to_string(),
            BackendError::File { path, .. } => format!("{path} cannot be read"),
            BackendError::TooLarge { .. } => error.to_string(),
        };
        Problem::unavailable(message).with_cause(error)
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum GitError {
    /// The program is missing or cannot be started.
    #[error("git cannot be run; install it, or use a folder: {0}")]
    NotRun(#[source] std::io::Error),
    /// `stderr` contains its first lines.
    #[error("git: {}", if stderr.is_empty() { status.to_string() } else { stderr.clone() })]
    Failed { status: ExitStatus, stderr: String },
    #[error("git did not finish within {} s", limit.as_secs())]
    TimedOut { limit: Duration },
    #[error("git: {0}")]
    Output(#[source] std::io::Error),
    /// The output ends before the last file does.
    #[error("git's output is truncated")]
    Truncated,
    /// A folder is missing or cannot be created.
    #[error("{}: {source}", path.display())]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("its credentials are not well percent-encoded")]
    Credentials,
}
