-- What reconcile found and did. The newest row says which head of the audit log in the journal it has answered for:
-- a restored log never comes back to that head.
CREATE TABLE reconciliations (
    id             INTEGER NOT NULL PRIMARY KEY,
    at             INTEGER NOT NULL,
    actor          TEXT    NOT NULL,
    differences    INTEGER NOT NULL,
    repaired       INTEGER NOT NULL,
    audit_sequence INTEGER NOT NULL,
    audit_hash     BLOB    NOT NULL
) STRICT;
