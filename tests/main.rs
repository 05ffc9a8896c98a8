//! The specification of the shop, in one binary. Scenarios are written once and run in every shape:
//! `local` (peers called in-process) and `loopback` (every peer call through the generated client
//! over HTTP, each repeatable one sent twice).
#![cfg(feature = "all-in-one")]
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy.toml allows them in tests, but knows only what is marked as one"
)]

#[macro_use]
mod support;

mod chaos;
mod contract;
mod scenarios;
mod security;
