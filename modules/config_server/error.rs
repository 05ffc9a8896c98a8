//! Why settings cannot be read from a backend.

use crate::kernel::problem::Problem;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// No settings file is larger, in bytes.
pub(super) const LARGEST: usize = 1 << 20;

/// Why settings files cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum BackendError {
    #[error(transparent)]
    Git(#[from] GitError),
    /// The operating system refuses a file.
    #[error("{path} cannot be read: {source}")]
    File { path: String, source: std::io::Error },
    #[error("{path} is larger than {LARGEST} bytes")]
    TooLarge { path: String },
    /// The thread that was to read has died.
    #[error("reading broke off: {0}")]
    Reader(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The caller reads which file it is; the log reads what git and the operating system said.
impl From<BackendError> for Problem {
    fn from(error: BackendError) -> Self {
        let shown = match &error {
            BackendError::Git(GitError::CutShort) | BackendError::Reader(_) => return Problem::internal(error),
            BackendError::Git(_) => "the repository cannot be read right now".to_string(),
            BackendError::File { path, .. } => format!("{path} cannot be read"),
            BackendError::TooLarge { .. } => error.to_string(),
        };
        Problem::unavailable(shown).with_cause(error)
    }
}

/// Why git does not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum GitError {
    /// There is no such program, or the system does not start it.
    #[error("git cannot be run; install it, or use a folder: {0}")]
    NotRun(#[source] std::io::Error),
    /// It ended with this status; `stderr` are the first lines that it wrote.
    #[error("git: {}", if stderr.is_empty() { status.to_string() } else { stderr.clone() })]
    Failed { status: ExitStatus, stderr: String },
    #[error("git took longer than {} s", limit.as_secs())]
    TimedOut { limit: Duration },
    /// Its output could not be read.
    #[error("git: {0}")]
    Output(#[source] std::io::Error),
    /// Its answer ends before the last file does.
    #[error("git's answer is cut short")]
    CutShort,
    /// A folder is not there, or cannot be made.
    #[error("{}: {source}", path.display())]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("its credentials are not well percent-encoded")]
    Credentials,
}
