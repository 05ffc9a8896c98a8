//! Outbox: an event is written in the same transaction as the change it reports, and carried to
//! the bus afterwards. Either both are there or neither is; what was not carried yet survives a crash.
//!
//! An event that the bus can never take, and a row that is no event, are set aside with the reason: they would
//! be in the way of all that come after them. An admin sees them, and sends them again.

use super::lease::Lease;
use super::{Conn, Db};
use crate::config::StoreUrl;
use crate::platform::bus::{self, Backlog, Bus, DeadLetter, Refused};
use crate::platform::clock;
use crate::platform::event::Event;
use crate::platform::relay::{self, Carried};
use crate::platform::store::{Held, Snapshot, StoreError, Turn, types};
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

/// How many events wait to be carried.
pub async fn waiting(db: &Db) -> Result<i64, StoreError> {
    db.read(counted).await
}

async fn counted(c: &mut Conn) -> Result<i64, StoreError> {
    let first: Option<i64> = outbox::table.order(outbox::seq).select(outbox::seq).first(c).await.optional()?;
    let last: Option<i64> = outbox::table.order(outbox::seq.desc()).select(outbox::seq).first(c).await.optional()?;
    let span = first.zip(last).map_or(0, |(first, last)| last - first + 1);
    if span <= COUNTED { Ok(outbox::table.count().get_result(c).await?) } else { Ok(span) }
}

/// Carries one database's outbox to the bus, in order, until told to stop; then empties it once more.
/// Of several processes on the database one at a time does it.
pub async fn relay(db: Db, bus: Arc<dyn Bus>, stop: CancellationToken) {
    let mut lease = Lease::new(db.clone(), "outbox");
    relay::relay(db.name(), || db.committed(), async || carry(&db, bus.as_ref(), &mut lease).await, stop).await;
    lease.release().await;
}

/// One batch. A crash between publishing and forgetting repeats it, and so does a process that was paused
/// there: delivery is at least once.
async fn carry(db: &Db, bus: &dyn Bus, lease: &mut Lease) -> Result<Carried, StoreError> {
    let mut rows: Vec<(i64, String)> = db
        .read(async |c| {
            Ok::<_, StoreError>(outbox::table.select((outbox::seq, outbox::body)).order(outbox::seq).limit(BATCH).load(c).await?)
        })
        .await?;
    let full = rows.len() as i64 == BATCH;
    let cut = cut(&mut rows);
    let seqs: Vec<i64> = rows.iter().map(|(seq, _)| *seq).collect();
    if seqs.is_empty() {
        return Ok(Carried::All);
    }
    match lease.hold().await? {
        Held::Still => {}
        Held::Anew => return Ok(Carried::More),
        Held::Elsewhere => return Ok(Carried::ByAnother),
    }
    let (mut sent, mut events, mut refused) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()), Vec::new());
    for (seq, body) in &rows {
        match types::from_json::<Event>(body) {
            Ok(event) => {
                sent.push((*seq, body));
                events.push(event);
            }
            Err(cause) => refused.push((*seq, body.clone(), format!("this is no event: {cause}"))),
        }
    }
    for (place, error) in bus::publish(bus, events).await? {
        refused.extend(sent.get(place).map(|(seq, body)| (*seq, (*body).clone(), error)));
    }
    for (seq, _, error) in &refused {
        tracing::error!(store = db.name(), seq, error, "event refused by the bus; it is kept, see /actuator/outbox");
    }
    db.write(async move |c| {
        for (seq, body, error) in &refused {
            set_aside(c, *seq, body, error).await?;
        }
        // no range: with several writers a number between these may be committed only now
        diesel::delete(outbox::table.filter(outbox::seq.eq_any(&seqs))).execute(c).await?;
        Ok::<_, StoreError>(())
    })
    .await?;
    Ok(if full || cut { Carried::More } else { Carried::All })
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

/// What the outbox of a module, of this name, could not hand to the bus.
pub struct Kept(pub Db, pub &'static str);

#[async_trait(?Send)]
impl Refused for Kept {
    fn store(&self) -> &'static str {
        self.1
    }

    async fn list(&self, limit: i64) -> Result<Vec<DeadLetter>, StoreError> {
        let oldest = async move |c: &mut Conn| {
            Ok::<_, StoreError>(outbox_refused::table.order(outbox_refused::id).limit(limit).load::<(i64, String, String, i64)>(c).await?)
        };
        let letter = |(id, body, error, at)| {
            Ok(DeadLetter { id, group: self.store().into(), error, at: clock::rfc3339(at), event: bus::raw(body)? })
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

#[derive(diesel::QueryableByName)]
struct Body {
    #[diesel(sql_type = diesel::sql_types::Text)]
    body: String,
}

/// Type and subject of every event that waits in this database, or was refused, for the audit.
pub fn waiting_in(store: &StoreUrl) -> Result<Vec<(String, String)>, StoreError> {
    let rows: Vec<Body> = Snapshot::open(store)?.rows("SELECT body FROM outbox UNION ALL SELECT body FROM outbox_refused")?;
    // what is no event reports no order's step: one that is missed is found by that
    Ok(rows.iter().filter_map(|row| types::from_json::<Event>(&row.body).ok()).map(|event| (event.kind, event.subject)).collect())
}
