//! The MySQL server under test: its databases and counters.

use super::{INVENTORY, NOTIFICATION, ORDER, process};
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Text};
use diesel_async::{AsyncConnection, AsyncMysqlConnection, RunQueryDsl, SimpleAsyncConnection};
use std::time::Duration;

#[derive(QueryableByName)]
struct Name {
    #[diesel(sql_type = Text)]
    name: String,
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

#[derive(QueryableByName)]
struct Status {
    #[diesel(sql_type = Text, column_name = "Variable_name")]
    name: String,
    #[diesel(sql_type = Text, column_name = "Value")]
    value: String,
}

/// Counters of the server since its start.
pub struct Counters {
    pub statements: u64,
    pub prepared: u64,
    pub commits: u64,
    pub flushes: u64,
    pub cpu: Duration,
}

impl Counters {
    pub fn since(&self, before: &Self) -> Self {
        Self {
            statements: self.statements - before.statements,
            prepared: self.prepared - before.prepared,
            commits: self.commits - before.commits,
            flushes: self.flushes - before.flushes,
            cpu: self.cpu - before.cpu,
        }
    }
}

/// A connection for administration.
pub struct Sql {
    runtime: tokio::runtime::Runtime,
    conn: AsyncMysqlConnection,
    pid: Option<u32>,
}

impl Sql {
    pub fn open(url: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let conn = runtime.block_on(AsyncMysqlConnection::establish(&format!("{url}/"))).unwrap();
        let mut sql = Self { runtime, conn, pid: None };
        // the CPU time is unavailable if the server runs on another machine
        sql.pid = std::fs::read_to_string(sql.text("SELECT @@pid_file AS name")).ok().and_then(|pid| pid.trim().parse().ok());
        sql
    }

    fn text(&mut self, query: &str) -> String {
        let row: Name = self.runtime.block_on(diesel::sql_query(query).get_result(&mut self.conn)).unwrap();
        row.name
    }

    pub fn version(&mut self) -> String {
        let version = self.text("SELECT CONCAT(@@version_comment, ' ', @@version) AS name");
        let flush = self.text("SELECT CAST(@@innodb_flush_log_at_trx_commit AS CHAR) AS name");
        format!("{version}, innodb_flush_log_at_trx_commit = {flush}")
    }

    /// Drops and creates the databases.
    pub fn create_databases(&mut self) {
        for database in [ORDER, INVENTORY, NOTIFICATION] {
            let statements = format!("DROP DATABASE IF EXISTS {database}; CREATE DATABASE {database}");
            self.runtime.block_on(self.conn.batch_execute(&statements)).unwrap();
        }
    }

    pub fn counters(&mut self) -> Counters {
        let rows: Vec<Status> = self.runtime.block_on(diesel::sql_query("SHOW GLOBAL STATUS").load(&mut self.conn)).unwrap();
        let of = |name: &str| rows.iter().find(|row| row.name == name).map_or(0, |row| row.value.parse().unwrap());
        Counters {
            statements: of("Questions"),
            prepared: of("Com_stmt_prepare"),
            commits: of("Com_commit"),
            flushes: of("Innodb_os_log_fsyncs"),
            cpu: self.pid.map_or(Duration::ZERO, |pid| process::cpu(&format!("/proc/{pid}/stat"))),
        }
    }

    /// Number of events to relay and orders to settle.
    pub fn remaining_work(&mut self) -> i64 {
        let query = format!(
            "SELECT (SELECT COUNT(*) FROM {ORDER}.outbox) + (SELECT COUNT(*) FROM {INVENTORY}.outbox)
                  + (SELECT COUNT(*) FROM {ORDER}.orders WHERE settle IS NOT NULL OR status = 'PENDING') AS n"
        );
        let row: Count = self.runtime.block_on(diesel::sql_query(query).get_result(&mut self.conn)).unwrap();
        row.n
    }
}
