//! Events that the bus can never take, and entries that are no events: set aside in a collection of their own,
//! with the reason, so that they are in nobody's way. An admin sees them, and sends them again.

use super::Db;
use super::outbox::{self, SINCE};
use crate::platform::bus::{self, Backlog, DeadLetter, Refused};
use crate::platform::clock;
use crate::platform::store::StoreError;
use ::mongodb::bson::oid::ObjectId;
use ::mongodb::bson::{DateTime, Document, doc};
use async_trait::async_trait;
use futures_util::TryStreamExt;

const COLLECTION: &str = "outbox_refused";

/// One of them: the id and body of its entry, and why.
pub(super) struct Aside {
    pub(super) id: String,
    pub(super) body: String,
    pub(super) error: String,
}

/// Keeps these. One that was kept before, and sent again meanwhile, is kept anew: whoever sent it does not
/// remove that.
pub(super) async fn keep(db: &Db, aside: Vec<Aside>) -> Result<(), StoreError> {
    // by the clock, so that those of several processes differ; in JavaScript still an exact number
    let first = clock::now_ms().saturating_mul(1000);
    for (at, Aside { id, body, error }) in (0..).zip(aside) {
        tracing::error!(store = db.name(), event = id, error, "event refused by the bus; it is kept, see /actuator/outbox");
        let kept = db.collection(COLLECTION);
        let again = ObjectId::new();
        let change = doc! {
            "$set": { "error": error, "refusedAt": clock::now_ms(), "again": again },
            "$setOnInsert": { "number": first + at, "body": body },
        };
        db.read("update", async move { kept.update_one(doc! { "_id": id }, change).upsert(true).await }).await?;
    }
    Ok(())
}

/// What the outbox of a module's collection could not hand to the bus.
pub struct Kept {
    /// The module's database.
    pub db: Db,
    /// The module.
    pub module: &'static str,
    /// The collection whose documents have the outbox.
    pub collection: &'static str,
}

fn letter(module: &str, row: &Document) -> Result<DeadLetter, StoreError> {
    let unfit = |cause: ::mongodb::bson::error::Error| StoreError::Broken(format!("a refused event does not fit: {cause}"));
    Ok(DeadLetter {
        id: row.get_i64("number").map_err(unfit)?,
        group: module.into(),
        error: row.get_str("error").map_err(unfit)?.into(),
        at: clock::rfc3339(row.get_i64("refusedAt").map_err(unfit)?),
        event: bus::raw(row.get_str("body").map_err(unfit)?.into())?,
    })
}

#[async_trait(?Send)]
impl Refused for Kept {
    fn store(&self) -> &'static str {
        self.module
    }

    async fn list(&self, limit: i64) -> Result<Vec<DeadLetter>, StoreError> {
        let kept = self.db.collection(COLLECTION);
        let oldest = async move { kept.find(doc! {}).sort(doc! { "number": 1 }).limit(limit).await?.try_collect::<Vec<_>>().await };
        self.db.read("find", oldest).await?.iter().map(|row| letter(self.module, row)).collect()
    }

    async fn backlog(&self) -> Result<Backlog, StoreError> {
        let kept = self.db.collection(COLLECTION);
        let refused = self.db.read("count", async move { kept.count_documents(doc! {}).await }).await?;
        let waiting = outbox::waiting(&self.db, self.collection).await?;
        let oldest = outbox::oldest(&self.db, self.collection).await?;
        Ok(Backlog { waiting, oldest, refused: i64::try_from(refused).unwrap_or(i64::MAX) })
    }

    /// The event waits in a document that is nothing but its outbox, and goes with it.
    async fn again(&self, id: i64) -> Result<bool, StoreError> {
        let (kept, all) = (self.db.collection(COLLECTION), self.db.collection(self.collection));
        let found = self.db.read("find", async move { kept.find_one(doc! { "number": id }).await }).await?;
        let Some(row) = found else { return Ok(false) };
        let (name, body, carrier) = (row.get("_id").cloned(), row.get("body").cloned(), row.get("again").cloned());
        let entry = doc! { "id": name.clone(), "body": body };
        let sent = doc! { "_id": name, "again": carrier.clone() };
        let carrier = doc! { "_id": carrier, "version": 1_i64, "deleted": true, "outbox": [entry], SINCE: DateTime::now() };
        match self.db.write("insert", async move { all.insert_one(carrier).await }).await {
            // it waits already: somebody else has asked for it, too
            Ok(_) | Err(StoreError::Taken(_)) => {}
            Err(cause) => return Err(cause),
        }
        let kept = self.db.collection(COLLECTION);
        Ok(self.db.read("delete", async move { kept.delete_one(sent).await }).await?.deleted_count == 1)
    }
}
