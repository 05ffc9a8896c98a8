//! Sessions: the current refresh token of each, and whether it has ended.
//!
//! Sessions are in the store, so that a restart revives none and every process of the issuer has the same
//! state. A session is deleted when all its tokens have expired.

use crate::data::sqlite::{Conn, Db};
use crate::kernel::error::StoreError;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

mod tables {
    diesel::table! {
        sessions (id) {
            id -> Text,
            current -> Nullable<Text>,
            ended -> Bool,
            keep_to -> BigInt,
        }
    }
}
use tables::sessions;

pub(super) struct Sessions {
    db: Db,
    /// Longest lifetime of a session's tokens.
    retention_seconds: i64,
}

/// Result of using a refresh token.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rotation {
    Rotated,
    /// The token was replaced before: a copy may have leaked.
    Replayed,
    SessionEnded,
}

async fn find(c: &mut Conn, session: &str) -> Result<Option<(Option<String>, bool)>, StoreError> {
    Ok(sessions::table.find(session).select((sessions::current, sessions::ended)).first(c).await.optional()?)
}

/// Inserts or updates a session, unless it has ended.
async fn upsert(c: &mut Conn, session: &str, current: Option<&str>, ended: bool, keep_to: i64) -> Result<(), StoreError> {
    let row = (sessions::current.eq(current), sessions::ended.eq(ended), sessions::keep_to.eq(keep_to));
    diesel::insert_or_ignore_into(sessions::table).values((sessions::id.eq(session), row)).execute(c).await?;
    let active = sessions::table.filter(sessions::id.eq(session).and(sessions::ended.eq(false)));
    diesel::update(active).set(row).execute(c).await?;
    Ok(())
}

impl Sessions {
    pub(super) fn new(db: Db, retention_seconds: i64) -> Self {
        Self { db, retention_seconds }
    }

    pub(super) fn is_ended(&self, session: &str) -> Result<bool, StoreError> {
        self.db.read_inline(async |c| Ok(find(c, session).await?.is_some_and(|(_, ended)| ended)))
    }

    /// Whether this refresh token is the session's current one.
    pub(super) fn is_current(&self, session: &str, token: &str) -> Result<bool, StoreError> {
        let current = self.db.read_inline(async |c| Ok::<_, StoreError>(find(c, session).await?.and_then(|(current, _)| current)))?;
        Ok(current.is_none_or(|current| current == token))
    }

    /// Starts a session with its first refresh token.
    pub(super) async fn start(&self, session: &str, token: &str, now: i64) -> Result<(), StoreError> {
        let (session, token, keep_to) = (session.to_string(), token.to_string(), now + self.retention_seconds);
        self.db
            .write(async move |c| {
                diesel::delete(sessions::table.filter(sessions::keep_to.le(now))).execute(c).await?;
                upsert(c, &session, Some(&token), false, keep_to).await
            })
            .await
    }

    /// Replaces the used refresh token by the next one.
    pub(super) async fn rotate(&self, session: &str, used: &str, next: &str, now: i64) -> Result<Rotation, StoreError> {
        let (session, used, next, keep_to) = (session.to_string(), used.to_string(), next.to_string(), now + self.retention_seconds);
        self.db
            .write(async move |c| {
                match find(c, &session).await? {
                    Some((_, true)) => return Ok(Rotation::SessionEnded),
                    Some((Some(current), _)) if current != used => return Ok(Rotation::Replayed),
                    _ => {}
                }
                upsert(c, &session, Some(&next), false, keep_to).await?;
                Ok(Rotation::Rotated)
            })
            .await
    }

    /// Ends a session. The end is durable when this returns.
    pub(super) async fn end(&self, session: &str, now: i64) -> Result<(), StoreError> {
        let (session, keep_to) = (session.to_string(), now + self.retention_seconds);
        self.db.write(async move |c| upsert(c, &session, None, true, keep_to).await).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::identity::tests::support::store;

    #[tokio::test]
    async fn refresh_token_after_rotation_is_replayed() {
        let dir = tempfile::tempdir().unwrap();
        let (sessions, other) = (Sessions::new(store(&dir), 100), Sessions::new(store(&dir), 100));
        sessions.start("s", "r1", 10).await.unwrap();
        assert!(other.is_current("s", "r1").unwrap() && !other.is_current("s", "r0").unwrap());
        assert_eq!(other.rotate("s", "r1", "r2", 11).await.unwrap(), Rotation::Rotated);
        assert_eq!(sessions.rotate("s", "r1", "r3", 12).await.unwrap(), Rotation::Replayed, "also if another process rotated it");
        assert_eq!(sessions.rotate("s", "r2", "r3", 12).await.unwrap(), Rotation::Rotated);
    }

    #[tokio::test]
    async fn session_ended_stays_ended_until_its_tokens_expire() {
        let dir = tempfile::tempdir().unwrap();
        let sessions = Sessions::new(store(&dir), 100);
        sessions.end("s", 10).await.unwrap();
        sessions.start("s", "r1", 50).await.unwrap();
        let restarted = Sessions::new(store(&dir), 100);
        assert!(restarted.is_ended("s").unwrap() && !restarted.is_ended("t").unwrap());
        assert_eq!(restarted.rotate("s", "r1", "r2", 50).await.unwrap(), Rotation::SessionEnded);
        restarted.start("t", "r1", 110).await.unwrap();
        assert!(!restarted.is_ended("s").unwrap(), "deleted: all its tokens have expired");
    }
}
