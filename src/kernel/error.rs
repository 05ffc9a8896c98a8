//! Errors of the whole process: why it does not start, why new settings are not taken up, why it is not healthy.
//!
//! Each part has its own error type. These three only carry one of them to the place that shows it.

use std::error::Error;
use std::fmt;
use std::io;

/// An error of one part, with a text for the operator. `?` turns it into each of the errors here.
pub trait PartError: Error + Send + Sync + 'static {}

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

        impl<E: PartError> From<E> for $Name {
            fn from(error: E) -> Self {
                Self(Box::new(error))
            }
        }
    };
}

process_error! {
    /// Why a process does not start.
    StartError
}
process_error! {
    /// Why new settings are not taken up while the process runs.
    ReloadError
}
process_error! {
    /// Why a part is not healthy.
    HealthError
}

impl From<prometheus::Error> for StartError {
    fn from(error: prometheus::Error) -> Self {
        MetricsError(error).into()
    }
}

/// A metric that cannot be registered.
#[derive(Debug, thiserror::Error)]
#[error("metrics: {0}")]
pub struct MetricsError(#[source] prometheus::Error);

impl PartError for MetricsError {}

/// A setting whose value is out of its range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} is {found}; expected {expected}")]
pub struct OutOfRange {
    /// Its key.
    pub key: String,
    /// Its value.
    pub found: String,
    /// The values that can be used.
    pub expected: String,
}

impl OutOfRange {
    /// Names the setting, its value and the values that can be used.
    pub fn new(key: impl Into<String>, found: impl ToString, expected: impl Into<String>) -> Self {
        Self { key: key.into(), found: found.to_string(), expected: expected.into() }
    }
}

impl PartError for OutOfRange {}

/// A thread that the system does not start.
#[derive(Debug, thiserror::Error)]
#[error("no thread for {purpose}: {cause}")]
pub struct ThreadError {
    /// What it was for.
    pub purpose: &'static str,
    /// The system's error.
    #[source]
    pub cause: io::Error,
}

impl PartError for ThreadError {}

/// Why a store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached or is too busy; a repetition makes sense.
    #[error("the {store} store is not available: {cause}")]
    Unavailable {
        /// Which one.
        store: String,
        /// What it said.
        cause: String,
    },
    /// Its schema is behind this build's.
    #[error("the {store} store's schema is {pending} steps behind: run `tradepost migrate` first, or set {setting} = true")]
    Outdated {
        /// Which one.
        store: String,
        /// Migrations to be applied, or indexes to be created.
        pending: usize,
        /// What lets a start do so.
        setting: &'static str,
    },
    /// A unique key is taken.
    #[error("a unique key is taken: {0}")]
    Taken(String),
    /// A defect of ours, or a damaged store.
    #[error("store: {0}")]
    Broken(String),
}

impl PartError for StoreError {}
