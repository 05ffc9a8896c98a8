CREATE TABLE sessions (
    id      TEXT PRIMARY KEY NOT NULL,
    current TEXT NULL,
    ended   BOOLEAN NOT NULL DEFAULT FALSE,
    keep_to BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX sessions_age ON sessions (keep_to);

CREATE TABLE codes (
    digest  TEXT PRIMARY KEY NOT NULL,
    granted TEXT NOT NULL,
    spent   BOOLEAN NOT NULL DEFAULT FALSE,
    keep_to BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX codes_age ON codes (keep_to);

CREATE TABLE guesses (
    slot     BIGINT PRIMARY KEY NOT NULL,
    since    BIGINT NOT NULL,
    failures BIGINT NOT NULL
);
