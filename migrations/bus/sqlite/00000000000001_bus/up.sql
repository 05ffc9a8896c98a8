CREATE TABLE messages (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    topic    TEXT NOT NULL,
    body     TEXT NOT NULL
);

CREATE TABLE cursors (
    consumer TEXT PRIMARY KEY NOT NULL,
    position BIGINT NOT NULL
) WITHOUT ROWID;

CREATE TABLE dead_letters (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    consumer TEXT NOT NULL,
    body     TEXT NOT NULL,
    error    TEXT NOT NULL,
    died_at  BIGINT NOT NULL,
    replay   BOOLEAN NOT NULL DEFAULT FALSE
);
