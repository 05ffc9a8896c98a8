//! The modules, each behind its feature, and the contracts of all.
//!
//! A module may use only the contract of another module.

pub mod contracts;

#[cfg(feature = "config-server")]
pub mod config_server;
#[cfg(feature = "gateway")]
pub mod gateway;
#[cfg(feature = "identity")]
pub mod identity;
#[cfg(feature = "inventory")]
pub mod inventory;
#[cfg(feature = "notification")]
pub mod notification;
#[cfg(feature = "order")]
pub mod order;
#[cfg(feature = "product")]
pub mod product;
#[cfg(feature = "registry")]
pub mod registry;

pub mod invariants;
