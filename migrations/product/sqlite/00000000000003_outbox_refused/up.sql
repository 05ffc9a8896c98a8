-- Events that the bus can never take, with the reason; see src/events/sql/outbox.rs.
CREATE TABLE outbox_refused (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    body       TEXT NOT NULL,
    error      TEXT NOT NULL,
    refused_at INTEGER NOT NULL
);
