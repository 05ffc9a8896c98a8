//! Leases in SQL: one row per lease. Their guarantees are in `data/lease.rs`.

use super::{Conn, Db};
use crate::data::{LeaseState, LeaseStore};
use crate::kernel::clock;
use crate::kernel::error::StoreError;
use async_trait::async_trait;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use std::time::Duration;

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

/// The store's migrations create the table.
#[async_trait(?Send)]
impl LeaseStore for Db {
    async fn acquire(&self, name: &'static str, holder: &str, term: Duration) -> Result<LeaseState, StoreError> {
        let (holder, term) = (holder.to_string(), term.as_millis() as i64);
        let own_holder = holder.clone();
        let held_elsewhere = async move |c: &mut Conn| {
            let now = clock::now_ms();
            let in_force = leases::expires_at.between(now, clock::latest_end(now, term));
            let row = leases::table.find(name).filter(leases::holder.ne(&own_holder).and(in_force));
            Ok::<_, StoreError>(row.select(leases::name).first::<String>(c).await.optional()?.is_some())
        };
        // a read first: a process that cannot acquire the lease does not write
        if self.read(held_elsewhere).await? {
            return Ok(LeaseState::HeldElsewhere);
        }
        self.write(async move |c| {
            let now = clock::now_ms();
            let values = (leases::holder.eq(&holder), leases::expires_at.eq(now + term));
            let row = || leases::table.filter(leases::name.eq(name));
            if diesel::update(row().filter(leases::holder.eq(&holder))).set(values).execute(c).await? == 1 {
                return Ok(LeaseState::Held);
            }
            let expired = leases::expires_at.lt(now).or(leases::expires_at.gt(clock::latest_end(now, term)));
            let acquired = diesel::update(row().filter(expired)).set(values).execute(c).await? == 1
                || diesel::insert_or_ignore_into(leases::table).values((leases::name.eq(name), values)).execute(c).await? == 1;
            Ok(if acquired { LeaseState::Acquired } else { LeaseState::HeldElsewhere })
        })
        .await
    }

    async fn delete(&self, name: &'static str, holder: &str) -> Result<(), StoreError> {
        let holder = holder.to_string();
        self.write(async move |c| {
            diesel::delete(leases::table.filter(leases::name.eq(name).and(leases::holder.eq(&holder)))).execute(c).await?;
            Ok(())
        })
        .await
    }
}
