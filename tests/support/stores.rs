//! Stores of the modules of a shop under test: files by default. If `TRADEPOST_TEST_MYSQL` names a server
//! (`mysql://root:password@127.0.0.1:3306`), new databases on it; if `TRADEPOST_TEST_MONGO` names a server
//! (`mongodb://127.0.0.1:27017`), a new database for the products on it.

use std::path::{Path, PathBuf};
use tradepost::settings::{MongoDb, MySql, Secret, Settings, SslMode};

/// Modules that can use MySQL.
pub const MODULES: [&str; 3] = ["inventory", "order", "notification"];

/// Timeout in milliseconds. Long, because many tests share few cores.
const TIMEOUT_MS: u64 = 60_000;

/// URL of the MySQL server under test, if there is one.
pub fn server() -> Option<String> {
    from_environment("TRADEPOST_TEST_MYSQL", cfg!(feature = "mysql"))
}

/// URL of the MongoDB server under test, if there is one.
pub fn documents() -> Option<String> {
    from_environment("TRADEPOST_TEST_MONGO", cfg!(feature = "mongodb"))
}

fn from_environment(variable: &str, compiled: bool) -> Option<String> {
    let url = std::env::var(variable).ok().filter(|url| !url.is_empty())?;
    assert!(compiled, "{variable} needs a build with the feature of its store");
    Some(url.trim_end_matches('/').to_string())
}

/// The folder of `.ci/services/certificates.sh` with the certificates of the servers under test, if they use TLS.
pub fn certificates() -> Option<PathBuf> {
    std::env::var("TRADEPOST_TEST_CERTIFICATES").ok().filter(|folder| !folder.is_empty()).map(PathBuf::from)
}

/// The databases of one shop; empty if it uses files.
#[derive(Clone, Default)]
pub struct Stores(Vec<(&'static str, String)>);

impl Stores {
    /// The databases of the shop with this data folder, created on the first call.
    pub fn of(data: &Path) -> Self {
        // a process without a folder has no store
        if !data.is_dir() {
            return Self::default();
        }
        let mut all = server().map(|server| Self::on(&server, data)).unwrap_or_default();
        // the server creates the database with its first document
        all.0.extend(documents().map(|server| ("product", format!("{server}/{}_product", prefix(data, |_| {})))));
        all
    }

    /// Databases on a given MySQL server.
    pub fn on(server: &str, data: &Path) -> Self {
        let create = |prefix: &str| MODULES.iter().for_each(|module| run(server, &format!("CREATE DATABASE {prefix}_{module}")));
        let prefix = prefix(data, create);
        Self(MODULES.map(|module| (module, format!("{server}/{prefix}_{module}"))).to_vec())
    }

    /// The URL of a module's database.
    pub fn url(&self, module: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| *name == module).map(|(_, url)| url.as_str())
    }

    /// Sets the store URLs and long timeouts in these settings.
    pub fn apply(&self, settings: &mut Settings) {
        if self.0.is_empty() {
            return;
        }
        let url = |module| self.url(module).map(Secret::new);
        (settings.product.store, settings.inventory.store) = (url("product"), url("inventory"));
        (settings.order.store, settings.notification.store) = (url("order"), url("notification"));
        // each commit is one fsync there, and the lock of a hot row is held during it
        settings.server.request_seconds = TIMEOUT_MS / 1000;
        (settings.resilience.call_ms, settings.order.peer_timeout_ms) = (TIMEOUT_MS, TIMEOUT_MS);
        settings.mysql = MySql {
            migrate: true,
            connect_ms: TIMEOUT_MS,
            acquire_ms: TIMEOUT_MS,
            statement_ms: TIMEOUT_MS,
            transaction_ms: TIMEOUT_MS,
            ..MySql::default()
        };
        settings.mongodb =
            MongoDb { migrate: true, connect_ms: TIMEOUT_MS, acquire_ms: TIMEOUT_MS, statement_ms: TIMEOUT_MS, ..MongoDb::default() };
        if let Some(folder) = certificates() {
            (settings.mysql.ssl_mode, settings.tls.ca) = (SslMode::VerifyIdentity, Some(folder.join("ca.pem")));
        }
    }

    /// The same settings as environment variables of another process.
    pub fn environment(&self) -> Vec<(String, String)> {
        let mut all: Vec<_> =
            self.0.iter().map(|(module, url)| (format!("TRADEPOST__{}__STORE", module.to_uppercase()), url.clone())).collect();
        if !all.is_empty() {
            let limits = ["CONNECT_MS", "ACQUIRE_MS", "STATEMENT_MS", "TRANSACTION_MS"];
            for (server, limits) in [("MYSQL", &limits[..]), ("MONGODB", &limits[..3])] {
                all.push((format!("TRADEPOST__{server}__MIGRATE"), "true".into()));
                all.extend(limits.iter().map(|key| (format!("TRADEPOST__{server}__{key}"), TIMEOUT_MS.to_string())));
            }
            if let Some(folder) = certificates() {
                all.push(("TRADEPOST__MYSQL__SSL_MODE".into(), "verify_identity".into()));
                all.push(("TRADEPOST__TLS__CA".into(), folder.join("ca.pem").to_string_lossy().into_owned()));
            }
        }
        all
    }

    /// Drops the databases.
    pub fn drop_all(&self) {
        for (_, url) in &self.0 {
            if url.starts_with("mongodb://") {
                drop_documents(url);
                continue;
            }
            let (server, name) = url.rsplit_once('/').unwrap();
            run(server, &format!("DROP DATABASE {name}"));
        }
    }
}

/// Prefix of the names of a shop's databases; generated and stored in the data folder on the first call.
fn prefix(data: &Path, create: impl Fn(&str)) -> String {
    let file = data.join("databases");
    std::fs::read_to_string(&file).unwrap_or_else(|_| {
        let prefix = format!("t{}", uuid::Uuid::new_v4().simple());
        create(&prefix);
        std::fs::write(&file, &prefix).unwrap();
        prefix
    })
}

#[cfg(feature = "mongodb")]
fn drop_documents(url: &str) {
    on_documents(url, |database| async move { database.drop().await.unwrap() });
}

/// Runs `work` on a MongoDB database, on another thread: the caller may be inside a runtime.
#[cfg(feature = "mongodb")]
#[track_caller]
pub fn on_documents<T: Send, Fut: Future<Output = T>>(url: &str, work: impl FnOnce(mongodb::Database) -> Fut + Send) -> T {
    let work = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = mongodb::Client::with_uri_str(url).await.unwrap();
            let result = work(client.default_database().unwrap()).await;
            client.shutdown().await;
            result
        })
    };
    std::thread::scope(|threads| threads.spawn(work).join().unwrap())
}

#[cfg(not(feature = "mongodb"))]
fn drop_documents(_: &str) {
    unreachable!("the feature is off");
}

/// Runs statements on a server or in one of its databases.
#[cfg(feature = "mysql")]
#[track_caller]
pub fn run(url: &str, sql: &str) {
    column(url, sql);
}

/// The column `value` of every row, as text.
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
    // on another thread: the caller may be inside a runtime
    let on_new_runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
    std::thread::scope(|threads| threads.spawn(on_new_runtime).join().unwrap())
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
    tradepost::net::tls::install();
}

#[cfg(not(feature = "mysql"))]
pub fn run(_: &str, _: &str) {
    unreachable!("the feature is off");
}
