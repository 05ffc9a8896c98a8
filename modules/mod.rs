//! The modules. Contracts are always compiled, so that peers can call them; the rest by feature.
//!
//! A module may use only the `api` of another module.

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
