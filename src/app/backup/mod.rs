//! `tradepost backup` and `tradepost restore`: copies everything that a shop keeps in files, while it runs, and restores
//! the copy.
//!
//! A backup equals the state that a crash of all processes at one moment would leave; a shop recovers from that when it
//! starts. It is an ordinary data folder with a manifest beside its files. Stores on servers are not included;
//! docs/operate.md describes their backup.

mod create;
mod directory;
mod error;
mod manifest;
mod restore;
mod sources;

pub use create::{Backup, create};
pub use error::BackupError;
pub use manifest::{Entry, MANIFEST, Manifest};
pub use restore::restore;
