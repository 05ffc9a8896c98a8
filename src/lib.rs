//! Tradepost: a shop backend in one binary, or in one process per module.
//!
//! Each folder here is a layer. A layer uses only those above it in this list; ARCHITECTURE.md describes them.

pub mod kernel;

pub mod settings;

pub mod net;

pub mod observe;

pub mod rpc;

pub mod data;

pub mod events;

pub mod edge;

pub mod config;

pub mod runtime;

pub mod ops;

#[path = "../modules/mod.rs"]
pub mod modules;

pub mod app;

#[cfg(all(feature = "store", not(any(feature = "sqlite", feature = "mysql"))))]
compile_error!("modules that own data (inventory, order, notification, identity) need a backend beside them: add --features sqlite");
#[cfg(all(feature = "identity", not(feature = "sqlite")))]
compile_error!("identity keeps its data in the embedded store: add --features sqlite");
#[cfg(all(feature = "product", not(any(feature = "sqlite", feature = "mongodb"))))]
compile_error!("product needs a backend for its documents: add --features sqlite, or mongodb");
