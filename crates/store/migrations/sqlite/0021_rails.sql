-- How a slot's payments travel, and what became of each of them in a transaction that succeeded. The table is made
-- anew because its checks learn new words: a purpose (void) and an outcome (voided).
CREATE TABLE slots_with_rail (
    id               BLOB    NOT NULL PRIMARY KEY,
    chain_id         INTEGER NOT NULL,
    sender           BLOB    NOT NULL,
    nonce            INTEGER NOT NULL CHECK (nonce >= 0),
    purpose          TEXT    NOT NULL CHECK (purpose IN ('pay', 'fill', 'void')),
    rail             TEXT    NOT NULL CHECK (rail IN ('direct', 'vault')),
    payload_digest   BLOB    NOT NULL,
    stage            TEXT    NOT NULL CHECK (stage IN ('bound', 'signed', 'sending', 'sent', 'included', 'confirmed', 'final')),
    outcome          TEXT    CHECK (outcome IN ('paid', 'reverted', 'canceled', 'filled', 'voided')),
    transaction_hash BLOB,
    block_number     INTEGER,
    block_hash       BLOB,
    block_at         INTEGER,
    cancel_requested INTEGER NOT NULL CHECK (cancel_requested IN (0, 1)),
    due_at           INTEGER NOT NULL,
    receives         INTEGER NOT NULL,
    claim            TEXT,
    claimed_until    INTEGER NOT NULL,
    opened_at        INTEGER NOT NULL,
    updated_at       INTEGER NOT NULL,
    UNIQUE (chain_id, sender, nonce)
) STRICT;
INSERT INTO slots_with_rail
    SELECT id, chain_id, sender, nonce, purpose, 'direct', payload_digest, stage, outcome, transaction_hash, block_number,
           block_hash, block_at, cancel_requested, due_at, receives, claim, claimed_until, opened_at, updated_at
    FROM slots;
DROP TABLE slots;
ALTER TABLE slots_with_rail RENAME TO slots;
CREATE INDEX slots_by_stage ON slots (stage, chain_id, due_at);
ALTER TABLE bindings ADD COLUMN item TEXT CHECK (item IN ('paid', 'short', 'failed', 'skipped', 'voided'));
ALTER TABLE withdrawals ADD COLUMN cancel_requested INTEGER NOT NULL DEFAULT 0 CHECK (cancel_requested IN (0, 1));
