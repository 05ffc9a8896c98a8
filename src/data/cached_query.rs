//! Statements that are prepared once.

use diesel::QueryResult;
use diesel::backend::Backend;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};

/// A statement whose text is one of few. diesel takes every update, every list and every insert of several
/// rows for one that is different each time, and has it prepared anew: on a server that is a round trip more.
/// A connection keeps what was prepared under the statement's own text, and for good: so not for lists of any
/// length.
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

/// Lists up to here have a text that is worth being kept.
pub const MAX_PREPARED_LIST_LEN: usize = 8;
