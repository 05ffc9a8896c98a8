//! Loads the settings from layers; the highest layer that sets a key wins. From lowest to highest: defaults,
//! `tradepost.toml`, config server, Vault, environment (`TRADEPOST__SECTION__KEY`, or a file named by
//! `TRADEPOST__SECTION__KEY_FILE`), command line.
//!
//! An unknown key or a value of the wrong type stops the start. The error names the key, its layer and what was
//! expected.

mod config_server;
mod error;
mod keys;
mod layer_builder;
mod loader;
mod merge;
pub mod placeholders;
mod transit;
mod value_files;
mod vault;

pub use error::*;
pub use keys::visit_leaves;
pub use loader::{Flags, Loaded, load, load_local};
pub use transit::is_decrypted;
