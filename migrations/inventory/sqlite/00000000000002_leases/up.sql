-- Leases: which of several processes does a piece of background work; see src/platform/store/lease.rs.
CREATE TABLE leases (
    name       TEXT PRIMARY KEY NOT NULL,
    holder     TEXT NOT NULL,
    expires_at BIGINT NOT NULL
) WITHOUT ROWID;
