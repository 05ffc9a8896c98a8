//! What modules stand on. It knows no module.

pub mod actuator;
pub mod asyncapi;
pub mod auth;
pub mod build;
pub mod bus;
pub mod clock;
pub mod console;
pub mod contract;
pub mod cx;
pub mod discovery;
pub mod docs;
pub mod door;
pub mod event;
pub mod files;
pub mod host;
pub mod html;
pub mod metrics;
pub mod money;
pub mod page;
#[cfg(test)]
pub mod ports;
pub mod problem;
pub mod proc;
pub mod refresh;
#[cfg(any(feature = "store", feature = "mongodb"))]
pub mod relay;
pub mod resilience;
pub mod sku;
pub mod start;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod trace;
pub mod uri;
#[cfg(feature = "vault")]
pub mod vault;
pub mod web;

// of the embedded store; that of MySQL has its own
#[cfg(feature = "sqlite")]
pub use store::sqlite::{inbox, outbox};
