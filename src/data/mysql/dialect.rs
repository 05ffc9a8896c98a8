//! Where MySQL's SQL differs from the other backends'. Each SQL backend defines these macros, and repositories use them.
#![allow(unused_macros, unused_imports, reason = "the modules compiled in determine which macros are used")]

use super::backend::Conn;
use crate::data::CachedQuery;

/// Reads rows and locks them until the transaction ends, so that decisions on them stay valid.
macro_rules! for_update {
    ($query:expr) => {
        $query.for_update()
    };
}
/// The same, without rows locked by another transaction.
macro_rules! for_update_skip_locked {
    ($query:expr) => {
        $query.for_update().skip_locked()
    };
}
/// Runs an update of at most one row. `None`: no row matched. `Some(None)`: the row was updated; MySQL does not return
/// the new value.
macro_rules! update_returning {
    ($conn:expr, $update:expr, $column:expr) => {{
        let _ = $column;
        ($crate::data::CachedQuery($update).execute($conn).await? > 0).then_some(None)
    }};
}
/// Inserts rows; returns their ids in the same order.
macro_rules! insert_returning_ids {
    ($conn:expr, $table:expr, $rows:expr, $id:expr) => {{
        let (_, mut rows) = ($id, $rows.into_iter().collect::<Vec<_>>());
        let count = rows.len();
        match rows.pop() {
            // an insert of one row has a constant text, so diesel caches it
            Some(row) if count == 1 => diesel::insert_into($table).values(row).execute($conn).await?,
            Some(row) => {
                rows.push(row);
                let insert = diesel::insert_into($table).values(rows);
                if count <= $crate::data::MAX_PREPARED_LIST_LEN {
                    $crate::data::CachedQuery(insert).execute($conn).await?
                } else {
                    insert.execute($conn).await?
                }
            }
            None => 0,
        };
        $crate::data::mysql::inserted_ids($conn, count).await?
    }};
}
pub(crate) use {for_update, for_update_skip_locked, insert_returning_ids, update_returning};

diesel::define_sql_function! {
    /// First id that this connection's last insert generated.
    fn last_insert_id() -> BigInt;
}

/// The ids that this connection's last insert generated: InnoDB allocates the ids of one statement consecutively.
pub async fn inserted_ids(conn: &mut Conn, rows: usize) -> diesel::QueryResult<Vec<i64>> {
    use diesel_async::RunQueryDsl;
    if rows == 1 {
        return Ok(vec![diesel::select(last_insert_id()).get_result(conn).await?]);
    }
    // greater than 1 on a cluster whose members allocate interleaved ids
    let step = diesel::dsl::sql::<diesel::sql_types::BigInt>("CAST(@@auto_increment_increment AS SIGNED)");
    let (first, step): (i64, i64) = CachedQuery(diesel::select((last_insert_id(), step))).get_result(conn).await?;
    Ok((0..rows as i64).map(|n| first + n * step).collect())
}
