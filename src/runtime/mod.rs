//! What a process gives its modules, and the services that they give it.

mod host;
mod lazy_ref;
mod parts;
mod service;

pub use host::Host;
pub use lazy_ref::LazyRef;
pub use parts::{Parts, Reloadable};
pub use service::{HealthCheck, RunningServices, Service, Services};
