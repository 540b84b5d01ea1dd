-- What others want signed: only the signer has keys.
CREATE TABLE commands (
    id           INTEGER NOT NULL PRIMARY KEY,
    chain_id     INTEGER NOT NULL,
    kind         TEXT    NOT NULL CHECK (kind IN ('bump', 'cancel', 'fill')),
    sender       BLOB    NOT NULL,
    nonce        INTEGER NOT NULL,
    requested_by TEXT    NOT NULL,
    reason       TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    due_at       INTEGER NOT NULL,
    done_at      INTEGER,
    answer       TEXT
) STRICT;
CREATE INDEX commands_open ON commands (chain_id, done_at, due_at);
