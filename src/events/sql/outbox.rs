//! Transactional outbox: an event is written in the same transaction as the change it reports, and published to the bus
//! afterwards. So both are stored or neither is, and unpublished events survive a crash.
//!
//! An event that the bus can never accept, and a row that is no event, are moved to another table with the reason: they
//! would block all later events. An admin sees them, and can requeue them.

use super::backend::{Conn, Db};
use crate::data::{Lease, Snapshot, types};
use crate::events::bus;
use crate::events::bus::{Backlog, Bus, DeadLetter, Outbox};
use crate::events::event;
use crate::events::event::Event;
use crate::events::relay;
use crate::kernel::clock;
use crate::kernel::error::StoreError;
use async_trait::async_trait;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

mod tables {
    diesel::table! {
        outbox (seq) {
            seq -> BigInt,
            body -> Text,
        }
    }
    diesel::table! {
        outbox_refused (id) {
            id -> BigInt,
            body -> Text,
            error -> Text,
            refused_at -> BigInt,
        }
    }
}
use tables::{outbox, outbox_refused};

/// Limits of one batch. A single event may be larger than the bytes.
const MAX_BATCH: i64 = 500;
const MAX_BATCH_BYTES: usize = 8 << 20;

/// Up to this number, pending events are counted exactly. Beyond, as after hours without a bus, the count is estimated from
/// the first and the last sequence number: an exact count of a million reads for a second, every 10 s, and gaps in the
/// sequence do not matter then.
const MAX_EXACT_COUNT: i64 = 10_000;

/// Adds an event to the current transaction.
pub async fn append(conn: &mut Conn, event: &Event) -> Result<(), StoreError> {
    diesel::insert_into(outbox::table).values(outbox::body.eq(types::to_json(event)?)).execute(conn).await?;
    Ok(())
}

async fn count_pending(c: &mut Conn) -> Result<i64, StoreError> {
    let first: Option<i64> = outbox::table.order(outbox::seq).select(outbox::seq).first(c).await.optional()?;
    let last: Option<i64> = outbox::table.order(outbox::seq.desc()).select(outbox::seq).first(c).await.optional()?;
    let span = first.zip(last).map_or(0, |(first, last)| last - first + 1);
    if span <= MAX_EXACT_COUNT { Ok(outbox::table.count().get_result(c).await?) } else { Ok(span) }
}

/// Rows with their sequence numbers, oldest first, and whether there may be more.
type Batch = (Vec<(i64, String)>, bool);

async fn read(db: &Db) -> Result<Option<Batch>, StoreError> {
    let mut rows: Vec<(i64, String)> = db
        .read(async |c| {
            Ok::<_, StoreError>(outbox::table.select((outbox::seq, outbox::body)).order(outbox::seq).limit(MAX_BATCH).load(c).await?)
        })
        .await?;
    let full = rows.len() as i64 == MAX_BATCH;
    let truncated = truncate_to_max_bytes(&mut rows);
    Ok((!rows.is_empty()).then_some((rows, full || truncated)))
}

/// Publishes one batch and deletes it from the outbox. A crash in between repeats it: delivery is at least once.
async fn publish_batch(db: &Db, bus: &dyn Bus, (rows, more): Batch) -> Result<bool, StoreError> {
    let seqs: Vec<i64> = rows.iter().map(|(seq, _)| *seq).collect();
    let refused = relay::publish(bus, rows, |(_, body)| Ok(types::from_json(body)?)).await?;
    for ((seq, _), error) in &refused {
        tracing::error!(store = db.name(), seq, error, "event refused by the bus and kept; see /actuator/outbox");
    }
    db.write(async move |c| {
        for ((seq, body), error) in &refused {
            move_to_refused(c, *seq, body, error).await?;
        }
        // not by range: another writer may commit a lower sequence number later
        diesel::delete(outbox::table.filter(outbox::seq.eq_any(&seqs))).execute(c).await?;
        Ok(more)
    })
    .await
}

/// Leaves rows beyond the maximum size to the next batch. Returns whether there are any.
fn truncate_to_max_bytes(rows: &mut Vec<(i64, String)>) -> bool {
    let mut bytes = 0;
    let fits = rows.iter().take_while(|(_, body)| {
        bytes += body.len();
        bytes <= MAX_BATCH_BYTES
    });
    let (keep, all) = (fits.count().max(1), rows.len());
    rows.truncate(keep);
    keep < all
}

/// Moves a refused row out of the outbox.
async fn move_to_refused(c: &mut Conn, seq: i64, body: &str, error: &str) -> Result<(), StoreError> {
    // already deleted: another process has moved it
    if diesel::delete(outbox::table.find(seq)).execute(c).await? == 1 {
        let row = (outbox_refused::body.eq(body), outbox_refused::error.eq(error), outbox_refused::refused_at.eq(clock::now_ms()));
        diesel::insert_into(outbox_refused::table).values(row).execute(c).await?;
    }
    Ok(())
}

/// The outbox in a module's database, with the module's name.
pub struct SqlOutbox(pub Db, pub &'static str);

#[async_trait(?Send)]
impl Outbox for SqlOutbox {
    fn module(&self) -> &'static str {
        self.1
    }

    async fn pending(&self) -> Result<i64, StoreError> {
        self.0.read(count_pending).await
    }

    async fn relay(&self, bus: Arc<dyn Bus>, stop: CancellationToken) {
        let Self(db, _) = self;
        let lease = Lease::new(db.clone(), "outbox");
        let failed = |cause: StoreError| tracing::warn!(%cause, store = db.name(), "outbox not published; will retry");
        let work = async |batch| publish_batch(db, bus.as_ref(), batch).await;
        relay::run(lease, || db.next_commit(), async || read(db).await, work, failed, stop).await;
    }

    async fn refused(&self, limit: i64) -> Result<Vec<DeadLetter>, StoreError> {
        let oldest = async move |c: &mut Conn| {
            Ok::<_, StoreError>(outbox_refused::table.order(outbox_refused::id).limit(limit).load::<(i64, String, String, i64)>(c).await?)
        };
        let dead_letter = |(id, body, error, at)| {
            Ok(DeadLetter { id, group: self.module().into(), error, at: clock::rfc3339(at), event: bus::raw_json_or_string(body)? })
        };
        self.0.read(oldest).await?.into_iter().map(dead_letter).collect()
    }

    async fn backlog(&self) -> Result<Backlog, StoreError> {
        let count = async |c: &mut Conn| {
            let refused = outbox_refused::table.count().get_result(c).await?;
            let first: Option<(i64, String)> = outbox::table.order(outbox::seq).first(c).await.optional()?;
            let Some((_, body)) = first else { return Ok(Backlog { refused, ..Backlog::default() }) };
            let pending = count_pending(c).await?;
            // an invalid entry has no time; the relay moves it to the refused events soon
            let oldest_ms = types::from_json::<Event>(&body).ok().and_then(|event| clock::parse_rfc3339(&event.time));
            Ok::<_, StoreError>(Backlog { pending, oldest_ms, refused })
        };
        self.0.read(count).await
    }

    async fn requeue(&self, id: i64) -> Result<bool, StoreError> {
        let requeue = async move |c: &mut Conn| {
            let row = outbox_refused::table.find(id);
            let body: Option<String> = row.select(outbox_refused::body).first(c).await.optional()?;
            let Some(body) = body else { return Ok(false) };
            // a concurrent request has requeued it
            if diesel::delete(row).execute(c).await? == 0 {
                return Ok(false);
            }
            diesel::insert_into(outbox::table).values(outbox::body.eq(body)).execute(c).await?;
            Ok::<_, StoreError>(true)
        };
        self.0.write(requeue).await
    }
}

/// Calls `each` with every pending or refused event in this database, for the audit.
pub fn for_each_undelivered(snapshot: &mut Snapshot, each: impl FnMut(Event)) -> Result<(), StoreError> {
    event::for_each(snapshot, "SELECT body FROM outbox UNION ALL SELECT body FROM outbox_refused", each)
}
