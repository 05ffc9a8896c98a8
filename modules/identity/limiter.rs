//! Limits password guessing: after 10 failures a name is locked for the rest of a minute, in every
//! process of the issuer.
//!
//! A keyed hash maps names to a fixed number of slots. So the table is bounded, an attacker cannot evict
//! another name's count by trying many names, and unknown names behave like existing ones.

use crate::data::sqlite::Db;
use crate::kernel::error::StoreError;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use sha2::{Digest, Sha256};

const SLOTS: u16 = 4096;
const MAX_FAILURES: i64 = 10;
const WINDOW_SECONDS: i64 = 60;

mod tables {
    diesel::table! {
        guesses (slot) {
            slot -> BigInt,
            since -> BigInt,
            failures -> BigInt,
        }
    }
}
use tables::guesses;

pub(super) struct Limiter {
    db: Db,
    key: String,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Locked {
    /// Until the name is unlocked.
    pub(super) seconds: i64,
}

impl Limiter {
    /// The key must be secret and the same in every process.
    pub(super) fn new(db: Db, key: &str) -> Self {
        Self { db, key: key.into() }
    }

    fn slot(&self, name: &str) -> i64 {
        let digest = Sha256::digest(format!("{}\0{name}", self.key));
        let number = digest.iter().take(2).fold(0_u16, |all, byte| (all << 8) | u16::from(*byte));
        i64::from(number % SLOTS)
    }

    /// Records a login attempt. The caller must not answer the client before this returns, so that
    /// concurrent guesses get no more answers than sequential ones.
    pub(super) async fn record_attempt(&self, name: &str, success: bool, now: i64) -> Result<Result<(), Locked>, StoreError> {
        let slot = self.slot(name);
        self.db
            .write(async move |c| {
                let recorded = guesses::table.find(slot).select((guesses::since, guesses::failures)).first(c).await.optional()?;
                let (since, failures) = recorded.filter(|(since, _)| now - since < WINDOW_SECONDS).unwrap_or((now, 0));
                if failures >= MAX_FAILURES {
                    // also with the right password: otherwise the response would reveal it
                    return Ok(Err(Locked { seconds: since + WINDOW_SECONDS - now }));
                }
                if !success {
                    let count = (guesses::slot.eq(slot), guesses::since.eq(since), guesses::failures.eq(failures + 1));
                    diesel::replace_into(guesses::table).values(count).execute(c).await?;
                } else if recorded.is_some() {
                    diesel::delete(guesses::table.find(slot)).execute(c).await?;
                }
                Ok::<_, StoreError>(Ok(()))
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::identity::tests::support::store;

    #[tokio::test]
    async fn name_after_ten_failures_is_locked_for_the_rest_of_the_minute() {
        let dir = tempfile::tempdir().unwrap();
        let limiters = [Limiter::new(store(&dir), "k"), Limiter::new(store(&dir), "k")];
        for n in 0..9 {
            assert_eq!(limiters[n % 2].record_attempt("alice", false, 100).await.unwrap(), Ok(()));
        }
        assert_eq!(limiters[0].record_attempt("alice", true, 100).await.unwrap(), Ok(()), "a success resets the count");
        for n in 0..10 {
            assert_eq!(limiters[n % 2].record_attempt("alice", false, 110).await.unwrap(), Ok(()));
        }
        for limiter in &limiters {
            assert_eq!(limiter.record_attempt("alice", true, 120).await.unwrap(), Err(Locked { seconds: 50 }), "in every process");
        }
        assert_eq!(limiters[0].record_attempt("alice", true, 170).await.unwrap(), Ok(()));
    }
}
