//! The context of a call: who asks, until when, and in which trace.
//!
//! It is the first argument of every contract method. In-process it is handed on; over HTTP the
//! generated client writes it into headers and the edge reads it back.

use crate::kernel::problem::Problem;
use crate::observe::trace::{Span, Trace};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Milliseconds the caller still waits; a call never outlives its caller.
pub const TIMEOUT_HEADER: &str = "x-request-timeout-ms";

/// What a validated access token says of its bearer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// `sub`: stable and unique; orders and notifications belong to it.
    pub subject: String,
    /// `preferred_username`, or the subject where the token has none.
    pub username: String,
    /// `email`, where the token has one.
    pub email: Option<String>,
    /// Realm roles and those of clients (`realm_access`, `resource_access`).
    pub roles: Vec<String>,
    /// The token itself, relayed on calls to peers.
    pub token: String,
}

/// On whose behalf a call is made.
#[derive(Debug, Clone)]
pub enum Caller {
    /// Nobody that we know; only public endpoints run with it.
    Anonymous,
    /// The bearer of a token.
    User(Arc<Principal>),
    /// A worker of this process; towards a remote peer it becomes client credentials.
    Module(&'static str),
}

/// The context of one call. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Cx {
    /// Who asks.
    pub caller: Caller,
    /// When the answer is of no use any more.
    pub deadline: Instant,
    /// Where this call belongs.
    pub trace: Trace,
}

impl Cx {
    /// For a module's own worker, in a new trace, which is not recorded: there would be one each time it looks
    /// whether there is anything to do.
    pub fn module(name: &'static str, budget: Duration) -> Self {
        Self { caller: Caller::Module(name), deadline: Instant::now() + budget, trace: Trace::start() }
    }

    /// The same call on behalf of nobody but the module itself.
    pub fn as_module(&self, name: &'static str) -> Self {
        Self { caller: Caller::Module(name), ..self.clone() }
    }

    /// The same call as part of this step.
    pub fn in_span(&self, span: &Span) -> Self {
        Self { trace: span.trace(), ..self.clone() }
    }

    /// The same call with at most this much time from now.
    pub fn within(&self, time: Duration) -> Self {
        Self { deadline: self.deadline.min(Instant::now() + time), ..self.clone() }
    }

    /// What is left until the deadline; `None` when it has passed.
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }

    /// True for a token with this realm role, and for our own workers.
    pub fn has_role(&self, role: &str) -> bool {
        match &self.caller {
            Caller::Anonymous => false,
            Caller::User(principal) => principal.roles.iter().any(|r| r == role),
            Caller::Module(_) => true,
        }
    }

    /// Whose token it is; 401 without one.
    pub fn principal(&self) -> Result<&Arc<Principal>, Problem> {
        match &self.caller {
            Caller::User(principal) => Ok(principal),
            _ => Err(Problem::unauthorized(None)),
        }
    }
}
