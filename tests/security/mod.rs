//! Authentication, authorization, TLS and forged requests.

mod forged;
mod issuer;
mod keycloak;
mod realm;
mod rotation;
#[cfg(feature = "tls")]
mod tls;
mod tokens;
