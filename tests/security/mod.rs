//! Who gets in, and who does not.

mod issuer;
mod keycloak;
mod realm;
mod rotation;
mod tokens;
