//! Who gets in, and who does not.

mod forged;
mod issuer;
mod keycloak;
mod realm;
mod rotation;
#[cfg(feature = "tls")]
mod tls;
mod tokens;
