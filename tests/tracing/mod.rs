//! What can be seen of what the shop did: at its console, by `tradepost trace`, at collectors.

mod away;
pub mod collector;
mod console;
#[cfg(feature = "kafka")]
mod zipkin;
