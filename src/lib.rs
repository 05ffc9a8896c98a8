//! Tradepost: a shop backend in one binary, or in one process a module.
//!
//! `main -> wiring -> modules -> platform`: arrows run one way. See ARCHITECTURE.md for the map.

#[cfg(feature = "all-in-one")]
pub mod audit;
#[cfg(feature = "all-in-one")]
pub mod backup;
pub mod config;
#[cfg(feature = "demo")]
pub mod demo;
pub mod invariants;
pub mod modules;
pub mod platform;
pub mod serve;
#[cfg(feature = "all-in-one")]
pub mod up;
pub mod wiring;

#[cfg(all(feature = "store", not(any(feature = "sqlite", feature = "mysql"))))]
compile_error!("modules that own data (inventory, order, notification, identity) need a backend beside them: add --features sqlite");
#[cfg(all(feature = "identity", not(feature = "sqlite")))]
compile_error!("identity keeps its data in the embedded store: add --features sqlite");
#[cfg(all(feature = "product", not(any(feature = "sqlite", feature = "mongodb"))))]
compile_error!("product needs a backend for its documents: add --features sqlite, or mongodb");

#[path = "../modules/mod.rs"]
pub mod shop;
