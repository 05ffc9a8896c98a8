//! The program: wiring, serving, and the commands.

#[cfg(feature = "all-in-one")]
pub mod audit;
#[cfg(feature = "all-in-one")]
pub mod backup;
#[cfg(feature = "sqlite")]
mod databases;
#[cfg(feature = "demo")]
pub mod demo;
pub mod serve;
#[cfg(feature = "all-in-one")]
pub mod up;
pub mod wiring;
