//! Errors of the driver as [`StoreError`].

use crate::kernel::error::StoreError;
use ::mongodb::error::{Error, ErrorKind, WriteFailure};

/// DuplicateKey.
const DUPLICATE_KEY: i32 = 11000;
/// Transient codes: the server shuts down, steps down or is overloaded, or (10334, 17419) the document has no room for
/// another pending event.
const TRANSIENT: [i32; 14] = [6, 7, 50, 89, 91, 189, 262, 10107, 10334, 11600, 11602, 13435, 13436, 17419];

/// Maps an error of the driver. Its text names servers, but no users or passwords.
pub(super) fn store_error(store: &str, error: &Error) -> StoreError {
    let unavailable = || StoreError::Unavailable { store: store.into(), cause: error.to_string() };
    match error.kind.as_ref() {
        ErrorKind::Write(WriteFailure::WriteError(cause)) if cause.code == DUPLICATE_KEY => StoreError::DuplicateKey(cause.message.clone()),
        ErrorKind::Command(cause) if cause.code == DUPLICATE_KEY => StoreError::DuplicateKey(cause.message.clone()),
        ErrorKind::Write(WriteFailure::WriteError(cause)) if TRANSIENT.contains(&cause.code) => unavailable(),
        ErrorKind::Command(cause) if TRANSIENT.contains(&cause.code) => unavailable(),
        // written, but not by a majority: the outcome is unknown
        ErrorKind::Write(WriteFailure::WriteConcernError(_)) => unavailable(),
        ErrorKind::Io(_)
        | ErrorKind::ConnectionPoolCleared { .. }
        | ErrorKind::ServerSelection { .. }
        | ErrorKind::DnsResolve { .. }
        | ErrorKind::Authentication { .. } => unavailable(),
        _ => StoreError::Internal(format!("{store}: {error}")),
    }
}
