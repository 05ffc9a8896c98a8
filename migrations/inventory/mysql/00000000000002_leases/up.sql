-- Leases: which process does a piece of background work; see src/data/lease.rs.
-- IF NOT EXISTS: a change of schema commits by itself, so one that was cut short is run again.
CREATE TABLE IF NOT EXISTS leases (
    name       VARCHAR(64) NOT NULL PRIMARY KEY,
    holder     CHAR(36) NOT NULL,
    expires_at BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
