-- Payments that journal or chain know, that the database has forgotten, and of which not enough is left for a row of
-- withdrawals: from the journal alone what they pay is missing, from the vault's event alone whose they are. A client's
-- retry, found by external id or by ref, says the rest.
CREATE TABLE forgotten (
    reference     BLOB    NOT NULL PRIMARY KEY,
    epoch         INTEGER NOT NULL,
    sequence      INTEGER NOT NULL,
    tenant_id     BLOB,
    external_id   TEXT,
    withdrawal_id BLOB,
    slot_id       BLOB    NOT NULL,
    created_at    INTEGER NOT NULL
) STRICT;
CREATE INDEX forgotten_by_request ON forgotten (tenant_id, external_id);
