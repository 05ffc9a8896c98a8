//! Leases in MongoDB: a document each, with its holder and when it ends. What they are good for, and what not,
//! stands in `platform/lease.rs`.

use super::Db;
use crate::platform::clock;
use crate::platform::store::{Held, Known, StoreError, TERM, Turn};
use ::mongodb::bson::doc;
use async_trait::async_trait;
use std::time::{Duration, Instant};

const COLLECTION: &str = "leases";

/// One process's side of a lease, in the store that the work is about.
pub struct Lease {
    db: Db,
    name: &'static str,
    holder: String,
    term: Duration,
    known: Known,
}

impl Lease {
    /// Not held yet.
    pub fn new(db: Db, name: &'static str) -> Self {
        Self { db, name, holder: uuid::Uuid::new_v4().to_string(), term: TERM, known: Known::default() }
    }

    /// The same, for so long after its last renewal: tests hold one for longer than a slow machine takes.
    pub fn lasting(self, term: Duration) -> Self {
        Self { term, ..self }
    }

    async fn take(&self) -> Result<Held, StoreError> {
        let leases = self.db.collection(COLLECTION);
        let (name, holder, now, term) = (self.name, self.holder.clone(), clock::now_ms(), self.term.as_millis() as i64);
        let taken = self.db.read("update", async move {
            let mine = doc! { "$set": { "holder": &holder, "expiresAt": now + term } };
            if leases.update_one(doc! { "_id": name, "holder": &holder }, mine.clone()).await?.matched_count == 1 {
                return Ok(Held::Still);
            }
            // where another holds it nothing matches, and what is to be inserted then has a name that is taken
            leases.update_one(doc! { "_id": name, "expiresAt": { "$lt": now } }, mine).upsert(true).await?;
            Ok(Held::Anew)
        });
        match taken.await {
            Err(StoreError::Taken(_)) => Ok(Held::Elsewhere),
            other => other,
        }
    }
}

#[async_trait(?Send)]
impl Turn for Lease {
    async fn hold(&mut self) -> Result<Held, StoreError> {
        if let Some(held) = self.known.held() {
            return Ok(held);
        }
        let asked = Instant::now();
        let held = self.take().await?;
        Ok(self.known.learn(held, asked))
    }

    async fn release(&mut self) {
        if !self.known.give_up() {
            return;
        }
        let leases = self.db.collection(COLLECTION);
        let ours = doc! { "_id": self.name, "holder": &self.holder };
        if let Err(cause) = self.db.read("delete", async move { leases.delete_one(ours).await }).await {
            tracing::info!(%cause, name = self.name, "a lease was not given back; it ends by itself");
        }
    }
}
