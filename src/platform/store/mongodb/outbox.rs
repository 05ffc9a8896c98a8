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

use super::Db;
use super::lease::Lease;
use super::refused::{self, Aside};
use crate::platform::bus::{self, Bus};
use crate::platform::event::Event;
use crate::platform::relay::{self, Carried};
use crate::platform::store::{Held, StoreError, Turn};
use ::mongodb::Database;
use ::mongodb::bson::oid::ObjectId;
use ::mongodb::bson::{Bson, DateTime, Document, doc};
use ::mongodb::error::{Error, Result as MongoResult};
use futures_util::TryStreamExt;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Which documents have events that wait; to be indexed.
pub const SINCE: &str = "waitingSince";

/// Documents whose events are carried at once, and events of each.
const DOCUMENTS: i64 = 100;
const EVENTS: i32 = 10;

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
pub(super) async fn oldest(db: &Db, collection: &'static str) -> Result<Option<i64>, StoreError> {
    let all = db.collection(collection);
    let first = db.read("find", async move { all.find_one(waits()).sort(doc! { SINCE: 1 }).projection(doc! { SINCE: 1 }).await });
    Ok(first.await?.and_then(|row| row.get_datetime(SINCE).ok().map(|since| since.timestamp_millis())))
}

/// Carries the events of one collection to the bus until told to stop; then all that are left once more.
/// Of several processes on the database one at a time does it.
pub async fn relay(db: Db, collection: &'static str, bus: Arc<dyn Bus>, stop: CancellationToken) {
    let mut lease = Lease::new(db.clone(), "outbox");
    relay::relay(db.name(), || db.committed(), async || carry(&db, collection, bus.as_ref(), &mut lease).await, stop).await;
    lease.release().await;
}

/// One batch. A crash between publishing and taking off repeats it, and so does a process that was paused
/// there: delivery is at least once.
async fn carry(db: &Db, collection: &'static str, bus: &dyn Bus, lease: &mut Lease) -> Result<Carried, StoreError> {
    let all = db.collection(collection);
    let found = db.read("find", async move {
        let shape = doc! { "version": 1, "deleted": 1, "outbox": { "$slice": EVENTS } };
        all.find(waits()).sort(doc! { SINCE: 1 }).limit(DOCUMENTS).projection(shape).await?.try_collect::<Vec<_>>().await
    });
    let found = found.await?;
    if found.is_empty() {
        return Ok(Carried::All);
    }
    match lease.hold().await? {
        Held::Still => {}
        Held::Anew => return Ok(Carried::More),
        Held::Elsewhere => return Ok(Carried::ByAnother),
    }
    let (mut sent, mut events, mut refused) = (Vec::with_capacity(found.len()), Vec::with_capacity(found.len()), Vec::new());
    for entry in found.iter().flat_map(entries) {
        match entry.get_str("body").map_err(|e| e.to_string()).and_then(|body| serde_json::from_str(body).map_err(|e| e.to_string())) {
            Ok(event) => {
                sent.push(entry);
                events.push(event);
            }
            Err(cause) => refused.push(aside(entry, format!("this is no event: {cause}"))),
        }
    }
    let more = found.len() as i64 == DOCUMENTS || found.iter().any(|document| entries(document).count() as i32 == EVENTS);
    if !events.is_empty() {
        for (place, error) in bus::publish(bus, events).await? {
            refused.extend(sent.get(place).map(|entry| aside(entry, error)));
        }
    }
    refused::keep(db, refused).await?;
    let database = db.database();
    db.read("update", async move { take_off(&database, collection, &found).await }).await?;
    Ok(if more { Carried::More } else { Carried::All })
}

fn aside(entry: &Document, error: String) -> Aside {
    let text = |field| entry.get_str(field).map(str::to_string);
    Aside { id: text("id").unwrap_or_else(|_| ObjectId::new().to_hex()), body: text("body").unwrap_or_else(|_| entry.to_string()), error }
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
