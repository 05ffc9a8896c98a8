//! Where the modules of a shop under test keep their data: in files, or, where `TRADEPOST_TEST_MYSQL` names
//! a server (`mysql://root:password@127.0.0.1:3306`), rows in fresh databases there, and where
//! `TRADEPOST_TEST_MONGO` does (`mongodb://127.0.0.1:27017`), documents in one there.

use std::path::{Path, PathBuf};
use tradepost::settings::{MongoDb, MySql, Secret, Settings, SslMode};

/// Modules whose rows may be on a server.
pub const MODULES: [&str; 3] = ["inventory", "order", "notification"];

/// Many tests share few cores: one that is slow for it is not in trouble. In milliseconds.
const PATIENT: u64 = 60_000;

/// The server of rows to test against, if there is one.
pub fn server() -> Option<String> {
    named("TRADEPOST_TEST_MYSQL", cfg!(feature = "mysql"))
}

/// The server of documents to test against, if there is one.
pub fn documents() -> Option<String> {
    named("TRADEPOST_TEST_MONGO", cfg!(feature = "mongodb"))
}

fn named(variable: &str, compiled: bool) -> Option<String> {
    let url = std::env::var(variable).ok().filter(|url| !url.is_empty())?;
    assert!(compiled, "{variable} needs a build with the feature of that server");
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
        // a process without a folder keeps nothing
        if !data.is_dir() {
            return Self::default();
        }
        let mut all = server().map(|server| Self::on(&server, data)).unwrap_or_default();
        // made by its first document
        all.0.extend(documents().map(|server| ("product", format!("{server}/{}_product", prefix(data, |_| {})))));
        all
    }

    /// Rows on a given server.
    pub fn on(server: &str, data: &Path) -> Self {
        let create = |prefix: &str| MODULES.iter().for_each(|module| run(server, &format!("CREATE DATABASE {prefix}_{module}")));
        let prefix = prefix(data, create);
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
        (settings.product.store, settings.inventory.store) = (url("product"), url("inventory"));
        (settings.order.store, settings.notification.store) = (url("order"), url("notification"));
        // every commit is an fsync of its own there, and a row that everybody wants is locked through it
        settings.server.request_seconds = PATIENT / 1000;
        (settings.resilience.call_ms, settings.order.peers_ms) = (PATIENT, PATIENT);
        settings.mysql = MySql {
            migrate: true,
            connect_ms: PATIENT,
            acquire_ms: PATIENT,
            statement_ms: PATIENT,
            transaction_ms: PATIENT,
            ..MySql::default()
        };
        settings.mongodb = MongoDb { migrate: true, connect_ms: PATIENT, acquire_ms: PATIENT, statement_ms: PATIENT, ..MongoDb::default() };
        if let Some(folder) = certificates() {
            (settings.mysql.ssl_mode, settings.tls.ca) = (SslMode::VerifyIdentity, Some(folder.join("ca.pem")));
        }
    }

    /// As settings of another process, in the environment's spelling.
    pub fn environment(&self) -> Vec<(String, String)> {
        let mut all: Vec<_> =
            self.0.iter().map(|(module, url)| (format!("TRADEPOST__{}__STORE", module.to_uppercase()), url.clone())).collect();
        if !all.is_empty() {
            let limits = ["CONNECT_MS", "ACQUIRE_MS", "STATEMENT_MS", "TRANSACTION_MS"];
            for (server, limits) in [("MYSQL", &limits[..]), ("MONGODB", &limits[..3])] {
                all.push((format!("TRADEPOST__{server}__MIGRATE"), "true".into()));
                all.extend(limits.iter().map(|key| (format!("TRADEPOST__{server}__{key}"), PATIENT.to_string())));
            }
            if let Some(folder) = certificates() {
                all.push(("TRADEPOST__MYSQL__SSL_MODE".into(), "verify_identity".into()));
                all.push(("TRADEPOST__TLS__CA".into(), folder.join("ca.pem").to_string_lossy().into_owned()));
            }
        }
        all
    }

    /// Removes them from their servers.
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

/// What the names of a shop's databases begin with: made up for the first who asks.
fn prefix(data: &Path, create: impl Fn(&str)) -> String {
    let note = data.join("databases");
    std::fs::read_to_string(&note).unwrap_or_else(|_| {
        let prefix = format!("t{}", uuid::Uuid::new_v4().simple());
        create(&prefix);
        std::fs::write(&note, &prefix).unwrap();
        prefix
    })
}

#[cfg(feature = "mongodb")]
fn drop_documents(url: &str) {
    on_documents(url, |database| async move { database.drop().await.unwrap() });
}

/// Works on a database of documents, apart from the runtime that the caller may stand in.
#[cfg(feature = "mongodb")]
#[track_caller]
pub fn on_documents<T: Send, Fut: Future<Output = T>>(url: &str, work: impl FnOnce(mongodb::Database) -> Fut + Send) -> T {
    let work = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = mongodb::Client::with_uri_str(url).await.unwrap();
            let done = work(client.default_database().unwrap()).await;
            client.shutdown().await;
            done
        })
    };
    std::thread::scope(|threads| threads.spawn(work).join().unwrap())
}

#[cfg(not(feature = "mongodb"))]
fn drop_documents(_: &str) {
    unreachable!("no server without the feature");
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
    tradepost::net::tls::install();
}

#[cfg(not(feature = "mysql"))]
pub fn run(_: &str, _: &str) {
    unreachable!("no server without the feature");
}
