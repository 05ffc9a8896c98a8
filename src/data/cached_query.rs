//! Statements that a connection prepares once and caches.

use diesel::QueryResult;
use diesel::backend::Backend;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};

/// A statement with few distinct texts. By default diesel caches no update, no `IN` list and no insert of several rows,
/// and prepares them again each time: one more round trip to a server. A connection keeps a cached statement, keyed by
/// its text, until it closes. Do not use it for lists of unlimited length.
pub struct CachedQuery<Q>(pub Q);

impl<DB: Backend, Q: QueryFragment<DB>> QueryFragment<DB> for CachedQuery<Q> {
    fn walk_ast<'b>(&'b self, pass: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        self.0.walk_ast(pass)
    }

    fn is_safe_to_cache_prepared(&self, _: &DB) -> QueryResult<bool> {
        Ok(true)
    }
}

impl<Q> QueryId for CachedQuery<Q> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<Q: Query> Query for CachedQuery<Q> {
    type SqlType = Q::SqlType;
}

/// Lists up to this length are worth caching: each length is one more prepared statement.
pub const MAX_PREPARED_LIST_LEN: usize = 8;
