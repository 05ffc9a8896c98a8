-- Events that the bus can never take, with the reason; see src/events/sql/outbox.rs.
-- IF NOT EXISTS: a change of schema commits by itself, so one that was cut short is run again.
CREATE TABLE IF NOT EXISTS outbox_refused (
    id         BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    body       MEDIUMTEXT NOT NULL,
    error      TEXT NOT NULL,
    refused_at BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
