-- Every set of signed bytes, committed before the first byte leaves. Fees are wei per gas.
CREATE TABLE attempts (
    hash                         BLOB    NOT NULL PRIMARY KEY,
    slot_id                      BLOB    NOT NULL,
    ordinal                      INTEGER NOT NULL,
    kind                         TEXT    NOT NULL CHECK (kind IN ('payload', 'cancel')),
    raw                          BLOB    NOT NULL,
    max_fee_per_gas_wei          INTEGER NOT NULL,
    max_priority_fee_per_gas_wei INTEGER NOT NULL,
    gas_limit                    INTEGER NOT NULL,
    committed_at                 INTEGER NOT NULL,
    sent_at                      INTEGER,
    sends                        INTEGER NOT NULL,
    last_outcome                 TEXT,
    gas_used                     INTEGER,
    effective_gas_price_wei      INTEGER,
    UNIQUE (slot_id, ordinal)
) STRICT;
