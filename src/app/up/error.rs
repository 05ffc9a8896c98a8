//! Start errors of a split shop.

use crate::kernel::files::FileError;
use std::io;

#[derive(Debug, thiserror::Error)]
pub enum UpError {
    #[error("{name}: cannot start the process: {cause}")]
    Spawn {
        name: String,
        #[source]
        cause: io::Error,
    },
    #[error("{name} did not become ready; see its output above")]
    NotReady { name: String },
    #[error("{name} did not discover its peers in the registry")]
    PeersNotDiscovered { name: String },
    #[error("no free port: {0}")]
    NoPort(#[source] io::Error),
    /// A secret that one process generates for the others cannot be read.
    #[error(transparent)]
    Secret(#[from] FileError),
}
