-- Leases: which process does a piece of background work; see src/data/lease.rs.
CREATE TABLE leases (
    name       TEXT PRIMARY KEY NOT NULL,
    holder     TEXT NOT NULL,
    expires_at BIGINT NOT NULL
) WITHOUT ROWID;
