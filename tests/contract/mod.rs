//! The contract from outside: what is refused and how, that both sides of the seam are one, and the house rules.

pub mod asyncapi;
mod bad_input;
mod config;
mod edge;
pub mod envelope;
pub mod houses;
mod links;
mod migrations;
mod peer;
mod resilience;
mod seam;
