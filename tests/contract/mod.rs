//! The contract as clients see it: refusals, equality of local and remote calls, API documents, migrations, links.

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
