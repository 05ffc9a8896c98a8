//! Sessions: which refresh token of each is the current one, and which sessions are over.
//!
//! They are kept in the store, so that a restart brings none back and every process of the issuer knows
//! the same. A session is forgotten when no token of it can live any more.

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

/// All sessions.
pub(super) struct Sessions {
    db: Db,
    /// No token of a session outlives its end by more, in seconds.
    keep: i64,
}

/// What a refresh token's use comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rotated {
    /// The next one takes its place.
    Yes,
    /// It was replaced before: somebody has a copy.
    Replayed,
    /// The session is over.
    Over,
}

async fn find(c: &mut Conn, session: &str) -> Result<Option<(Option<String>, bool)>, StoreError> {
    Ok(sessions::table.find(session).select((sessions::current, sessions::ended)).first(c).await.optional()?)
}

/// Puts a session there as it is given, unless it is over.
async fn put(c: &mut Conn, session: &str, current: Option<&str>, ended: bool, keep_to: i64) -> Result<(), StoreError> {
    let row = (sessions::current.eq(current), sessions::ended.eq(ended), sessions::keep_to.eq(keep_to));
    diesel::insert_or_ignore_into(sessions::table).values((sessions::id.eq(session), row)).execute(c).await?;
    let going_on = sessions::table.filter(sessions::id.eq(session).and(sessions::ended.eq(false)));
    diesel::update(going_on).set(row).execute(c).await?;
    Ok(())
}

impl Sessions {
    /// In this store, for tokens that live so long.
    pub(super) fn new(db: Db, keep: i64) -> Self {
        Self { db, keep }
    }

    /// Whether a session is over.
    pub(super) fn is_over(&self, session: &str) -> Result<bool, StoreError> {
        self.db.look_up(async |c| Ok(find(c, session).await?.is_some_and(|(_, ended)| ended)))
    }

    /// Whether this refresh token may still be used once.
    pub(super) fn is_current(&self, session: &str, token: &str) -> Result<bool, StoreError> {
        let current = self.db.look_up(async |c| Ok::<_, StoreError>(find(c, session).await?.and_then(|(current, _)| current)))?;
        Ok(current.is_none_or(|current| current == token))
    }

    /// A session's first refresh token.
    pub(super) async fn start(&self, session: &str, token: &str, now: i64) -> Result<(), StoreError> {
        let (session, token, keep_to) = (session.to_string(), token.to_string(), now + self.keep);
        self.db
            .write(async move |c| {
                diesel::delete(sessions::table.filter(sessions::keep_to.le(now))).execute(c).await?;
                put(c, &session, Some(&token), false, keep_to).await
            })
            .await
    }

    /// Puts the next refresh token in the place of the one that is used.
    pub(super) async fn rotate(&self, session: &str, used: &str, next: &str, now: i64) -> Result<Rotated, StoreError> {
        let (session, used, next, keep_to) = (session.to_string(), used.to_string(), next.to_string(), now + self.keep);
        self.db
            .write(async move |c| {
                match find(c, &session).await? {
                    Some((_, true)) => return Ok(Rotated::Over),
                    Some((Some(current), _)) if current != used => return Ok(Rotated::Replayed),
                    _ => {}
                }
                put(c, &session, Some(&next), false, keep_to).await?;
                Ok(Rotated::Yes)
            })
            .await
    }

    /// Ends a session, for good once this returns.
    pub(super) async fn end(&self, session: &str, now: i64) -> Result<(), StoreError> {
        let (session, keep_to) = (session.to_string(), now + self.keep);
        self.db.write(async move |c| put(c, &session, None, true, keep_to).await).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::identity::tests::support::store;

    #[tokio::test]
    async fn a_refresh_token_is_good_until_its_successor_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let (sessions, other) = (Sessions::new(store(&dir), 100), Sessions::new(store(&dir), 100));
        sessions.start("s", "r1", 10).await.unwrap();
        assert!(other.is_current("s", "r1").unwrap() && !other.is_current("s", "r0").unwrap());
        assert_eq!(other.rotate("s", "r1", "r2", 11).await.unwrap(), Rotated::Yes);
        assert_eq!(sessions.rotate("s", "r1", "r3", 12).await.unwrap(), Rotated::Replayed, "whichever process made it");
        assert_eq!(sessions.rotate("s", "r2", "r3", 12).await.unwrap(), Rotated::Yes);
    }

    #[tokio::test]
    async fn what_is_over_stays_over_until_its_tokens_are_dead() {
        let dir = tempfile::tempdir().unwrap();
        let sessions = Sessions::new(store(&dir), 100);
        sessions.end("s", 10).await.unwrap();
        sessions.start("s", "r1", 50).await.unwrap();
        let restarted = Sessions::new(store(&dir), 100);
        assert!(restarted.is_over("s").unwrap() && !restarted.is_over("t").unwrap());
        assert_eq!(restarted.rotate("s", "r1", "r2", 50).await.unwrap(), Rotated::Over);
        restarted.start("t", "r1", 110).await.unwrap();
        assert!(!restarted.is_over("s").unwrap(), "forgotten: nothing of it can live any more");
    }
}
