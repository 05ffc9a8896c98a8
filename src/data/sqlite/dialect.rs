//! Where SQLite's SQL differs from the other backends'. Each SQL backend defines these macros, and repositories use them.
#![allow(unused_macros, unused_imports, reason = "the modules compiled in determine which macros are used")]

/// Reads rows and locks them until the transaction ends. A no-op: there is one writer.
macro_rules! for_update {
    ($query:expr) => {
        $query
    };
}
/// The same, without rows locked by another transaction. A no-op: there is one writer.
macro_rules! for_update_skip_locked {
    ($query:expr) => {
        $query
    };
}
/// Runs an update of at most one row. `None`: no row matched. `Some(Some(_))`: the column's new value.
macro_rules! update_returning {
    ($conn:expr, $update:expr, $column:expr) => {
        $crate::data::CachedQuery($update.returning($column)).get_result($conn).await.optional()?.map(Some)
    };
}
/// Inserts rows; returns their ids in the same order. One statement per row.
macro_rules! insert_returning_ids {
    ($conn:expr, $table:expr, $rows:expr, $id:expr) => {{
        let mut ids: Vec<i64> = Vec::new();
        for row in $rows {
            ids.push(diesel::insert_into($table).values(row).returning($id).get_result($conn).await?);
        }
        ids
    }};
}
pub(crate) use {for_update, for_update_skip_locked, insert_returning_ids, update_returning};
