//! The seam: one declaration of a module's calls yields the trait that peers use, the routes
//! that serve it, the awc client that calls it, and its OpenAPI.
//!
//! - [`contract!`](crate::contract!) is the declaration.
//! - [`Endpoint`] is what the web layer serves; see [`crate::edge::web`].
//! - [`client`] is the generated client's engine.
//! - [`openapi`] describes the same operations to others.

pub mod client;
mod endpoint;
mod macros;
pub mod openapi;
mod operation;
mod param;
mod reply;
mod strict;

pub use endpoint::{Call, Endpoint, Handler, RawHandler, Serve, parse_json};
pub use macros::step;
pub use operation::{Operation, RequiredRole};
pub use param::{Expected, Param};
pub use reply::{Empty, Reply, Tagged, Text};
