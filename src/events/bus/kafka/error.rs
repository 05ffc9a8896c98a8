//! Errors of the brokers and of their settings.

use crate::kernel::error::{OutOfRange, StoreError};
use std::io;
use std::path::PathBuf;

pub(super) fn unavailable(cause: impl ToString) -> StoreError {
    StoreError::Unavailable { store: "kafka".into(), cause: cause.to_string() }
}

/// Why the settings of the brokers cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum BusError {
    #[error("bus.url: `{url}`; expected kafka://host:port[,host:port]")]
    Url { url: String },
    #[error(transparent)]
    Partitions(OutOfRange),
    #[error("{key} is missing: bus.security is \"{protocol}\"")]
    Missing { key: &'static str, protocol: String },
    #[error("bus.username and bus.password need bus.security = \"sasl_ssl\" or \"sasl_plaintext\"")]
    LoginUnused,
    #[error("{key}: \"{value}\" is not compiled into this build (--features kafka-tls)")]
    NotCompiledIn { key: &'static str, value: String },
    #[error("tls.cert and tls.key belong together; one of them is missing")]
    HalfAPair,
    #[error("{key}: {}: {cause}", .path.display())]
    Read {
        key: &'static str,
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("{key}: {}: the path is no UTF-8", .path.display())]
    Path { key: &'static str, path: PathBuf },
}

impl From<BusError> for StoreError {
    fn from(error: BusError) -> Self {
        StoreError::Internal(error.to_string())
    }
}
