//! Inbox: the transaction that applies an event also stores its id, so that an event delivered twice is applied once.

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

/// Records the event's id. True on its first delivery, false on every other.
pub async fn mark_applied(conn: &mut Conn, event: &Event) -> Result<bool, StoreError> {
    let row = (inbox::event_id.eq(event.id.to_string()), inbox::applied_at.eq(crate::kernel::clock::now_ms()));
    let inserted = diesel::insert_or_ignore_into(inbox::table).values(row).execute(conn).await?;
    Ok(inserted == 1)
}
