-- Why the whole engine signs nothing. A halt is cleared with a reason, never deleted.
CREATE TABLE halts (
    id           INTEGER NOT NULL PRIMARY KEY,
    reason       TEXT    NOT NULL,
    detail       TEXT    NOT NULL,
    raised_at    INTEGER NOT NULL,
    cleared_at   INTEGER,
    cleared_with TEXT
) STRICT;
