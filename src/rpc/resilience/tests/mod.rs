//! Tests of the fault tolerance around calls.

mod breaker;
mod budget;
mod calls;
mod server;
mod settings;
