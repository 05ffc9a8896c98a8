//! Leases: of several processes on one store, one at a time does a piece of work, and another takes
//! over soon after it has died.
//!
//! A lease is a row with its holder and when it ends. It is taken only when there is work, renewed
//! while there is more, given back at an orderly stop, and left to end otherwise: a shop with nothing
//! to do writes nothing. Leases save doing work twice; they do not make it right. A holder that was
//! paused wakes up believing that it still holds, and clocks of two machines differ. So whatever is
//! done under a lease must be harmless when done twice: the inbox drops events it has seen, a group's
//! position moves only from where it was read, a delivery is claimed before it is sent.

use super::{Conn, Db};
use crate::platform::clock;
use crate::platform::store::{Held, Known, StoreError, TERM, Turn};
use async_trait::async_trait;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use std::time::{Duration, Instant};

mod tables {
    diesel::table! {
        leases (name) {
            name -> Text,
            holder -> Text,
            expires_at -> BigInt,
        }
    }
}
use tables::leases;

/// One process's side of a lease, in the store that the work is about.
pub struct Lease {
    pub(super) db: Db,
    name: &'static str,
    holder: String,
    pub(super) term: Duration,
    pub(super) known: Known,
}

impl Lease {
    /// Not held yet. The store's migrations have the table.
    pub fn new(db: Db, name: &'static str) -> Self {
        Self { db, name, holder: uuid::Uuid::new_v4().to_string(), term: TERM, known: Known::default() }
    }

    async fn take(&self) -> Result<Held, StoreError> {
        let (name, holder, term) = (self.name, self.holder.clone(), self.term.as_millis() as i64);
        self.db
            .write(async move |c| {
                let now = clock::now_ms();
                let mine = (leases::holder.eq(&holder), leases::expires_at.eq(now + term));
                let row = || leases::table.filter(leases::name.eq(name));
                if diesel::update(row().filter(leases::holder.eq(&holder))).set(mine).execute(c).await? == 1 {
                    return Ok(Held::Still);
                }
                let taken = diesel::update(row().filter(leases::expires_at.lt(now))).set(mine).execute(c).await? == 1
                    || diesel::insert_or_ignore_into(leases::table).values((leases::name.eq(name), mine)).execute(c).await? == 1;
                Ok(if taken { Held::Anew } else { Held::Elsewhere })
            })
            .await
    }
}

#[async_trait(?Send)]
impl Turn for Lease {
    async fn hold(&mut self) -> Result<Held, StoreError> {
        if let Some(held) = self.known.held() {
            return Ok(held);
        }
        let asked = Instant::now();
        let (name, holder) = (self.name, self.holder.clone());
        let others = async move |c: &mut Conn| {
            let row = leases::table.find(name).filter(leases::holder.ne(&holder).and(leases::expires_at.ge(clock::now_ms())));
            Ok::<_, StoreError>(row.select(leases::name).first::<String>(c).await.optional()?.is_some())
        };
        // only who may succeed writes
        let held = if self.db.read(others).await? { Held::Elsewhere } else { self.take().await? };
        Ok(self.known.learn(held, asked))
    }

    async fn release(&mut self) {
        if !self.known.give_up() {
            return;
        }
        let (name, holder) = (self.name, self.holder.clone());
        let gone = self.db.write(async move |c| {
            let ours = leases::table.filter(leases::name.eq(name).and(leases::holder.eq(&holder)));
            Ok::<_, StoreError>(diesel::delete(ours).execute(c).await?)
        });
        if let Err(cause) = gone.await {
            tracing::info!(%cause, name, "a lease was not given back; it ends by itself");
        }
    }
}
