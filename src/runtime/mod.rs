//! What a process gives its modules, and the services that they give it.

pub mod host;
