-- Work that failed too often. ended_at = 0 is an open letter, and the last key allows one per subject. The
-- subject is a withdrawal's id or a slot's; the letter is about it and never instead of it.
CREATE TABLE dead_letters (
    id            INTEGER NOT NULL PRIMARY KEY,
    queue         TEXT    NOT NULL CHECK (queue IN ('request-dlq', 'signed-tx-dlq', 'broadcast-tx-dlq')),
    subject       BLOB    NOT NULL,
    tenant_id     BLOB,
    message       TEXT    NOT NULL,
    error_type    TEXT    NOT NULL,
    error_code    TEXT,
    error_message TEXT    NOT NULL,
    error_details TEXT,
    attempts      INTEGER NOT NULL,
    redrives      INTEGER NOT NULL,
    failed_at     INTEGER NOT NULL,
    redrive_at    INTEGER,
    ended_at      INTEGER NOT NULL,
    ended_how     TEXT    CHECK (ended_how IN ('redriven', 'resolved', 'discarded')),
    ended_by      TEXT,
    end_reason    TEXT,
    UNIQUE (queue, subject, ended_at)
) STRICT;
CREATE INDEX dead_letters_open ON dead_letters (ended_at, redrive_at);
