CREATE TABLE notifications (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id     TEXT NOT NULL,
    customer     TEXT NOT NULL,
    type         TEXT NOT NULL,
    order_number TEXT NULL,
    title        TEXT NOT NULL,
    message      TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    read         BOOLEAN NOT NULL DEFAULT FALSE
);
CREATE UNIQUE INDEX notifications_event ON notifications (event_id);
CREATE INDEX notifications_customer ON notifications (customer, id);

CREATE TABLE deliveries (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id        TEXT NOT NULL,
    channel         TEXT NOT NULL,
    target          TEXT NOT NULL,
    event_type      TEXT NOT NULL,
    body            TEXT NOT NULL,
    state           TEXT NOT NULL,
    attempts        BIGINT NOT NULL,
    last_error      TEXT NULL,
    next_attempt_at BIGINT NULL
);
CREATE UNIQUE INDEX deliveries_once ON deliveries (event_id, channel, target);
CREATE INDEX deliveries_due ON deliveries (state, next_attempt_at);

CREATE TABLE inbox (
    event_id   TEXT PRIMARY KEY NOT NULL,
    applied_at BIGINT NOT NULL
) WITHOUT ROWID;
