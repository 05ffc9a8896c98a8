//! State of the gateway, shared by all requests.

use super::active_routes::{ActiveRoutes, ActiveRoutesError};
use super::limit::{LimitDecision, Rate, RateHeaders, RateLimiter};
use super::metrics::Metrics;
use super::pattern::{AddressRange, AddressRangeError, Pattern, PatternError};
use super::respond::response_status;
use super::route::Route;
use super::sanitize::RequestOrigin;
use crate::kernel::error::{ComponentError, StartError};
use crate::kernel::problem::Problem;
use crate::rpc::context::{Caller, Cx};
use crate::rpc::discovery::Discovery;
use crate::rpc::resilience::registry::BreakerRegistry;
use crate::runtime::Host;
use crate::settings;
use actix_web::{HttpRequest, HttpResponse};
use parking_lot::RwLock;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

const REGISTRY: &str = "registry";

/// Settings that prevent the gateway from starting.
#[derive(Debug, thiserror::Error)]
enum SettingsError {
    #[error(transparent)]
    Routes(#[from] ActiveRoutesError),
    #[error("gateway.public: {0}")]
    Public(#[from] PatternError),
    #[error("gateway.trusted_proxies: {0}")]
    TrustedProxies(#[from] AddressRangeError),
}

impl ComponentError for SettingsError {}

pub(super) struct Gateway {
    pub(super) routes: ActiveRoutes,
    pub(super) discovery: Arc<dyn Discovery>,
    rate_limiter: RateLimiter,
    /// Modules of this process that routes reach by a function call.
    pub(super) local_modules: Vec<&'static str>,
    metrics: Metrics,
    pub(super) public: Vec<Pattern>,
    pub(super) trusted_proxies: Vec<AddressRange>,
    global_rate: RwLock<Option<Rate>>,
    pub(super) discovery_locator: bool,
    pub(super) body_limit: u64,
    pub(super) connect_timeout: Duration,
    /// Value of `Via`, unique per process: detects a request that the gateway sent to itself.
    pub(super) via: String,
    pub(super) draining: CancellationToken,
}

/// `gateway.rate` and `gateway.burst`.
fn global_rate(settings: &settings::Gateway) -> Option<Rate> {
    let burst = if settings.burst == 0 { settings.rate.saturating_mul(2) } else { settings.burst };
    (settings.rate > 0).then_some(Rate { replenish: settings.rate, burst, requested: 1 })
}

impl Gateway {
    pub(super) fn new(
        host: &Host,
        discovery: Arc<dyn Discovery>,
        local_modules: &[&'static str],
        breakers: BreakerRegistry,
    ) -> Result<Self, StartError> {
        let settings = &host.settings.gateway;
        let public = settings.public.iter().map(|p| Pattern::path(p, true)).collect::<Result<_, _>>();
        let trusted_proxies = settings.trusted_proxies.iter().map(|r| AddressRange::parse(r)).collect::<Result<_, _>>();
        Ok(Self {
            routes: ActiveRoutes::new(settings, local_modules.contains(&REGISTRY), breakers).map_err(SettingsError::from)?,
            // without the registry: its page has another path here than in a process of its own
            local_modules: local_modules.iter().copied().filter(|name| *name != REGISTRY).collect(),
            discovery,
            rate_limiter: RateLimiter::default(),
            metrics: Metrics::new(&host.metrics)?,
            public: public.map_err(SettingsError::Public)?,
            trusted_proxies: trusted_proxies.map_err(SettingsError::TrustedProxies)?,
            global_rate: RwLock::new(global_rate(settings)),
            discovery_locator: settings.discovery_locator,
            body_limit: settings.body_limit.unwrap_or(host.settings.server.body_limit as u64),
            connect_timeout: Duration::from_millis(settings.connect_ms),
            via: format!("1.1 tradepost-{}", uuid::Uuid::new_v4().simple()),
            draining: host.draining.clone(),
        })
    }

    /// Replaces the global rate limit.
    pub(super) fn set_global_rate(&self, settings: &settings::Gateway) {
        *self.global_rate.write() = global_rate(settings);
    }

    pub(super) fn global_rate(&self) -> Option<Rate> {
        *self.global_rate.read()
    }

    /// Takes tokens from the caller's bucket. `scope` is a route's id, or empty for the global rate limit.
    pub(super) fn take_tokens(&self, scope: &str, cx: &Cx, origin: &RequestOrigin, rate: Rate) -> LimitDecision {
        let key = match &cx.caller {
            Caller::User(principal) => format!("{scope} user {}", principal.subject),
            _ => format!("{scope} address {}", origin.client.map(|a| a.to_string()).unwrap_or_default()),
        };
        self.rate_limiter.take(&key, rate, Instant::now())
    }

    /// Applies the route's rate limits. `Err` has the headers of the limit that rejected the request.
    pub(super) fn apply_rate_limits(&self, route: &Route, cx: &Cx, origin: &RequestOrigin) -> Result<RateHeaders, RateHeaders> {
        let mut headers = Vec::new();
        for rate in route.rate_limits() {
            let decision = self.take_tokens(&route.definition.id, cx, origin, rate);
            if !decision.allowed {
                return Err(decision.headers);
            }
            headers.extend(decision.headers);
        }
        Ok(headers)
    }

    /// Records a routed request in the metrics.
    pub(super) fn observe(&self, route: &Route, request: &HttpRequest, result: &Result<HttpResponse, Problem>, started: Instant) {
        let definition = &route.definition;
        self.metrics.observe(&definition.id, &definition.uri, response_status(result), request.method(), started.elapsed());
    }
}
