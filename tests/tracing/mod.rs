//! Traces: the console, `tradepost trace`, and collectors.

mod away;
pub mod collector;
mod console;
#[cfg(feature = "kafka")]
mod zipkin;
