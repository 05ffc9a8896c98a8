//! Logs, metrics and traces, and their exporters.

pub mod log;
pub mod metrics;
pub mod trace;
