//! Leases in MongoDB: one document per lease. Their guarantees are in `data/lease.rs`.

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
        let acquired = self.read("update", async move {
            let values = doc! { "$set": { "holder": &holder, "expiresAt": now + term } };
            if leases.update_one(doc! { "_id": name, "holder": &holder }, values.clone()).await?.matched_count == 1 {
                return Ok(LeaseState::Held);
            }
            // if another process holds it nothing matches, and the upsert fails because the id exists
            let expired = [doc! { "expiresAt": { "$lt": now } }, doc! { "expiresAt": { "$gt": clock::latest_end(now, term) } }];
            leases.update_one(doc! { "_id": name, "$or": expired.to_vec() }, values).upsert(true).await?;
            Ok(LeaseState::Acquired)
        });
        match acquired.await {
            Err(StoreError::DuplicateKey(_)) => Ok(LeaseState::HeldElsewhere),
            other => other,
        }
    }

    async fn delete(&self, name: &'static str, holder: &str) -> Result<(), StoreError> {
        let leases = self.collection(COLLECTION);
        let filter = doc! { "_id": name, "holder": holder };
        self.read("delete", async move { leases.delete_one(filter).await }).await?;
        Ok(())
    }
}
