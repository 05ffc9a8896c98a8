//! Where modules keep their data: a URL each, whose scheme says which backend.

#[cfg(feature = "mysql")]
use super::{MySqlUrl, SslMode, Tls};
use super::{Secret, Settings};
use crate::kernel::error::PartError;
#[cfg(feature = "sqlite")]
use std::path::PathBuf;

/// Where a module keeps its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// A file.
    #[cfg(feature = "sqlite")]
    Sqlite(PathBuf),
    /// A database on a server, MySQL or MariaDB.
    #[cfg(feature = "mysql")]
    MySql(MySqlUrl),
}

/// Where a module keeps its documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DocumentsUrl {
    /// A file.
    #[cfg(feature = "sqlite")]
    Sqlite(PathBuf),
    /// A database on a server or replica set.
    #[cfg(feature = "mongodb")]
    MongoDb(Secret),
}

/// Schemes that a URL of rows may have in this build.
const STORES: &str = match (cfg!(feature = "sqlite"), cfg!(feature = "mysql")) {
    (true, true) => "sqlite://, mysql://",
    (true, false) => "sqlite://",
    (false, true) => "mysql://",
    (false, false) => "none",
};

/// Schemes that a URL of documents may have in this build.
const DOCUMENTS: &str = match (cfg!(feature = "sqlite"), cfg!(feature = "mongodb")) {
    (true, true) => "sqlite://, mongodb://",
    (true, false) => "sqlite://",
    (false, true) => "mongodb://",
    (false, false) => "none",
};

/// Why a store's URL cannot be used. It is not shown: there may be a password in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreUrlError {
    /// Two modules with one outbox.
    #[error("{module}.store and {other}.store name the same database; each module needs one of its own")]
    SameDatabase {
        /// The one module.
        module: String,
        /// The other one.
        other: String,
    },
    /// The default needs the embedded store.
    #[error("{module}.store: set it to a URL with one of {known}; the embedded store is not compiled in (--features sqlite)")]
    NoEmbedded {
        /// The module.
        module: String,
        /// Schemes of this build.
        known: &'static str,
    },
    /// Another scheme.
    #[error("{module}.store: `{scheme}://` is not among the stores that {module} can have in this build: {known}")]
    Scheme {
        /// The module.
        module: String,
        /// As it was written.
        scheme: String,
        /// Schemes of this build.
        known: &'static str,
    },
    /// No URL at all.
    #[error("{module}.store: expected a URL with one of {known}")]
    NoUrl {
        /// The module.
        module: String,
        /// Schemes of this build.
        known: &'static str,
    },
    /// TLS to MySQL in a build without TLS.
    #[error("mysql.ssl_mode: TLS is not compiled into this build (--features tls)")]
    NoTls,
}

impl PartError for StoreUrlError {}

impl Settings {
    /// Where a module keeps its rows. Of a URL that is refused only the scheme is repeated: there may be a
    /// password in the rest.
    pub fn store(&self, module: &str) -> Result<StoreUrl, StoreUrlError> {
        let url = self.url(module)?;
        #[cfg(feature = "mysql")]
        if url.starts_with("mysql://") {
            return Ok(StoreUrl::MySql(MySqlUrl { url: Secret::new(url), tls: self.mysql_tls()? }));
        }
        #[cfg(feature = "sqlite")]
        if let Some(path) = url.strip_prefix("sqlite://") {
            return Ok(StoreUrl::Sqlite(self.file(path)));
        }
        Err(refused(module, &url, STORES))
    }

    /// The same for documents.
    pub fn documents(&self, module: &str) -> Result<DocumentsUrl, StoreUrlError> {
        let url = self.url(module)?;
        #[cfg(feature = "mongodb")]
        if url.starts_with("mongodb://") {
            return Ok(DocumentsUrl::MongoDb(Secret::new(url)));
        }
        #[cfg(feature = "sqlite")]
        if let Some(path) = url.strip_prefix("sqlite://") {
            return Ok(DocumentsUrl::Sqlite(self.file(path)));
        }
        Err(refused(module, &url, DOCUMENTS))
    }

    #[cfg(feature = "mysql")]
    fn mysql_tls(&self) -> Result<Option<Tls>, StoreUrlError> {
        match self.mysql.ssl_mode {
            SslMode::Disabled => Ok(None),
            SslMode::VerifyIdentity if cfg!(feature = "tls") => Ok(Some(self.tls.clone())),
            SslMode::VerifyIdentity => Err(StoreUrlError::NoTls),
        }
    }

    /// What is set for this module, and for no other; by default a file.
    fn url(&self, module: &str) -> Result<String, StoreUrlError> {
        let all = [
            ("product", &self.product.store),
            ("inventory", &self.inventory.store),
            ("order", &self.order.store),
            ("notification", &self.notification.store),
        ];
        let url = all.iter().find(|(name, _)| *name == module).and_then(|(_, url)| url.as_ref());
        let Some(url) = url.map(Secret::expose) else { return Ok(format!("sqlite://{{data.dir}}/{module}.db")) };
        if let Some((other, _)) = all.iter().find(|(name, store)| *name != module && store.as_ref().is_some_and(|s| s.expose() == url)) {
            return Err(StoreUrlError::SameDatabase { module: module.into(), other: (*other).into() });
        }
        Ok(url.to_string())
    }

    #[cfg(feature = "sqlite")]
    fn file(&self, path: &str) -> PathBuf {
        PathBuf::from(path.replace("{data.dir}", &self.data.dir.to_string_lossy()))
    }
}

fn refused(module: &str, url: &str, known: &'static str) -> StoreUrlError {
    let module = module.to_string();
    match url.split_once("://") {
        Some(("sqlite", _)) => StoreUrlError::NoEmbedded { module, known },
        Some((scheme, _)) => StoreUrlError::Scheme { module, scheme: scheme.into(), known },
        None => StoreUrlError::NoUrl { module, known },
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_chosen_by_its_urls_scheme_and_a_refused_url_is_not_repeated() {
        let mut settings = Settings::default();
        assert_eq!(settings.store("order").unwrap(), StoreUrl::Sqlite("data/order.db".into()));
        let mut set = |url: &str| {
            settings.order.store = Some(Secret::new(url));
            settings.store("order")
        };
        assert_eq!(set("sqlite:///var/o.db").unwrap(), StoreUrl::Sqlite("/var/o.db".into()));
        assert_eq!(set("sqlite://{data.dir}/o.db").unwrap(), StoreUrl::Sqlite("data/o.db".into()));
        let refused = set("postgres://user:hidden@host/db").unwrap_err().to_string();
        assert!(refused.contains("order.store") && refused.contains("`postgres://`") && refused.contains(STORES), "{refused}");
        assert!(!refused.contains("hidden"), "{refused}");
        assert!(set("hidden").unwrap_err().to_string().contains("expected a URL"));
        let mysql = set("mysql://user:hidden@host/db");
        assert_eq!(mysql.is_ok(), cfg!(feature = "mysql"), "{mysql:?}");
        assert!(!format!("{mysql:?}").contains("hidden"));
        #[cfg(feature = "mysql")]
        {
            settings.mysql.ssl_mode = SslMode::VerifyIdentity;
            let encrypted = settings.store("order");
            let told = encrypted.as_ref().err().is_some_and(|said| matches!(said, StoreUrlError::Store(StoreUrlError::NoTls)));
            assert_eq!((encrypted.is_ok(), told), (cfg!(feature = "tls"), !cfg!(feature = "tls")), "{encrypted:?}");
        }
        settings.inventory.store = settings.order.store.clone();
        assert!(settings.store("order").unwrap_err().to_string().contains("inventory.store"), "one outbox for two modules");
    }

    /// Documents go where documents can be kept, rows where rows can.
    #[test]
    fn products_are_documents_and_orders_are_rows() {
        let mut settings = Settings::default();
        assert_eq!(settings.documents("product").unwrap(), DocumentsUrl::Sqlite("data/product.db".into()));
        settings.order.store = Some(Secret::new("mongodb://user:hidden@host/db"));
        let refused = settings.store("order").unwrap_err().to_string();
        assert!(refused.contains("`mongodb://`") && refused.contains(STORES) && !refused.contains("hidden"), "{refused}");
        settings.product.store = Some(Secret::new("mysql://user:hidden@host/db"));
        let refused = settings.documents("product").unwrap_err().to_string();
        assert!(refused.contains("`mysql://`") && refused.contains(DOCUMENTS) && !refused.contains("hidden"), "{refused}");
        settings.product.store = Some(Secret::new("mongodb://user:hidden@host/products"));
        let mongodb = settings.documents("product");
        assert_eq!(mongodb.is_ok(), cfg!(feature = "mongodb"), "{mongodb:?}");
        assert!(!format!("{mongodb:?}").contains("hidden"));
    }
}
