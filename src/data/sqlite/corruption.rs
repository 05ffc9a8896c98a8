//! Recognises errors of a damaged file, and tells the database that it ran into one.
//!
//! Work on a database converts diesel's errors to the error type of its module before the database sees them. So the
//! conversion also leaves the message here, on the thread that runs the work.

use crate::kernel::error::StoreError;
use std::cell::RefCell;
use std::fmt::Display;
use std::path::Path;

thread_local! {
    static FOUND: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Whether SQLite reports SQLITE_CORRUPT or SQLITE_NOTADB. Classified by message text, as in `lock_wait`.
pub fn is_corruption(message: &str) -> bool {
    ["database disk image is malformed", "malformed database schema", "file is not a database"].iter().any(|text| message.contains(text))
}

/// To be called where an error of this kind is converted.
pub fn report(message: &str) {
    FOUND.with_borrow_mut(|found| *found = Some(message.to_string()));
}

/// Runs work on this thread; also returns the message that it has reported.
pub(super) fn observe<T>(work: impl FnOnce() -> T) -> (T, Option<String>) {
    FOUND.take();
    let result = work();
    (result, FOUND.take())
}

/// The error of opening this file.
pub(super) fn open_error(path: &Path, cause: &impl Display) -> StoreError {
    let (store, cause) = (path.display().to_string(), cause.to_string());
    if is_corruption(&cause) {
        report(&cause);
        return StoreError::Corrupt { store, cause };
    }
    StoreError::Unavailable { store, cause }
}
