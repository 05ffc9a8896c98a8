//! The HTTP side of a process: listener, request pipeline, authentication, limits.

pub mod auth;
pub mod door;
pub mod exchanges;
pub mod listen;
pub mod web;
