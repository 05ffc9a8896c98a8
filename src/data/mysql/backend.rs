//! diesel's types of this backend.

use diesel_async::{AsyncConnectionCore, AsyncMysqlConnection};

/// The connection that repositories use.
pub type Conn = AsyncMysqlConnection;
pub type Backend = diesel::mysql::Mysql;

const _: fn() = || {
    fn has_backend<C: AsyncConnectionCore<Backend = Backend>>() {}
    has_backend::<Conn>();
};
