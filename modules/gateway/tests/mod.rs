//! The front door over real sockets, and its parts on their own.

mod forged;
mod instances;
mod like_spring;
mod parts;
mod proxying;
mod reload;
mod rules;
mod support;
