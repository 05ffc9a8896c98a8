//! The secret header that marks a process's HTTP calls to itself.

use actix_web::http::header::{HeaderMap, HeaderValue};
use std::sync::LazyLock;
use subtle::ConstantTimeEq;

/// Marks calls of this process to itself. The front door applies its rules to external requests only.
pub const LOOPBACK_HEADER: &str = "x-tradepost-inside";

/// The header's value: random per process.
pub fn loopback_secret() -> &'static HeaderValue {
    static LOOPBACK_SECRET: LazyLock<HeaderValue> = LazyLock::new(|| {
        let secret = hex::encode(rand::random::<[u8; 16]>());
        HeaderValue::from_str(&secret).unwrap_or_else(|_| HeaderValue::from_static(""))
    });
    &LOOPBACK_SECRET
}

/// Whether the request comes from this process itself.
pub fn is_loopback(headers: &HeaderMap) -> bool {
    headers.get(LOOPBACK_HEADER).is_some_and(|value| value.as_bytes().ct_eq(loopback_secret().as_bytes()).into())
}
