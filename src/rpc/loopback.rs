//! The secret by which a process recognises its own calls over HTTP.

use actix_web::http::header::{HeaderMap, HeaderValue};
use std::sync::LazyLock;
use subtle::ConstantTimeEq;

/// On calls of this process to itself: they have come in by the front door already, or never left.
pub const INSIDE_HEADER: &str = "x-tradepost-inside";

/// Its value, which nobody else knows.
pub fn inside() -> &'static HeaderValue {
    static INSIDE: LazyLock<HeaderValue> = LazyLock::new(|| {
        let secret = hex::encode(rand::random::<[u8; 16]>());
        HeaderValue::from_str(&secret).unwrap_or_else(|_| HeaderValue::from_static(""))
    });
    &INSIDE
}

/// Whether this process sent it to itself.
pub fn is_inside(headers: &HeaderMap) -> bool {
    headers.get(INSIDE_HEADER).is_some_and(|value| value.as_bytes().ct_eq(inside().as_bytes()).into())
}
