//! Product's data for the audit command.

#[cfg(feature = "mongodb")]
use super::store::mongodb::MongoProducts;
use crate::data::Snapshot;
use crate::kernel::error::StoreError;
use crate::settings::{DocumentStoreUrl, Settings, StoreUrl};

#[derive(diesel::QueryableByName)]
struct Count {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    n: i64,
}

/// Number of products, and number of their events in the outbox.
pub fn facts(url: &DocumentStoreUrl, settings: &Settings) -> Result<(i64, i64), StoreError> {
    let _ = settings;
    match url {
        DocumentStoreUrl::Sqlite(path) => {
            let mut snapshot = Snapshot::open(&StoreUrl::Sqlite(path.clone()))?;
            let mut count = |table: &str| snapshot.rows::<Count>(&format!("SELECT count(*) AS n FROM {table}"));
            let (products, pending) = (count("products")?, count("outbox")?);
            Ok((products.iter().map(|row| row.n).sum(), pending.iter().map(|row| row.n).sum()))
        }
        #[cfg(feature = "mongodb")]
        DocumentStoreUrl::MongoDb(url) => MongoProducts::count(url, settings),
    }
}
