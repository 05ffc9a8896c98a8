//! Outbox: an event is written in the same transaction as the change it reports, and carried to
//! the bus afterwards. Either both are there or neither is; what was not carried yet survives a crash.

use super::lease::Lease;
use super::{Conn, Db};
use crate::config::StoreUrl;
use crate::platform::bus::Bus;
use crate::platform::event::Event;
use crate::platform::relay::{self, Carried};
use crate::platform::store::{Held, Snapshot, StoreError, Turn, types};
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
}
use tables::outbox;

/// Events carried to the bus at once.
const BATCH: i64 = 500;

/// Adds an event to the change under way.
pub async fn append(conn: &mut Conn, event: &Event) -> Result<(), StoreError> {
    diesel::insert_into(outbox::table).values(outbox::body.eq(types::to_json(event)?)).execute(conn).await?;
    Ok(())
}

/// How many events wait to be carried.
pub async fn waiting(db: &Db) -> Result<i64, StoreError> {
    db.read(async |c| Ok(outbox::table.count().get_result(c).await?)).await
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
    let rows: Vec<(i64, String)> = db
        .read(async |c| {
            Ok::<_, StoreError>(outbox::table.select((outbox::seq, outbox::body)).order(outbox::seq).limit(BATCH).load(c).await?)
        })
        .await?;
    let seqs: Vec<i64> = rows.iter().map(|(seq, _)| *seq).collect();
    if seqs.is_empty() {
        return Ok(Carried::All);
    }
    match lease.hold().await? {
        Held::Still => {}
        Held::Anew => return Ok(Carried::More),
        Held::Elsewhere => return Ok(Carried::ByAnother),
    }
    let carried = seqs.len();
    let events = rows.iter().map(|(_, body)| types::from_json(body)).collect::<Result<Vec<Event>, _>>()?;
    bus.publish(events).await?;
    db.write(async move |c| {
        // no range: with several writers a number between these may be committed only now
        diesel::delete(outbox::table.filter(outbox::seq.eq_any(&seqs))).execute(c).await?;
        Ok::<_, StoreError>(())
    })
    .await?;
    Ok(if carried as i64 == BATCH { Carried::More } else { Carried::All })
}

#[derive(diesel::QueryableByName)]
struct Body {
    #[diesel(sql_type = diesel::sql_types::Text)]
    body: String,
}

/// Type and subject of every event that waits in this database, for the audit.
pub fn waiting_in(store: &StoreUrl) -> Result<Vec<(String, String)>, StoreError> {
    let rows: Vec<Body> = Snapshot::open(store)?.rows("SELECT body FROM outbox")?;
    rows.iter().map(|row| types::from_json::<Event>(&row.body).map(|event| (event.kind, event.subject))).collect()
}
