//! MySQL and MariaDB tests beyond the scenarios, which also run on these servers: conflicts between transactions, the
//! schema, a server that is unavailable.
//!
//! Ignored by default: `.ci/stores.sh` starts the servers, names them in `TRADEPOST_TEST_MYSQL`, and runs these with
//! `--ignored`.

mod lost_commit;
mod outage;
mod schema;
#[cfg(feature = "tls")]
mod tls;
mod transactions;

use crate::support::stores;
use tradepost::settings::{MySql, MySqlUrl, Secret};

/// A fresh database on the server under test; removed when dropped.
pub struct Database {
    server: String,
    name: String,
}

impl Database {
    pub fn fresh() -> Self {
        let server = stores::server().expect("TRADEPOST_TEST_MYSQL: the address of a server");
        let name = format!("t{}", uuid::Uuid::new_v4().simple());
        stores::run(&server, &format!("CREATE DATABASE {name}"));
        Self { server, name }
    }

    pub fn url(&self) -> Secret {
        Secret::new(format!("{}/{}", self.server, self.name))
    }

    pub fn server(&self) -> MySqlUrl {
        at(self.url().expose())
    }

    pub fn run(&self, sql: &str) {
        stores::run(self.url().expose(), sql);
    }

    /// Returns the only value of the query.
    pub fn value(&self, expression: &str, from: &str) -> String {
        let sql = format!("SELECT CAST({expression} AS CHAR) AS value FROM {from}");
        stores::column(self.url().expose(), &sql).pop().unwrap()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            stores::run(&self.server, &format!("DROP DATABASE {}", self.name));
        }
    }
}

/// Connection without TLS.
pub fn at(url: impl Into<String>) -> MySqlUrl {
    MySqlUrl { url: Secret::new(url), tls: None }
}

/// Settings of a process that may change the schema, with a timeout that no operation exceeds.
pub fn migrating() -> MySql {
    const PATIENT: u64 = 30_000;
    let limits = MySql { connect_ms: PATIENT, acquire_ms: PATIENT, statement_ms: PATIENT, transaction_ms: PATIENT, ..MySql::default() };
    MySql { migrate: true, ..limits }
}
