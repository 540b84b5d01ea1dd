-- The accounts that sign, and the next nonce of each: allocated here and nowhere else.
CREATE TABLE senders (
    chain_id      BIGINT        NOT NULL,
    address       VARBINARY(20) NOT NULL,
    nonce_next    BIGINT        NOT NULL,
    registered_at BIGINT        NOT NULL,
    PRIMARY KEY (chain_id, address),
    CONSTRAINT senders_nonce_next_is CHECK (nonce_next >= 0)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
