//! State that the actuator's endpoints share.

use crate::edge::exchanges::HttpExchangeLog;
use crate::events::bus::{Bus, Outbox};
use crate::ops::refresh::ActiveConfig;
use crate::rpc::contract::Operation;
use crate::runtime::HealthCheck;
use std::path::PathBuf;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

pub struct Actuator {
    pub settings: Arc<ActiveConfig>,
    /// Names of the modules in this process.
    pub modules: Vec<&'static str>,
    /// Health checks by component.
    pub checks: Vec<(&'static str, HealthCheck)>,
    /// None if no module of this process has events.
    pub bus: Option<Arc<dyn Bus>>,
    pub outboxes: Vec<Arc<dyn Outbox>>,
    pub metrics: prometheus::Registry,
    pub exchanges: Arc<HttpExchangeLog>,
    /// The data folder; none if this process writes no files.
    pub folder: Option<PathBuf>,
    /// Cancelled before the process stops.
    pub shutting_down: CancellationToken,
    /// All operations of this process except the actuator's.
    pub served: Vec<Arc<Operation>>,
}
