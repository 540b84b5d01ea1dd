-- The accounts that sign, and the next nonce of each: allocated here and nowhere else.
CREATE TABLE senders (
    chain_id      INTEGER NOT NULL,
    address       BLOB    NOT NULL,
    nonce_next    INTEGER NOT NULL CHECK (nonce_next >= 0),
    registered_at INTEGER NOT NULL,
    PRIMARY KEY (chain_id, address)
) STRICT;
