//! All integration tests of the shop, in one binary. Each scenario is written once and runs in every deployment mode:
//! `local` (peers called in-process), `loopback` (every peer call through the generated client
//! over HTTP, each repeatable call sent twice) and `split` (one process per module, behind the gateway).
#![cfg(feature = "all-in-one")]
#![allow(missing_docs)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a failing test panics")]

#[macro_use]
#[allow(dead_code, reason = "each feature set uses only a part of the support code")]
mod support;

mod chaos;
mod contract;
#[cfg(feature = "mongodb")]
mod mongo;
#[cfg(feature = "mysql")]
mod mysql;
mod observe;
mod scenarios;
mod security;
mod tracing;
mod upgrade;
#[cfg(feature = "vault")]
mod vault;
