//! Errors of the process: failed start, failed reload of settings, failed health check; and the error of stores.
//!
//! Each component has its own error type. The three process errors only carry one of them to the code that shows it.

use std::error::Error;
use std::fmt;
use std::io;

/// An error of one component, with a message for the operator. `?` converts it into each process error.
pub trait ComponentError: Error + Send + Sync + 'static {}

macro_rules! process_error {
    ($(#[$meta:meta])* $Name:ident) => {
        $(#[$meta])*
        #[derive(Debug)]
        pub struct $Name(Box<dyn Error + Send + Sync>);

        impl fmt::Display for $Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl Error for $Name {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                self.0.source()
            }
        }

        impl<E: ComponentError> From<E> for $Name {
            fn from(error: E) -> Self {
                Self(Box::new(error))
            }
        }
    };
}

process_error! {
    StartError
}
process_error! {
    /// Changed settings that a running process cannot apply.
    ReloadError
}
process_error! {
    HealthError
}

impl From<prometheus::Error> for StartError {
    fn from(error: prometheus::Error) -> Self {
        MetricsError(error).into()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("metrics: {0}")]
pub struct MetricsError(#[source] prometheus::Error);

impl ComponentError for MetricsError {}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} is {found}; expected {expected}")]
pub struct OutOfRange {
    pub key: String,
    pub found: String,
    pub expected: String,
}

impl OutOfRange {
    pub fn new(key: impl Into<String>, found: impl ToString, expected: impl Into<String>) -> Self {
        Self { key: key.into(), found: found.to_string(), expected: expected.into() }
    }
}

impl ComponentError for OutOfRange {}

#[derive(Debug, thiserror::Error)]
#[error("the thread for {purpose} cannot be started: {cause}")]
pub struct ThreadError {
    pub purpose: &'static str,
    #[source]
    pub cause: io::Error,
}

impl ComponentError for ThreadError {}

#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The store is unreachable or overloaded; a retry may succeed.
    #[error("the {store} store is not available: {cause}")]
    Unavailable { store: String, cause: String },
    /// The schema is older than this build requires.
    #[error("the {store} store's schema is {pending} steps behind: run `tradepost migrate` first, or set {setting} = true")]
    SchemaOutdated {
        store: String,
        /// Number of migrations to apply, or of indexes to create.
        pending: usize,
        /// The setting that enables migration at the start.
        setting: &'static str,
    },
    /// The store's file was moved, replaced or deleted under the running process. `cause` names it.
    #[error(
        "the {store} store has lost its file: {cause}; stop the shop, put the file back or restore a backup, then start: \
         docs/operate.md#lost-and-damaged-files"
    )]
    FileLost { store: String, cause: String },
    /// The content of the store's file is damaged. `cause` names the file, or `store` does.
    #[error(
        "the {store} store's file is damaged: {cause}; stop the shop, keep a copy, and restore a backup: \
         docs/operate.md#lost-and-damaged-files"
    )]
    Corrupt { store: String, cause: String },
    #[error("a unique key is taken: {0}")]
    DuplicateKey(String),
    /// A bug.
    #[error("store: {0}")]
    Internal(String),
}

impl StoreError {
    /// Whether the store's file is lost or damaged: a retry fails until an operator has repaired it.
    pub fn is_file_fault(&self) -> bool {
        matches!(self, Self::FileLost { .. } | Self::Corrupt { .. })
    }
}

impl ComponentError for StoreError {}
