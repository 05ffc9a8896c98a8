//! Outbox: an event is written in the same transaction as the change it reports, and carried to
//! the bus afterwards. Either both are there or neither is; what was not carried yet survives a crash.
//!
//! An event that the bus can never take, and a row that is no event, are set aside with the reason: they would
//! be in the way of all that come after them. An admin sees them, and sends them again.

use super::backend::{Conn, Db};
use crate::data::{Lease, Snapshot, types};
use crate::events::bus;
use crate::events::bus::{Backlog, Bus, DeadLetter, Outbox};
use crate::events::event;
use crate::events::event::Event;
use crate::events::relay;
use crate::kernel::clock;
use crate::kernel::error::StoreError;
use crate::settings::StoreUrl;
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

/// Events carried to the bus at once, and bytes of them, but for one that is larger alone.
const BATCH: i64 = 500;
const BYTES: usize = 8 << 20;

/// Events that wait are counted one by one up to this many. Beyond, as after hours without a bus, their numbers tell:
/// a second of reading to count a million every 10 s is too much, and numbers that were left out do not matter then.
const COUNTED: i64 = 10_000;

/// Adds an event to the change under way.
pub async fn append(conn: &mut Conn, event: &Event) -> Result<(), StoreError> {
    diesel::insert_into(outbox::table).values(outbox::body.eq(types::to_json(event)?)).execute(conn).await?;
    Ok(())
}

async fn counted(c: &mut Conn) -> Result<i64, StoreError> {
    let first: Option<i64> = outbox::table.order(outbox::seq).select(outbox::seq).first(c).await.optional()?;
    let last: Option<i64> = outbox::table.order(outbox::seq.desc()).select(outbox::seq).first(c).await.optional()?;
    let span = first.zip(last).map_or(0, |(first, last)| last - first + 1);
    if span <= COUNTED { Ok(outbox::table.count().get_result(c).await?) } else { Ok(span) }
}

/// The next batch: rows with their numbers, oldest first, and whether there may be more.
type Batch = (Vec<(i64, String)>, bool);

async fn read(db: &Db) -> Result<Option<Batch>, StoreError> {
    let mut rows: Vec<(i64, String)> = db
        .read(async |c| {
            Ok::<_, StoreError>(outbox::table.select((outbox::seq, outbox::body)).order(outbox::seq).limit(BATCH).load(c).await?)
        })
        .await?;
    let full = rows.len() as i64 == BATCH;
    let cut = cut(&mut rows);
    Ok((!rows.is_empty()).then_some((rows, full || cut)))
}

/// Publishes one batch and takes it off the outbox. A crash between the two repeats it: delivery is at least once.
async fn carry(db: &Db, bus: &dyn Bus, (rows, more): Batch) -> Result<bool, StoreError> {
    let seqs: Vec<i64> = rows.iter().map(|(seq, _)| *seq).collect();
    let refused = relay::publish(bus, rows, |(_, body)| Ok(types::from_json(body)?)).await?;
    for ((seq, _), error) in &refused {
        tracing::error!(store = db.name(), seq, error, "event refused by the bus; it is kept, see /actuator/outbox");
    }
    db.write(async move |c| {
        for ((seq, body), error) in &refused {
            set_aside(c, *seq, body, error).await?;
        }
        // no range: with several writers a number between these may be committed only now
        diesel::delete(outbox::table.filter(outbox::seq.eq_any(&seqs))).execute(c).await?;
        Ok(more)
    })
    .await
}

/// Leaves what is too much for one batch to the next; whether there was any.
fn cut(rows: &mut Vec<(i64, String)>) -> bool {
    let mut bytes = 0;
    let fits = rows.iter().take_while(|(_, body)| {
        bytes += body.len();
        bytes <= BYTES
    });
    let (keep, all) = (fits.count().max(1), rows.len());
    rows.truncate(keep);
    keep < all
}

/// Out of the way of those that come after it, and kept.
async fn set_aside(c: &mut Conn, seq: i64, body: &str, error: &str) -> Result<(), StoreError> {
    // gone already: another process has done it
    if diesel::delete(outbox::table.find(seq)).execute(c).await? == 1 {
        let row = (outbox_refused::body.eq(body), outbox_refused::error.eq(error), outbox_refused::refused_at.eq(clock::now_ms()));
        diesel::insert_into(outbox_refused::table).values(row).execute(c).await?;
    }
    Ok(())
}

/// The outbox in this database, of the module of this name.
pub struct SqlOutbox(pub Db, pub &'static str);

#[async_trait(?Send)]
impl Outbox for SqlOutbox {
    fn module(&self) -> &'static str {
        self.1
    }

    async fn waiting(&self) -> Result<i64, StoreError> {
        self.0.read(counted).await
    }

    async fn relay(&self, bus: Arc<dyn Bus>, stop: CancellationToken) {
        let Self(db, _) = self;
        let lease = Lease::new(db.clone(), "outbox");
        let failed = |cause: StoreError| tracing::warn!(%cause, store = db.name(), "outbox not carried; will try again");
        let work = async |batch| carry(db, bus.as_ref(), batch).await;
        relay::run(lease, || db.committed(), async || read(db).await, work, failed, stop).await;
    }

    async fn refused(&self, limit: i64) -> Result<Vec<DeadLetter>, StoreError> {
        let oldest = async move |c: &mut Conn| {
            Ok::<_, StoreError>(outbox_refused::table.order(outbox_refused::id).limit(limit).load::<(i64, String, String, i64)>(c).await?)
        };
        let letter = |(id, body, error, at)| {
            Ok(DeadLetter { id, group: self.module().into(), error, at: clock::rfc3339(at), event: bus::raw(body)? })
        };
        self.0.read(oldest).await?.into_iter().map(letter).collect()
    }

    async fn backlog(&self) -> Result<Backlog, StoreError> {
        let count = async |c: &mut Conn| {
            let refused = outbox_refused::table.count().get_result(c).await?;
            let first: Option<(i64, String)> = outbox::table.order(outbox::seq).first(c).await.optional()?;
            let Some((_, body)) = first else { return Ok(Backlog { refused, ..Backlog::default() }) };
            let waiting = counted(c).await?;
            // what is no event says nothing of its time, and is soon set aside
            let oldest = types::from_json::<Event>(&body).ok().and_then(|event| clock::ms(&event.time));
            Ok::<_, StoreError>(Backlog { waiting, oldest, refused })
        };
        self.0.read(count).await
    }

    async fn again(&self, id: i64) -> Result<bool, StoreError> {
        let back = async move |c: &mut Conn| {
            let kept = outbox_refused::table.find(id);
            let body: Option<String> = kept.select(outbox_refused::body).first(c).await.optional()?;
            let Some(body) = body else { return Ok(false) };
            // of two who ask at once one finds it gone
            if diesel::delete(kept).execute(c).await? == 0 {
                return Ok(false);
            }
            diesel::insert_into(outbox::table).values(outbox::body.eq(body)).execute(c).await?;
            Ok::<_, StoreError>(true)
        };
        self.0.write(back).await
    }
}

/// Type and subject of every event that waits in this database, or was refused, for the audit.
pub fn waiting_in(store: &StoreUrl) -> Result<Vec<(String, String)>, StoreError> {
    event::reported(&mut Snapshot::open(store)?, "SELECT body FROM outbox UNION ALL SELECT body FROM outbox_refused")
}
