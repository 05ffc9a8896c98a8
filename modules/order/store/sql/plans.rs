//! SQLite answers the lists from their indexes.

use super::backend::{Backend, Conn};
use super::list::Listed;
use crate::data::sqlite::Db;
use crate::kernel::error::StoreError;
use diesel::debug_query;
use diesel::sql_types::Text;
use diesel_async::RunQueryDsl;

#[derive(diesel::QueryableByName)]
struct Step {
    #[diesel(sql_type = Text)]
    detail: String,
}

async fn plan(db: &Db, query: &str) -> String {
    // debug_query appends the values
    let sql = format!("EXPLAIN QUERY PLAN {}", query.split(" -- binds").next().unwrap());
    let steps = db.read(async move |c: &mut Conn| Ok::<_, StoreError>(diesel::sql_query(&sql).load::<Step>(c).await?)).await.unwrap();
    steps.into_iter().map(|step| step.detail).collect::<Vec<_>>().join("; ")
}

/// The condition of the partial indexes and that of the queries must be the same text.
#[tokio::test]
async fn orders_are_listed_by_their_indexes_without_a_sort() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(&dir.path().join("order.db"), super::super::STORE.sqlite).unwrap();
    for (list, index) in [
        (Listed(None), "SEARCH orders USING INDEX orders_listed (id>?)"),
        (Listed(Some("alice".into())), "SEARCH orders USING INDEX orders_customer_listed (customer=? AND id>?)"),
    ] {
        let ids = debug_query::<Backend, _>(&list.id_query(5, 10)).to_string();
        let count = debug_query::<Backend, _>(&list.count_query(5)).to_string();
        let rows = debug_query::<Backend, _>(&list.rows_query(5, 10)).to_string();
        for query in [ids, count, rows] {
            assert_eq!(plan(&db, &query).await, index);
        }
    }
}
