//! The HTTP side of a process: listener, request pipeline, authentication, limits.

pub mod auth;
pub mod exchanges;
pub mod gateway_middleware;
pub mod listen;
pub mod web;
