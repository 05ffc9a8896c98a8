//! The gateway as middleware of the HTTP listener: dispatches a request to its phase.

use super::plan::{decision, has_ambiguous_path, is_proxied};
use super::respond::not_found;
use super::state::Gateway;
use crate::edge::gateway_middleware::{GatewayMiddleware, Next, RouteTarget};
use crate::kernel::problem::Problem;
use crate::rpc::context::Cx;
use crate::rpc::contract::RequiredRole;
use actix_web::dev::{Payload, ServiceRequest};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::future::LocalBoxFuture;
use std::sync::Arc;

impl GatewayMiddleware for Gateway {
    fn pre_route(&self, request: &mut ServiceRequest) {
        self.plan(request);
    }

    fn resolve_target(&self, request: &HttpRequest, endpoint: bool) -> Result<RouteTarget, Problem> {
        if endpoint && has_ambiguous_path(request) {
            return Ok(RouteTarget::Endpoint(RequiredRole::Public));
        }
        let shared = decision(request);
        let decision = shared.as_deref().map(Result::as_ref).transpose().map_err(Problem::clone)?;
        let required_role = decision.map_or(RequiredRole::Any, |decision| decision.required_role);
        if is_proxied(decision, endpoint) {
            return Ok(RouteTarget::Gateway(required_role));
        }
        // an endpoint without a route has its own requirement only
        let routed = decision.is_some_and(|decision| decision.route.is_some());
        Ok(RouteTarget::Endpoint(if routed { required_role } else { RequiredRole::Public }))
    }

    fn serve(self: Arc<Self>, cx: Cx, request: HttpRequest, payload: Payload) -> LocalBoxFuture<'static, Result<HttpResponse, Problem>> {
        Box::pin(async move {
            let shared = decision(&request).ok_or_else(not_found)?;
            let decision = shared.as_ref().as_ref().map_err(Problem::clone)?;
            self.proxy(decision, &cx, &request, payload).await
        })
    }

    fn intercept<'a>(
        &'a self,
        cx: Cx,
        request: &'a HttpRequest,
        payload: Payload,
        next: Next<'a>,
    ) -> LocalBoxFuture<'a, Result<HttpResponse, Problem>> {
        let Some(shared) = decision(request).filter(|_| !has_ambiguous_path(request)) else { return next(cx, payload) };
        Box::pin(async move {
            let decision = shared.as_ref().as_ref().map_err(Problem::clone)?;
            self.intercept_local(decision, cx, request, payload, next).await
        })
    }
}
