//! The tests of what stands around calls.

mod breaker;
mod budget;
mod calls;
mod server;
mod settings;
