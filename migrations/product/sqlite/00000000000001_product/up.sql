CREATE TABLE products (
    id       TEXT PRIMARY KEY NOT NULL,
    sku_code TEXT NOT NULL UNIQUE,
    name     TEXT NOT NULL,
    version  BIGINT NOT NULL,
    doc      TEXT NOT NULL
);

CREATE TABLE outbox (
    seq  INTEGER PRIMARY KEY AUTOINCREMENT,
    body TEXT NOT NULL
);
