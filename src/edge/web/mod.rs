//! The request pipeline of a process, the same for all modules.
//!
//! In this order: trace, method, token, role, `Accept`, `Content-Type`, body limit, deadline, handler. Errors
//! become problem+json in one place.

mod headers;
mod protocol;
#[cfg(test)]
#[allow(dead_code, reason = "a build with some modules uses a part of it")]
pub(crate) mod testing;

pub use headers::bearer_token;

use crate::edge::auth::Authenticator;
use crate::edge::auth::operator::Operator;
use crate::edge::exchanges::HttpExchangeLog;
use crate::edge::gateway_middleware::{GatewayMiddleware, OriginalPath, RouteTarget};
use crate::kernel::problem::{Cause, Problem};
use crate::observe::trace::Trace;
use crate::rpc::context::{Caller, Cx, Principal, TIMEOUT_HEADER};
use crate::rpc::contract::{Call, Endpoint, EndpointHandler, RequiredRole};
use actix_web::dev::{Payload, ServiceRequest};
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::http::{ConnectionType, Method, StatusCode};
use actix_web::web::{self, Bytes, BytesMut, ServiceConfig};
use actix_web::{FromRequest, HttpMessage, HttpRequest, HttpResponse};
use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use headers::header_text;
use protocol::{check_accept, has_conflicting_lengths, not_found, options_response, without_body};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Configuration and state of the pipeline.
pub struct Edge {
    pub authenticator: Authenticator,
    /// Basic credentials for the actuator; if `None`, the actuator requires a token.
    pub operator: Option<Operator>,
    /// Records requests for `/actuator/httpexchanges`.
    pub exchanges: Arc<HttpExchangeLog>,
    /// Maximum size of a request body, in bytes.
    pub body_limit: usize,
    /// Maximum time for one request.
    pub timeout: Duration,
    /// Allowed CORS origins: `*` or a list; empty for none.
    pub origins: Vec<String>,
    /// The gateway, if it runs in this process. Without it, paths without an endpoint are 404.
    pub gateway: Option<Arc<dyn GatewayMiddleware>>,
    /// Cancelled at shutdown: from then on each response closes its connection.
    pub shutting_down: CancellationToken,
}

const TRACE_ID: HeaderName = HeaderName::from_static("x-trace-id");

/// Registers all endpoints, grouped by path, so that a wrong method gets 405 and an unknown path 404.
pub fn configure(app: &mut ServiceConfig, endpoints: &[Endpoint], edge: &Arc<Edge>) {
    let mut paths: BTreeMap<(usize, &str), Vec<Endpoint>> = BTreeMap::new();
    for endpoint in endpoints {
        let path = endpoint.operation.path;
        // The router takes the first match: register fixed paths before those with parameters.
        paths.entry((path.matches('{').count(), path)).or_default().push(endpoint.clone());
    }
    for ((_, path), endpoints) in paths {
        let endpoints: Arc<[Endpoint]> = endpoints.into();
        let edge = edge.clone();
        app.service(web::resource(path).route(web::route().to(move |request: HttpRequest, payload: RawPayload| {
            let (endpoints, edge) = (endpoints.clone(), edge.clone());
            async move { edge.serve(&endpoints, request, payload.0).await }
        })));
    }
    let edge = edge.clone();
    app.default_service(web::route().to(move |request: HttpRequest, payload: RawPayload| {
        let edge = edge.clone();
        async move { edge.serve(&[], request, payload.0).await }
    }));
}

/// Prepares every request before an endpoint is matched.
pub fn prepare_request(request: &mut ServiceRequest, edge: &Edge) {
    replace_unknown_method(request);
    if let Some(gateway) = &edge.gateway {
        gateway.pre_route(request);
    }
}

/// Replaces methods that HTTP does not define by `UNKNOWN`: each would create a label value in the metrics.
fn replace_unknown_method(request: &mut ServiceRequest) {
    let known = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::OPTIONS,
        Method::PATCH,
        Method::TRACE,
        Method::CONNECT,
    ];
    if !known.contains(request.method())
        && let Ok(unknown) = Method::from_bytes(b"UNKNOWN")
    {
        let sent = std::mem::replace(&mut request.head_mut().method, unknown);
        request.extensions_mut().insert(OriginalMethod(sent));
    }
}

/// Request extension: the method that the client sent, if it was replaced.
struct OriginalMethod(Method);

/// The raw payload as an extractor.
struct RawPayload(Payload);

impl FromRequest for RawPayload {
    type Error = actix_web::Error;
    type Future = std::future::Ready<Result<Self, Self::Error>>;

    fn from_request(_: &HttpRequest, payload: &mut Payload) -> Self::Future {
        std::future::ready(Ok(RawPayload(payload.take())))
    }
}

impl Edge {
    async fn serve(&self, endpoints: &[Endpoint], request: HttpRequest, payload: Payload) -> HttpResponse {
        let started = Instant::now();
        let (method, path) = (original_method(&request), original_path(&request));
        let routed_method = if method == Method::HEAD { &Method::GET } else { request.method() };
        let operation = endpoints.iter().map(|e| &*e.operation).find(|o| o.method == routed_method);
        let exchange = crate::rpc::trace::server_span(&request, &method, operation, self.gateway.is_some());
        let (span, trace) = (exchange.span(), exchange.span().trace());
        let cors = self.cors_headers(&request);
        let smuggling = has_conflicting_lengths(&request);
        let outcome = match options_response(endpoints, self.gateway.is_some(), &request) {
            _ if smuggling => Err(Problem::new(400, "malformed request: Content-Length beside Transfer-Encoding")),
            Some(response) => Ok(response),
            None => span.scope(self.dispatch(endpoints, &request, payload, trace, started)).await,
        };
        let mut response = outcome.unwrap_or_else(|problem| problem.respond(method.as_str(), &path, &trace.id()));
        // Also set on problems that the gateway has turned into responses.
        let cause = response.extensions_mut().remove::<Cause>().map(|cause| cause.0);
        if smuggling || self.shutting_down.is_cancelled() {
            // With smuggling, client and server may disagree on the boundaries of later requests.
            response.head_mut().set_connection_type(ConnectionType::Close);
        }
        if method == Method::HEAD {
            response = without_body(response);
        }
        let status = response.status();
        let headers = response.headers_mut();
        if let Ok(id) = HeaderValue::from_str(&trace.id()) {
            headers.insert(TRACE_ID, id);
        }
        for (name, value) in cors {
            headers.insert(name, value);
        }
        exchange.record_server_status(status);
        let took = started.elapsed();
        self.exchanges.record(&request, &path, &response, took);
        let elapsed_us = took.as_micros() as u64;
        span.sync_scope(|| {
            let status_code = status.as_u16();
            // A 500 without a cause comes from an upstream service of the gateway.
            if status == StatusCode::INTERNAL_SERVER_ERROR && cause.is_some() {
                tracing::error!(%method, path, status = status_code, elapsed_us, cause, "request failed");
            } else if status.is_server_error() {
                tracing::warn!(%method, path, status = status_code, elapsed_us, cause, "request failed");
            } else {
                tracing::debug!(%method, path, status = status_code, elapsed_us, cause, "request");
            }
        });
        response
    }

    /// Authenticates and authorizes the request, then calls the endpoint or the gateway.
    async fn dispatch(
        &self,
        endpoints: &[Endpoint],
        request: &HttpRequest,
        payload: Payload,
        trace: Trace,
        started: Instant,
    ) -> Result<HttpResponse, Problem> {
        let routed_method = if request.method() == Method::HEAD { &Method::GET } else { request.method() };
        let found = endpoints.iter().find(|e| e.operation.method == routed_method);
        let public = !endpoints.is_empty()
            && endpoints.iter().all(|e| matches!(e.operation.required_role, RequiredRole::Public | RequiredRole::Optional));
        let endpoint_role = found.map_or(if public { RequiredRole::Public } else { RequiredRole::Any }, |e| e.operation.required_role);
        let gateway = self.gateway.as_ref();
        let required_role = match gateway.map(|gateway| gateway.resolve_target(request, !endpoints.is_empty())).transpose()? {
            Some(RouteTarget::Gateway(required_role)) => {
                let cx = self.authenticate(required_role, &[], request, trace, started).await?;
                return match gateway {
                    Some(gateway) => gateway.clone().serve(cx, request.clone(), payload).await,
                    None => Err(not_found(endpoints)),
                };
            }
            // A route may require a role for an endpoint that is public.
            Some(RouteTarget::Endpoint(route_role))
                if endpoint_role == RequiredRole::Public
                    || (endpoint_role == RequiredRole::Optional && route_role != RequiredRole::Public) =>
            {
                route_role
            }
            _ => endpoint_role,
        };
        let cx = self.authenticate(required_role, endpoints, request, trace, started).await?;
        let call_endpoint = move |cx: Cx, payload| -> LocalBoxFuture<'_, Result<HttpResponse, Problem>> {
            Box::pin(async move {
                authorize(endpoint_role, &cx)?;
                let Some(endpoint) = found else { return Err(not_found(endpoints)) };
                self.handle(endpoint, cx, request, payload).await
            })
        };
        match gateway {
            Some(gateway) => gateway.intercept(cx, request, payload, Box::new(call_endpoint)).await,
            None => call_endpoint(cx, payload).await,
        }
    }

    async fn handle(&self, endpoint: &Endpoint, cx: Cx, request: &HttpRequest, payload: Payload) -> Result<HttpResponse, Problem> {
        let deadline = cx.deadline;
        let response = async {
            match &endpoint.serve {
                EndpointHandler::Raw(handler) => handler(cx, request.clone(), payload).await,
                EndpointHandler::Contract(handler) => {
                    check_accept(request)?;
                    let reading = tokio::time::timeout_at(deadline.into(), self.read_json_body(request, payload));
                    let body = reading.await.map_err(|_| body_timeout())??;
                    handler(Call { cx, request: request.clone(), body }).await
                }
            }
        };
        match tokio::time::timeout_at(deadline.into(), response).await {
            Ok(result) => result,
            Err(_) => Err(Problem::unavailable("the request took too long; it may still be completed")),
        }
    }

    async fn authenticate(
        &self,
        required_role: RequiredRole,
        endpoints: &[Endpoint],
        request: &HttpRequest,
        trace: Trace,
        started: Instant,
    ) -> Result<Cx, Problem> {
        let requested = header_text(request, TIMEOUT_HEADER).and_then(|ms| ms.parse().ok()).map(Duration::from_millis);
        let deadline = started + requested.unwrap_or(self.timeout).min(self.timeout);
        let actuator = endpoints.iter().any(|e| e.operation.path.starts_with("/actuator/"));
        let operator = self.operator.as_ref().filter(|_| actuator).and_then(|operator| operator.authenticate(request));
        let caller = match (required_role, operator) {
            (RequiredRole::Public, _) => Caller::Anonymous,
            (_, Some(operator)) => Caller::User(operator),
            (RequiredRole::Optional, None) => self.bearer_of(request).await.map_or(Caller::Anonymous, Caller::User),
            (_, None) => Caller::User(self.bearer_of(request).await?),
        };
        Ok(Cx { caller, deadline, trace })
    }

    async fn bearer_of(&self, request: &HttpRequest) -> Result<Arc<Principal>, Problem> {
        self.authenticator.authenticate(&bearer_token(request)?).await
    }

    async fn read_json_body(&self, request: &HttpRequest, payload: Payload) -> Result<Bytes, Problem> {
        let body = read_body(request, payload, self.body_limit).await?;
        let media = header_text(request, "content-type").map(|t| t.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
        match media.as_deref() {
            Some(json) if json == "application/json" || (json.starts_with("application/") && json.ends_with("+json")) => Ok(body),
            None if body.is_empty() => Ok(body),
            _ if request.method() == Method::GET || request.method() == Method::DELETE || request.method() == Method::HEAD => {
                Ok(Bytes::new())
            }
            _ => Err(Problem::new(415, "the body must be application/json")),
        }
    }

    fn cors_headers(&self, request: &HttpRequest) -> Vec<(HeaderName, HeaderValue)> {
        let Some(origin) = request.headers().get(header::ORIGIN) else { return Vec::new() };
        let allowed = |o: &String| o == "*" || o.as_bytes() == origin.as_bytes();
        if !self.origins.iter().any(allowed) {
            return Vec::new();
        }
        let mut headers = vec![
            (header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone()),
            (header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("etag, location, retry-after, x-trace-id")),
            (header::VARY, HeaderValue::from_static("origin")),
        ];
        if request.method() == Method::OPTIONS {
            headers.push((header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE, OPTIONS")));
            headers.push((header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("3600")));
            if let Some(requested) = request.headers().get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
                headers.push((header::ACCESS_CONTROL_ALLOW_HEADERS, requested.clone()));
            }
        }
        headers
    }
}

fn authorize(required_role: RequiredRole, cx: &Cx) -> Result<(), Problem> {
    let roles = required_role.roles();
    if roles.is_empty() || roles.iter().any(|role| cx.has_role(role)) {
        return Ok(());
    }
    Err(Problem::forbidden(format!("this needs the role {}", roles.join(" or "))))
}

/// 408.
pub fn body_timeout() -> Problem {
    Problem::new(408, "the body did not come in time")
}

/// Reads the whole body; 413 if it exceeds the limit.
pub async fn read_body(request: &HttpRequest, mut payload: Payload, limit: usize) -> Result<Bytes, Problem> {
    let too_large = || Problem::new(413, format!("the body is larger than {limit} bytes"));
    let announced = header_text(request, "content-length").and_then(|n| n.parse::<usize>().ok());
    if announced.is_some_and(|n| n > limit) {
        return Err(too_large());
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|cause| Problem::new(400, format!("the body broke off: {cause}")))?;
        if body.len() + chunk.len() > limit {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// The method that the client sent.
pub fn original_method(request: &HttpRequest) -> Method {
    let sent = request.extensions().get::<OriginalMethod>().map(|sent| sent.0.clone());
    sent.unwrap_or_else(|| request.method().clone())
}

/// The path that the client sent.
pub fn original_path(request: &HttpRequest) -> String {
    let sent = request.extensions().get::<OriginalPath>().map(|sent| sent.0.clone());
    sent.unwrap_or_else(|| request.path().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::error::StoreError;
    use crate::observe::log::tests::Written;
    use actix_web::test::TestRequest;
    use tracing_subscriber::layer::SubscriberExt;

    /// Calls an endpoint with this result; returns status, response text and log.
    async fn call_failing(result: impl Fn() -> Result<HttpResponse, Problem> + Send + Sync + 'static) -> (u16, String, String) {
        let endpoint =
            Endpoint::raw("test", "fails", Method::GET, "/fails", RequiredRole::Public, move |_, _, _| std::future::ready(result()));
        let app = testing::app(vec![endpoint], Arc::new(testing::edge(testing::NO_ISSUER))).await;
        let written = Written::default();
        let lines = tracing_subscriber::fmt::layer().with_writer(written.clone()).with_ansi(false);
        let _log = tracing::subscriber::set_default(tracing_subscriber::registry().with(lines));
        let (status, headers, body) = app(TestRequest::get().uri("/fails")).await;
        (status, format!("{headers:?}{}", String::from_utf8_lossy(&body)), written.text())
    }

    #[actix_web::test]
    async fn failure_with_a_cause_logs_it_once_and_does_not_send_it() {
        let internal = || Problem::internal("no route to db-7.internal");
        let unavailable = || Err(StoreError::Unavailable { store: "order".into(), cause: "no route to db-7.internal".into() }.into());
        let refused = || Err(Problem::new(400, "malformed request").with_cause("no route to db-7.internal"));
        for (level, status, (found, sent, log)) in [
            ("ERROR", 500, call_failing(move || Err(internal())).await),
            // As the gateway does.
            ("ERROR", 500, call_failing(move || Ok(internal().respond("GET", "/fails", ""))).await),
            ("WARN", 503, call_failing(unavailable).await),
            ("DEBUG", 400, call_failing(refused).await),
        ] {
            assert_eq!(found, status, "{sent}");
            assert!(!sent.contains("db-7"), "{sent}");
            assert_eq!(log.matches("db-7").count(), 1, "{log}");
            let line = log.lines().find(|line| line.contains("db-7")).unwrap();
            assert!(line.contains(level) && line.contains("path=\"/fails\""), "{line}");
        }
    }
}
