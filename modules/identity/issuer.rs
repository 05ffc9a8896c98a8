//! The state that the issuer's endpoints share.

use super::accounts::Users;
use super::clients::Clients;
use super::codes::Codes;
use super::keys::Keys;
use super::limiter::Limiter;
use super::sessions::Sessions;
use crate::kernel::clock;

pub(super) struct Issuer {
    pub(super) url: String,
    pub(super) audience: String,
    pub(super) access_seconds: i64,
    pub(super) refresh_seconds: i64,
    pub(super) keys: Keys,
    pub(super) users: Users,
    pub(super) clients: Clients,
    pub(super) sessions: Sessions,
    pub(super) codes: Codes,
    pub(super) limiter: Limiter,
}

/// Seconds since 1970, the unit of a token's times (RFC 7519).
pub(super) fn now_seconds() -> i64 {
    clock::now_ms() / 1000
}
