//! Tests of the gateway over real sockets, and of its parts.

mod forged;
mod instances;
mod like_spring;
mod parts;
mod proxying;
mod reload;
mod rules;
mod support;
