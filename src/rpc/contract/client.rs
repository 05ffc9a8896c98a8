//! Sends the calls of generated clients to remote peers over HTTP.

use super::operation::{Operation, RequiredRole};
use super::param::Param;
use super::reply::Reply;
use crate::kernel::problem::{Problem, TypedError};
use crate::kernel::uri::encode_component;
use crate::net::http::{http, is_unsent};
use crate::observe::trace::propagation;
use crate::rpc::context::{Caller, Cx, TIMEOUT_HEADER};
use crate::rpc::credentials::Credentials;
use crate::rpc::discovery::{Discovery, Outcome};
use crate::rpc::loopback::{LOOPBACK_HEADER, loopback_secret};
use crate::rpc::resilience::{Attempt, Failure, Peer};
use actix_web::http::{Method, header};
use actix_web::web::Bytes;

use serde::Serialize;
use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// In bytes. The largest response is a page of 1000 products with long descriptions.
const MAX_RESPONSE_LEN: usize = 16 << 20;

/// The request of a contract call.
pub struct OutgoingCall {
    operation: Option<Arc<Operation>>,
    path: String,
    query: Vec<(&'static str, String)>,
    headers: Vec<(String, String)>,
    body: Option<Result<Vec<u8>, serde_json::Error>>,
}

impl OutgoingCall {
    /// Starts with the operation's path template.
    pub fn new(operation: Option<Arc<Operation>>) -> Self {
        let path = operation.as_ref().map(|o| o.path.to_string()).unwrap_or_default();
        Self { operation, path, query: Vec::new(), headers: Vec::new(), body: None }
    }

    /// Replaces a path parameter by the escaped value.
    pub fn path<T: Param>(&mut self, name: &str, value: &T) {
        self.path = self.path.replace(&format!("{{{name}}}"), &encode_component(&value.to_text().unwrap_or_default()));
    }

    pub fn query<T: Param>(&mut self, name: &'static str, value: &T) {
        self.query.extend(value.to_text().map(|text| (name, text)));
    }

    /// Adds a header; underscores in the argument's name become hyphens.
    pub fn header<T: Param>(&mut self, name: &str, value: &T) {
        self.headers.extend(value.to_text().map(|text| (name.replace('_', "-"), text)));
    }

    pub fn body<T: Serialize>(&mut self, value: &T) {
        self.body = Some(serde_json::to_vec(value));
    }
}

/// Parses `ETag` and body of a successful response and stores the reply.
type ReadReply<'a> = dyn Fn(Option<&str>, &[u8]) -> Result<(), Problem> + 'a;

/// A peer that is called over HTTP: in another process, or in this one in `loopback` mode.
pub struct Remote {
    pub module: &'static str,
    /// Breaker, limits and retry budget; shared by all threads and clients.
    pub peer: Arc<Peer>,
    pub discovery: Arc<dyn Discovery>,
    /// This process's credentials, for calls that are not made for a user.
    pub credentials: Arc<dyn Credentials>,
    /// Test aid: sends each repeatable call twice and uses the second response.
    pub send_twice: bool,
}

impl Remote {
    /// Sends the call; returns the reply or the peer's typed error.
    pub async fn call<R: Reply, E: TypedError>(&self, cx: &Cx, call: OutgoingCall) -> Result<R, E> {
        if self.send_twice && call.operation.as_ref().is_some_and(|o| o.repeatable) {
            self.send(cx, &call, &|etag, body| R::read(etag, body).map(drop)).await.map_err(E::from_problem)?;
        }
        let reply = Cell::new(None);
        let read = |etag: Option<&str>, body: &[u8]| R::read(etag, body).map(|read| reply.set(Some(read)));
        self.send(cx, &call, &read).await.map_err(E::from_problem)?;
        reply.take().ok_or_else(|| E::from_problem(Problem::internal("a call succeeded without a reply")))
    }

    /// Not generic over the reply, so that the compiler does not duplicate the HTTP code for every operation.
    async fn send(&self, cx: &Cx, call: &OutgoingCall, read: &ReadReply<'_>) -> Result<(), Problem> {
        let Some(operation) = &call.operation else {
            return Err(Problem::internal("a contract call without an operation"));
        };
        let body = match &call.body {
            Some(Ok(bytes)) => Some(Bytes::copy_from_slice(bytes)),
            Some(Err(cause)) => return Err(Problem::internal(cause)),
            None => None,
        };
        let token = self.token(cx, operation).await?;
        let attempt = async |attempt: Attempt<'_>| self.attempt(cx, operation, (call, read), body.clone(), token.as_deref(), attempt).await;
        self.peer.call(cx.deadline, operation.repeatable, attempt).await
    }

    /// The token to send. Acquired before the peer's breaker and metrics, because a failing issuer is not the peer's fault.
    async fn token(&self, cx: &Cx, operation: &Operation) -> Result<Option<String>, Problem> {
        match &cx.caller {
            Caller::User(principal) if !matches!(operation.required_role, RequiredRole::Service | RequiredRole::ServiceOrAdmin) => {
                Ok(Some(principal.token.clone()))
            }
            _ if operation.required_role == RequiredRole::Public => Ok(None),
            _ => match tokio::time::timeout_at(cx.deadline.into(), self.credentials.token()).await {
                Ok(token) => token.map(Some),
                Err(_) => Err(Problem::unavailable("the token issuer is not available").with_cause("timeout waiting for a token")),
            },
        }
    }

    async fn attempt(
        &self,
        cx: &Cx,
        operation: &Operation,
        (call, read): (&OutgoingCall, &ReadReply<'_>),
        body: Option<Bytes>,
        token: Option<&str>,
        attempt: Attempt<'_>,
    ) -> Result<(), Failure> {
        let exchange = crate::rpc::trace::client_span(cx.trace, &operation.method, operation.path, self.module);
        exchange.span().set("url.template", operation.path);
        let cx = &cx.in_span(exchange.span());
        let failed = |cause: &dyn std::fmt::Display, instance: Option<String>, retryable: bool, unsent: bool| {
            let instance = instance.unwrap_or_default();
            tracing::warn!(peer = self.module, instance, operation = operation.name, %cause, "call failed");
            Failure::Peer {
                problem: self.unavailable().with_cause(cause),
                instance: Some(instance).filter(|i| !i.is_empty()),
                retryable,
                unsent,
            }
        };
        let started = Instant::now();
        let Some(picked) = self.discovery.pick(self.module, attempt.avoid) else {
            exchange.record_error("no instance");
            self.peer.record_attempt(operation, None, Duration::ZERO);
            return Err(failed(&"no known instance", None, true, true));
        };
        exchange.set_server_address(&picked.base_url);
        // Rounded down to milliseconds, the header's unit, so that peer and client time out together.
        let left = Duration::from_millis(attempt.deadline.saturating_duration_since(Instant::now()).as_millis() as u64);
        let mut request = self.request(cx, operation, call, &picked.base_url, token, left).map_err(Failure::Local)?;
        if picked.is_self {
            request = request.insert_header((LOOPBACK_HEADER, loopback_secret().clone()));
        }
        let sending = async {
            let mut response = match body {
                Some(bytes) => request.content_type("application/json").send_body(bytes).await,
                None => request.send().await,
            }
            .map_err(|cause| (cause.to_string(), is_unsent(&cause)))?;
            let body =
                response.body().limit(MAX_RESPONSE_LEN).await.map_err(|cause| (format!("the response was cut off: {cause}"), false))?;
            // awc accepts the end of the connection as the end of the body.
            let announced = response.headers().get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
            if announced.is_some_and(|length| length != body.len()) {
                return Err((format!("the response was cut off after {} bytes", body.len()), false));
            }
            Ok((response, body))
        };
        let instance = Some(picked.base_url.clone());
        let outcome = tokio::time::timeout(left, sending).await;
        let status = outcome.as_ref().ok().and_then(|result| result.as_ref().ok()).map(|(response, _)| response.status().as_u16());
        self.peer.record_attempt(operation, status, started.elapsed());
        let (response, body) = match outcome {
            Ok(Ok(received)) => received,
            Ok(Err((cause, unsent))) => {
                picked.done(Outcome::Failed);
                exchange.record_error(if unsent { "not reached" } else { "broke off" });
                return Err(failed(&cause, instance, true, unsent));
            }
            Err(_) => {
                // Blame the instance only if it had enough time.
                if attempt.counts_toward_breaker {
                    picked.done(Outcome::Failed);
                }
                exchange.record_error("timeout");
                return Err(failed(&"timeout waiting for the response", instance, false, false));
            }
        };
        picked.done(Outcome::Responded);
        exchange.record_client_status(response.status());
        let status = response.status().as_u16();
        if status == operation.status {
            let etag = response.headers().get(header::ETAG).and_then(|v| v.to_str().ok());
            return read(etag, &body).map_err(|problem| failed(&problem.for_log(), instance, false, false));
        }
        match status {
            // This process's token was rejected: the caller must not receive the 401 or 403.
            401 | 403 => {
                let message = Problem::parse(status, &body).message;
                tracing::error!(peer = self.module, status, response = message, "peer rejected the token of this process");
                Err(Failure::Refused(self.unavailable().with_cause(format!("it rejected this process's token: {status} {message}"))))
            }
            400..=499 => Err(Failure::Refused(Problem::parse(status, &body))),
            _ => Err(failed(&Problem::parse(status, &body), instance, matches!(status, 502..=504), false)),
        }
    }

    fn unavailable(&self) -> Problem {
        Problem::unavailable(format!("{} is not available", self.module))
    }

    fn request(
        &self,
        cx: &Cx,
        operation: &Operation,
        call: &OutgoingCall,
        base: &str,
        token: Option<&str>,
        left: Duration,
    ) -> Result<awc::ClientRequest, Problem> {
        // Longer than the timeout of the attempt, which must expire first: only that one handles `counts_toward_breaker`.
        let mut request = http().request(operation.method.clone(), format!("{base}{}", call.path)).timeout(left * 2);
        if !call.query.is_empty() {
            request = request.query(&call.query).map_err(Problem::internal)?;
        }
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        for (name, value) in &call.headers {
            request = request.insert_header((name.as_str(), value.as_str()));
        }
        if operation.method == Method::GET {
            request = request.insert_header((header::ACCEPT, "*/*"));
        }
        for header in propagation::headers(cx.trace) {
            request = request.insert_header(header);
        }
        Ok(request.insert_header((TIMEOUT_HEADER, left.as_millis().max(1).to_string())))
    }
}
