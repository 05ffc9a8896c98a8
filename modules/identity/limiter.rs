//! Holds up who guesses passwords: after some failures a name is closed for the rest of a minute, in
//! every process of the issuer.
//!
//! Names fall into a fixed number of slots by a keyed hash. So the table is bounded, nobody can push
//! another name's count out by trying many, and a name that exists behaves as one that does not.

use crate::data::sqlite::Db;
use crate::kernel::error::StoreError;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use sha2::{Digest, Sha256};

const SLOTS: u16 = 4096;
const MOST: i64 = 10;
const WINDOW: i64 = 60;

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

/// Counts failed logins by name.
pub(super) struct Limiter {
    db: Db,
    key: String,
}

/// A name that is closed, and for how many seconds yet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Closed(pub(super) i64);

impl Limiter {
    /// In this store. The key is secret, and the same in every process.
    pub(super) fn new(db: Db, key: &str) -> Self {
        Self { db, key: key.into() }
    }

    fn slot(&self, name: &str) -> i64 {
        let digest = Sha256::digest(format!("{}\0{name}", self.key));
        let number = digest.iter().take(2).fold(0_u16, |all, byte| (all << 8) | u16::from(*byte));
        i64::from(number % SLOTS)
    }

    /// Counts a try of this name's password, which was right or not. Nothing of that may be told before:
    /// many guesses at the same moment get no more answers than one after the other.
    pub(super) async fn count(&self, name: &str, right: bool, now: i64) -> Result<Result<(), Closed>, StoreError> {
        let slot = self.slot(name);
        self.db
            .write(async move |c| {
                let kept = guesses::table.find(slot).select((guesses::since, guesses::failures)).first(c).await.optional()?;
                let (since, failures) = kept.filter(|(since, _)| now - since < WINDOW).unwrap_or((now, 0));
                if failures >= MOST {
                    // even the right password: else the answer would tell it from the wrong ones
                    return Ok(Err(Closed(since + WINDOW - now)));
                }
                if !right {
                    let count = (guesses::slot.eq(slot), guesses::since.eq(since), guesses::failures.eq(failures + 1));
                    diesel::replace_into(guesses::table).values(count).execute(c).await?;
                } else if kept.is_some() {
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
    async fn ten_failures_close_a_name_for_the_rest_of_the_minute() {
        let dir = tempfile::tempdir().unwrap();
        let sides = [Limiter::new(store(&dir), "k"), Limiter::new(store(&dir), "k")];
        for n in 0..9 {
            assert_eq!(sides[n % 2].count("alice", false, 100).await.unwrap(), Ok(()));
        }
        assert_eq!(sides[0].count("alice", true, 100).await.unwrap(), Ok(()), "a success forgives");
        for n in 0..10 {
            assert_eq!(sides[n % 2].count("alice", false, 110).await.unwrap(), Ok(()));
        }
        for side in &sides {
            assert_eq!(side.count("alice", true, 120).await.unwrap(), Err(Closed(50)), "in every process");
        }
        assert_eq!(sides[0].count("alice", true, 170).await.unwrap(), Ok(()));
    }
}
