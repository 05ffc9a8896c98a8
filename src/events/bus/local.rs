//! The embedded bus: a durable log in SQLite, read by each group from its own position.
//!
//! Several processes on one machine can share it, since it is a file: a publisher wakes the consumers of its own process
//! at once; those of other processes find new events by polling.

use super::consumer::Consumer;
use super::dead_letter::{DeadLetter, raw_json_or_string};
use super::dispatch::dispatch;
use super::transport::{Bus, BusDown};
use crate::data::sqlite::{Conn, Db};
use crate::data::{COALESCE_WINDOW, Lease, LeaseState, POLL_INTERVAL, Snapshot, types};
use crate::events::event;
use crate::events::event::Event;
use crate::kernel::clock;
use crate::kernel::error::{StartError, StoreError};
use async_trait::async_trait;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use parking_lot::Mutex;
use prometheus::Registry;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

pub const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/bus/sqlite");

mod tables {
    diesel::table! {
        messages (position) {
            position -> BigInt,
            topic -> Text,
            body -> Text,
        }
    }
    diesel::table! {
        cursors (consumer) {
            consumer -> Text,
            position -> BigInt,
        }
    }
    diesel::table! {
        dead_letters (id) {
            id -> BigInt,
            consumer -> Text,
            body -> Text,
            error -> Text,
            died_at -> BigInt,
            replay -> Bool,
        }
    }
}
use tables::{cursors, dead_letters, messages};

/// Maximum number of events in a batch.
const MAX_BATCH: i64 = 200;
/// Processed messages kept behind the slowest consumer, for diagnosis.
const RETAINED: i64 = 10_000;

pub struct LocalBus {
    db: Db,
    /// The topics of each group with a consumer in this process.
    topics: Mutex<BTreeMap<String, &'static [&'static str]>>,
}

impl LocalBus {
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self { db: Db::open(path, MIGRATIONS)?, topics: Mutex::default() })
    }

    /// A group's position, and the next batch of messages on its topics.
    async fn fetch(&self, consumer: &dyn Consumer) -> Result<(i64, Vec<(i64, String)>), StoreError> {
        let (group, topics) = (consumer.group(), consumer.topics());
        self.db
            .read(async move |c| {
                let from: Option<i64> = cursors::table.find(group).select(cursors::position).first(c).await.optional()?;
                let from = from.unwrap_or(0);
                let query = messages::table.filter(messages::position.gt(from).and(messages::topic.eq_any(topics)));
                let query = query.select((messages::position, messages::body)).order(messages::position).limit(MAX_BATCH);
                Ok::<_, StoreError>((from, query.load(c).await?))
            })
            .await
    }

    /// Moves a group's position, and dead-letters rejected events in the same transaction. Returns false and changes nothing
    /// if the position is not `from` any more: another process has applied the batch.
    async fn advance(&self, group: &'static str, from: i64, to: i64, rejected: Vec<(String, String)>) -> Result<bool, StoreError> {
        self.db
            .write(async move |c| {
                let first = (cursors::consumer.eq(group), cursors::position.eq(0));
                diesel::insert_or_ignore_into(cursors::table).values(first).execute(c).await?;
                let cursor = cursors::table.filter(cursors::consumer.eq(group).and(cursors::position.eq(from)));
                if diesel::update(cursor).set(cursors::position.eq(to)).execute(c).await? == 0 {
                    return Ok(false);
                }
                for (body, error) in &rejected {
                    insert_dead_letter(c, group, body, error).await?;
                }
                Ok(true)
            })
            .await
    }

    /// Delivers one batch and the requested replays, if this process holds the lease. Returns the size of the batch.
    async fn poll(&self, consumer: &dyn Consumer, lease: &mut Lease) -> Result<usize, StoreError> {
        let replays = self.requested_replays(consumer.group()).await?;
        let (from, batch) = self.fetch(consumer).await?;
        if (replays.is_empty() && batch.is_empty()) || lease.acquire_or_renew().await? == LeaseState::HeldElsewhere {
            return Ok(0);
        }
        self.redeliver(consumer, replays).await?;
        let Some((last, _)) = batch.last() else { return Ok(0) };
        let (last, count) = (*last, batch.len());
        let bodies: Vec<String> = batch.into_iter().map(|(_, body)| body).collect();
        let rejected = deliver(consumer, &bodies).await?;
        if !self.advance(consumer.group(), from, last, rejected).await? {
            tracing::info!(group = consumer.group(), "another process has applied these events, too");
        }
        Ok(count)
    }

    /// Dead letters marked for replay, oldest first.
    async fn requested_replays(&self, group: &'static str) -> Result<Vec<(i64, String)>, StoreError> {
        let query = async move |c: &mut Conn| {
            let marked = dead_letters::table.filter(dead_letters::consumer.eq(group).and(dead_letters::replay.eq(true)));
            Ok(marked.select((dead_letters::id, dead_letters::body)).order(dead_letters::id).load::<(i64, String)>(c).await?)
        };
        self.db.read(query).await
    }

    async fn redeliver(&self, consumer: &dyn Consumer, replays: Vec<(i64, String)>) -> Result<(), StoreError> {
        let group = consumer.group();
        for (id, body) in replays {
            let rejected = deliver(consumer, &[body]).await?;
            self.db
                .write(async move |c| {
                    // already deleted: another process has replayed it
                    if diesel::delete(dead_letters::table.find(id)).execute(c).await? == 0 {
                        return Ok(());
                    }
                    for (body, error) in &rejected {
                        insert_dead_letter(c, group, body, error).await?;
                    }
                    Ok::<_, StoreError>(())
                })
                .await?;
        }
        Ok(())
    }

    /// Deletes messages that every group has processed, except the last [`RETAINED`].
    async fn trim(&self) -> Result<(), StoreError> {
        self.db
            .write(async |c| {
                let slowest: Option<i64> = cursors::table.select(diesel::dsl::min(cursors::position)).first(c).await?;
                let first_kept = slowest.unwrap_or(0) - RETAINED;
                diesel::delete(messages::table.filter(messages::position.lt(first_kept))).execute(c).await?;
                Ok(())
            })
            .await
    }
}

async fn insert_dead_letter(conn: &mut Conn, group: &str, body: &str, error: &str) -> Result<(), StoreError> {
    tracing::error!(group, error, "event became a dead letter");
    diesel::insert_into(dead_letters::table)
        .values((
            dead_letters::consumer.eq(group),
            dead_letters::body.eq(body),
            dead_letters::error.eq(error),
            dead_letters::died_at.eq(clock::now_ms()),
            dead_letters::replay.eq(false),
        ))
        .execute(conn)
        .await?;
    Ok(())
}

/// Delivers messages to a consumer. Returns body and reason of each to dead-letter.
async fn deliver(consumer: &dyn Consumer, bodies: &[String]) -> Result<Vec<(String, String)>, StoreError> {
    let events = bodies.iter().map(|body| types::from_json(body).map_err(|cause: StoreError| cause.to_string())).collect();
    let rejected = dispatch(consumer, "tradepost", events).await?;
    Ok(rejected.into_iter().filter_map(|(index, error)| bodies.get(index).map(|body| (body.clone(), error))).collect())
}

#[async_trait(?Send)]
impl Bus for LocalBus {
    async fn publish(&self, events: Vec<Event>) -> Result<Vec<(usize, String)>, StoreError> {
        let rows = events.iter().map(|e| Ok((e.topic().to_string(), types::to_json(e)?))).collect::<Result<Vec<_>, StoreError>>()?;
        self.db
            .write(async move |c| {
                for (topic, body) in &rows {
                    diesel::insert_into(messages::table).values((messages::topic.eq(topic), messages::body.eq(body))).execute(c).await?;
                }
                Ok(Vec::new())
            })
            .await
    }

    async fn consume(&self, consumer: Arc<dyn Consumer>, stop: CancellationToken) {
        self.topics.lock().insert(consumer.group().into(), consumer.topics());
        let mut rounds: u32 = 0;
        let mut lease = Lease::new(self.db.clone(), consumer.group());
        while !stop.is_cancelled() {
            let committed = self.db.next_commit();
            let pause = match self.poll(consumer.as_ref(), &mut lease).await {
                Ok(taken) if taken as i64 == MAX_BATCH => continue,
                Ok(_) => POLL_INTERVAL,
                Err(cause) => {
                    tracing::warn!(%cause, group = consumer.group(), "events not applied; will retry");
                    Duration::from_secs(1)
                }
            };
            rounds = rounds.wrapping_add(1);
            if rounds.is_multiple_of(256)
                && let Err(cause) = self.trim().await
            {
                tracing::warn!(%cause, "the bus was not trimmed");
            }
            tokio::select! {
                () = async { committed.await; tokio::time::sleep(COALESCE_WINDOW).await } => {}
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => {}
            }
        }
        lease.release().await;
    }

    async fn dead_letters(&self, limit: i64) -> Result<Vec<DeadLetter>, StoreError> {
        let rows: Vec<(i64, String, String, String, i64)> = self
            .db
            .read(async move |c| {
                let all = dead_letters::table.order(dead_letters::id).limit(limit);
                let columns = (dead_letters::id, dead_letters::consumer, dead_letters::body, dead_letters::error, dead_letters::died_at);
                Ok::<_, StoreError>(all.select(columns).load(c).await?)
            })
            .await?;
        rows.into_iter()
            .map(|(id, group, body, error, at)| {
                Ok(DeadLetter { id, group, error, at: clock::rfc3339(at), event: raw_json_or_string(body)? })
            })
            .collect()
    }

    async fn count_dead_letters(&self, group: &str) -> Result<i64, StoreError> {
        let group = group.to_string();
        let count =
            async move |c: &mut Conn| Ok(dead_letters::table.filter(dead_letters::consumer.eq(&group)).count().get_result(c).await?);
        self.db.read(count).await
    }

    async fn replay(&self, id: i64) -> Result<bool, StoreError> {
        self.db
            .write(async move |c| {
                let marked = diesel::update(dead_letters::table.find(id)).set(dead_letters::replay.eq(true)).execute(c).await?;
                Ok(marked == 1)
            })
            .await
    }

    fn messaging_system(&self) -> &'static str {
        "tradepost"
    }

    fn register_metrics(&self, registry: &Registry) -> Result<(), StartError> {
        self.db.register_metrics("bus", registry)
    }

    async fn check_health(&self) -> Result<(), BusDown> {
        self.db.check_file().map_err(BusDown::OutOfService)
    }

    /// Only for a group with a consumer in this process.
    async fn lag(&self, group: &str) -> Result<i64, StoreError> {
        let topics = self.topics.lock().get(group).copied().unwrap_or_default();
        let group = group.to_string();
        self.db
            .read(async move |c| {
                let from: Option<i64> = cursors::table.find(&group).select(cursors::position).first(c).await.optional()?;
                let left = messages::table.filter(messages::position.gt(from.unwrap_or(0)).and(messages::topic.eq_any(topics)));
                Ok(left.count().get_result(c).await?)
            })
            .await
    }
}

/// Calls `each` with every event of these topics that this group has not processed yet, or that is its dead letter, for
/// the audit.
pub fn for_each_undelivered(snapshot: &mut Snapshot, group: &str, topics: &[&str], each: impl FnMut(Event)) -> Result<(), StoreError> {
    let (group, topics) = (quoted(group), topics.iter().map(|topic| quoted(topic)).collect::<Vec<_>>().join(", "));
    let query = format!(
        "SELECT body FROM messages WHERE topic IN ({topics}) \
         AND position > coalesce((SELECT position FROM cursors WHERE consumer = {group}), 0) \
         UNION ALL SELECT body FROM dead_letters WHERE consumer = {group}"
    );
    event::for_each(snapshot, &query, each)
}

/// Calls `each` with every event of this topic that is still on the bus, processed or not, for the audit.
pub fn for_each_retained(snapshot: &mut Snapshot, topic: &str, each: impl FnMut(Event)) -> Result<(), StoreError> {
    event::for_each(snapshot, &format!("SELECT body FROM messages WHERE topic = {}", quoted(topic)), each)
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[derive(diesel::QueryableByName)]
pub struct LostPosition {
    #[diesel(sql_type = diesel::sql_types::Text)]
    pub consumer: String,
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    pub position: i64,
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    pub newest: i64,
}

/// Groups whose position is beyond the newest message, for the audit: the next messages would be skipped.
pub fn lost_positions(snapshot: &mut Snapshot) -> Result<Vec<LostPosition>, StoreError> {
    let newest = "coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'messages'), 0)";
    snapshot.rows(&format!("SELECT consumer, position, {newest} AS newest FROM cursors WHERE position > {newest}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::bus::ApplyError;
    use crate::observe::trace::Trace;
    use crate::settings::StoreUrl;
    use tokio::sync::Notify;

    struct Reader(Notify);

    #[async_trait(?Send)]
    impl Consumer for Reader {
        fn group(&self) -> &'static str {
            "reader"
        }

        fn topics(&self) -> &'static [&'static str] {
            &["order"]
        }

        async fn apply(&self, events: &[Event]) -> Result<(), ApplyError> {
            assert!(events.iter().all(|event| event.topic() == "order"), "{events:?}");
            self.0.notify_one();
            Ok(())
        }
    }

    /// Such events count neither for the group's lag nor as undelivered.
    #[test]
    fn event_of_an_unsubscribed_topic_is_ignored() {
        actix_web::rt::System::new().block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("bus.db");
            let bus = Arc::new(LocalBus::open(&path).unwrap());
            let event = |kind: &str| Event::new("test", kind, "s", Trace::start(), &()).unwrap();
            let (reader, stop) = (Arc::new(Reader(Notify::new())), CancellationToken::new());
            let reading = actix_web::rt::spawn({
                let (bus, reader, stop) = (bus.clone(), reader.clone(), stop.clone());
                async move { bus.consume(reader, stop).await }
            });
            bus.publish(vec![event("order.placed"), event("review.written")]).await.unwrap();
            reader.0.notified().await;
            stop.cancel();
            reading.await.unwrap();
            assert_eq!(bus.lag("reader").await.unwrap(), 0);
            let undelivered = |topic: &str| {
                let mut kinds = Vec::new();
                let mut snapshot = Snapshot::open(&StoreUrl::Sqlite(path.clone())).unwrap();
                for_each_undelivered(&mut snapshot, "reader", &[topic], |event| kinds.push(event.kind)).unwrap();
                kinds
            };
            assert_eq!(undelivered("order"), [""; 0]);
            assert_eq!(undelivered("review"), ["review.written"]);
        });
    }
}
