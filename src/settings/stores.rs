//! Store URLs of the modules; the scheme selects the backend.

#[cfg(feature = "mysql")]
use super::{MySqlUrl, SslMode, Tls};
use super::{Secret, Settings};
use crate::kernel::error::ComponentError;
#[cfg(feature = "sqlite")]
use crate::kernel::module::Module;
#[cfg(feature = "sqlite")]
use std::path::PathBuf;

/// A relational store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUrl {
    #[cfg(feature = "sqlite")]
    Sqlite(PathBuf),
    /// MySQL or MariaDB.
    #[cfg(feature = "mysql")]
    MySql(MySqlUrl),
}

/// A document store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DocumentStoreUrl {
    #[cfg(feature = "sqlite")]
    Sqlite(PathBuf),
    #[cfg(feature = "mongodb")]
    MongoDb(Secret),
}

/// Schemes of relational stores in this build.
const STORE_SCHEMES: &str = match (cfg!(feature = "sqlite"), cfg!(feature = "mysql")) {
    (true, true) => "sqlite://, mysql://",
    (true, false) => "sqlite://",
    (false, true) => "mysql://",
    (false, false) => "none",
};

/// Schemes of document stores in this build.
const DOCUMENT_SCHEMES: &str = match (cfg!(feature = "sqlite"), cfg!(feature = "mongodb")) {
    (true, true) => "sqlite://, mongodb://",
    (true, false) => "sqlite://",
    (false, true) => "mongodb://",
    (false, false) => "none",
};

/// Errors do not show the URL: it may contain a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreUrlError {
    /// Two modules must not share one outbox.
    #[error("{module}.store and {other}.store name the same database; each module needs one of its own")]
    SameDatabase { module: String, other: String },
    #[error("{module}.store: set it to a URL with one of {known_schemes}; the embedded store is not compiled in (--features sqlite)")]
    NoEmbedded { module: String, known_schemes: &'static str },
    #[error("{module}.store: `{scheme}://` is not a store of {module} in this build; expected one of {known_schemes}")]
    Scheme { module: String, scheme: String, known_schemes: &'static str },
    #[error("{module}.store: expected a URL with one of {known_schemes}")]
    NoUrl { module: String, known_schemes: &'static str },
    #[error("mysql.ssl_mode: TLS is not compiled into this build (--features tls)")]
    NoTls,
}

impl ComponentError for StoreUrlError {}

impl Settings {
    /// The relational store of a module.
    pub fn store_url(&self, module: &str) -> Result<StoreUrl, StoreUrlError> {
        let url = self.url(module)?;
        #[cfg(feature = "mysql")]
        if url.starts_with("mysql://") {
            return Ok(StoreUrl::MySql(MySqlUrl { url: Secret::new(url), tls: self.mysql_tls()? }));
        }
        #[cfg(feature = "sqlite")]
        if let Some(path) = url.strip_prefix("sqlite://") {
            return Ok(StoreUrl::Sqlite(self.file(path)));
        }
        Err(unsupported_url(module, &url, STORE_SCHEMES))
    }

    /// The document store of a module.
    pub fn document_store_url(&self, module: &str) -> Result<DocumentStoreUrl, StoreUrlError> {
        let url = self.url(module)?;
        #[cfg(feature = "mongodb")]
        if url.starts_with("mongodb://") {
            return Ok(DocumentStoreUrl::MongoDb(Secret::new(url)));
        }
        #[cfg(feature = "sqlite")]
        if let Some(path) = url.strip_prefix("sqlite://") {
            return Ok(DocumentStoreUrl::Sqlite(self.file(path)));
        }
        Err(unsupported_url(module, &url, DOCUMENT_SCHEMES))
    }

    /// The SQLite file of a module; none if the module keeps no rows, or keeps them on a server.
    #[cfg(feature = "sqlite")]
    pub fn database_file(&self, module: Module) -> Result<Option<PathBuf>, StoreUrlError> {
        Ok(match module {
            Module::Registry | Module::ConfigServer | Module::Gateway => None,
            Module::Identity => Some(self.data.dir.join("identity.db")),
            Module::Product => match self.document_store_url(module.name())? {
                DocumentStoreUrl::Sqlite(path) => Some(path),
                #[cfg(feature = "mongodb")]
                DocumentStoreUrl::MongoDb(_) => None,
            },
            // a module added later has rows, too
            _ => match self.store_url(module.name())? {
                StoreUrl::Sqlite(path) => Some(path),
                #[cfg(feature = "mysql")]
                StoreUrl::MySql(_) => None,
            },
        })
    }

    #[cfg(feature = "mysql")]
    fn mysql_tls(&self) -> Result<Option<Tls>, StoreUrlError> {
        match self.mysql.ssl_mode {
            SslMode::Disabled => Ok(None),
            SslMode::VerifyIdentity if cfg!(feature = "tls") => Ok(Some(self.tls.clone())),
            SslMode::VerifyIdentity => Err(StoreUrlError::NoTls),
        }
    }

    /// The module's store URL, which no other module may use; by default a file.
    fn url(&self, module: &str) -> Result<String, StoreUrlError> {
        let stores = [
            ("product", &self.product.store),
            ("inventory", &self.inventory.store),
            ("order", &self.order.store),
            ("notification", &self.notification.store),
        ];
        let url = stores.iter().find(|(name, _)| *name == module).and_then(|(_, url)| url.as_ref());
        let Some(url) = url.map(Secret::expose) else { return Ok(format!("sqlite://{{data.dir}}/{module}.db")) };
        if let Some((other, _)) = stores.iter().find(|(name, store)| *name != module && store.as_ref().is_some_and(|s| s.expose() == url)) {
            return Err(StoreUrlError::SameDatabase { module: module.into(), other: (*other).into() });
        }
        Ok(url.to_string())
    }

    #[cfg(feature = "sqlite")]
    fn file(&self, path: &str) -> PathBuf {
        PathBuf::from(path.replace("{data.dir}", &self.data.dir.to_string_lossy()))
    }
}

fn unsupported_url(module: &str, url: &str, known_schemes: &'static str) -> StoreUrlError {
    let module = module.to_string();
    match url.split_once("://") {
        Some(("sqlite", _)) => StoreUrlError::NoEmbedded { module, known_schemes },
        Some((scheme, _)) => StoreUrlError::Scheme { module, scheme: scheme.into(), known_schemes },
        None => StoreUrlError::NoUrl { module, known_schemes },
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use super::*;

    #[test]
    fn store_url_scheme_selects_backend_and_rejected_url_is_not_shown() {
        let mut settings = Settings::default();
        assert_eq!(settings.store_url("order").unwrap(), StoreUrl::Sqlite("data/order.db".into()));
        let mut set = |url: &str| {
            settings.order.store = Some(Secret::new(url));
            settings.store_url("order")
        };
        assert_eq!(set("sqlite:///var/o.db").unwrap(), StoreUrl::Sqlite("/var/o.db".into()));
        assert_eq!(set("sqlite://{data.dir}/o.db").unwrap(), StoreUrl::Sqlite("data/o.db".into()));
        let rejected = set("postgres://user:hidden@host/db").unwrap_err().to_string();
        assert!(rejected.contains("order.store") && rejected.contains("`postgres://`") && rejected.contains(STORE_SCHEMES), "{rejected}");
        assert!(!rejected.contains("hidden"), "{rejected}");
        assert!(set("hidden").unwrap_err().to_string().contains("expected a URL"));
        let mysql = set("mysql://user:hidden@host/db");
        assert_eq!(mysql.is_ok(), cfg!(feature = "mysql"), "{mysql:?}");
        assert!(!format!("{mysql:?}").contains("hidden"));
        #[cfg(feature = "mysql")]
        {
            settings.mysql.ssl_mode = SslMode::VerifyIdentity;
            let encrypted = settings.store_url("order");
            let is_no_tls = matches!(encrypted, Err(StoreUrlError::NoTls));
            assert_eq!((encrypted.is_ok(), is_no_tls), (cfg!(feature = "tls"), !cfg!(feature = "tls")), "{encrypted:?}");
        }
        settings.inventory.store = settings.order.store.clone();
        assert!(settings.store_url("order").unwrap_err().to_string().contains("inventory.store"), "two modules must not share one outbox");
    }

    #[test]
    fn store_url_of_wrong_kind_is_rejected() {
        let mut settings = Settings::default();
        assert_eq!(settings.document_store_url("product").unwrap(), DocumentStoreUrl::Sqlite("data/product.db".into()));
        settings.order.store = Some(Secret::new("mongodb://user:hidden@host/db"));
        let rejected = settings.store_url("order").unwrap_err().to_string();
        assert!(rejected.contains("`mongodb://`") && rejected.contains(STORE_SCHEMES) && !rejected.contains("hidden"), "{rejected}");
        settings.product.store = Some(Secret::new("mysql://user:hidden@host/db"));
        let rejected = settings.document_store_url("product").unwrap_err().to_string();
        assert!(rejected.contains("`mysql://`") && rejected.contains(DOCUMENT_SCHEMES) && !rejected.contains("hidden"), "{rejected}");
        settings.product.store = Some(Secret::new("mongodb://user:hidden@host/products"));
        let mongodb = settings.document_store_url("product");
        assert_eq!(mongodb.is_ok(), cfg!(feature = "mongodb"), "{mongodb:?}");
        assert!(!format!("{mongodb:?}").contains("hidden"));
    }
}
