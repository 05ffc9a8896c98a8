//! MongoDB tests beyond the scenarios, which also run on it: concurrent changes, events in the document, indexes, older
//! and newer documents, an unavailable server.
//!
//! Ignored by default: `.ci/mongo.sh` starts a server, names it in `TRADEPOST_TEST_MONGO`, and runs these with
//! `--ignored`.

mod catalogue;
mod changes;
mod forms;
mod kill;
mod leases;
mod outage;
mod proxy;
mod refused;
mod schema;
mod tls;

use crate::support::Shop;
use crate::support::stores::{documents, on_documents};
use mongodb::bson::{Document, doc};
use mongodb::{Collection, Database as Documents};
use tradepost::settings::{MongoDb, Settings};

/// A fresh database on the server under test; removed when dropped.
pub struct Database(pub String);

impl Database {
    pub fn fresh() -> Self {
        let server = documents().expect("TRADEPOST_TEST_MONGO: the address of a server");
        Self(format!("{server}/t{}", uuid::Uuid::new_v4().simple()))
    }

    /// Settings of a process that may create its indexes.
    pub fn settings(&self) -> Settings {
        Settings { mongodb: MongoDb { migrate: true, ..MongoDb::default() }, ..Settings::default() }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            on_documents(&self.0, |database| async move { database.drop().await.unwrap() });
        }
    }
}

/// URL of the shop's product store.
pub fn url(shop: &Shop) -> String {
    shop.settings.product.store.as_ref().expect("TRADEPOST_TEST_MONGO: the address of a server").expose().to_string()
}

/// Accesses the products directly, without the shop.
#[track_caller]
pub fn products<T: Send, Fut: Future<Output = T>>(url: &str, work: impl FnOnce(Collection<Document>) -> Fut + Send) -> T {
    on_documents(url, |database: Documents| work(database.collection("products")))
}

/// Blocks all relays: another holder has their lease.
pub fn block_relays(url: &str) {
    let turn = doc! { "$set": { "holder": "the test", "expiresAt": i64::MAX } };
    on_documents(url, |database| async move {
        database.collection::<Document>("leases").update_one(doc! { "_id": "outbox" }, turn).upsert(true).await.unwrap();
    });
}

/// Releases the lease again.
pub fn unblock_relays(url: &str) {
    on_documents(url, |database| async move {
        database.collection::<Document>("leases").delete_one(doc! { "_id": "outbox" }).await.unwrap();
    });
}
