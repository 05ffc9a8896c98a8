//! The gateway is the front door: it matches requests that no endpoint of this process serves against
//! routes in Spring Cloud Gateway's format, and forwards them to the route's service.
//!
//! Guarantees:
//! - One path: the gateway normalizes a path, then authorizes, matches and forwards that same path. It
//!   rejects paths and bodies that two servers could read differently (`%2f`, `..`, double escapes, two
//!   lengths).
//! - A client cannot assert an identity by header: the gateway removes hop-by-hop headers, headers that
//!   `Connection` names, and identity headers of proxies. It writes `X-Forwarded-*` itself.
//! - Bodies stream in both directions with backpressure. The time-out ends when the response head arrives.
//! - A changed routes file is reloaded; an invalid one changes nothing.
//! - The registry accepts no writes through the gateway, whatever the routes are.
//!
//! Limits:
//! - Rate limits and circuit breakers are per process, not shared by several gateways. The breakers are
//!   those of [`crate::rpc::resilience`] and appear with them in the actuator.
//! - A request with a body is not retried unless the route's `Retry` names its method and the body is small.
//!   (The built-in routes retry orders with an `Idempotency-Key`, and cancellations.) A request that was
//!   never sent, and a GET whose connection was lost, do go to another instance.
//!
//! A request passes these phases: `plan` sanitizes it and selects its route; `proxy` forwards it to another
//! process, or `in_process` calls an endpoint of this process with the same filters and no network hop;
//! `respond` applies the response filters.

mod active_routes;
mod actuator;
mod circuit;
mod context;
mod definition;
mod document;
mod error;
mod exchange;
mod filters;
mod in_process;
mod limit;
mod metrics;
mod middleware;
mod pattern;
mod plan;
mod predicates;
mod proxy;
mod respond;
mod route;
mod routes;
mod sanitize;
mod service;
mod state;
mod table;
#[cfg(test)]
mod tests;
mod upstream;
mod value;
mod websocket;

use crate::edge::gateway_middleware::GatewayMiddleware;
use crate::kernel::error::StartError;
use crate::rpc::discovery::Discovery;
use crate::rpc::resilience::registry::BreakerRegistry;
use crate::runtime::{Host, Parts};
use std::sync::Arc;

/// The gateway, built.
pub struct Built {
    pub parts: Parts,
    pub middleware: Arc<dyn GatewayMiddleware>,
}

/// Loads the routes and builds the module with its background work. `local_modules` names the modules of
/// this process; the routes' circuit breakers register in `breakers`, where the actuator lists them.
pub fn build(
    host: &Host,
    discovery: Arc<dyn Discovery>,
    local_modules: &[&'static str],
    breakers: BreakerRegistry,
) -> Result<Built, StartError> {
    let gateway = Arc::new(state::Gateway::new(host, discovery, local_modules, breakers)?);
    let mut parts = Parts::default();
    if host.settings.gateway.actuator {
        parts.endpoints = actuator::endpoints(&gateway);
    }
    let rate_limited = gateway.clone();
    parts.reloadable(&["gateway.rate", "gateway.burst"], move |settings| {
        rate_limited.set_global_rate(&settings.gateway);
        Ok(())
    });
    let routed = gateway.clone();
    parts.reloadable(&["gateway.routes"], move |settings| Ok(routed.routes.set_file(settings.gateway.routes.clone())?));
    let watched = gateway.clone();
    parts.worker("gateway-routes", move |stop| async move { watched.routes.watch_file(stop).await });
    Ok(Built { parts, middleware: gateway })
}
