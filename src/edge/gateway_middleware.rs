//! The interface between the edge and the gateway, if the gateway runs in this process.

use crate::kernel::problem::Problem;
use crate::rpc::context::Cx;
use crate::rpc::contract::RequiredRole;
use actix_web::dev::{Payload, ServiceRequest};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::future::LocalBoxFuture;
use std::sync::Arc;

/// Handles requests before the endpoints of this process and proxies those without an endpoint.
pub trait GatewayMiddleware: Send + Sync {
    /// Called before an endpoint is matched; may rewrite the request's path.
    fn pre_route(&self, request: &mut ServiceRequest);

    /// Decides which side handles a request that was pre-routed. `endpoint`: this process has an endpoint for the
    /// path. Returns an error for malformed requests.
    fn resolve_target(&self, request: &HttpRequest, endpoint: bool) -> Result<RouteTarget, Problem>;

    /// Handles a request in the gateway. The gateway applies its own time limits, because a streamed response may
    /// take longer than the limit for a request.
    fn serve(self: Arc<Self>, cx: Cx, request: HttpRequest, payload: Payload) -> LocalBoxFuture<'static, Result<HttpResponse, Problem>>;

    /// Wraps an endpoint of this process with the route's filters; `next` calls the endpoint.
    fn intercept<'a>(
        &'a self,
        cx: Cx,
        request: &'a HttpRequest,
        payload: Payload,
        next: Next<'a>,
    ) -> LocalBoxFuture<'a, Result<HttpResponse, Problem>>;
}

/// The side that handles a request, and the role that the route requires in addition to the endpoint's.
pub enum RouteTarget {
    /// An endpoint of this process.
    Endpoint(RequiredRole),
    /// The gateway.
    Gateway(RequiredRole),
}

/// Calls the endpoint.
pub type Next<'a> = Box<dyn FnOnce(Cx, Payload) -> LocalBoxFuture<'a, Result<HttpResponse, Problem>> + 'a>;

/// Request extension: the path that the client sent, if the gateway has rewritten it.
pub struct OriginalPath(pub String);
