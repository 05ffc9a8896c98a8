-- INV-1 quantity + held + sold = received; INV-2 quantity is never negative.
CREATE TABLE stock (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    sku_code TEXT NOT NULL UNIQUE,
    quantity BIGINT NOT NULL CHECK (quantity >= 0),
    held     BIGINT NOT NULL CHECK (held >= 0),
    sold     BIGINT NOT NULL CHECK (sold >= 0),
    received BIGINT NOT NULL,
    removed  BOOLEAN NOT NULL DEFAULT FALSE,
    CHECK (quantity + held + sold = received)
);

CREATE TABLE reservations (
    order_number TEXT PRIMARY KEY NOT NULL,
    state        TEXT NOT NULL,
    lines        TEXT NOT NULL,
    expires_at   BIGINT NOT NULL
) WITHOUT ROWID;

CREATE INDEX reservations_held ON reservations (expires_at) WHERE state = 'HELD';

CREATE TABLE outbox (
    seq  INTEGER PRIMARY KEY AUTOINCREMENT,
    body TEXT NOT NULL
);
