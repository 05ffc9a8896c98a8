//! Leases in MongoDB: a document each. What they promise, and what not, is in `store/lease.rs`.

use super::Db;
use crate::data::{LeaseState, LeaseStore};
use crate::kernel::clock;
use crate::kernel::error::StoreError;
use ::mongodb::bson::doc;
use async_trait::async_trait;
use std::time::Duration;

const COLLECTION: &str = "leases";

#[async_trait(?Send)]
impl LeaseStore for Db {
    async fn acquire(&self, name: &'static str, holder: &str, term: Duration) -> Result<LeaseState, StoreError> {
        let leases = self.collection(COLLECTION);
        let (holder, now, term) = (holder.to_string(), clock::now_ms(), term.as_millis() as i64);
        let taken = self.read("update", async move {
            let mine = doc! { "$set": { "holder": &holder, "expiresAt": now + term } };
            if leases.update_one(doc! { "_id": name, "holder": &holder }, mine.clone()).await?.matched_count == 1 {
                return Ok(LeaseState::Held);
            }
            // where another holds it nothing matches, and what is to be inserted then has a name that is taken
            leases.update_one(doc! { "_id": name, "expiresAt": { "$lt": now } }, mine).upsert(true).await?;
            Ok(LeaseState::Acquired)
        });
        match taken.await {
            Err(StoreError::Taken(_)) => Ok(LeaseState::HeldElsewhere),
            other => other,
        }
    }

    async fn delete(&self, name: &'static str, holder: &str) -> Result<(), StoreError> {
        let leases = self.collection(COLLECTION);
        let own = doc! { "_id": name, "holder": holder };
        self.read("delete", async move { leases.delete_one(own).await }).await?;
        Ok(())
    }
}
