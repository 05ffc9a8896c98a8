//! Outbox in the document: the update that changes a document also pushes the event that reports the change. So both are
//! stored or neither is, without a transaction.
//!
//! A document has, besides its own fields:
//!
//! | field | content |
//! | --- | --- |
//! | `version` | incremented by each change; each change pushes one event |
//! | `outbox` | pending events, oldest first: `id`, and `body`, the envelope's JSON as written |
//! | `waitingSince` | when the oldest pending event was pushed; absent without pending events; indexed |
//! | `deleted` | the document is deleted for all readers; the relay removes it after its last event |
//!
//! Events of one document are published in order; events of different documents in no particular order. The form of these
//! four fields never changes, so the relay of any build can publish what another build has written.
//!
//! Events that the bus can never accept, and entries that are no events, are moved to another collection with the reason,
//! so that they block no other event. An admin sees them, and can requeue them.

use crate::data::Lease;
use crate::data::mongodb::Db;
use crate::events::bus;
use crate::events::bus::{Backlog, Bus, DeadLetter, Outbox};
use crate::events::event::Event;
use crate::events::relay;
use crate::kernel::clock;
use crate::kernel::error::StoreError;
use ::mongodb::Database;
use ::mongodb::bson::oid::ObjectId;
use ::mongodb::bson::{Bson, DateTime, Document, doc};
use ::mongodb::error::{Error, Result as MongoResult};
use async_trait::async_trait;
use futures_util::TryStreamExt;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Present in documents with pending events; callers must index it.
pub const PENDING_SINCE: &str = "waitingSince";

/// Limits of one batch: documents, and events of each.
const MAX_DOCUMENTS: i64 = 100;
const MAX_EVENTS: i32 = 10;

/// Collection of the events that the bus refused.
const REFUSED: &str = "outbox_refused";

fn entry(event: &Event) -> Result<Document, StoreError> {
    let body = serde_json::to_string(event).map_err(|e| StoreError::Internal(e.to_string()))?;
    Ok(doc! { "id": event.id.to_string(), "body": body })
}

/// The outbox's fields of a new document.
pub fn initial_fields(event: &Event) -> Result<Document, StoreError> {
    Ok(doc! { "version": 1_i64, "outbox": [entry(event)?], PENDING_SINCE: DateTime::now() })
}

/// The outbox's operators of an update, to be combined with its `$set` and `$unset`.
pub fn update_operators(event: &Event) -> Result<Document, StoreError> {
    Ok(doc! { "$inc": { "version": 1_i64 }, "$push": { "outbox": entry(event)? }, "$min": { PENDING_SINCE: DateTime::now() } })
}

/// Filter: documents that are not deleted.
pub fn not_deleted() -> Document {
    doc! { "deleted": { "$exists": false } }
}

/// Filter: documents with pending events. A comparison, because `$exists` would not use the sparse index.
fn has_pending() -> Document {
    doc! { PENDING_SINCE: { "$gte": DateTime::from_millis(0) } }
}

/// Number of pending events.
pub async fn count_pending(db: &Db, collection: &'static str) -> Result<i64, StoreError> {
    let all = db.collection(collection);
    let count = db.read("aggregate", async move {
        let stages = [doc! { "$match": has_pending() }, doc! { "$group": { "_id": null, "n": { "$sum": { "$size": "$outbox" } } } }];
        all.aggregate(stages).await?.try_next().await
    });
    let n = count.await?.and_then(|row| row.get("n").cloned());
    Ok(match n {
        Some(Bson::Int32(n)) => n.into(),
        Some(Bson::Int64(n)) => n,
        _ => 0,
    })
}

/// When the oldest pending event was pushed, in milliseconds since 1970.
async fn oldest(db: &Db, collection: &'static str) -> Result<Option<i64>, StoreError> {
    let all = db.collection(collection);
    let first =
        db.read(
            "find",
            async move { all.find_one(has_pending()).sort(doc! { PENDING_SINCE: 1 }).projection(doc! { PENDING_SINCE: 1 }).await },
        );
    Ok(first.await?.and_then(|row| row.get_datetime(PENDING_SINCE).ok().map(|since| since.timestamp_millis())))
}

async fn read(db: &Db, collection: &'static str) -> Result<Option<Vec<Document>>, StoreError> {
    let all = db.collection(collection);
    let documents = db.read("find", async move {
        let projection = doc! { "version": 1, "deleted": 1, "outbox": { "$slice": MAX_EVENTS } };
        all.find(has_pending())
            .sort(doc! { PENDING_SINCE: 1 })
            .limit(MAX_DOCUMENTS)
            .projection(projection)
            .await?
            .try_collect::<Vec<_>>()
            .await
    });
    Ok(Some(documents.await?).filter(|documents| !documents.is_empty()))
}

/// Publishes one batch and removes it from the outboxes. A crash in between repeats it: delivery is at least once.
async fn publish_batch(db: &Db, collection: &'static str, bus: &dyn Bus, documents: Vec<Document>) -> Result<bool, StoreError> {
    let more = documents.len() as i64 == MAX_DOCUMENTS || documents.iter().any(|document| entries(document).count() as i32 == MAX_EVENTS);
    let refused = relay::publish(bus, documents.iter().flat_map(entries), |entry| Ok(serde_json::from_str(entry.get_str("body")?)?));
    store_refused(db, refused.await?).await?;
    let database = db.database();
    db.read("update", async move { remove_published(&database, collection, &documents).await }).await?;
    Ok(more)
}

/// Stores refused entries. An entry that was refused before and is being replayed gets a new `again`, so that the
/// earlier replay does not delete it.
async fn store_refused(db: &Db, refused: Vec<(&Document, String)>) -> Result<(), StoreError> {
    // from the clock, so that numbers of several processes differ; still exact as a JavaScript number
    let first = clock::now_ms().saturating_mul(1000);
    for (at, (entry, error)) in (0..).zip(refused) {
        let text = |field| entry.get_str(field).map(str::to_string);
        let (id, body) = (text("id").unwrap_or_else(|_| ObjectId::new().to_hex()), text("body").unwrap_or_else(|_| entry.to_string()));
        tracing::error!(store = db.name(), event = id, error, "event refused by the bus and kept; see /actuator/outbox");
        let refused_events = db.collection(REFUSED);
        let again = ObjectId::new();
        let change = doc! {
            "$set": { "error": error, "refusedAt": clock::now_ms(), "again": again },
            "$setOnInsert": { "number": first + at, "body": body },
        };
        db.read("update", async move { refused_events.update_one(doc! { "_id": id }, change).upsert(true).await }).await?;
    }
    Ok(())
}

fn entries(document: &Document) -> impl Iterator<Item = &Document> {
    document.get_array("outbox").into_iter().flatten().filter_map(Bson::as_document)
}

/// Removes published events. If a document's version is unchanged since it was read, the read events are all it has: its
/// outbox is unset, or the document removed if it is deleted. If the document has changed, or only some of its events were
/// read, the published events are pulled by their ids.
async fn remove_published(database: &Database, collection: &str, published: &[Document]) -> MongoResult<()> {
    let (mut updates, mut deletes) = (Vec::new(), Vec::new());
    for document in published {
        let (id, version) = (document.get("_id").cloned(), document.get("version").cloned());
        let ids: Vec<Bson> = entries(document).filter_map(|entry| entry.get("id").cloned()).collect();
        let whole = document.get_array("outbox").map_or(0, Vec::len) < MAX_EVENTS as usize;
        let as_read = doc! { "_id": id.clone(), "version": version };
        if whole && document.contains_key("deleted") {
            deletes.push(doc! { "q": as_read, "limit": 1 });
            continue;
        }
        if whole {
            updates.push(doc! { "q": as_read, "u": { "$unset": { "outbox": "", PENDING_SINCE: "" } } });
        }
        updates.push(
            doc! { "q": { "_id": id, "outbox.id": { "$in": ids.clone() } }, "u": { "$pull": { "outbox": { "id": { "$in": ids } } } } },
        );
    }
    if !updates.is_empty() {
        command(database, doc! { "update": collection, "updates": updates }).await?;
    }
    if !deletes.is_empty() {
        command(database, doc! { "delete": collection, "deletes": deletes }).await?;
    }
    Ok(())
}

/// Several writes in one round trip. The response contains the errors of single writes.
async fn command(database: &Database, mut command: Document) -> MongoResult<()> {
    command.insert("writeConcern", doc! { "w": "majority" });
    let response = database.run_command(command).await?;
    match response.get("writeErrors").or_else(|| response.get("writeConcernError")) {
        None => Ok(()),
        Some(cause) => Err(Error::custom(format!("published events were not removed from the outbox: {cause}"))),
    }
}

/// The outboxes of the documents in a module's collection.
pub struct MongoOutbox {
    pub db: Db,
    pub module: &'static str,
    /// The collection whose documents have the outbox.
    pub collection: &'static str,
}

#[async_trait(?Send)]
impl Outbox for MongoOutbox {
    fn module(&self) -> &'static str {
        self.module
    }

    async fn pending(&self) -> Result<i64, StoreError> {
        count_pending(&self.db, self.collection).await
    }

    async fn relay(&self, bus: Arc<dyn Bus>, stop: CancellationToken) {
        let Self { db, collection, .. } = self;
        let lease = Lease::new(db.clone(), "outbox");
        let failed = |cause: StoreError| tracing::warn!(%cause, store = db.name(), "outbox not published; will retry");
        let work = async |documents| publish_batch(db, collection, bus.as_ref(), documents).await;
        relay::run(lease, || db.next_commit(), async || read(db, collection).await, work, failed, stop).await;
    }

    async fn refused(&self, limit: i64) -> Result<Vec<DeadLetter>, StoreError> {
        let refused_events = self.db.collection(REFUSED);
        let oldest =
            async move { refused_events.find(doc! {}).sort(doc! { "number": 1 }).limit(limit).await?.try_collect::<Vec<_>>().await };
        self.db.read("find", oldest).await?.iter().map(|row| dead_letter(self.module, row)).collect()
    }

    async fn backlog(&self) -> Result<Backlog, StoreError> {
        let refused_events = self.db.collection(REFUSED);
        let refused = self.db.read("count", async move { refused_events.count_documents(doc! {}).await }).await?;
        let pending = count_pending(&self.db, self.collection).await?;
        let oldest_ms = oldest(&self.db, self.collection).await?;
        Ok(Backlog { pending, oldest_ms, refused: i64::try_from(refused).unwrap_or(i64::MAX) })
    }

    /// Inserts the event as the outbox of a new, deleted document, which the relay removes after the event.
    async fn requeue(&self, id: i64) -> Result<bool, StoreError> {
        let (refused_events, all) = (self.db.collection(REFUSED), self.db.collection(self.collection));
        let row = self.db.read("find", async move { refused_events.find_one(doc! { "number": id }).await }).await?;
        let Some(row) = row else { return Ok(false) };
        let (event_id, body, carrier_id) = (row.get("_id").cloned(), row.get("body").cloned(), row.get("again").cloned());
        let entry = doc! { "id": event_id.clone(), "body": body };
        let filter = doc! { "_id": event_id, "again": carrier_id.clone() };
        let carrier = doc! { "_id": carrier_id, "version": 1_i64, "deleted": true, "outbox": [entry], PENDING_SINCE: DateTime::now() };
        match self.db.write("insert", async move { all.insert_one(carrier).await }).await {
            // a concurrent request has requeued it
            Ok(_) | Err(StoreError::DuplicateKey(_)) => {}
            Err(cause) => return Err(cause),
        }
        let refused_events = self.db.collection(REFUSED);
        Ok(self.db.read("delete", async move { refused_events.delete_one(filter).await }).await?.deleted_count == 1)
    }
}

fn dead_letter(module: &str, row: &Document) -> Result<DeadLetter, StoreError> {
    let invalid = |cause: ::mongodb::bson::error::Error| StoreError::Internal(format!("invalid refused event: {cause}"));
    Ok(DeadLetter {
        id: row.get_i64("number").map_err(invalid)?,
        group: module.into(),
        error: row.get_str("error").map_err(invalid)?.into(),
        at: clock::rfc3339(row.get_i64("refusedAt").map_err(invalid)?),
        event: bus::raw_json_or_string(row.get_str("body").map_err(invalid)?.into())?,
    })
}
