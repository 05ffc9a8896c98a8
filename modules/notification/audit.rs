//! Notification's data for the audit command.

/// Consumed topics. Events of other topics are never pending for this module.
pub use super::events::TOPICS;

use super::api::DeliveryState;
use crate::data::{RowStream, Snapshot};
use crate::kernel::error::StoreError;
use crate::modules::invariants::{NotificationFact, Violation, violation};
use diesel::sql_types::{BigInt, Nullable, Text};

/// Rows that are listed one by one.
const MAX_LISTED: usize = 1000;

#[derive(diesel::QueryableByName)]
struct NotificationRow {
    #[diesel(sql_type = Text)]
    order_number: String,
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Text)]
    customer: String,
    #[diesel(sql_type = BigInt)]
    created_at: i64,
}

#[derive(diesel::QueryableByName)]
struct EventId {
    #[diesel(sql_type = Text)]
    event_id: String,
}

#[derive(diesel::QueryableByName)]
struct DeliveryRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    state: String,
}

#[derive(diesel::QueryableByName)]
struct Time {
    #[diesel(sql_type = Nullable<BigInt>)]
    at: Option<i64>,
}

/// The notifications about orders, by order number. No index has this order: the store sorts them, on disk if they are many.
pub fn by_order(snapshot: &mut Snapshot) -> Result<RowStream<'_, NotificationFact>, StoreError> {
    let query =
        "SELECT order_number, type AS kind, customer, created_at FROM notifications WHERE order_number IS NOT NULL ORDER BY order_number";
    let fact = |row: NotificationRow| NotificationFact {
        order: row.order_number,
        kind: row.kind,
        customer: row.customer,
        created_at: row.created_at,
    };
    Ok(Box::new(snapshot.stream(query)?.map(move |row| row.map(fact))))
}

/// INV-5: a notification or a delivery is written together with its event's id in the inbox. Ids older than the oldest one
/// in the inbox are not judged: old ids may be deleted, and imported notifications have none.
pub fn unrecorded(snapshot: &mut Snapshot) -> Result<Vec<Violation>, StoreError> {
    let notifications = format!(
        "SELECT n.event_id FROM notifications n LEFT JOIN inbox i ON i.event_id = n.event_id \
         WHERE i.event_id IS NULL AND n.created_at >= (SELECT min(applied_at) FROM inbox) LIMIT {MAX_LISTED}"
    );
    let pending = DeliveryState::Pending.name();
    let deliveries = format!(
        "SELECT d.event_id FROM deliveries d LEFT JOIN inbox i ON i.event_id = d.event_id \
         WHERE i.event_id IS NULL AND d.state = '{pending}' LIMIT {MAX_LISTED}"
    );
    let mut violations = Vec::new();
    for (what, query) in [("notification", notifications), ("delivery", deliveries)] {
        let rows: Vec<EventId> = snapshot.rows(&query)?;
        let message = |row: EventId| format!("a {what} is of event {}, which the inbox does not have", row.event_id);
        violations.extend(rows.into_iter().map(|row| violation("INV-5", message(row))));
    }
    Ok(violations)
}

/// INV-5: deliveries that no worker will send.
pub fn stuck_deliveries(snapshot: &mut Snapshot) -> Result<Vec<Violation>, StoreError> {
    let known = DeliveryState::ALL.map(|state| format!("'{}'", state.name())).join(", ");
    let query = format!(
        "SELECT id, state FROM deliveries WHERE state NOT IN ({known}) OR (state = '{}' AND next_attempt_at IS NULL) LIMIT {MAX_LISTED}",
        DeliveryState::Pending.name()
    );
    let rows: Vec<DeliveryRow> = snapshot.rows(&query)?;
    let stuck = |row: DeliveryRow| match DeliveryState::by_name(&row.state) {
        Some(_) => violation("INV-5", format!("delivery {} is {}, and has no time of its next attempt", row.id, row.state)),
        None => violation("INV-5", format!("delivery {} has the unknown state {}", row.id, row.state)),
    };
    Ok(rows.into_iter().map(stuck).collect())
}

/// When an event was last applied.
pub fn last_work(snapshot: &mut Snapshot) -> Result<Option<i64>, StoreError> {
    let rows: Vec<Time> = snapshot.rows("SELECT created_at AS at FROM notifications ORDER BY id DESC LIMIT 1")?;
    Ok(rows.into_iter().find_map(|row| row.at))
}
