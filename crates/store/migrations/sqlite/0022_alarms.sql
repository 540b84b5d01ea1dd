-- What is wrong with a sender or a slot now. Each goes away by itself, or when an operator mended its cause.
CREATE TABLE alarms (
    kind      TEXT    NOT NULL CHECK (kind IN ('fee_cap', 'gas_money', 'damaged_slot')),
    chain_id  INTEGER NOT NULL,
    sender    BLOB    NOT NULL,
    subject   TEXT    NOT NULL,
    detail    TEXT    NOT NULL,
    raised_at INTEGER NOT NULL,
    PRIMARY KEY (kind, chain_id, subject)
) STRICT;
