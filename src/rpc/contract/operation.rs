//! An operation as its contract declares it, and the role that it requires.

use actix_web::http::Method;

/// Who may call an operation from outside. Checked at the edge of every process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequiredRole {
    /// No token needed; one that is sent is not looked at.
    Public,
    /// No token needed; a good one tells who asks, and one that is not good is taken for none. Outside contracts only.
    Optional,
    /// Any valid token.
    Any,
    /// Role `customer` or `admin`.
    Customer,
    /// Role `admin`.
    Admin,
    /// Role `service`: peers only. The generated client uses its own credentials for it.
    Service,
    /// Role `service` or `admin`.
    ServiceOrAdmin,
}

impl RequiredRole {
    /// The roles of which one is needed; empty where any token will do.
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
    /// The module that serves it.
    pub module: &'static str,
    /// The trait's method.
    pub name: &'static str,
    /// HTTP method.
    pub method: Method,
    /// Path with `{parameters}` named like the method's arguments.
    pub path: &'static str,
    /// Status of success.
    pub status: u16,
    /// Who may call.
    pub access: RequiredRole,
    /// Whether the same call may be sent again without harm. No other is ever retried.
    pub repeatable: bool,
}
