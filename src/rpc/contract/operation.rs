//! An operation as its contract declares it, and the role that it requires.

use actix_web::http::Method;

/// Role that a caller needs. The edge of every process checks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequiredRole {
    /// No token needed; a token in the request is ignored.
    Public,
    /// No token needed; a valid one identifies the caller, an invalid one is ignored. Outside contracts only.
    Optional,
    /// Any valid token.
    Any,
    /// Role `customer` or `admin`.
    Customer,
    /// Role `admin`.
    Admin,
    /// Role `service`: peers only. The generated client sends its process's own credentials.
    Service,
    /// Role `service` or `admin`.
    ServiceOrAdmin,
}

impl RequiredRole {
    /// The caller needs one of these roles; empty if any token is sufficient.
    pub fn roles(self) -> &'static [&'static str] {
        match self {
            RequiredRole::Public | RequiredRole::Optional | RequiredRole::Any => &[],
            RequiredRole::Customer => &["customer", "admin"],
            RequiredRole::Admin => &["admin"],
            RequiredRole::Service => &["service"],
            RequiredRole::ServiceOrAdmin => &["service", "admin"],
        }
    }
}

/// One operation as the contract declares it.
#[derive(Debug, Clone)]
pub struct Operation {
    pub module: &'static str,
    /// Name of the trait's method.
    pub name: &'static str,
    pub method: Method,
    /// Path with `{parameters}` named like the method's arguments.
    pub path: &'static str,
    /// HTTP status of a successful response.
    pub status: u16,
    pub required_role: RequiredRole,
    /// Whether the operation is idempotent. The client retries no other operation, unless the request was never sent.
    pub repeatable: bool,
}
