-- IF NOT EXISTS: a change of schema commits by itself, so one that was cut short is run again.
CREATE TABLE IF NOT EXISTS notifications (
    id           BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    event_id     VARCHAR(64) NOT NULL,
    customer     VARCHAR(255) NOT NULL,
    type         VARCHAR(64) NOT NULL,
    order_number VARCHAR(64) NULL,
    title        TEXT NOT NULL,
    message      MEDIUMTEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    `read`       BOOLEAN NOT NULL DEFAULT FALSE,
    UNIQUE KEY notifications_event (event_id),
    KEY notifications_customer (customer, id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS deliveries (
    id              BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    event_id        VARCHAR(64) NOT NULL,
    channel         VARCHAR(16) NOT NULL,
    target          VARCHAR(600) NOT NULL,
    event_type      VARCHAR(64) NOT NULL,
    body            MEDIUMTEXT NOT NULL,
    state           VARCHAR(16) NOT NULL,
    attempts        BIGINT NOT NULL,
    last_error      TEXT NULL,
    next_attempt_at BIGINT NULL,
    UNIQUE KEY deliveries_once (event_id, channel, target),
    KEY deliveries_due (state, next_attempt_at)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS inbox (
    event_id   VARCHAR(64) NOT NULL PRIMARY KEY,
    applied_at BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
