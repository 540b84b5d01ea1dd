-- (chain, sender, nonce): what the chain lets happen at most once. due_at, receives and the claim are
-- the broadcaster's: a slot of the system has no withdrawal and so no work row.
CREATE TABLE slots (
    id               BLOB    NOT NULL PRIMARY KEY,
    chain_id         INTEGER NOT NULL,
    sender           BLOB    NOT NULL,
    nonce            INTEGER NOT NULL CHECK (nonce >= 0),
    purpose          TEXT    NOT NULL CHECK (purpose IN ('pay', 'fill')),
    payload_digest   BLOB    NOT NULL,
    stage            TEXT    NOT NULL CHECK (stage IN ('bound', 'signed', 'sending', 'sent', 'included', 'confirmed', 'final')),
    outcome          TEXT    CHECK (outcome IN ('paid', 'reverted', 'canceled', 'filled')),
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
CREATE INDEX slots_by_stage ON slots (stage, chain_id, due_at);
