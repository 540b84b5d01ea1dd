-- token is the contract, or 20 zero bytes for the chain's native coin. Amounts are atomic units in decimal text.
CREATE TABLE assets (
    id          BLOB    NOT NULL PRIMARY KEY,
    chain_id    INTEGER NOT NULL,
    symbol      TEXT    NOT NULL,
    token       BLOB    NOT NULL,
    decimals    INTEGER NOT NULL CHECK (decimals BETWEEN 0 AND 77),
    amount_min  TEXT    NOT NULL,
    amount_max  TEXT    NOT NULL,
    daily_max   TEXT,
    enabled     INTEGER NOT NULL CHECK (enabled IN (0, 1)),
    created_at  INTEGER NOT NULL,
    seal_key_id INTEGER NOT NULL,
    mac         BLOB    NOT NULL,
    UNIQUE (chain_id, symbol),
    UNIQUE (chain_id, token)
) STRICT;
