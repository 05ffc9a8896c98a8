//! Why a process cannot serve.

use crate::platform::start::PartError;
use std::error::Error;
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
    /// The port cannot be handed to the workers.
    #[error("cannot listen: {0}")]
    Listen(#[source] io::Error),
    /// The metrics of requests. Their middleware's error cannot leave the thread.
    #[error("metrics: {0}")]
    Metrics(#[source] Box<dyn Error + Send + Sync>),
    /// The data folder.
    #[error("data.dir: cannot create {}: {cause}; choose another with --data", .path.display())]
    DataFolder {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
}

impl PartError for ServeError {}
