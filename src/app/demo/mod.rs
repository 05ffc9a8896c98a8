//! Real input for the shop: a retailer's invoices, imported as catalogue and stock, replayed as orders.
//!
//! A client of the HTTP API like any other: it knows no module's inside, so it plays against
//! the shop in every shape, and against whatever else keeps the contract.

pub mod cli;
mod error;
pub mod import;
pub mod letters;
pub mod plan;
pub mod replay;
pub mod report;
pub mod retail;
pub mod shop;
pub mod summary;
pub mod trace;

#[cfg(test)]
mod tests;

pub use error::{DemoError, PostError, ShopError};

/// The file that comes with the shop: catalogue and stock of its first start.
pub fn embedded() -> &'static [u8] {
    include_bytes!("../../../demo/online-retail.csv")
}
