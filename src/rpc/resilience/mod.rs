//! Fault tolerance around every call of a generated client: a failing peer must not take its callers down.
//!
//! From outside to inside:
//! 1. **bulkhead**: limits concurrent calls to a peer; rejects further calls immediately;
//! 2. **circuit breaker** ([`breaker`]): stops calling a failing peer for a while. It counts calls, not
//!    attempts: if one of two instances is dead, calls succeed at the second attempt and the peer counts as
//!    healthy. [`super::discovery`] ejects single instances;
//! 3. **retry** within its [`budget`], with full jitter: only operations that the contract marks repeatable and
//!    requests that were never sent; at another instance if there is one; only while the breaker's state is unchanged;
//! 4. **timeout**: the peer's own limit or the caller's deadline, whichever is earlier, over all attempts.
//!
//! There is one [`Peer`] per peer module and process, shared by all threads.

pub mod breaker;
pub mod budget;
mod counters;
mod gauges;
mod peer;
mod peers;
pub mod registry;
#[cfg(test)]
mod tests;

pub use peer::{Attempt, Failure, Peer};
pub use peers::Peers;
