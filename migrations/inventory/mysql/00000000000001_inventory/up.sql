-- INV-1 quantity + held + sold = received; INV-2 quantity is never negative. MySQL keeps checks from 8.0.16 on.
-- IF NOT EXISTS: a change of schema commits by itself, so one that was cut short is run again.
CREATE TABLE IF NOT EXISTS stock (
    id       BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    sku_code VARCHAR(64) NOT NULL,
    quantity BIGINT NOT NULL CHECK (quantity >= 0),
    held     BIGINT NOT NULL CHECK (held >= 0),
    sold     BIGINT NOT NULL CHECK (sold >= 0),
    received BIGINT NOT NULL,
    removed  BOOLEAN NOT NULL DEFAULT FALSE,
    UNIQUE KEY stock_sku (sku_code),
    CHECK (quantity + held + sold = received)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS reservations (
    order_number CHAR(36) NOT NULL PRIMARY KEY,
    state        VARCHAR(16) NOT NULL,
    `lines`      MEDIUMTEXT NOT NULL,
    expires_at   BIGINT NOT NULL,
    KEY reservations_held (state, expires_at)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS outbox (
    seq  BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    body MEDIUMTEXT NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
