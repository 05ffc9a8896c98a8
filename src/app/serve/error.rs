//! Why a process cannot serve.

use crate::kernel::error::ComponentError;
use std::io;
use std::path::PathBuf;

/// Why a process cannot serve, whatever its modules.
#[derive(Debug, thiserror::Error)]
pub(super) enum ServeError {
    /// Its port is taken, or its address is none of this machine.
    #[error("cannot listen on {host}:{port}: {cause}; choose another with --port")]
    Bind {
        host: String,
        port: u16,
        #[source]
        cause: io::Error,
    },
    /// The bound address cannot be read.
    #[error("{0}")]
    Address(#[source] io::Error),
    /// The data folder.
    #[error("data.dir: cannot create {}: {cause}; choose another with --data", .path.display())]
    DataFolder {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
}

impl ComponentError for ServeError {}
