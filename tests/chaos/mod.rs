//! Failure tests: `kill -9` at any moment, a crash at each step of the order path, contradictory data.

mod audit;
mod backup;
mod clock;
mod crash_points;
mod dead_letters;
mod extraction;
mod files;
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
mod mutations;
pub mod pairs;
mod paused;
pub mod sql;
mod unreadable;
