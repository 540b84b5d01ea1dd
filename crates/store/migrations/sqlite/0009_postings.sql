-- Double entry in one row: the kind names the bucket that gives and the bucket that takes.
CREATE TABLE postings (
    id         INTEGER NOT NULL PRIMARY KEY,
    balance_id INTEGER NOT NULL,
    kind       TEXT    NOT NULL CHECK (kind IN ('deposit', 'reserve', 'settle', 'unsettle', 'release')),
    amount     TEXT    NOT NULL,
    subject    BLOB    NOT NULL,
    at         INTEGER NOT NULL
) STRICT;
CREATE INDEX postings_by_balance ON postings (balance_id);
