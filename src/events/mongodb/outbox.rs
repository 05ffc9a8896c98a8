//! Outbox in the document: an event is pushed by the same update that makes the change it reports, so either
//! both are there or neither is, without a transaction.
//!
//! A document has, beside its own fields:
//!
//! | field | what |
//! | --- | --- |
//! | `version` | goes up by one with each change, and each change pushes one event |
//! | `outbox` | events that wait, oldest first: `id`, and `body`, the envelope's JSON as it was written |
//! | `waitingSince` | when the oldest of them came; there while any waits, and indexed |
//! | `deleted` | the document is gone for everybody but the relay, which removes it with its last event |
//!
//! Events of one document are carried in order; those of different documents in no particular one. These
//! four fields never change their form, whatever becomes of the rest of a document: so a relay carries what
//! any build has written.
//!
//! Events that the bus can never take, and entries that are no events, are set aside in a collection of their own
//! with the reason, so that they hold up no other event. An admin sees them, and sends them again.

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

/// Which documents have events that wait; to be indexed.
pub const SINCE: &str = "waitingSince";

/// Documents whose events are carried at once, and events of each.
const DOCUMENTS: i64 = 100;
const EVENTS: i32 = 10;

/// Where events are that the bus refused.
const REFUSED: &str = "outbox_refused";

fn entry(event: &Event) -> Result<Document, StoreError> {
    let body = serde_json::to_string(event).map_err(|e| StoreError::Broken(e.to_string()))?;
    Ok(doc! { "id": event.id.to_string(), "body": body })
}

/// What a new document has beside its own fields.
pub fn first(event: &Event) -> Result<Document, StoreError> {
    Ok(doc! { "version": 1_i64, "outbox": [entry(event)?], SINCE: DateTime::now() })
}

/// What an update does beside its `$set` and `$unset`.
pub fn next(event: &Event) -> Result<Document, StoreError> {
    Ok(doc! { "$inc": { "version": 1_i64 }, "$push": { "outbox": entry(event)? }, "$min": { SINCE: DateTime::now() } })
}

/// Documents that are there for readers.
pub fn live() -> Document {
    doc! { "deleted": { "$exists": false } }
}

/// Those with events that wait. A comparison, not `$exists`: that is what a sparse index answers.
fn waits() -> Document {
    doc! { SINCE: { "$gte": DateTime::from_millis(0) } }
}

/// How many events wait to be carried.
pub async fn waiting(db: &Db, collection: &'static str) -> Result<i64, StoreError> {
    let all = db.collection(collection);
    let count = db.read("aggregate", async move {
        let stages = [doc! { "$match": waits() }, doc! { "$group": { "_id": null, "n": { "$sum": { "$size": "$outbox" } } } }];
        all.aggregate(stages).await?.try_next().await
    });
    let n = count.await?.and_then(|row| row.get("n").cloned());
    Ok(match n {
        Some(Bson::Int32(n)) => n.into(),
        Some(Bson::Int64(n)) => n,
        _ => 0,
    })
}

/// When the oldest event that waits came, in milliseconds since 1970.
async fn oldest(db: &Db, collection: &'static str) -> Result<Option<i64>, StoreError> {
    let all = db.collection(collection);
    let first = db.read("find", async move { all.find_one(waits()).sort(doc! { SINCE: 1 }).projection(doc! { SINCE: 1 }).await });
    Ok(first.await?.and_then(|row| row.get_datetime(SINCE).ok().map(|since| since.timestamp_millis())))
}

/// The next documents whose events wait.
async fn read(db: &Db, collection: &'static str) -> Result<Option<Vec<Document>>, StoreError> {
    let all = db.collection(collection);
    let found = db.read("find", async move {
        let shape = doc! { "version": 1, "deleted": 1, "outbox": { "$slice": EVENTS } };
        all.find(waits()).sort(doc! { SINCE: 1 }).limit(DOCUMENTS).projection(shape).await?.try_collect::<Vec<_>>().await
    });
    Ok(Some(found.await?).filter(|found| !found.is_empty()))
}

/// Publishes one batch and takes it off the outbox. A crash between the two repeats it: delivery is at least once.
async fn carry(db: &Db, collection: &'static str, bus: &dyn Bus, found: Vec<Document>) -> Result<bool, StoreError> {
    let more = found.len() as i64 == DOCUMENTS || found.iter().any(|document| entries(document).count() as i32 == EVENTS);
    let refused = relay::publish(bus, found.iter().flat_map(entries), |entry| Ok(serde_json::from_str(entry.get_str("body")?)?));
    set_aside(db, refused.await?).await?;
    let database = db.database();
    db.read("update", async move { take_off(&database, collection, &found).await }).await?;
    Ok(more)
}

/// Stores refused entries. An entry that was refused before and is being replayed gets a new `again`, so that the
/// earlier replay does not delete it.
async fn set_aside(db: &Db, refused: Vec<(&Document, String)>) -> Result<(), StoreError> {
    // by the clock, so that those of several processes differ; in JavaScript still an exact number
    let first = clock::now_ms().saturating_mul(1000);
    for (at, (entry, error)) in (0..).zip(refused) {
        let text = |field| entry.get_str(field).map(str::to_string);
        let (id, body) = (text("id").unwrap_or_else(|_| ObjectId::new().to_hex()), text("body").unwrap_or_else(|_| entry.to_string()));
        tracing::error!(store = db.name(), event = id, error, "event refused by the bus; it is kept, see /actuator/outbox");
        let kept = db.collection(REFUSED);
        let again = ObjectId::new();
        let change = doc! {
            "$set": { "error": error, "refusedAt": clock::now_ms(), "again": again },
            "$setOnInsert": { "number": first + at, "body": body },
        };
        db.read("update", async move { kept.update_one(doc! { "_id": id }, change).upsert(true).await }).await?;
    }
    Ok(())
}

fn entries(document: &Document) -> impl Iterator<Item = &Document> {
    document.get_array("outbox").into_iter().flatten().filter_map(Bson::as_document)
}

/// Takes carried events off. A document that still has the version it was read with has nothing to say beyond
/// what was read: it loses its outbox, or goes if it was deleted. From one that was changed since, or of which
/// not all was read, the carried ones go by their ids.
async fn take_off(database: &Database, collection: &str, carried: &[Document]) -> MongoResult<()> {
    let (mut updates, mut deletes) = (Vec::new(), Vec::new());
    for document in carried {
        let (id, version) = (document.get("_id").cloned(), document.get("version").cloned());
        let ids: Vec<Bson> = entries(document).filter_map(|entry| entry.get("id").cloned()).collect();
        let whole = document.get_array("outbox").map_or(0, Vec::len) < EVENTS as usize;
        let as_read = doc! { "_id": id.clone(), "version": version };
        if whole && document.contains_key("deleted") {
            deletes.push(doc! { "q": as_read, "limit": 1 });
            continue;
        }
        if whole {
            updates.push(doc! { "q": as_read, "u": { "$unset": { "outbox": "", SINCE: "" } } });
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

/// Many writes in one round trip. What fails in it is in its answer.
async fn command(database: &Database, mut command: Document) -> MongoResult<()> {
    command.insert("writeConcern", doc! { "w": "majority" });
    let answer = database.run_command(command).await?;
    match answer.get("writeErrors").or_else(|| answer.get("writeConcernError")) {
        None => Ok(()),
        Some(cause) => Err(Error::custom(format!("carried events were not taken off: {cause}"))),
    }
}

/// The outboxes of the documents in a module's collection.
pub struct MongoOutbox {
    /// The module's database.
    pub db: Db,
    /// The module.
    pub module: &'static str,
    /// The collection whose documents have the outbox.
    pub collection: &'static str,
}

#[async_trait(?Send)]
impl Outbox for MongoOutbox {
    fn module(&self) -> &'static str {
        self.module
    }

    async fn waiting(&self) -> Result<i64, StoreError> {
        waiting(&self.db, self.collection).await
    }

    async fn relay(&self, bus: Arc<dyn Bus>, stop: CancellationToken) {
        let Self { db, collection, .. } = self;
        let lease = Lease::new(db.clone(), "outbox");
        let failed = |cause: StoreError| tracing::warn!(%cause, store = db.name(), "outbox not carried; will try again");
        let work = async |found| carry(db, collection, bus.as_ref(), found).await;
        relay::run(lease, || db.committed(), async || read(db, collection).await, work, failed, stop).await;
    }

    async fn refused(&self, limit: i64) -> Result<Vec<DeadLetter>, StoreError> {
        let kept = self.db.collection(REFUSED);
        let oldest = async move { kept.find(doc! {}).sort(doc! { "number": 1 }).limit(limit).await?.try_collect::<Vec<_>>().await };
        self.db.read("find", oldest).await?.iter().map(|row| letter(self.module, row)).collect()
    }

    async fn backlog(&self) -> Result<Backlog, StoreError> {
        let kept = self.db.collection(REFUSED);
        let refused = self.db.read("count", async move { kept.count_documents(doc! {}).await }).await?;
        let waiting = waiting(&self.db, self.collection).await?;
        let oldest = oldest(&self.db, self.collection).await?;
        Ok(Backlog { waiting, oldest, refused: i64::try_from(refused).unwrap_or(i64::MAX) })
    }

    /// The event waits in a document that is nothing but its outbox, and goes with it.
    async fn again(&self, id: i64) -> Result<bool, StoreError> {
        let (kept, all) = (self.db.collection(REFUSED), self.db.collection(self.collection));
        let found = self.db.read("find", async move { kept.find_one(doc! { "number": id }).await }).await?;
        let Some(row) = found else { return Ok(false) };
        let (name, body, carrier) = (row.get("_id").cloned(), row.get("body").cloned(), row.get("again").cloned());
        let entry = doc! { "id": name.clone(), "body": body };
        let sent = doc! { "_id": name, "again": carrier.clone() };
        let carrier = doc! { "_id": carrier, "version": 1_i64, "deleted": true, "outbox": [entry], SINCE: DateTime::now() };
        match self.db.write("insert", async move { all.insert_one(carrier).await }).await {
            // another replay of the same event has queued it already
            Ok(_) | Err(StoreError::Taken(_)) => {}
            Err(cause) => return Err(cause),
        }
        let kept = self.db.collection(REFUSED);
        Ok(self.db.read("delete", async move { kept.delete_one(sent).await }).await?.deleted_count == 1)
    }
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
