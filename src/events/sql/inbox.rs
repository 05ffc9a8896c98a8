//! Inbox: the id of an event is written in the same transaction as its effect, so that an event
//! delivered twice is applied once.

use super::backend::Conn;
use crate::events::event::Event;
use crate::kernel::error::StoreError;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

mod tables {
    diesel::table! {
        inbox (event_id) {
            event_id -> Text,
            applied_at -> BigInt,
        }
    }
}
use tables::inbox;

/// True exactly once for each event, whatever the number of deliveries.
pub async fn first_time(conn: &mut Conn, event: &Event) -> Result<bool, StoreError> {
    let row = (inbox::event_id.eq(event.id.to_string()), inbox::applied_at.eq(crate::kernel::clock::now_ms()));
    let added = diesel::insert_or_ignore_into(inbox::table).values(row).execute(conn).await?;
    Ok(added == 1)
}
