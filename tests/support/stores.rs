//! Where the modules of a shop under test keep their data: in files, or, where `TRADEPOST_TEST_MYSQL` names
//! a server (`mysql://root:password@127.0.0.1:3306`), each in a fresh database there.

use std::path::{Path, PathBuf};
use tradepost::config::{MySql, Secret, Settings, SslMode};

/// Modules whose store may be on a server.
pub const MODULES: [&str; 3] = ["inventory", "order", "notification"];

/// Many tests share few cores: one that is slow for it is not in trouble. In milliseconds.
const PATIENT: u64 = 60_000;

/// The server to test against, if there is one.
pub fn server() -> Option<String> {
    let url = std::env::var("TRADEPOST_TEST_MYSQL").ok().filter(|url| !url.is_empty())?;
    if cfg!(not(feature = "mysql")) {
        panic!("TRADEPOST_TEST_MYSQL needs a build with --features mysql");
    }
    Some(url.trim_end_matches('/').to_string())
}

/// The folder of `.ci/services/certificates.sh` by which servers under test speak TLS, if they do.
pub fn certificates() -> Option<PathBuf> {
    std::env::var("TRADEPOST_TEST_CERTIFICATES").ok().filter(|folder| !folder.is_empty()).map(PathBuf::from)
}

/// The databases of one shop; none where it keeps files.
#[derive(Clone, Default)]
pub struct Stores(Vec<(&'static str, String)>);

impl Stores {
    /// Those of the shop with this data folder: made for the first who asks.
    pub fn of(data: &Path) -> Self {
        match server() {
            // a process without a folder keeps nothing
            Some(server) if data.is_dir() => Self::on(&server, data),
            _ => Self::default(),
        }
    }

    /// The same on a given server.
    pub fn on(server: &str, data: &Path) -> Self {
        let note = data.join("databases");
        let prefix = std::fs::read_to_string(&note).unwrap_or_else(|_| {
            let prefix = format!("t{}", uuid::Uuid::new_v4().simple());
            for module in MODULES {
                run(server, &format!("CREATE DATABASE {prefix}_{module}"));
            }
            std::fs::write(&note, &prefix).unwrap();
            prefix
        });
        Self(MODULES.map(|module| (module, format!("{server}/{prefix}_{module}"))).to_vec())
    }

    /// The URL of a module's.
    pub fn url(&self, module: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| *name == module).map(|(_, url)| url.as_str())
    }

    /// As settings of this process.
    pub fn apply(&self, settings: &mut Settings) {
        if self.0.is_empty() {
            return;
        }
        let url = |module| self.url(module).map(Secret::new);
        (settings.inventory.store, settings.order.store, settings.notification.store) =
            (url("inventory"), url("order"), url("notification"));
        // every commit is an fsync of its own there, and a row that everybody wants is locked through it
        settings.server.request_seconds = PATIENT / 1000;
        (settings.resilience.call_ms, settings.order.peers_ms) = (PATIENT, PATIENT);
        settings.mysql = MySql { migrate: true, acquire_ms: PATIENT, statement_ms: PATIENT, transaction_ms: PATIENT, ..MySql::default() };
        if let Some(folder) = certificates() {
            (settings.mysql.ssl_mode, settings.tls.ca) = (SslMode::VerifyIdentity, Some(folder.join("ca.pem")));
        }
    }

    /// As settings of another process, in the environment's spelling.
    pub fn environment(&self) -> Vec<(String, String)> {
        let mut all: Vec<_> =
            self.0.iter().map(|(module, url)| (format!("TRADEPOST__{}__STORE", module.to_uppercase()), url.clone())).collect();
        if !all.is_empty() {
            let set = |key: &str, value: String| (format!("TRADEPOST__MYSQL__{key}"), value);
            all.push(set("MIGRATE", "true".into()));
            if let Some(folder) = certificates() {
                all.push(set("SSL_MODE", "verify_identity".into()));
                all.push(("TRADEPOST__TLS__CA".into(), folder.join("ca.pem").to_string_lossy().into_owned()));
            }
            all.extend(["ACQUIRE_MS", "STATEMENT_MS", "TRANSACTION_MS"].map(|key| set(key, PATIENT.to_string())));
        }
        all
    }

    /// Removes them from the server.
    pub fn drop_all(&self) {
        for (_, url) in &self.0 {
            let (server, name) = url.rsplit_once('/').unwrap();
            run(server, &format!("DROP DATABASE {name}"));
        }
    }
}

/// Runs statements on a server, or in a database of it.
#[cfg(feature = "mysql")]
#[track_caller]
pub fn run(url: &str, sql: &str) {
    column(url, sql);
}

/// The first column of every row, as text; it is called `value`.
#[cfg(feature = "mysql")]
#[track_caller]
pub fn column(url: &str, sql: &str) -> Vec<String> {
    use diesel::QueryableByName;
    use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
    #[derive(QueryableByName)]
    struct Cell {
        #[diesel(sql_type = diesel::sql_types::Text)]
        value: String,
    }
    let work = async {
        let mut conn = connect(url).await;
        if !sql.starts_with("SELECT") {
            conn.batch_execute(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
            return Vec::new();
        }
        let rows: Vec<Cell> = diesel::sql_query(sql).load(&mut conn).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
        rows.into_iter().map(|row| row.value).collect()
    };
    // apart from the runtime that the caller may stand in
    let alone = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
    std::thread::scope(|threads| threads.spawn(alone).join().unwrap())
}

#[cfg(feature = "mysql")]
async fn connect(url: &str) -> diesel_async::AsyncMysqlConnection {
    use mysql_async::{Conn, Opts, OptsBuilder, SslOpts};
    let mut opts = OptsBuilder::from_opts(Opts::from_url(url).unwrap());
    if let Some(folder) = certificates() {
        tradepost_tls();
        let trusted = SslOpts::default().with_root_certs(vec![folder.join("ca.pem").into()]);
        opts = opts.ssl_opts(trusted).prefer_socket(false);
    }
    let conn = Conn::new(opts).await.unwrap_or_else(|e| panic!("{url}: {e}"));
    diesel_async::AsyncMysqlConnection::try_from(conn).await.unwrap()
}

#[cfg(feature = "mysql")]
fn tradepost_tls() {
    #[cfg(feature = "tls")]
    tradepost::platform::tls::install();
}

#[cfg(not(feature = "mysql"))]
pub fn run(_: &str, _: &str) {
    unreachable!("no server without the feature");
}
