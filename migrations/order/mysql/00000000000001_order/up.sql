-- IF NOT EXISTS: a change of schema commits by itself, so one that was cut short is run again.
CREATE TABLE IF NOT EXISTS orders (
    id            BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    order_number  CHAR(36) NOT NULL,
    customer      VARCHAR(255) NOT NULL,
    customer_name TEXT NOT NULL,
    email         TEXT,
    status        VARCHAR(16) NOT NULL,
    settle        VARCHAR(16),
    total         VARCHAR(40) NOT NULL,
    reason        MEDIUMTEXT,
    lease_until   BIGINT NOT NULL,
    created_at    BIGINT NOT NULL,
    hidden        BOOLEAN NOT NULL DEFAULT FALSE,
    UNIQUE KEY orders_number (order_number),
    KEY orders_customer (customer, id),
    KEY orders_pending (status, lease_until),
    KEY orders_settle (settle, id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS order_lines (
    id       BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    order_id BIGINT NOT NULL,
    sku_code VARCHAR(64) NOT NULL,
    quantity BIGINT NOT NULL,
    price    VARCHAR(40),
    KEY order_lines_order (order_id),
    FOREIGN KEY (order_id) REFERENCES orders (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- INV-3: one idempotency key, one order.
CREATE TABLE IF NOT EXISTS idempotency_keys (
    scope       VARCHAR(400) NOT NULL,
    idem_key    VARCHAR(255) NOT NULL,
    fingerprint VARCHAR(128) NOT NULL,
    order_id    BIGINT NOT NULL,
    created_at  BIGINT NOT NULL,
    PRIMARY KEY (scope, idem_key),
    KEY idempotency_keys_age (created_at),
    KEY idempotency_keys_order (order_id),
    FOREIGN KEY (order_id) REFERENCES orders (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS outbox (
    seq  BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    body MEDIUMTEXT NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
