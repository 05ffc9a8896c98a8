//! Outbox in MongoDB.

pub mod outbox;
