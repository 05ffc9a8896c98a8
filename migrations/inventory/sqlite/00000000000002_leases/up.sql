-- Which of several processes does a piece of work; see src/platform/lease.rs.
CREATE TABLE leases (
    name       TEXT PRIMARY KEY NOT NULL,
    holder     TEXT NOT NULL,
    expires_at BIGINT NOT NULL
) WITHOUT ROWID;
