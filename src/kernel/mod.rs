//! Types that every layer uses: time, money, pages, problems, errors, and the module table.

pub mod build;
pub mod clock;
pub mod error;
pub mod files;
pub mod html;
pub mod module;
pub mod money;
pub mod page;
#[cfg(test)]
pub mod ports;
pub mod problem;
pub mod proc;
pub mod secret;
pub mod sku;
pub mod uri;
