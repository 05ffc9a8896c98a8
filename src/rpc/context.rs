//! The context of a call: caller, deadline and trace.
//!
//! It is the first argument of every contract method. A local call passes it on; for a remote call the
//! generated client writes it into headers and the peer's edge reads them.

use crate::kernel::problem::Problem;
use crate::observe::trace::{Span, Trace};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The caller's remaining time in milliseconds; the callee's deadline is never later.
pub const TIMEOUT_HEADER: &str = "x-request-timeout-ms";

/// The user or service that a validated access token identifies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// `sub`: stable and unique; the owner of orders and notifications.
    pub subject: String,
    /// `preferred_username`, or the subject if the token has none.
    pub username: String,
    /// `email`.
    pub email: Option<String>,
    /// Realm roles and client roles (`realm_access`, `resource_access`).
    pub roles: Vec<String>,
    /// The raw token, relayed on calls to peers.
    pub token: String,
}

#[derive(Debug, Clone)]
pub enum Caller {
    /// Unauthenticated; only public endpoints accept it.
    Anonymous,
    User(Arc<Principal>),
    /// A worker of this process. The generated client sends client credentials for it.
    Module(&'static str),
}

/// The context of one call. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Cx {
    pub caller: Caller,
    pub deadline: Instant,
    pub trace: Trace,
}

impl Cx {
    /// For a module's own worker. Starts a new trace without recording it: otherwise each poll would record one.
    pub fn module(name: &'static str, budget: Duration) -> Self {
        Self { caller: Caller::Module(name), deadline: Instant::now() + budget, trace: Trace::start() }
    }

    /// The same call with the module itself as caller.
    pub fn as_module(&self, name: &'static str) -> Self {
        Self { caller: Caller::Module(name), ..self.clone() }
    }

    /// The same call as a child of this span.
    pub fn in_span(&self, span: &Span) -> Self {
        Self { trace: span.trace(), ..self.clone() }
    }

    /// The same call with a deadline at most `time` from now.
    pub fn within(&self, time: Duration) -> Self {
        Self { deadline: self.deadline.min(Instant::now() + time), ..self.clone() }
    }

    /// Time until the deadline; `None` if it has passed.
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }

    /// True for a token with this role, and for workers of this process.
    pub fn has_role(&self, role: &str) -> bool {
        match &self.caller {
            Caller::Anonymous => false,
            Caller::User(principal) => principal.roles.iter().any(|r| r == role),
            Caller::Module(_) => true,
        }
    }

    /// The authenticated user; 401 if there is none.
    pub fn principal(&self) -> Result<&Arc<Principal>, Problem> {
        match &self.caller {
            Caller::User(principal) => Ok(principal),
            _ => Err(Problem::unauthorized(None)),
        }
    }
}
