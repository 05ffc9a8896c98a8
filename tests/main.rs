//! The specification of the shop, in one binary. Scenarios are written once and run in every shape:
//! `local` (peers called in-process), `loopback` (every peer call through the generated client
//! over HTTP, each repeatable one sent twice) and `split` (one process a module, behind the gateway).
#![cfg(feature = "all-in-one")]
#![allow(missing_docs)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test that fails says so")]

#[macro_use]
#[allow(dead_code, reason = "what tests stand on has more than each of them needs")]
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
