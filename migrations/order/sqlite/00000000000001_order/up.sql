CREATE TABLE orders (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    order_number  TEXT NOT NULL UNIQUE,
    customer      TEXT NOT NULL,
    customer_name TEXT NOT NULL,
    email         TEXT,
    status        TEXT NOT NULL,
    settle        TEXT,
    total         TEXT NOT NULL,
    reason        TEXT,
    lease_until   BIGINT NOT NULL,
    created_at    BIGINT NOT NULL,
    hidden        BOOLEAN NOT NULL DEFAULT FALSE
);

CREATE INDEX orders_customer ON orders (customer, id);
CREATE INDEX orders_pending ON orders (lease_until) WHERE status = 'PENDING';
CREATE INDEX orders_settle ON orders (id) WHERE settle IS NOT NULL;

CREATE TABLE order_lines (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    order_id BIGINT NOT NULL REFERENCES orders (id),
    sku_code TEXT NOT NULL,
    quantity BIGINT NOT NULL,
    price    TEXT
);

CREATE INDEX order_lines_order ON order_lines (order_id);

-- INV-3: one idempotency key, one order.
CREATE TABLE idempotency_keys (
    scope       TEXT NOT NULL,
    idem_key    TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    order_id    BIGINT NOT NULL REFERENCES orders (id),
    created_at  BIGINT NOT NULL,
    PRIMARY KEY (scope, idem_key)
) WITHOUT ROWID;

CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);
CREATE INDEX idempotency_keys_order ON idempotency_keys (order_id);

CREATE TABLE outbox (
    seq  INTEGER PRIMARY KEY AUTOINCREMENT,
    body TEXT NOT NULL
);
