//! Gateway is the front door: what no endpoint of this process answers is matched against routes, as a
//! user of Spring Cloud Gateway writes them, and goes on to the service that a route names.
//!
//! It promises:
//! - One path: brought into its one form, then authorised, matched and forwarded as that very path.
//!   What two servers could read in two ways (`%2f`, `..`, escapes twice, two lengths) is refused.
//! - A client's word about itself stops here: hop-by-hop headers, those that `Connection` names, and
//!   those by which proxies tell services who asks. `X-Forwarded-*` is written anew.
//! - Bodies stream both ways, read only as fast as the other side takes them. The time limit ends
//!   where an answer begins.
//! - Routes are read again when their file changes; a bad file changes nothing.
//! - The registry takes no writes through here, whatever the routes say.
//!
//! It does not promise:
//! - The same limit over several gateways: buckets and breakers are each process's own. The breakers are
//!   those of [`crate::rpc::resilience`], and show where the others do.
//! - A retry of what has a body, unless a route's `Retry` names the method and the body is small (the
//!   built-in routes have one for orders with an `Idempotency-Key`, and for cancelling). A request that
//!   was never sent, and a GET whose connection broke, do go to another instance.
//!
//! Where the module that a route leads to runs in this very process, the same filters stand around its
//! endpoint, and there is no hop (`local`).

mod actuator;
mod circuit;
mod exchange;
mod file;
mod filters;
mod forward;
mod hygiene;
mod limit;
mod local;
mod metrics;
mod pattern;
mod predicates;
mod routes;
mod table;
#[cfg(test)]
mod tests;
mod upstream;
mod websocket;

use crate::edge::gateway_middleware::GatewayMiddleware;
use crate::kernel::error::StartError;
use crate::rpc::discovery::Discovery;
use crate::rpc::resilience::registry::Breakers;
use crate::runtime::{Host, Parts};
use std::sync::Arc;

/// What building it yields.
pub struct Built {
    /// What it serves and runs.
    pub parts: Parts,
    /// Answers what is no endpoint's.
    pub door: Arc<dyn GatewayMiddleware>,
}

/// Reads the routes and builds the module with what runs beside it. `here` names the modules of this
/// process, `breakers` are where an operator looks for them.
pub fn build(host: &Host, discovery: Arc<dyn Discovery>, here: &[&'static str], breakers: Breakers) -> Result<Built, StartError> {
    let gateway = Arc::new(forward::Gateway::new(host, discovery, here, breakers)?);
    let mut parts = Parts::default();
    if host.settings.gateway.actuator {
        parts.endpoints = actuator::endpoints(&gateway);
    }
    let limited = gateway.clone();
    parts.reloadable(&["gateway.rate", "gateway.burst"], move |settings| {
        limited.set_rate(&settings.gateway);
        Ok(())
    });
    let routed = gateway.clone();
    parts.reloadable(&["gateway.routes"], move |settings| Ok(routed.routes.use_file(settings.gateway.routes.clone())?));
    let watched = gateway.clone();
    parts.worker("gateway-routes", move |stop| async move { watched.routes.watch(stop).await });
    Ok(Built { parts, door: gateway })
}
