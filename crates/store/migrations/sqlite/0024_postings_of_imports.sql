-- Two more kinds of posting: what reconcile finds paid for a payer that nobody knows, and its claim by that payer.
CREATE TABLE postings_with_imports (
    id         INTEGER NOT NULL PRIMARY KEY,
    balance_id INTEGER NOT NULL,
    kind       TEXT    NOT NULL CHECK (kind IN ('deposit', 'reserve', 'settle', 'unsettle', 'release', 'import', 'claim')),
    amount     TEXT    NOT NULL,
    subject    BLOB    NOT NULL,
    at         INTEGER NOT NULL
) STRICT;
INSERT INTO postings_with_imports (id, balance_id, kind, amount, subject, at)
    SELECT id, balance_id, kind, amount, subject, at FROM postings;
DROP TABLE postings;
ALTER TABLE postings_with_imports RENAME TO postings;
CREATE INDEX postings_by_balance ON postings (balance_id);
