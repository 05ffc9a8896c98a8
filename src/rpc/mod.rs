//! Calls to peers: contracts, generated clients, discovery, resilience, tokens.

pub mod context;
pub mod contract;
pub mod credentials;
pub mod discovery;
pub mod loopback;
pub mod oidc;
pub mod resilience;
pub mod trace;
