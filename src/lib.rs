//! Tradepost: a shop backend in one binary, or in one process a module.
//!
//! `main -> wiring -> modules -> platform`: arrows run one way. See ARCHITECTURE.md for the map.

pub mod config;
#[cfg(feature = "demo")]
pub mod demo;
pub mod modules;
pub mod platform;

#[path = "../modules/mod.rs"]
pub mod shop;
