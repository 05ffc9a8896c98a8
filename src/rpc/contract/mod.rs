//! Contracts: one declaration of a module's operations generates the trait that peers call, the HTTP routes,
//! the awc client, and the OpenAPI description.
//!
//! - [`contract!`](crate::contract!) is the declaration.
//! - [`Endpoint`] is what [`crate::edge::web`] serves.
//! - [`client`] sends the generated clients' calls.
//! - [`openapi`] describes the same operations.

pub mod client;
mod endpoint;
mod macros;
pub mod openapi;
mod operation;
mod param;
mod reply;
mod strict;

pub use endpoint::{Call, Endpoint, EndpointHandler, Handler, RawHandler, parse_json};
pub use macros::local_call_span;
pub use operation::{Operation, RequiredRole};
pub use param::{Param, ParamError};
pub use reply::{Empty, Reply, Tagged, Text};
