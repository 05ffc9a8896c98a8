//! Why the processes of a split shop do not start.

use crate::kernel::files::FileError;
use std::io;

/// Why a split shop does not start.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say what the fields are")]
pub enum UpError {
    /// A process that the system does not start.
    #[error("{name}: cannot be started: {cause}")]
    Spawn {
        name: String,
        #[source]
        cause: io::Error,
    },
    /// A process that ended or hung.
    #[error("{name} did not get ready; its own words are above")]
    NotReady { name: String },
    /// A process that does not know its peers.
    #[error("{name} did not find the others in the registry")]
    NotAcquainted { name: String },
    /// All ports are taken.
    #[error("no free port: {0}")]
    NoPort(#[source] io::Error),
    /// A secret that one process made for the others.
    #[error(transparent)]
    Secret(#[from] FileError),
}
