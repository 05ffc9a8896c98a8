//! What may stand before a process's endpoints: the gateway, where it runs here.

use crate::kernel::problem::Problem;
use crate::rpc::context::Cx;
use crate::rpc::contract::RequiredRole;
use actix_web::dev::{Payload, ServiceRequest};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::future::LocalBoxFuture;
use std::sync::Arc;

/// Stands before a process's endpoints, and answers for what they do not.
pub trait GatewayMiddleware: Send + Sync {
    /// Looks at a request before an endpoint is looked for, and may change which one that is.
    fn look(&self, request: &mut ServiceRequest);

    /// Who answers a request that was looked at; `endpoint` says whether this process has one for its
    /// path. Refuses what is malformed.
    fn way(&self, request: &HttpRequest, endpoint: bool) -> Result<RouteTarget, Problem>;

    /// Answers a request itself. It keeps its time itself: an answer may go on for longer than a request may take.
    fn serve(self: Arc<Self>, cx: Cx, request: HttpRequest, payload: Payload) -> LocalBoxFuture<'static, Result<HttpResponse, Problem>>;

    /// Stands around an endpoint of this process, which answers by `work`.
    fn around<'a>(
        &'a self,
        cx: Cx,
        request: &'a HttpRequest,
        payload: Payload,
        work: Work<'a>,
    ) -> LocalBoxFuture<'a, Result<HttpResponse, Problem>>;
}

/// Who answers, and what the front door asks of the sender beside what an endpoint asks.
pub enum RouteTarget {
    /// An endpoint of this process.
    Endpoint(RequiredRole),
    /// The front door itself.
    Door(RequiredRole),
}

/// What an endpoint does with a request.
pub type Work<'a> = Box<dyn FnOnce(Cx, Payload) -> LocalBoxFuture<'a, Result<HttpResponse, Problem>> + 'a>;

/// The path that a client asked for, where the front door has put another in its place.
pub struct SentPath(pub String);
