//! The context of a call: who asks, until when, and in which trace.
//!
//! It is the first argument of every contract method. In-process it is handed on; over HTTP the
//! generated client writes it into headers and the edge reads it back.

use crate::platform::problem::Problem;
use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Milliseconds the caller still waits; a call never outlives its caller.
pub const TIMEOUT_HEADER: &str = "x-request-timeout-ms";
/// W3C Trace Context.
pub const TRACE_HEADER: &str = "traceparent";

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
    /// For a module's own worker, in a new trace.
    pub fn module(name: &'static str, budget: Duration) -> Self {
        Self { caller: Caller::Module(name), deadline: Instant::now() + budget, trace: Trace::start() }
    }

    /// The same call on behalf of nobody but the module itself.
    pub fn as_module(&self, name: &'static str) -> Self {
        Self { caller: Caller::Module(name), ..self.clone() }
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

/// A number for ids that must differ and need not be secret: SplitMix64, with a start of its own in each
/// thread. The system's random numbers would cost a call of it for each.
fn random() -> u64 {
    thread_local!(static STATE: Cell<u64> = Cell::new(uuid::Uuid::new_v4().as_u64_pair().0));
    let state = STATE.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
    STATE.set(state);
    let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (z ^ (z >> 31)).max(1)
}

/// Ids of W3C Trace Context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    /// 16 bytes, one for everything that follows from one request.
    pub trace_id: u128,
    /// 8 bytes, one for each step.
    pub span_id: u64,
}

impl Trace {
    /// A new trace with random ids.
    pub fn start() -> Self {
        Self { trace_id: u128::from(random()) << 64 | u128::from(random()), span_id: random() }
    }

    /// The next step of the same trace.
    pub fn child(self) -> Self {
        Self { span_id: random(), ..self }
    }

    /// Reads `traceparent`; anything malformed starts a new trace, as the standard asks.
    pub fn parse(header: Option<&str>) -> Self {
        header.and_then(Self::try_parse).map_or_else(Self::start, Self::child)
    }

    fn try_parse(header: &str) -> Option<Self> {
        let mut parts = header.split('-');
        let (version, trace, span, _flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hex = |s: &str| s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if version.len() != 2 || version == "ff" || trace.len() != 32 || span.len() != 16 || !hex(trace) || !hex(span) {
            return None;
        }
        let parsed = Self { trace_id: u128::from_str_radix(trace, 16).ok()?, span_id: u64::from_str_radix(span, 16).ok()? };
        (parsed.trace_id != 0 && parsed.span_id != 0).then_some(parsed)
    }

    /// Writes `traceparent`.
    pub fn header(self) -> String {
        format!("00-{:032x}-{:016x}-01", self.trace_id, self.span_id)
    }

    /// 32 hex digits, as logs and error bodies show it.
    pub fn id(self) -> String {
        format!("{:032x}", self.trace_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_goes_on_from_a_good_header_and_starts_anew_from_a_bad_one() {
        let good = Trace::parse(Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
        assert_eq!(good.id(), "0af7651916cd43dd8448eb211c80319c");
        for bad in [
            "",
            "00-0-0-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_ne!(Trace::parse(Some(bad)).id(), "0af7651916cd43dd8448eb211c80319c");
        }
    }
}
