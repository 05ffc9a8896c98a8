//! The specification of the shop, in one binary. Scenarios are written once and run in every shape:
//! `local` (peers called in-process) and `loopback` (every peer call through the generated client
//! over HTTP, each repeatable one sent twice).
#![cfg(feature = "all-in-one")]
#![allow(missing_docs)]

#[macro_use]
mod support;

mod chaos;
mod contract;
mod scenarios;
mod security;
