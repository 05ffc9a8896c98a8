//! Real data for the shop: a retailer's invoices, imported as catalogue and stock, and replayed as orders.
//!
//! An ordinary client of the HTTP API: it uses no module's internals, so it works with every deployment mode and with any
//! other implementation of the contract.

pub mod cli;
pub mod dead_letters;
mod error;
pub mod import;
pub mod plan;
pub mod replay;
pub mod report;
pub mod retail;
pub mod shop;
pub mod summary;
pub mod text;
pub mod trace;

#[cfg(test)]
mod tests;

pub use error::{DemoError, PostError, ShopError};

/// The embedded file: catalogue and stock of a first start.
pub fn embedded() -> &'static [u8] {
    include_bytes!("../../../demo/online-retail.csv")
}
