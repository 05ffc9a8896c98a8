//! Direct access to a module's database, to prepare the state after a crash or to damage data.

use diesel::connection::SimpleConnection;
use diesel::sqlite::SqliteConnection;
use diesel::{Connection, QueryableByName, RunQueryDsl};
use std::path::Path;

/// A connection to one database of a data folder.
pub struct Sql(SqliteConnection);

#[derive(QueryableByName)]
struct Cell {
    #[diesel(sql_type = diesel::sql_types::Text)]
    value: String,
}

impl Sql {
    /// Opens `<module>.db`; the shop may have it open at the same time.
    pub fn open(data: &Path, module: &str) -> Self {
        let mut conn = SqliteConnection::establish(&data.join(format!("{module}.db")).to_string_lossy()).unwrap();
        // SQLite does not schedule waiting writers fairly, so wait long.
        conn.batch_execute("PRAGMA busy_timeout = 60000").unwrap();
        Self(conn)
    }

    /// Runs statements that change data.
    #[track_caller]
    pub fn run(&mut self, sql: &str) {
        self.0.batch_execute(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
    }

    /// Returns the first column of every row, as text.
    #[track_caller]
    pub fn column(&mut self, sql: &str) -> Vec<String> {
        let rows: Vec<Cell> = diesel::sql_query(sql).load(&mut self.0).unwrap_or_else(|e| panic!("{sql}: {e}"));
        rows.into_iter().map(|row| row.value).collect()
    }

    /// Returns the only value of the query.
    #[track_caller]
    pub fn value(&mut self, expression: &str, from: &str) -> String {
        let all = self.column(&format!("SELECT CAST({expression} AS TEXT) AS value FROM {from}"));
        assert_eq!(all.len(), 1, "{expression} from {from}: {all:?}");
        all.into_iter().next().unwrap()
    }
}
