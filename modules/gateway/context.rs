//! Data that the phases share about one request.

use super::route::RouteMatch;
use super::sanitize::{CleanPath, RequestOrigin};
use super::table::RouteTable;
use crate::rpc::context::Cx;
use crate::rpc::contract::RequiredRole;
use actix_web::HttpRequest;
use std::sync::Arc;

/// Result of the plan phase: the route, and where it leads.
pub(super) struct RouteDecision {
    pub(super) path: CleanPath,
    pub(super) origin: RequestOrigin,
    pub(super) table: Arc<RouteTable>,
    pub(super) route: Option<RouteMatch>,
    /// Whether the route leads to a module of this process.
    pub(super) local: bool,
    /// Role that the gateway requires, besides the endpoint's own requirement.
    pub(super) required_role: RequiredRole,
}

/// A routed request in the proxy and in-process phases.
pub(super) struct ProxyContext<'a> {
    pub(super) cx: &'a Cx,
    pub(super) request: &'a HttpRequest,
    pub(super) origin: &'a RequestOrigin,
    pub(super) table: &'a RouteTable,
}
