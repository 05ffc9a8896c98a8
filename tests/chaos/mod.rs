//! The shop when things go wrong: killed at any moment, left at each point of the order path, with
//! data that contradicts itself.

mod audit;
mod backup;
mod crash_points;
mod dead_letters;
mod extraction;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "kafka")]
mod kafka_cluster;
#[cfg(feature = "kafka")]
mod kafka_groups;
#[cfg(feature = "kafka")]
mod kafka_large;
#[cfg(feature = "kafka")]
mod kafka_restarts;
#[cfg(feature = "kafka-tls")]
mod kafka_tls;
pub mod kill;
pub mod ledger;
pub mod pairs;
mod paused;
pub mod sql;
