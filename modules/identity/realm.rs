//! The realm's name and the paths under it.

macro_rules! realm {
    () => {
        "spring-cloud-microservices-realm"
    };
}

macro_rules! realm_path {
    ($path:literal) => {
        concat!("/realms/", realm!(), $path)
    };
}

/// The realm that the Spring system uses in Keycloak.
pub const REALM: &str = realm!();

pub(super) const DISCOVERY: &str = realm_path!("/.well-known/openid-configuration");
pub(super) const CERTS: &str = realm_path!("/protocol/openid-connect/certs");
pub(super) const TOKEN: &str = realm_path!("/protocol/openid-connect/token");
pub(super) const INTROSPECT: &str = realm_path!("/protocol/openid-connect/token/introspect");
pub(super) const AUTH: &str = realm_path!("/protocol/openid-connect/auth");
pub(super) const USERINFO: &str = realm_path!("/protocol/openid-connect/userinfo");
pub(super) const LOGOUT: &str = realm_path!("/protocol/openid-connect/logout");

/// The issuer's URL for clients that reach this process at `public_url`.
pub fn issuer_url(public_url: &str) -> String {
    format!("{}/realms/{REALM}", public_url.trim_end_matches('/'))
}
