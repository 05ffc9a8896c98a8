//! The modules. A contract is always compiled, so that peers can call it; the rest by feature.
//!
//! A module names another module's `api` and nothing else of it.

pub mod inventory;
pub mod notification;
pub mod order;
pub mod product;

#[cfg(feature = "identity")]
pub mod identity;

#[cfg(feature = "config-server")]
pub mod config_server;
#[cfg(feature = "gateway")]
pub mod gateway;
#[cfg(feature = "registry")]
pub mod registry;

#[cfg(feature = "all-in-one")]
pub mod invariants;
