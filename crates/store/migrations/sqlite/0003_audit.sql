-- The hash chain of operator actions: hash = SHA-256(previous_hash, the other columns).
CREATE TABLE audit (
    sequence      INTEGER NOT NULL PRIMARY KEY,
    at            INTEGER NOT NULL,
    tenant_id     BLOB,
    actor         TEXT    NOT NULL,
    action        TEXT    NOT NULL,
    subject       TEXT    NOT NULL,
    detail        TEXT    NOT NULL,
    previous_hash BLOB    NOT NULL,
    hash          BLOB    NOT NULL
) STRICT;
