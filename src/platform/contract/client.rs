//! The engine of every generated client: a contract call sent to a remote peer over HTTP.

use super::{Access, Operation, Param, Reply};
use crate::platform::auth::Credentials;
use crate::platform::cx::{Caller, Cx, TIMEOUT_HEADER, TRACE_HEADER};
use crate::platform::discovery::{Discovery, Outcome};
use crate::platform::problem::{Problem, TypedError};
use actix_web::http::{Method, header};
use awc::error::SendRequestError;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// No answer of a peer is larger: a page of 1000 products with long descriptions.
const MAX_ANSWER: usize = 16 << 20;

thread_local! {
    // awc's client is bound to its thread: one a worker, with its own pool of connections
    static HTTP: awc::Client = client();
}

fn client() -> awc::Client {
    #[cfg(feature = "tls")]
    crate::platform::tls::install();
    awc::Client::builder().timeout(Duration::from_secs(30)).disable_redirects().finish()
}

/// This thread's HTTP client.
pub fn http() -> awc::Client {
    HTTP.with(Clone::clone)
}

/// A call on its way out.
pub struct Outgoing {
    operation: Option<Arc<Operation>>,
    path: String,
    query: Vec<(&'static str, String)>,
    headers: Vec<(String, String)>,
    body: Option<Result<Vec<u8>, String>>,
}

impl Outgoing {
    /// Starts with the contract's path; its parameters follow.
    pub fn new(operation: Option<Arc<Operation>>) -> Self {
        let path = operation.as_ref().map(|o| o.path.to_string()).unwrap_or_default();
        Self { operation, path, query: Vec::new(), headers: Vec::new(), body: None }
    }

    /// Fills a path parameter in, escaped.
    pub fn path<T: Param>(&mut self, name: &str, value: &T) {
        self.path = self.path.replace(&format!("{{{name}}}"), &escape(&value.to_text().unwrap_or_default()));
    }

    /// Adds a query parameter.
    pub fn query<T: Param>(&mut self, name: &'static str, value: &T) {
        self.query.extend(value.to_text().map(|text| (name, text)));
    }

    /// Adds a header; underscores of the argument's name become hyphens.
    pub fn header<T: Param>(&mut self, name: &str, value: &T) {
        self.headers.extend(value.to_text().map(|text| (name.replace('_', "-"), text)));
    }

    /// Sets the JSON body.
    pub fn body<T: Serialize>(&mut self, value: &T) {
        self.body = Some(serde_json::to_vec(value).map_err(|e| e.to_string()));
    }
}

fn escape(segment: &str) -> String {
    let mut escaped = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' | b'.' => escaped.push(char::from(byte)),
            other => escaped.push_str(&format!("%{other:02X}")),
        }
    }
    escaped
}

/// A peer that runs in another process, or is to be called as if it did.
pub struct Remote {
    /// The peer's module name.
    pub module: &'static str,
    /// Where its instances are.
    pub discovery: Arc<dyn Discovery>,
    /// Our own credentials, for calls that are not on a caller's behalf.
    pub credentials: Arc<dyn Credentials>,
    /// Test aid: send each repeatable call twice and use the second answer.
    pub send_twice: bool,
}

impl Remote {
    /// Sends the call and reads the answer, or the peer's typed error.
    pub async fn call<R: Reply, E: TypedError>(&self, cx: &Cx, call: Outgoing) -> Result<R, E> {
        if self.send_twice && call.operation.as_ref().is_some_and(|o| o.repeatable) {
            self.send::<R>(cx, &call).await.map_err(E::from_problem)?;
        }
        self.send(cx, &call).await.map_err(E::from_problem)
    }

    async fn send<R: Reply>(&self, cx: &Cx, call: &Outgoing) -> Result<R, Problem> {
        let Some(operation) = &call.operation else {
            return Err(Problem::internal("a contract call without an operation"));
        };
        let Some(left) = cx.remaining() else {
            return Err(Problem::unavailable(format!("no time left to call {}", self.module)));
        };
        let picked = self
            .discovery
            .pick(self.module, None)
            .ok_or_else(|| Problem::unavailable(format!("no instance of {} is known", self.module)))?;
        let request = self.request(cx, operation, call, &picked.base_url, left).await?;
        let sent = match &call.body {
            Some(Ok(bytes)) => request.content_type("application/json").send_body(bytes.clone()),
            Some(Err(cause)) => return Err(Problem::internal(cause)),
            None => request.send(),
        };
        let mut answer = match sent.await {
            Ok(answer) => answer,
            Err(cause) => {
                tracing::warn!(peer = self.module, operation = operation.name, %cause, "peer did not answer");
                // how long we waited is the caller's choice: that time was up is not held against the instance
                if !matches!(cause, SendRequestError::Timeout) {
                    picked.done(Outcome::Failed);
                }
                return Err(Problem::unavailable(format!("{} is not available", self.module)));
            }
        };
        let status = answer.status().as_u16();
        let etag = answer.headers().get(header::ETAG).and_then(|v| v.to_str().ok()).map(str::to_string);
        let body = answer.body().limit(MAX_ANSWER).await.map_err(|cause| {
            tracing::warn!(peer = self.module, operation = operation.name, %cause, "peer's answer broke off");
            Problem::unavailable(format!("{} is not available", self.module))
        })?;
        picked.done(Outcome::Answered);
        if status == operation.status { R::read(etag.as_deref(), &body) } else { Err(self.refusal(status, &body)) }
    }

    /// Our credentials not being accepted is our fault, never the caller's.
    fn refusal(&self, status: u16, body: &[u8]) -> Problem {
        let problem = Problem::parse(status, body);
        match status {
            401 | 403 => {
                tracing::error!(peer = self.module, status, message = problem.message, "peer refused our token");
                Problem::unavailable(format!("{} is not available", self.module))
            }
            500..=599 => Problem::unavailable(format!("{} is not available", self.module)),
            _ => problem,
        }
    }

    async fn request(
        &self,
        cx: &Cx,
        operation: &Operation,
        call: &Outgoing,
        base: &str,
        left: Duration,
    ) -> Result<awc::ClientRequest, Problem> {
        let mut request = http().request(operation.method.clone(), format!("{base}{}", call.path)).timeout(left);
        if !call.query.is_empty() {
            request = request.query(&call.query).map_err(Problem::internal)?;
        }
        let relayed = match &cx.caller {
            Caller::User(principal) if !matches!(operation.access, Access::Service | Access::ServiceOrAdmin) => {
                Some(principal.token.clone())
            }
            _ => None,
        };
        let token = match relayed {
            Some(token) => Some(token),
            None if operation.access == Access::Public => None,
            None => Some(self.credentials.token().await?),
        };
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        for (name, value) in &call.headers {
            request = request.insert_header((name.as_str(), value.as_str()));
        }
        if operation.method == Method::GET {
            request = request.insert_header((header::ACCEPT, "*/*"));
        }
        Ok(request
            .insert_header((TRACE_HEADER, cx.trace.child().header()))
            .insert_header((TIMEOUT_HEADER, left.as_millis().max(1).to_string())))
    }
}
