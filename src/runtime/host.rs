//! What a process gives each module.

use crate::events::bus::Bus;
use crate::kernel::error::{ComponentError, StartError};
use crate::settings::Settings;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Passed to each module when it is built.
#[derive(Clone)]
pub struct Host {
    pub settings: Arc<Settings>,
    /// The base URL at which clients reach this process.
    pub public_url: String,
    /// Set if a module of this process has events.
    pub bus: Option<Arc<dyn Bus>>,
    pub metrics: prometheus::Registry,
    /// Cancelled when the process accepts no more requests and waits for those in progress: endless streams end then.
    pub draining: CancellationToken,
}

impl Host {
    /// The bus, for a module that has events.
    pub fn bus(&self) -> Result<Arc<dyn Bus>, StartError> {
        self.bus.clone().ok_or_else(|| StartError::from(NoBus))
    }
}

/// A module with events runs in a process without a bus: a defect in the table of modules.
#[derive(Debug, thiserror::Error)]
#[error("this process has no bus: the table of modules lists none of its modules as having events")]
struct NoBus;

impl ComponentError for NoBus {}
