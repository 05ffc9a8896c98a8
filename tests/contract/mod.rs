//! The contract from outside: what is refused and how, that both sides of the seam are one, and the house rules.

pub mod asyncapi;
mod bad_input;
mod config;
mod edge;
pub mod envelope;
mod links;
mod migrations;
pub mod operations;
mod peer;
mod resilience;
mod seam;
